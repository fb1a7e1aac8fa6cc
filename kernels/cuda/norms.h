/* Norms over the last axis: layer norm and RMS norm of rows, with the residual addition that stands before them. */
#ifndef BS_KERNELS_CUDA_NORMS_H
#define BS_KERNELS_CUDA_NORMS_H

#include "kernels/cuda/views.h"

/* s = x + residual,  y = norm(s) w + b. x and y are of the launch's element type; the sum is kept in float. y may be x,
   residual_out may be residual. */
struct bs__row_norm {
    struct bs__rows y, x;
    struct bs__rows residual;     /* float; at 0: none, s = x */
    struct bs__rows residual_out; /* float; receives s; at 0: not kept */
    bs_address w;                 /* (columns) float */
    bs_address b;                 /* (columns) float; 0: none. RMS norm: not used */
    int64_t rows, columns;
    float eps;
    /* set by the launch */
    int32_t in_fours;
    int32_t centred; /* layer norm, not RMS norm */
};
#define BS__NORM_WARPS 4   /* rows of a block, where a warp has a row */
#define BS__NORM_BLOCK 256 /* threads of a block that has a row */

/* y = (s - mean) / sqrt(var + eps) w + b, var biased. */
bs_status bs__cuda_layer_norm(struct bs__queue *q, enum bs__element e, const struct bs__row_norm *n,
                              struct bs_err *err) BS_NODISCARD;
/* y = s / sqrt(mean(s^2) + eps) w */
bs_status bs__cuda_rms_norm(struct bs__queue *q, enum bs__element e, const struct bs__row_norm *n,
                            struct bs_err *err) BS_NODISCARD;

#endif
