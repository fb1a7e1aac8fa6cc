/* The own vector kernels of the CPU backend and what they read. Images are blocked: (N, C/L, H, W, L) with L channels
   side by side (16 with AVX-512, else 8), the last block padded with zeros; every kernel keeps that padding zero.
   The same bodies (body_*.h) are compiled for three instruction sets and two element types (float32, bfloat16; sums are
   always float32 or wider). A kernel is a task function: no shared state but the buffers it is given. */
#ifndef BS_KERNELS_CPU_SIMD_H
#define BS_KERNELS_CPU_SIMD_H

#include "kernels/cpu/parallel.h"
#include "kernels/cpu/tokens.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BS__MAX_LANES  16
#define BS__MAX_SOURCE 2

/* A blocked image, and the norm that is to be applied while reading it:
   y = (x - mean) * scale + shift with norm laid out as (N, block, {mean, scale, shift}, L); NULL: none. */
struct bs__source {
    const void *data;
    int blocks;
    int64_t stride; /* blocks from one sample to the next: more than `blocks` for a slice of channels */
    const float *norm;
    int64_t norm_stride; /* floats from one sample to the next */
};

/* Moments of one channel over a part of an image; parts are merged in a fixed order, so threads cannot change a bit. */
struct bs__moments {
    double count, mean, m2;
};

/* How tiles and output channels are dealt out to tasks. */
struct bs__split {
    int64_t run, runs; /* tiles of one task, runs per image */
    int out_chunks_per_task, out_groups;
};

/* 3x3 convolution, stride 1, padding 1, over up to two images side by side (a concatenation that is never made).
   Winograd F(4x4,3x3); a task is a run of tiles of one image times a group of output channels. */
struct bs__winograd {
    struct bs__source source[BS__MAX_SOURCE];
    int nsource;
    int64_t n, h, w;
    int in_blocks, out_blocks;
    const void *weights; /* element type: (chunk of out, in, 9, out in chunk); or float32 and transformed:
                             (chunk of out, chunk of in, 36, in in chunk, out in chunk) */
    bool transformed;
    const float *bias; /* padded with zeros */
    bool relu;
    void *dst;
    struct bs__moments *part; /* (N, runs, padded channels); NULL: not wanted */
    int64_t tiles_y, tiles_x;
    struct bs__split split;
    float *scratch;        /* worker after worker */
    size_t scratch_floats; /* of one worker */
};

/* The gradient of the weights of a 3x3 convolution, stride 1, padding 1, by the transpose of Winograd F(4x4,3x3). A task is a
   part of the tiles of all images times one chunk of input and one of output channels; parts are to be merged in their order. */
struct bs__winograd_grad {
    const float *x, *gy; /* blocked */
    const float *norm;   /* of x, as struct bs__source has it, one block behind the other; NULL: none */
    int64_t n, h, w, tiles_y, tiles_x;
    int in_blocks, out_blocks;
    int64_t run, runs,
        parts;   /* tiles transformed at once, runs of all images, parts that they are dealt to */
    float *part; /* (parts, padded in, 9, padded out) */
    float *scratch;
    size_t scratch_floats; /* of one worker */
};

/* 3x3 convolution, stride 1, padding 1, of an image doubled bilinearly, up to the filter that ends it: the lattice of
   body_doubled.h, 2 (h + 3) x 2 (w + 3) points. A task is a run of tiles of one image times a group of output channels. */
struct bs__lattice {
    struct bs__source source; /* norm is ignored */
    int64_t n, h, w;          /* of the small image */
    int out_blocks;
    const void *weights; /* (chunk of out, in, 9, out in chunk), element type */
    void *dst;
    int64_t tiles_y, tiles_x;
    struct bs__split split;
    float *scratch;
    size_t scratch_floats;
};

/* 1x1 convolution; or one tap of a transposed convolution with stride = kernel: pixel (y, x) is written to
   (y step + dy, x step + dx). A task is a run of pixels. */
struct bs__pointwise {
    struct bs__source source; /* norm is ignored */
    int64_t n, h, w;
    int out_blocks;
    const void *weights; /* (chunk of out, in, out in chunk), element type */
    const float *bias;
    bool relu;
    void *dst;
    int64_t dst_h, dst_w, step, dy, dx;
    int64_t run, runs;
    float *scratch;
    size_t scratch_floats;
};

/* 1x1 convolution to few channels, straight to float32 C order; a task is a row. */
struct bs__head {
    struct bs__source source;
    int64_t n, h, w;
    int out;
    const float *weights; /* (out, padded in) */
    const float *bias;
    float *dst, *probability; /* before and after the sigmoid; either may be NULL */
};

enum bs__pointwise_op { BS__COPY, BS__RELU, BS__SIGMOID, BS__ADD, BS__MUL };

/* Everything that goes once over an image. A task is one row group of one channel block. */
struct bs__pass {
    struct bs__source source, other; /* other: second operand of ADD and MUL */
    int64_t n, h, w;                 /* of the source */
    int channels;                    /* of the source */
    void *dst;
    int dst_blocks, dst_block; /* blocks of the whole destination, first one to write */
    int64_t dst_h, dst_w;
    struct bs__moments *part; /* (N, groups, padded channels of the destination); NULL: not wanted */
    int64_t rows, groups;     /* destination rows of a task, tasks per plane */
    enum bs__pointwise_op op;
    int kernel;                               /* pooling */
    const int32_t *lo_y, *hi_y, *lo_x, *hi_x; /* resizing: pixels between which an output pixel lies */
    const float *t_y, *t_x;
    float *scratch;
    size_t scratch_floats;
    const float *bias; /* end of a convolution of a doubled image */
    bool relu;
    float *plain; /* load and store: float32 C order */
    bool sigmoid; /* store */
};

/* One element type. */
struct bs__simd_type {
    bs__task_fn winograd, pointwise, head, lattice, smooth;
    bs__task_fn load, store, apply, moments, pool, resize;
    bs__task_fn image_from_tokens, tokens_from_image;
};

struct bs__simd {
    const char *name;
    int lanes;       /* L */
    int out_vectors; /* blocks in a chunk of output channels */
    int in_chunk;    /* blocks in a chunk of input channels */
    int tile_group;  /* tiles multiplied at once: runs are multiples of it */
    struct bs__simd_type f32, bf16;
    bs__task_fn row_pass, patches;
    bs__task_fn conv1d, scan, conv1d_grad, scan_grad; /* scan.h */
    bs__task_fn winograd_grad, pointwise_grad;        /* pointwise_grad: blocks.h */
    /* Transforms weights (in channels of one chunk, 9, out chunk) into (36, in, out chunk). */
    void (*transform_weights)(const float *weights, int in_blocks, float *dst);
    void (*transform_weights_bf16)(const uint16_t *weights, int in_blocks, float *dst);
    /* 2^x of whole vectors as the scan takes it, for tests and measurements. */
    void (*exp2)(const float *x, float *dst, int64_t count);
};

/* pointwise and lattice for bf16 with products of bf16 pairs; weights of 1x1 are packed by pairs. */
const struct bs__simd_type *bs__simd_pairs(void);
/* The best one this processor can run. Never NULL. */
const struct bs__simd *bs__simd_select(void);
/* The one of this name; NULL when there is none that this processor can run. */
const struct bs__simd *bs__simd_named(const char *name);
const struct bs__simd *bs__simd_base(void);
/* Call these only on a processor that has the instructions. NULL on other architectures. */
const struct bs__simd *bs__simd_avx2(void);
const struct bs__simd *bs__simd_avx512(void);

/* Floats of scratch that one worker needs for a run of tiles: planes of transformed input and of products, planes of
   transformed weights. */
size_t bs__tile_scratch(const struct bs__simd *simd, int in_blocks, int64_t run, size_t planes,
                        size_t weight_planes);

/* The same for the gradient of weights: transformed input and what came back of a run of tiles, and the 36 sums. */
size_t bs__winograd_grad_scratch(const struct bs__simd *simd, int64_t run);

#endif
