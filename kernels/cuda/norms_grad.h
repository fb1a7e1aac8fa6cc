/* Gradients of layer norm and RMS norm, with the residual addition that stands before them (norms.h). Sums are taken in a
   fixed order: the same input gives the same bits. */
#ifndef BS_KERNELS_CUDA_NORMS_GRAD_H
#define BS_KERNELS_CUDA_NORMS_GRAD_H

#include "kernels/cuda/columns.h"
#include "kernels/cuda/norms.h"

/* With s the value that was normalised and g its gradient through the norm, plus what arrives from elsewhere:
     xhat = (s - mean) r,  g = r (gy w - mean(gy w) - xhat mean(gy w xhat)) + also      (RMS norm: no mean, no mean(gy w))
     gw = sum over rows of gy xhat,  gb = sum over rows of gy */
struct bs__row_norm_grad {
    struct bs__rows gx;   /* receives g; at 0: not wanted. May be gy where gw and gb are not wanted */
    struct bs__rows gsum; /* float; receives g; at 0: not wanted. May be also */
    struct bs__rows x;    /* s, of the launch's element type, or */
    struct bs__rows sum;  /* s as float (residual_out of norms.h); one of the two is given */
    struct bs__rows gy;
    struct bs__rows also; /* float; at 0: none */
    bs_address w;         /* (columns) float */
    bs_address gw, gb;    /* (columns) float; 0: not wanted */
    bs_address
        workspace; /* 16-byte aligned, bs__cuda_row_norm_grad_workspace bytes; may be 0 where gw and gb are */
    int64_t rows, columns;
    float eps;
    /* set by the launch */
    int32_t in_fours, centred;
    bs_address statistics; /* (3, rows) float: mean rounded, the rest of it, 1 / sqrt(var + eps) */
    bs_address partial;    /* (2, slabs, columns) float */
    struct bs__columns geometry;
};
size_t bs__cuda_row_norm_grad_workspace(int64_t rows, int64_t columns);
bs_status bs__cuda_layer_norm_grad(struct bs__queue *q, enum bs__element e, const struct bs__row_norm_grad *n,
                                   struct bs_err *err) BS_NODISCARD;
bs_status bs__cuda_rms_norm_grad(struct bs__queue *q, enum bs__element e, const struct bs__row_norm_grad *n,
                                 struct bs_err *err) BS_NODISCARD;

#endif
