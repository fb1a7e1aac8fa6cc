/* What the attention kernels are told; filled by attention.c, attention_grad.c and attention_extend.c. */
#ifndef BS_KERNELS_CUDA_ATTENTION_ARGUMENTS_H
#define BS_KERNELS_CUDA_ATTENTION_ARGUMENTS_H

#include <stdint.h>

struct bs__attention_arguments {
    uint64_t qkv, pad, rel_h, rel_w, y, lse; /* as struct bs__cuda_attention has them */
    uint64_t reciprocal;                     /* of w: floor(2^32 / w) + 1, for attention_row */
    int64_t tokens;                          /* of a sample */
    int32_t grid_h, grid_w, h, w;            /* of the grid, of a window */
    int32_t windows_y, windows_x;            /* 1 x 1: global */
    int32_t tiles;                           /* of queries in a window */
    int32_t heads, features;
    int32_t bias_stride; /* floats of shared memory for the relative positions of one query; 0: none */
    int32_t vectors;     /* is each row of a head 16-byte aligned and a multiple of 16 bytes? */
    int32_t whole;       /* is the window the whole grid, so that key k is token k? */
    float scale;         /* log2(e) / sqrt(features) */
};

/* Of the kernels that make longer queries and keys (attention_extend.h). */
struct bs__attention_extension {
    struct bs__attention_arguments of; /* y: what attention_from_windows writes */
    uint64_t query, key,
        value;     /* value: 0 where values stay in qkv; of attention_from_windows what it reads */
    int32_t width; /* elements of a query and a key */
    int32_t samples;
    float factor; /* of the relative positions: sqrt(features) / log2(e) */
    float most;   /* the largest number of the element type */
};

#endif
