// What kernels share that go down columns (columns.h): where a block and a thread stand, and sums over a block's row lanes.
#ifndef BS_KERNELS_CUDA_COLUMNS_CUH
#define BS_KERNELS_CUDA_COLUMNS_CUH

#include "kernels/cuda/columns.h"
#include "kernels/cuda/rows.cuh"

// A thread has four columns and every `lanes`-th row of [first, end), from first + lane on.
struct bs_column_place {
    int64_t sample, slab;
    int64_t first, end; // of the sample's rows; empty for a thread that stands beyond the last column
    int64_t column, left;
    int lane, lanes;
};
BS_DEVICE bs_column_place bs_column_place_of(const struct bs__columns &c)
{
    const bs_quotient tile = bs_divide((uint32_t)blockIdx.x, c.by_tiles),
                      slab = bs_divide(tile.whole, c.by_slabs);
    const int x = (int)threadIdx.x & (c.across - 1); // across is a power of 2
    const int64_t column = 4 * ((int64_t)tile.rest * c.across + x), left = c.columns - column;
    const int64_t first = (int64_t)slab.rest * c.slab,
                  end = first + c.slab < c.rows ? first + c.slab : c.rows;
    return {
        (int64_t)slab.whole,         (int64_t)slab.rest,          first, left > 0 ? end : first, column, left,
        (int)threadIdx.x / c.across, BS__COLUMNS_BLOCK / c.across};
}

// Rows that a thread loads at a time. Where columns are loaded one by one, fewer keep as many loads under way.
template <bool FOURS> constexpr int bs_column_each = FOURS ? 8 : 2;

// How many rows the thread has; a slab has fewer than 2^31.
BS_DEVICE int bs_column_rows(const bs_column_place &at)
{
    const int rows = (int)(at.end - at.first) - at.lane;
    return rows > 0 ? (int)((unsigned)(rows + at.lanes - 1) / (unsigned)at.lanes) : 0;
}

// The sums of COUNT values over the row lanes come to lane 0 of each column. room: BS__COLUMNS_BLOCK * COUNT floats.
template <int COUNT>
BS_DEVICE void bs_sum_lanes(float (&v)[COUNT], const bs_column_place &at, bs_shared<float> room)
{
    const int across = BS__COLUMNS_BLOCK / at.lanes;
    for (int half = at.lanes / 2; half > 0; half /= 2) {
        if (at.lane >= half && at.lane < 2 * half)
            BS_UNROLL for (int k = 0; k < COUNT; k++)
                bs_store(room, k * BS__COLUMNS_BLOCK + (int)threadIdx.x, v[k]);
        bs_barrier();
        if (at.lane < half)
            BS_UNROLL for (int k = 0; k < COUNT; k++) v[k] +=
                bs_load(room, k * BS__COLUMNS_BLOCK + (int)threadIdx.x + half * across);
        bs_barrier();
    }
}

#endif
