/* The CPU backend's vector kernels that training alone needs, over dense float32 values: elements, rows of features,
   transposes. Compiled for three instruction sets (body_gradients.h). A kernel is a task function: no shared state but the
   buffers it is given; what a task takes depends on shapes only, and sums of several tasks wait in parts that are merged in
   their order, so any number of threads gives the same bits. (Those of attention, the scan and the causal convolution
   stand beside the forward ones: attention.h, scan.h.) */
#ifndef BS_KERNELS_CPU_GRADIENTS_H
#define BS_KERNELS_CPU_GRADIENTS_H

#include "kernels/cpu/blocks.h"
#include "kernels/cpu/simd.h"
#include "kernels/graph.h"

#define BS__ELEMENTS_RUN 16384 /* of a task; 64 KiB of each value */

/* y = op(a, b), element by element: activations and their gradients (b: what came back), add, mul, scale. */
struct bs__elements {
    enum bs_op op;
    const float *a, *b; /* b: NULL where the operator has one input */
    float *y;
    float factor;
    int64_t count;
};

/* Layer norm (centred) and RMS norm over rows, and their gradients: a task is `run` rows. */
struct bs__norm_rows {
    bool centred;
    int64_t rows, run;
    int features;
    float eps;
    const float *x, *w, *b, *gy; /* b: layer norm's forward; gy: gradients */
    float *y;                    /* result, or gradient of x; NULL: not wanted */
    float *part;                 /* (tasks, features): gradient of w; NULL: not wanted */
};

/* part (tasks, features): sums over `run` rows of x. */
struct bs__sum_rows {
    const float *x;
    int64_t rows, run;
    int features;
    float *part;
};

/* dst[g dst_group + c dst_row + r - g run] = src[r src_row + c] for the rows r of task g of a sample; padded: zeros in place
   of rows that are not there. Plain transposition: dst_group = run, dst_row = rows. */
struct bs__transpose {
    const float *src;
    int64_t rows, cols, src_row, run, dst_group, dst_row;
    float *dst;
    bool padded;
    int64_t groups, src_sample, dst_sample; /* tasks of a sample */
};

/* Panels of columns: dst[(p rows + r) width + i] = src[r cols + p width + i], zeros behind the last column. A task is a
   run of rows of all panels. */
struct bs__panels {
    const float *src;
    int64_t rows, cols, width, run;
    float *dst;
};

/* Norms whose numbers belong to groups of planes: of each plane (instance norm: count 1), or of a channel in all samples (batch
   norm in training mode: count N, step C). A task is a group; plane i of group g is g + i step. Sums in double over runs of
   float32. */
struct bs__norm_planes {
    int64_t pixels, count, step;
    float eps;
    const float *x, *gy;    /* gy: gradients */
    const float *w, *b;     /* one for each group; NULL: 1 and 0 */
    float *y;               /* result, or gradient of x; NULL: not wanted */
    float *gw;              /* one for each group; NULL: not wanted */
    float *mean, *variance; /* unbiased, of each group: what batch_statistics hands out; NULL: not wanted */
};

/* part[channel] = sum of x over samples and pixels; a task is a channel. */
struct bs__sum_planes {
    const float *x;
    int64_t samples, channels, pixels;
    float *part;
};

/* Bilinear resizing of planes (h, w) -> (out_h, out_w), half-pixel centres, and its gradient, which goes from the large to the
   small. A task is a plane. */
struct bs__resize_planes {
    const float *src;
    float *dst;
    int64_t h, w, out_h, out_w;
    const int32_t *lo_x, *hi_x; /* pixels of the input between which a column of the output lies */
    const float *t_x;
    float *scratch; /* scratch_floats for every worker: a row */
    size_t scratch_floats;
};

/* 1x1 convolutions of planes: y (out, pixels) = w x (in, pixels) + b, w[o w_row + i w_step]. A task is a run of pixels of one
   sample; a multiple of BS__POINTWISE_RUN. */
#define BS__POINTWISE_RUN 2048
struct bs__pointwise_planes {
    const float *x, *w, *b; /* b NULL: none */
    float *y;
    int in, out;
    int64_t w_row, w_step, pixels, runs; /* runs: tasks of a sample */
    float *scratch;                      /* scratch_floats for every worker: a strip of all channels */
    size_t scratch_floats;
};
#define BS__POINTWISE_STRIP 64 /* pixels brought side by side; a multiple of what is multiplied at once */

/* The gradient of their weights: part (tasks, out, in) = sum over pixels of gy x. A task is `run` pixels of one sample. */
struct bs__pointwise_grad {
    const float *x, *gy;
    int in, out;
    int64_t pixels, run, runs;
    float *part;
};

struct bs__gradients {
    bs__task_fn elements, norm, norm_grad, sum_rows, transpose, panels;
    bs__task_fn norm_planes, norm_planes_grad, sum_planes, resize, resize_grad;
    bs__task_fn pointwise, pointwise_grad;
    struct bs__block_kernels blocks;
};

const struct bs__gradients *bs__gradients_base(void);
const struct bs__gradients *bs__gradients_avx2(void);
const struct bs__gradients *bs__gradients_avx512(void);
/* The table beside `simd`. */
const struct bs__gradients *bs__gradients_of(const struct bs__simd *simd);

static inline int64_t bs__tasks(int64_t count, int64_t run)
{
    return (count + run - 1) / run;
}

#endif
