/* Norms over the pixels of images: instance norm, group norm, batch norm in evaluation mode. */
#ifndef BS_KERNELS_CUDA_IMAGE_NORMS_H
#define BS_KERNELS_CUDA_IMAGE_NORMS_H

#include "kernels/cuda/views.h"

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

#endif
