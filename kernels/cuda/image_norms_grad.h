/* Gradients of instance norm and group norm (image_norms.h). Batch norm in training is group norm of one sample that holds all
   pixels, a group per channel, forward and backward. Sums are taken in a fixed order: the same input gives the same
   bits. */
#ifndef BS_KERNELS_CUDA_IMAGE_NORMS_GRAD_H
#define BS_KERNELS_CUDA_IMAGE_NORMS_GRAD_H

#include "kernels/cuda/image_norms.h"

/* With xhat = (x - mean) r, means over the values of a group of one sample:
     gx = r (gy w - mean(gy w) - xhat mean(gy w xhat)),  gw = sum of gy xhat,  gb = sum of gy   (over samples and pixels)
   relu: the forward was followed by ReLU, and gy is the gradient behind it: it counts where xhat w + b > 0. */
struct bs__image_norm_grad {
    struct bs__rows gx;    /* may be gy; at 0: not wanted */
    struct bs__rows x, gy; /* (samples, pixels, channels) */
    bs_address w, b;       /* (channels) float; 0: none, both or neither */
    bs_address gw, gb;     /* (channels) float; 0: not wanted */
    bs_address statistics; /* as the forward kept them; 0: computed again */
    bs_address workspace;  /* 16-byte aligned, bs__cuda_image_norm_grad_workspace bytes */
    int64_t samples, pixels, channels;
    int64_t groups; /* group norm; divides channels */
    float eps;
    int32_t relu;
};
size_t bs__cuda_image_norm_grad_workspace(int64_t samples, int64_t pixels, int64_t channels);
/* A group per channel; groups is not read. */
bs_status bs__cuda_instance_norm_grad(struct bs__queue *q, enum bs__element e,
                                      const struct bs__image_norm_grad *n, struct bs_err *err) BS_NODISCARD;
bs_status bs__cuda_group_norm_grad(struct bs__queue *q, enum bs__element e,
                                   const struct bs__image_norm_grad *n, struct bs_err *err) BS_NODISCARD;

/* What the kernels are launched with. */
struct bs__image_grad {
    struct bs__rows gx, x, gy;
    bs_address w, b;
    bs_address statistics; /* as bs__image_moments leaves them */
    bs_address means;      /* (2, samples, groups) float: of gy w, of gy w xhat */
    bs_address partial;    /* (2, samples, slabs, channels) float: sums of gy, of gy xhat */
    int64_t groups;
    int32_t relu, in_fours;
    struct bs__columns geometry;
    struct bs__divisor by_groups, by_channels; /* groups of a sample, channels of a group */
};

#endif
