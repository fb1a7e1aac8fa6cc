/* Weights on the device: laid out by the host as a kernel wants them, copied once per model, shared by all its executables, freed
   with the parameter set. Executor thread only. */
#ifndef BS_KERNELS_CUDA_PACK_H
#define BS_KERNELS_CUDA_PACK_H

#include "kernels/cuda/lower.h"

/* A batch norm in evaluation mode that is multiplied into the convolution before it. */
struct bs__gpu_fold {
    const char *weight, *bias, *mean, *variance; /* each of one number per output channel */
    float eps;
};

enum bs__gpu_form {
    BS__FORM_PLAIN,     /* as the file has it */
    BS__FORM_TAPS,      /* a convolution's (out, in, kh, kw) as (out, kh, kw, in) */
    BS__FORM_DIRECT,    /* the same as (kh, kw, in, out): conv_direct.h */
    BS__FORM_SHUFFLE,   /* a transposed convolution's (in, out, k, k) as (k, k, out, in) */
    BS__FORM_BIAS,      /* of a convolution, with the batch norm behind it */
    BS__FORM_RELATIVE,  /* relative positions resampled for `side` tokens: attention.h */
    BS__FORM_POSITIONS, /* positions resampled to the grid of the operator that adds them */
};

struct bs__gpu_weight {
    enum bs__gpu_form form;
    enum bs__element element;
    const char *name; /* of the parameter; NULL with BIAS: zeros */
    struct bs_shape shape;
    const struct bs__gpu_fold *fold; /* NULL: none */
    int64_t side;                    /* RELATIVE */
    const struct bs_node *positions; /* POSITIONS: the operator */
};
/* Its address; 0 after a failure, and in a set to plan with. */
bs_address bs__gpu_pack(struct bs__gpu_lowering *l, const struct bs__gpu_weight *w);
/* A vector of floats, or another parameter as the file has it. v BS_NO_VALUE: 0. */
bs_address bs__gpu_pack_plain(struct bs__gpu_lowering *l, bs_value v, enum bs__element e);
/* Name of a parameter whose shape in the file is the graph's; NULL when v is no parameter, and after a failure. */
const char *bs__gpu_param(struct bs__gpu_lowering *l, bs_value v);

#endif
