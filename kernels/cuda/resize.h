/* Bilinear resize, half-pixel centres, no antialias, and its gradient. The meaning is that of BS_OP_RESIZE_BILINEAR. */
#ifndef BS_KERNELS_CUDA_RESIZE_H
#define BS_KERNELS_CUDA_RESIZE_H

#include "kernels/cuda/views.h"

/* Sides are at most 32767. */
struct bs__resize {
    struct bs__rows y; /* (samples, out_h, out_w, channels) */
    struct bs__rows x; /* (samples, h, w, channels) */
    int64_t samples, h, w, out_h, out_w, channels;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_width, by_height;
};
bs_status bs__cuda_resize_bilinear(struct bs__queue *q, enum bs__element e, const struct bs__resize *r,
                                   struct bs_err *err) BS_NODISCARD;
/* Reads y, the gradient of the resized image, and writes x, the gradient of the image; each is a sum in a fixed order. */
bs_status bs__cuda_resize_bilinear_grad(struct bs__queue *q, enum bs__element e, const struct bs__resize *r,
                                        struct bs_err *err) BS_NODISCARD;

#endif
