/* Moving values without computing: between the host's planes (N,C,H,W) of float and the device's images (N,H,W,C) of any
   element type, between rows of different strides and element types, and from the blocks that a transposed convolution
   makes into an image. */
#ifndef BS_KERNELS_CUDA_LAYOUT_H
#define BS_KERNELS_CUDA_LAYOUT_H

#include "kernels/cuda/views.h"

struct bs__planes {
    bs_address planes; /* (samples, channels, pixels) float */
    struct bs__rows
        image; /* (samples, pixels, channels); the first `padded` elements of a row belong to it */
    int64_t samples, channels, pixels;
    int64_t
        padded; /* image_from_planes writes zeros into channels [channels, padded); >= channels. Else: not used */
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_pixels, by_pixel_tiles, by_channel_tiles;
};
#define BS__LAYOUT_TILE 32 /* pixels and channels that a block turns at a time */
bs_status bs__cuda_image_from_planes(struct bs__queue *q, enum bs__element e, const struct bs__planes *p,
                                     struct bs_err *err) BS_NODISCARD;
bs_status bs__cuda_planes_from_image(struct bs__queue *q, enum bs__element e, const struct bs__planes *p,
                                     struct bs_err *err) BS_NODISCARD;

/* Copies (batches, rows, columns), from one element type to another where they differ. Slices of tokens, slices of
   features, concatenations and conversions are this. `to` and `from` do not overlap. */
struct bs__copy {
    struct bs__rows to, from;
    int64_t to_batch, from_batch; /* elements from one batch to the next; not used with one batch */
    int64_t batches, rows, columns;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_rows;
};
#define BS__COPY_EACH 4 /* groups of four elements per thread */
bs_status bs__cuda_copy(struct bs__queue *q, enum bs__element to, enum bs__element from,
                        const struct bs__copy *c, struct bs_err *err) BS_NODISCARD;

/* The second half of a transposed convolution with stride = kernel = k. The first is a matrix product x (N H W, Ci) by a
   weight (Ci, k k Co) whose columns are (p, q, o); this lays row (n,i,j), column (p,q,o) at pixel (n, i k + p, j k + q),
   channel o, adds the bias and applies the activation. */
struct bs__pixel_shuffle {
    struct bs__rows y;               /* (samples, h k, w k, channels) */
    struct bs__rows x;               /* (samples, h, w, k k channels) */
    bs_address bias;                 /* (channels) float; 0: none */
    int64_t samples, h, w, channels; /* h, w of x; channels of y */
    int32_t k;
    int32_t activation; /* enum bs__activation */
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours, by_width, by_k;
};
bs_status bs__cuda_pixel_shuffle(struct bs__queue *q, enum bs__element e, const struct bs__pixel_shuffle *s,
                                 struct bs_err *err) BS_NODISCARD;

#endif
