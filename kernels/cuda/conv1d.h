/* Depthwise convolution along tokens that looks back only (BS_OP_CAUSAL_CONV1D), with the SiLU after it, for one or both directions of
   a mixer in one launch: the input is read once for both.
     y[t] = silu(bias + sum_k w[k] x[t - (K-1) + k]),  reverse: x[t + (K-1) - k];  x is zero outside its sample
   Executor thread only. */
#ifndef BS_KERNELS_CUDA_CONV1D_H
#define BS_KERNELS_CUDA_CONV1D_H

#include "kernels/cuda/views.h"

#define BS__CONV1D_TOKENS  8 /* of one thread */
#define BS__CONV1D_THREADS 256

struct bs__conv1d_direction {
    struct bs__rows y;  /* (samples * length, features); not the memory of x */
    bs_address weights; /* (features, taps) float */
    bs_address bias;    /* (features) float; 0: zeros */
    int32_t reverse;
    int32_t padding;
};

struct bs__conv1d {
    struct bs__conv1d_direction direction[2];
    struct bs__rows x; /* (samples * length, features) */
    int64_t samples, length;
    int32_t features, taps; /* any number of taps; 4 is the fast one */
    int32_t directions;     /* 1 or 2 */
    int32_t silu;
    int64_t pieces;    /* set by the launch: of the tokens of a sample */
    int32_t in_fours;  /* set by the launch: four taps, and rows that can be read four features at a time */
    int32_t four_taps; /* set by the launch: four taps, at an address for that */
};

/* BS_EINTERNAL where sizes, rows or weights are not those of a convolution; results are not looked at. Sets what the launch
   sets. */
bs_status bs__conv1d_prepare(struct bs__conv1d *c, enum bs__element e, struct bs_err *err) BS_NODISCARD;

bs_status bs__cuda_conv1d(struct bs__queue *q, enum bs__element e, const struct bs__conv1d *c,
                          struct bs_err *err) BS_NODISCARD;

#endif
