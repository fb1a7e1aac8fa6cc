// Products of tiles of half elements in shared memory on tensor cores, summed in float registers: what attention_half.cu and
// gemm_half.cu multiply with. A warp multiplies 16 rows with 8 columns at a time, 16 of k at once; words and lanes are those of
// bs_multiply_add (device.cuh). Rows in shared memory are an odd multiple of 16 bytes long: the eight rows that bs_load_matrices
// reads at once lie in different banks.
//
// As in tile.cuh an operand lies along k (a row of the tile is a row of the operand) or across k (rows are k).
#ifndef BS_KERNELS_CUDA_FRAGMENT_CUH
#define BS_KERNELS_CUDA_FRAGMENT_CUH

#include "kernels/cuda/device.cuh"

BS_DEVICE int fragment_lane()
{
    return (int)threadIdx.x & 31;
}
BS_DEVICE int fragment_warp()
{
    return (int)threadIdx.x >> 5;
}
// Of the sums c[0..3] of a lane: the row of c[0] and c[1] (that of c[2] and c[3] is 8 below), the column of c[0] and c[2].
BS_DEVICE int fragment_row()
{
    return fragment_lane() >> 2;
}
BS_DEVICE int fragment_column()
{
    return 2 * (fragment_lane() & 3);
}

// 16 rows from `row` and 16 of k from `k` of a left operand.
template <class T>
BS_DEVICE void fragment_left_along(uint32_t (&a)[4], bs_shared<T> tile, int stride, int row, int k)
{
    const int l = fragment_lane();
    bs_load_matrices(a, tile, (row + (l & 15)) * stride + k + (l >> 4) * 8);
}
template <class T>
BS_DEVICE void fragment_left_across(uint32_t (&a)[4], bs_shared<T> tile, int stride, int row, int k)
{
    const int l = fragment_lane();
    bs_load_matrices_transposed(a, tile, (k + (l & 7) + (l >> 4) * 8) * stride + row + (l >> 3 & 1) * 8);
}
// 16 columns from `column` and 16 of k from `k` of a right operand: b[0], b[1] are the words of the first 8 columns, b[2], b[3]
// of the others.
template <class T>
BS_DEVICE void fragment_right_along(uint32_t (&b)[4], bs_shared<T> tile, int stride, int column, int k)
{
    const int l = fragment_lane();
    bs_load_matrices(b, tile, (column + (l & 7) + (l >> 4) * 8) * stride + k + (l >> 3 & 1) * 8);
}
template <class T>
BS_DEVICE void fragment_right_across(uint32_t (&b)[4], bs_shared<T> tile, int stride, int column, int k)
{
    const int l = fragment_lane();
    bs_load_matrices_transposed(b, tile, (k + (l & 15)) * stride + column + (l >> 4) * 8);
}

// Eight elements to shared memory, of which `count` are there, zeros behind; whole ones go as bs_copy16 does.
template <class T>
BS_DEVICE void fragment_copy8(bs_shared<T> to, int at, bs_global<const T> from, int64_t j, int count,
                              bool vectors)
{
    if (vectors && count >= 8)
        bs_copy16(to, at, from, j);
    else
        for (int e = 0; e < 8; e++)
            bs_store(to, at + e, e < count ? bs_load(from, j + e) : 0.0f);
}

#endif
