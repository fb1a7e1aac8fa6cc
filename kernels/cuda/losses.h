/* Losses of a prediction and a target, and their gradients; the meaning is that of the operators of the same names. Sums are
   taken in a fixed order: the same input gives the same bits. */
#ifndef BS_KERNELS_CUDA_LOSSES_H
#define BS_KERNELS_CUDA_LOSSES_H

#include "kernels/cuda/columns.h"

enum bs__loss_kind {
    BS__LOSS_DICE, /* groups, eps: sum over groups of 1 - 2 sum(p t) / max(sum(p^2) + sum(t^2), eps) */
    BS__LOSS_BCE,  /* mean of -(t log p + (1 - t) log(1 - p)), a logarithm at least -100 */
    BS__LOSS_MSE,  /* mean of (p - t)^2 */
    BS__LOSS_COUNT
};

struct bs__loss {
    struct bs__rows p, t; /* (rows, channels): the pixels of all samples */
    struct bs__rows gp;   /* the gradient: written; may be p or t. The loss itself: not used */
    bs_address loss;      /* (1) float: written. The gradient: that of the loss, read */
    bs_address workspace; /* 16-byte aligned, bs__cuda_loss_workspace bytes */
    int64_t rows, channels;
    int64_t groups; /* dice; divides channels */
    float eps;      /* dice */
    /* set by the launch */
    int32_t in_fours;
    bs_address partial; /* (2, slabs, channels) float: of p t and of p^2 + t^2, or of the mean's terms */
    bs_address totals;  /* (2, groups) float: the same of whole groups */
    struct bs__columns geometry;
    struct bs__divisor by_fours, by_channels; /* fours of a row, channels of a group */
};
size_t bs__cuda_loss_workspace(int64_t rows, int64_t channels);
bs_status bs__cuda_loss(struct bs__queue *q, enum bs__element e, enum bs__loss_kind kind,
                        const struct bs__loss *l, struct bs_err *err) BS_NODISCARD;
bs_status bs__cuda_loss_grad(struct bs__queue *q, enum bs__element e, enum bs__loss_kind kind,
                             const struct bs__loss *l, struct bs_err *err) BS_NODISCARD;

#endif
