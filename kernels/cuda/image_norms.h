/* Norms over the pixels of images: instance norm, group norm, batch norm in evaluation mode. */
#ifndef BS_KERNELS_CUDA_IMAGE_NORMS_H
#define BS_KERNELS_CUDA_IMAGE_NORMS_H

#include "kernels/cuda/columns.h"

/* y = (x - mean) / sqrt(var + eps) w[c] + b[c], then ReLU if asked for; mean and biased variance over the pixels of the
   channels of a group of one sample. y may be x. */
struct bs__image_norm {
    struct bs__rows y, x; /* (samples, pixels, channels) */
    bs_address w, b;      /* (channels) float; 0: none, both or neither */
    bs_address
        statistics; /* float, bs__cuda_image_norm_statistics bytes: kept for the gradient; 0: not kept */
    bs_address workspace; /* 16-byte aligned, bs__cuda_image_norm_workspace bytes */
    int64_t samples, pixels, channels;
    int64_t groups; /* group norm; divides channels */
    float eps;
    int32_t relu;
};
size_t bs__cuda_image_norm_workspace(int64_t samples, int64_t pixels, int64_t channels);
size_t bs__cuda_image_norm_statistics(int64_t samples, int64_t channels);
/* A group per channel; groups is not read. */
bs_status bs__cuda_instance_norm(struct bs__queue *q, enum bs__element e, const struct bs__image_norm *n,
                                 struct bs_err *err) BS_NODISCARD;
bs_status bs__cuda_group_norm(struct bs__queue *q, enum bs__element e, const struct bs__image_norm *n,
                              struct bs_err *err) BS_NODISCARD;

/* y = (x - mean[c]) / sqrt(variance[c] + eps) w[c] + b[c], then ReLU if asked for. y may be x. */
struct bs__batch_norm {
    struct bs__rows y, x;            /* (samples pixels, channels) */
    bs_address w, b, mean, variance; /* (channels) float */
    int64_t rows, channels;
    float eps;
    int32_t relu;
};
bs_status bs__cuda_batch_norm(struct bs__queue *q, enum bs__element e, const struct bs__batch_norm *n,
                              struct bs_err *err) BS_NODISCARD;

/* What the kernels above are launched with. */

/* Mean and inverse deviation of each group of each sample. */
struct bs__image_moments {
    struct bs__rows x;
    bs_address partial; /* (3, samples, slabs, channels) float: shift, mean less the shift, sum of squares */
    bs_address statistics; /* (3, samples, groups) float: mean rounded, the rest of it, 1 / sqrt(var + eps) */
    int64_t groups;
    float eps;
    struct bs__columns geometry;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_groups, by_channels; /* groups of a sample, channels of a group */
};
bs_status bs__cuda_image_moments(struct bs__queue *q, enum bs__element e, const struct bs__image_moments *m,
                                 struct bs_err *err) BS_NODISCARD;

struct bs__image_apply {
    struct bs__rows y, x;
    bs_address statistics, w, b; /* as bs__image_moments leaves them; 0: mean and variance are used */
    bs_address mean, variance;   /* (channels) float */
    int64_t groups;
    float eps;
    int32_t relu, in_fours;
    struct bs__columns geometry;
    struct bs__divisor by_channels; /* channels of a group */
};

/* BS_EINTERNAL for what no norm of an image can be asked. */
bs_status bs__check_image_norm(const char *kernel, int64_t groups, int64_t channels, int64_t pixels,
                               float eps, bs_address w, bs_address b, struct bs_err *err) BS_NODISCARD;

#endif
