/* What the kernels of attention's gradients are told; filled by attention_grad.c. */
#ifndef BS_KERNELS_CUDA_ATTENTION_GRAD_ARGUMENTS_H
#define BS_KERNELS_CUDA_ATTENTION_GRAD_ARGUMENTS_H

#include "kernels/cuda/attention_arguments.h"

struct bs__attention_grad_arguments {
    struct bs__attention_arguments forward;
    uint64_t gy, gqkv;
    uint64_t
        relative; /* (samples, heads, tokens, h + w) float: relative positions times log2(e), then their gradients */
    uint64_t delta; /* (samples, tokens, heads) float: sum over features of gy y */
    uint64_t
        pad_parts; /* (samples, windows, tiles of keys, 2, heads, features) float: of the padding's k and v; 0: none */
    uint64_t table_parts; /* (chunks, 2h-1 + 2w-1, features) float: of the tables */
    int64_t samples;
    int32_t chunks, query_tiles; /* of table_parts; of 32 queries in a window */
};

/* Sums over parts, in order. */
struct bs__attention_parts_arguments {
    uint64_t parts, to;           /* parts: (count, stride) float */
    int64_t count, stride, first; /* parts; floats from one to the next; first float of each */
    int64_t rows, parts_rows,
        features; /* `rows` of the result are made of parts_rows, resampled where they differ */
};

#endif
