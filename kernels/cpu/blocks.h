/* The CPU backend's vector kernels of training over images in blocks of channels, (samples, blocks, pixels, lanes) as simd.h has
   them, whose channels fill their blocks: norms, activations, pooling, bilinear resizing, weights of 1x1 convolutions, and what of
   their backward can be done in one pass. Compiled for three instruction sets (body_blocks.h) and tabled with the others
   (gradients.h). A kernel is a task function; sums of several tasks wait in parts that are merged in their order, so any number of
   threads gives the same bits. */
#ifndef BS_KERNELS_CPU_BLOCKS_H
#define BS_KERNELS_CPU_BLOCKS_H

#include "kernels/cpu/simd.h"

#define BS__BLOCKS_RUN 4096 /* pixels of a task of passes */

/* Passes over an image. Unless said otherwise a task is a run of pixels of one block of one sample. Groups are what a norm's numbers
   belong to: a channel of a sample, or of all samples (of_batch). */
struct bs__blocks {
    int64_t samples, blocks, pixels, runs; /* runs: tasks of a block */
    bool of_batch, relu;                   /* relu: behind the norm */
    float eps;
    const float *x, *gy, *other; /* other: is added to gy, whose shape it has; NULL: nothing */
    const float *mask;  /* where this image is not above zero the gradient becomes zero; NULL: nowhere */
    const float *w, *b; /* of the norm, one for each channel; NULL: 1 and 0 */
    struct bs__moments *part; /* (tasks, lanes) */
    float *moments; /* (groups, {mean, 1 / deviation, unbiased variance or, of samples, 0}, lanes) */
    double *sums;   /* (tasks, {gy, gy (x - mean)}, lanes) */
    float *means;   /* (groups, {mean of gy, mean of gy xhat times 1 / deviation}, lanes) */
    double *column; /* (tasks, lanes): sums of y; NULL: not wanted */
    float *y;       /* result; NULL: not wanted */
    float *gw;      /* gradient of w; NULL: not wanted */
    float *total;   /* one for each channel: sums of y */
};

/* The gradient of max pooling with windows of kernel x kernel. A task is a block of one sample. */
struct bs__pool_blocks {
    const float *x, *gy;
    float *gx;
    int64_t h, w, out_h, out_w;
    int kernel;
};

/* The gradient of bilinear resizing from (h, w) to (out_h, out_w): each row of the small image gathers what came back. A task is a
   run of `rows` rows of one block of one sample; scratch: a row of the large image for each worker. */
struct bs__resize_blocks {
    const float *gy;
    float *gx;
    int64_t h, w, out_h, out_w, rows, groups; /* groups: tasks of a block */
    const int32_t *lo_y, *hi_y, *lo_x, *hi_x; /* as struct bs__pass has them */
    const float *t_y, *t_x;
    float *scratch;
    size_t scratch_floats;
};

/* The gradient of the weights of 1x1 convolutions: part (parts, in, out) = sum of x gy, channels of both in whole blocks. A task is a
   part of the pixels of all samples times one chunk of input and one of output channels. */
#define BS__POINTWISE_TILE 64 /* pixels multiplied at once */
struct bs__pointwise_weights {
    const float *x, *gy;
    int64_t samples, pixels, tiles, parts; /* tiles of all samples, dealt to parts */
    int in_blocks, out_blocks;
    float *part;
    float *scratch;
    size_t scratch_floats;
};

struct bs__block_kernels {
    bs__task_fn moments, moments_merge;     /* merge: a task is a block of a group */
    bs__task_fn norm;                       /* y = (x - mean) / deviation w + b */
    bs__task_fn norm_sums, norm_sums_merge; /* what came back to a norm */
    bs__task_fn norm_grad;                  /* y: gradient of the norm's x, behind the mask, and its sums */
    bs__task_fn pass_back;                  /* y = gy + other behind the mask, and its sums */
    bs__task_fn sum_merge;                  /* column to total: a task is a block of channels */
    bs__task_fn pool_grad, resize_grad;
};

#endif
