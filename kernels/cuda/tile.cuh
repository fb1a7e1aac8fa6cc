// Products of tiles of floats in shared memory, summed in registers: what attention, its gradients and the float products of
// gemm.cu multiply with. 128 threads stand as 16 rows of 8; a warp holds 4 rows. Sums run over k one by one, so a sum has one order.
// A thread reads 16 bytes at a time, and the threads of a warp read 4 or 8 different ones, from rows whose length in floats
// is 4 more than a multiple of 8: no bank serves two of them.
//
// An operand lies either "along k" (a row of the tile is a row of the operand, k runs along it) or "across k" (rows are k). Thread
// (y, x) owns, of an operand along k, rows y + 16 i or columns x + 8 j; of one across k, groups of four neighbours, rows
// 4 y + 64 g + e or columns 4 x + 32 g + e.
#ifndef BS_KERNELS_CUDA_TILE_CUH
#define BS_KERNELS_CUDA_TILE_CUH

#include "kernels/cuda/device.cuh"

#define TILE_THREADS 128

BS_DEVICE int tile_y()
{
    return (int)threadIdx.x >> 3;
}
BS_DEVICE int tile_x()
{
    return (int)threadIdx.x & 7;
}
// Row or column i of an operand along k, and of one across k.
BS_DEVICE int tile_row(int i)
{
    return tile_y() + 16 * i;
}
BS_DEVICE int tile_column(int j)
{
    return tile_x() + 8 * j;
}
BS_DEVICE int tile_row_across(int i)
{
    return 4 * tile_y() + 64 * (i >> 2) + (i & 3);
}
BS_DEVICE int tile_column_across(int j)
{
    return 4 * tile_x() + 32 * (j >> 2) + (j & 3);
}

// c += a b, a along k and b along k; depth a multiple of 4.
template <int ROWS, int COLUMNS>
BS_DEVICE void tile_along_along(float (&c)[ROWS][COLUMNS], bs_shared<float> a, int a_stride,
                                bs_shared<float> b, int b_stride, int depth)
{
    for (int k = 0; k < depth; k += 4) {
        bs_float4 x[ROWS];
        BS_UNROLL for (int i = 0; i < ROWS; i++) x[i] = bs_load4(a, tile_row(i) * a_stride + k);
        BS_UNROLL for (int j = 0; j < COLUMNS; j++)
        {
            const bs_float4 w = bs_load4(b, tile_column(j) * b_stride + k);
            BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int e = 0; e < 4; e++) c[i][j] =
                bs_fma(x[i].at[e], w.at[e], c[i][j]);
        }
    }
}

// c += a b, a along k and b across k; depth a multiple of 4. Groups of columns beyond WIDTH are those of the last columns again.
template <int WIDTH, int ROWS, int COLUMNS>
BS_DEVICE void tile_along_across(float (&c)[ROWS][COLUMNS], bs_shared<float> a, int a_stride,
                                 bs_shared<float> b, int b_stride, int depth)
{
    for (int k = 0; k < depth; k += 4) {
        bs_float4 x[ROWS];
        BS_UNROLL for (int i = 0; i < ROWS; i++) x[i] = bs_load4(a, tile_row(i) * a_stride + k);
        BS_UNROLL for (int e = 0; e < 4; e++) BS_UNROLL for (int g = 0; g < COLUMNS / 4; g++)
        {
            const int from = tile_column_across(4 * g), column = from < WIDTH ? from : WIDTH - 4;
            const bs_float4 w = bs_load4(b, (k + e) * b_stride + column);
            BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int f = 0; f < 4; f++) c[i][4 * g + f] =
                bs_fma(x[i].at[e], w.at[f], c[i][4 * g + f]);
        }
    }
}

// c += a b, both across k. HEIGHT and WIDTH as above, of rows and columns.
template <int HEIGHT, int WIDTH, int ROWS, int COLUMNS>
BS_DEVICE void tile_across_across(float (&c)[ROWS][COLUMNS], bs_shared<float> a, int a_stride,
                                  bs_shared<float> b, int b_stride, int depth)
{
    for (int k = 0; k < depth; k++) {
        bs_float4 x[ROWS / 4];
        BS_UNROLL for (int g = 0; g < ROWS / 4; g++)
        {
            const int from = tile_row_across(4 * g), row = from < HEIGHT ? from : HEIGHT - 4;
            x[g] = bs_load4(a, k * a_stride + row);
        }
        BS_UNROLL for (int g = 0; g < COLUMNS / 4; g++)
        {
            const int from = tile_column_across(4 * g), column = from < WIDTH ? from : WIDTH - 4;
            const bs_float4 w = bs_load4(b, k * b_stride + column);
            BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int f = 0; f < 4; f++) c[i][4 * g + f] =
                bs_fma(x[i >> 2].at[i & 3], w.at[f], c[i][4 * g + f]);
        }
    }
}

// Four elements of a row of which `count` are there, as float; zeros behind them.
template <class T> BS_DEVICE bs_float4 tile_read4(bs_global<const T> row, int64_t at, int count, bool vectors)
{
    if (vectors && count >= 4)
        return bs_load4(row, at);
    bs_float4 v;
    BS_UNROLL for (int e = 0; e < 4; e++) v.at[e] = e < count ? bs_load(row, at + e) : 0.0f;
    return v;
}

template <class T>
BS_DEVICE void tile_write4(bs_global<T> row, int64_t at, int count, bool vectors, bs_float4 v)
{
    if (vectors && count >= 4)
        bs_store4(row, at, v);
    else
        BS_UNROLL for (int e = 0; e < 4; e++) if (e < count) bs_store(row, at + e, v.at[e]);
}

#endif
