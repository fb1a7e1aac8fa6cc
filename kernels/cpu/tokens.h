/* The CPU backend's own vector kernels over tokens, and what they read. Tokens are rows of features: N samples of `tokens`
   rows each, in float32 or bfloat16, at any distance from each other, so that a run of features or tokens is a view that
   costs nothing. Numbers are float32 inside. A task is a run of rows (of one sample).
   Compiled for three instruction sets (body_tokens.h). */
#ifndef BS_KERNELS_CPU_TOKENS_H
#define BS_KERNELS_CPU_TOKENS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bs__moments;

/* Where rows lie; strides in elements. data NULL: not there. */
struct bs__rows {
    void *data;
    bool bf16;
    int64_t row, sample;
};

enum bs__row_norm { BS__ROW_PLAIN, BS__ROW_LAYER_NORM, BS__ROW_RMS_NORM };
enum bs__row_act { BS__ROW_AS_IS, BS__ROW_GELU, BS__ROW_SILU, BS__ROW_RELU, BS__ROW_SIGMOID };

/* What is done to each row, in this order, every part of it optional. */
struct bs__row_pass {
    int64_t n, tokens;
    int features;
    struct bs__rows a;
    const float
        *inserted; /* a row that stands before row insert_at of `a`, so that there is one token more */
    int64_t insert_at;
    struct bs__rows b; /* added, or multiplied by */
    bool multiply;
    const float *cosine, *sine; /* rows of tables; turns pairs of features of the last tokens */
    int64_t turned_from;        /* tokens before this one pass */
    struct bs__rows sum;        /* gets what has come out so far */
    enum bs__row_norm norm;
    const float *norm_weight, *norm_bias; /* padded with zeros to whole vectors */
    float eps;
    enum bs__row_act act;
    float factor;
    struct bs__rows dst;
    int64_t rows, groups; /* of a task, tasks per sample */
    float *scratch;       /* worker after worker */
    size_t scratch_floats;
};

/* Patches of a float32 image in C order become rows of (channel, y, x). A task is a row of patches. */
struct bs__patches {
    const float *image;
    int64_t n, h, w, patches_y, patches_x;
    int channels, patch, stride;
    struct bs__rows dst;
};

/* A blocked image's pixels to tokens or back. A task is a run of pixels of one sample. */
struct bs__relayout {
    void *image;
    int64_t n, pixels;
    int channels, blocks;
    struct bs__rows tokens;
    struct bs__moments *part; /* of the image written: (N, groups, padded channels); NULL: not wanted */
    int64_t run, groups;
};

#endif
