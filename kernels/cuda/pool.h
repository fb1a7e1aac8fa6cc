/* Max pooling over windows of k x k that do not overlap, and its gradient. The meaning is that of BS_OP_MAX_POOL2D. */
#ifndef BS_KERNELS_CUDA_POOL_H
#define BS_KERNELS_CUDA_POOL_H

#include "kernels/cuda/views.h"

struct bs__max_pool {
    struct bs__rows y; /* (samples, h / k, w / k, channels) */
    struct bs__rows x; /* (samples, h, w, channels) */
    int64_t samples, h, w, channels;
    int32_t k;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_width, by_height;
};
bs_status bs__cuda_max_pool(struct bs__queue *q, enum bs__element e, const struct bs__max_pool *p,
                            struct bs_err *err) BS_NODISCARD;

/* The first largest pixel of a window takes all of its gradient; every pixel of gx is written. */
struct bs__max_pool_grad {
    struct bs__rows gx, x; /* (samples, h, w, channels) */
    struct bs__rows gy;    /* (samples, h / k, w / k, channels) */
    int64_t samples, h, w, channels;
    int32_t k;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_width, by_height;
};
bs_status bs__cuda_max_pool_grad(struct bs__queue *q, enum bs__element e, const struct bs__max_pool_grad *p,
                                 struct bs_err *err) BS_NODISCARD;

#endif
