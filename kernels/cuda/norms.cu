// Bound by memory: a row is read once and written once. Up to 1280 columns a warp keeps a row in registers; the statistics are
// then two passes over registers. Longer rows have a block each, which reads its row three times, twice from the cache.
//
// The mean is found twice. The first, m, errs by about columns/32 roundings of the largest value; the second pass sums
// d = s - m, whose mean is what the first one missed, and d^2: mean = m + mean(d), var = mean(d^2) - mean(d)^2. The subtraction
// s - m is exact where s is within a factor of 2 of m, so that y errs by about (columns/32 + 10) 2^-24 (1 + |y|) however large
// the mean is, as long as the mean is below 2^24 / (columns/32) deviations.
#include "kernels/cuda/norms.h"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/sums.cuh"

namespace bs_norms
{

template <class T, bool FOURS>
BS_DEVICE bs_float4 value_of(const struct bs__row_norm &n, int64_t row, int64_t column, int64_t left)
{
    bs_float4 s = bs_load_some<FOURS>(bs_at<const T>(n.x.at), row * n.x.stride + column, left);
    if (n.residual.at != 0) {
        const bs_float4 more =
            bs_load_some<FOURS>(bs_at<const float>(n.residual.at), row * n.residual.stride + column, left);
        BS_UNROLL for (int c = 0; c < 4; c++) s.at[c] += more.at[c];
    }
    return s;
}
template <bool FOURS>
BS_DEVICE void keep(const struct bs__row_norm &n, int64_t row, int64_t column, int64_t left,
                    const bs_float4 &s)
{
    if (n.residual_out.at != 0)
        bs_store_some<FOURS>(bs_at<float>(n.residual_out.at), row * n.residual_out.stride + column, left, s);
}
// y from d = s - m, of which `mean` is the mean.
template <class T, bool FOURS>
BS_DEVICE void finish(const struct bs__row_norm &n, int64_t row, int64_t column, int64_t left, bs_float4 d,
                      float mean, float inverse)
{
    const bs_float4 w = bs_load_some<FOURS>(bs_at<const float>(n.w), column, left);
    bs_float4 b = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (n.b != 0)
        b = bs_load_some<FOURS>(bs_at<const float>(n.b), column, left);
    BS_UNROLL for (int c = 0; c < 4; c++) d.at[c] = bs_fma((d.at[c] - mean) * inverse, w.at[c], b.at[c]);
    bs_store_some<FOURS>(bs_at<T>(n.y.at), row * n.y.stride + column, left, d);
}

// CHUNKS: groups of 128 columns that a warp has registers for.
template <class T, int CHUNKS, bool FOURS> BS_DEVICE void by_warp(const struct bs__row_norm &n)
{
    const int lane = (int)threadIdx.x % 32;
    const int64_t row = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (row >= n.rows)
        return;
    const int64_t own = n.columns - 4 * lane; // columns left from the lane's first on
    const float share = 1.0f / (float)n.columns;
    bs_float4 s[CHUNKS];
    float sum = 0.0f, squares = 0.0f, mean = 0.0f;
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) if (own - 128 * k > 0) s[k] =
        value_of<T, FOURS>(n, row, 128 * k + 4 * lane, own - 128 * k);
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) if (own - 128 * k > 0)
    {
        keep<FOURS>(n, row, 128 * k + 4 * lane, own - 128 * k, s[k]);
        sum += (s[k].at[0] + s[k].at[1]) + (s[k].at[2] + s[k].at[3]);
    }
    if (n.centred)
        mean = bs_warp_sum(sum) * share;
    sum = 0.0f;
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) BS_UNROLL for (int c = 0; c < 4; c++) if (own - 128 * k > c)
    {
        const float d = s[k].at[c] - mean;
        sum += d;
        squares = bs_fma(d, d, squares);
        s[k].at[c] = d;
    }
    sum = n.centred ? bs_warp_sum(sum) * share : 0.0f;
    squares = bs_warp_sum(squares) * share;
    const float inverse = bs_rsqrt(bs_max(squares - sum * sum, 0.0f) + n.eps);
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) if (own - 128 * k > 0)
        finish<T, FOURS>(n, row, 128 * k + 4 * lane, own - 128 * k, s[k], sum, inverse);
}
template <class T, int CHUNKS> BS_DEVICE void warp_rows(const struct bs__row_norm &n)
{
    if (n.in_fours)
        by_warp<T, CHUNKS, true>(n);
    else
        by_warp<T, CHUNKS, false>(n);
}

// s again; each thread reads what it wrote itself.
template <class T, bool FOURS>
BS_DEVICE bs_float4 again(const struct bs__row_norm &n, int64_t row, int64_t column, int64_t left)
{
    if (n.residual_out.at == 0)
        return value_of<T, FOURS>(n, row, column, left);
    return bs_load_some<FOURS>(bs_at<float>(n.residual_out.at), row * n.residual_out.stride + column, left);
}
template <class T, bool FOURS> BS_DEVICE void by_block(const struct bs__row_norm &n, bs_shared<float> room)
{
    const int64_t row = blockIdx.x, step = 4 * (int64_t)blockDim.x, first = 4 * (int64_t)threadIdx.x;
    const float share = 1.0f / (float)n.columns;
    float sum = 0.0f, squares = 0.0f, mean = 0.0f;
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        const bs_float4 s = value_of<T, FOURS>(n, row, column, left);
        keep<FOURS>(n, row, column, left, s);
        sum += (s.at[0] + s.at[1]) + (s.at[2] + s.at[3]);
    }
    sum = bs_block_sum(sum, room) * share;
    if (n.centred)
        mean = sum;
    sum = 0.0f;
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        const bs_float4 s = again<T, FOURS>(n, row, column, left);
        BS_UNROLL for (int c = 0; c < 4; c++) if (c < left)
        {
            const float d = s.at[c] - mean;
            sum += d;
            squares = bs_fma(d, d, squares);
        }
    }
    sum = bs_block_sum(sum, room) * share;
    squares = bs_block_sum(squares, room) * share;
    if (!n.centred)
        sum = 0.0f;
    const float inverse = bs_rsqrt(bs_max(squares - sum * sum, 0.0f) + n.eps);
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        bs_float4 s = again<T, FOURS>(n, row, column, left);
        BS_UNROLL for (int c = 0; c < 4; c++) s.at[c] -= mean;
        finish<T, FOURS>(n, row, column, left, s, sum, inverse);
    }
}
template <class T> BS_DEVICE void block_rows(const struct bs__row_norm &n)
{
    BS_SHARED(float, room, BS__NORM_BLOCK / 32);
    if (n.in_fours)
        by_block<T, true>(n, room);
    else
        by_block<T, false>(n, room);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(row_norm_256_##type, BS__NORM_WARPS * 32, (warp_rows<bs_##type, 2>), struct bs__row_norm)      \
    BS_KERNEL_OF(row_norm_1280_##type, BS__NORM_WARPS * 32, 6, (warp_rows<bs_##type, 10>),                   \
                 struct bs__row_norm)                                                                        \
    BS_KERNEL(row_norm_##type, BS__NORM_BLOCK, block_rows<bs_##type>, struct bs__row_norm)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_norms
