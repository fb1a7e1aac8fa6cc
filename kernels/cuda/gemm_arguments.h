/* What the kernels of products are told; filled by gemm.c. */
#ifndef BS_KERNELS_CUDA_GEMM_ARGUMENTS_H
#define BS_KERNELS_CUDA_GEMM_ARGUMENTS_H

#include <stdint.h>

enum { BS__GEMM_BIAS_NONE, BS__GEMM_BIAS_ELEMENT, BS__GEMM_BIAS_FLOAT }; /* bias_kind */

struct bs__gemm_arguments {
    uint64_t a, b, y, bias, residual; /* as struct bs__gemm has them */
    int64_t a_stride, b_stride, y_stride, residual_stride;
    int64_t rows, columns, depth;
    int64_t column_tiles;
    int32_t act, bias_kind;
    int32_t a_vectors,
        b_vectors; /* are rows of a and b at multiples of 16 bytes (of four elements where T is widened)? */
    int32_t pairs; /* are pairs of neighbours in y and residual aligned? */
    int32_t unused;
};

#endif
