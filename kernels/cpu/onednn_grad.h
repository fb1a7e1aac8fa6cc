/* Convolutions of training by oneDNN, with their gradients, over dense C-order float32 tensors whose values change from run to
   run: weights included, so nothing is packed ahead. Layouts that oneDNN prefers are made in the scratch memory of a run.
   Executor thread only. */
#ifndef BS_KERNELS_CPU_ONEDNN_GRAD_H
#define BS_KERNELS_CPU_ONEDNN_GRAD_H

#include "kernels/cpu/onednn.h"

enum bs__conv_result {
    BS__CONV_DST,     /* y from x and w (and bias) */
    BS__CONV_SRC,     /* gradient of x from gy and w; also what a transposed convolution computes */
    BS__CONV_WEIGHTS, /* gradient of w from x and gy */
};

/* x (n,in,h,w), weights (out,in,kernel_h,kernel_w), y (n,out,out_h,out_w). */
struct bs__conv_sizes {
    int64_t n, in, h, w, out, out_h, out_w;
    int64_t kernel_h, kernel_w;
    int stride, pad;
    bool bias; /* DST */
};

struct bs__dnnl_grad;

bs_status bs__dnnl_grad_create(struct bs__dnnl *d, enum bs__conv_result result,
                               const struct bs__conv_sizes *sizes, struct bs__dnnl_grad **out,
                               struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__dnnl_grad_destroy(struct bs__dnnl_grad *c);
/* Bytes of a run's scratch memory, 64-byte aligned. */
size_t bs__dnnl_grad_scratch(const struct bs__dnnl_grad *c);
const char *bs__dnnl_grad_algorithm(const struct bs__dnnl_grad *c);
/* The one that is the result is written, the other two are read; bias may be NULL. */
bs_status bs__dnnl_grad_run(struct bs__dnnl_grad *c, float *x, float *weights, float *y, const float *bias,
                            void *scratch, struct bs_err *err) BS_NODISCARD;

#endif
