// Bound by memory. The rows' kernel reads value and gradient once and writes the gradient; it leaves the rows' statistics to the
// one that sums down the columns for gw and gb, which reads both again. (Sums within the first kernel would save that read at
// the price of two registers a column; training spends its time elsewhere.) Means are found as in norms.cu.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/norms_grad.h"
#include "kernels/cuda/sums.cuh"

namespace bs_norms_grad
{

template <class T, bool FOURS>
BS_DEVICE bs_float4 value_of(const struct bs__row_norm_grad &n, int64_t row, int64_t column, int64_t left)
{
    if (n.sum.at != 0)
        return bs_load_some<FOURS>(bs_at<const float>(n.sum.at), row * n.sum.stride + column, left);
    return bs_load_some<FOURS>(bs_at<const T>(n.x.at), row * n.x.stride + column, left);
}
// gy w
template <class T, bool FOURS>
BS_DEVICE bs_float4 weighted(const struct bs__row_norm_grad &n, int64_t row, int64_t column, int64_t left)
{
    bs_float4 g = bs_load_some<FOURS>(bs_at<const T>(n.gy.at), row * n.gy.stride + column, left);
    const bs_float4 w = bs_load_some<FOURS>(bs_at<const float>(n.w), column, left);
    BS_UNROLL for (int c = 0; c < 4; c++) g.at[c] *= w.at[c];
    return g;
}
// What a row's values and gradients are turned with: xhat = (s - mean - low) inverse.
struct row {
    float mean, low, inverse, g, gx; // the means of gy w and of gy w xhat
};
BS_DEVICE float normalised(const row &r, float s)
{
    return ((s - r.mean) - r.low) * r.inverse;
}
template <class T, bool FOURS>
BS_DEVICE void finish(const struct bs__row_norm_grad &n, int64_t at, int64_t column, int64_t left,
                      const row &r, const bs_float4 &xhat, bs_float4 g)
{
    bs_float4 also = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (n.also.at != 0)
        also = bs_load_some<FOURS>(bs_at<const float>(n.also.at), at * n.also.stride + column, left);
    BS_UNROLL for (int c = 0; c < 4; c++) g.at[c] =
        bs_fma(r.inverse, (g.at[c] - r.g) - xhat.at[c] * r.gx, also.at[c]);
    if (n.gx.at != 0)
        bs_store_some<FOURS>(bs_at<T>(n.gx.at), at * n.gx.stride + column, left, g);
    if (n.gsum.at != 0)
        bs_store_some<FOURS>(bs_at<float>(n.gsum.at), at * n.gsum.stride + column, left, g);
}
BS_DEVICE void keep(const struct bs__row_norm_grad &n, int64_t at, const row &r)
{
    if (n.statistics == 0)
        return;
    const bs_global<float> s = bs_at<float>(n.statistics);
    bs_store(s, at, r.mean);
    bs_store(s, n.rows + at, r.low);
    bs_store(s, 2 * n.rows + at, r.inverse);
}

template <class T, int CHUNKS, bool FOURS> BS_DEVICE void by_warp(const struct bs__row_norm_grad &n)
{
    const int lane = (int)threadIdx.x % 32;
    const int64_t at = (int64_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    if (at >= n.rows)
        return;
    const int64_t own = n.columns - 4 * lane;
    const float share = 1.0f / (float)n.columns;
    bs_float4 s[CHUNKS], g[CHUNKS];
    row r = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    float sum = 0.0f, squares = 0.0f;
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) if (own - 128 * k > 0)
    {
        s[k] = value_of<T, FOURS>(n, at, 128 * k + 4 * lane, own - 128 * k);
        g[k] = weighted<T, FOURS>(n, at, 128 * k + 4 * lane, own - 128 * k);
        sum += (s[k].at[0] + s[k].at[1]) + (s[k].at[2] + s[k].at[3]);
    }
    if (n.centred)
        r.mean = bs_warp_sum(sum) * share;
    sum = 0.0f;
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) BS_UNROLL for (int c = 0; c < 4; c++) if (own - 128 * k > c)
    {
        const float d = s[k].at[c] - r.mean;
        sum += d;
        squares = bs_fma(d, d, squares);
    }
    if (n.centred)
        r.low = bs_warp_sum(sum) * share;
    r.inverse = bs_rsqrt(bs_max(bs_warp_sum(squares) * share - r.low * r.low, 0.0f) + n.eps);
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) BS_UNROLL for (int c = 0; c < 4; c++) if (own - 128 * k > c)
    {
        s[k].at[c] = normalised(r, s[k].at[c]);
        r.g += g[k].at[c];
        r.gx = bs_fma(g[k].at[c], s[k].at[c], r.gx);
    }
    r.g = n.centred ? bs_warp_sum(r.g) * share : 0.0f;
    r.gx = bs_warp_sum(r.gx) * share;
    BS_UNROLL for (int k = 0; k < CHUNKS; k++) if (own - 128 * k > 0)
        finish<T, FOURS>(n, at, 128 * k + 4 * lane, own - 128 * k, r, s[k], g[k]);
    if (lane == 0)
        keep(n, at, r);
}
template <class T, int CHUNKS> BS_DEVICE void warp_rows(const struct bs__row_norm_grad &n)
{
    if (n.in_fours)
        by_warp<T, CHUNKS, true>(n);
    else
        by_warp<T, CHUNKS, false>(n);
}

template <class T, bool FOURS>
BS_DEVICE void by_block(const struct bs__row_norm_grad &n, bs_shared<float> room)
{
    const int64_t at = blockIdx.x, step = 4 * (int64_t)blockDim.x, first = 4 * (int64_t)threadIdx.x;
    const float share = 1.0f / (float)n.columns;
    row r = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    float sum = 0.0f, squares = 0.0f;
    for (int64_t column = first; n.centred && column < n.columns; column += step) {
        const bs_float4 s = value_of<T, FOURS>(n, at, column, n.columns - column);
        sum += (s.at[0] + s.at[1]) + (s.at[2] + s.at[3]);
    }
    r.mean = bs_block_sum(sum, room) * share;
    sum = 0.0f;
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        const bs_float4 s = value_of<T, FOURS>(n, at, column, left);
        BS_UNROLL for (int c = 0; c < 4; c++) if (c < left)
        {
            const float d = s.at[c] - r.mean;
            sum += d;
            squares = bs_fma(d, d, squares);
        }
    }
    sum = bs_block_sum(sum, room) * share;
    r.low = n.centred ? sum : 0.0f;
    r.inverse = bs_rsqrt(bs_max(bs_block_sum(squares, room) * share - r.low * r.low, 0.0f) + n.eps);
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        const bs_float4 s = value_of<T, FOURS>(n, at, column, left),
                        g = weighted<T, FOURS>(n, at, column, left);
        BS_UNROLL for (int c = 0; c < 4; c++)
        { // beyond the end of a row g is 0
            r.g += g.at[c];
            r.gx = bs_fma(g.at[c], normalised(r, s.at[c]), r.gx);
        }
    }
    r.g = bs_block_sum(r.g, room) * share;
    if (!n.centred)
        r.g = 0.0f;
    r.gx = bs_block_sum(r.gx, room) * share;
    for (int64_t column = first; column < n.columns; column += step) {
        const int64_t left = n.columns - column;
        bs_float4 s = value_of<T, FOURS>(n, at, column, left);
        BS_UNROLL for (int c = 0; c < 4; c++) s.at[c] = normalised(r, s.at[c]);
        finish<T, FOURS>(n, at, column, left, r, s, weighted<T, FOURS>(n, at, column, left));
    }
    if (threadIdx.x == 0)
        keep(n, at, r);
}
template <class T> BS_DEVICE void block_rows(const struct bs__row_norm_grad &n)
{
    BS_SHARED(float, room, BS__NORM_BLOCK / 32);
    if (n.in_fours)
        by_block<T, true>(n, room);
    else
        by_block<T, false>(n, room);
}

// Partial sums of gy (plane 0) and of gy xhat (plane 1) over a slab of rows.
template <class T, bool FOURS>
BS_DEVICE void sums_of(const struct bs__row_norm_grad &n, bs_shared<float> room)
{
    constexpr int EACH = bs_column_each<FOURS> / 2;
    const bs_column_place at = bs_column_place_of(n.geometry);
    const bs_global<const float> statistics = bs_at<const float>(n.statistics);
    const bs_global<const T> gy = bs_at<const T>(n.gy.at);
    float sum[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    int64_t first = at.first + at.lane;
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 s[EACH], g[EACH];
        row r[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            const int64_t i = first + k * at.lanes;
            s[k] = value_of<T, FOURS>(n, i, at.column, at.left);
            g[k] = bs_load_some<FOURS>(gy, i * n.gy.stride + at.column, at.left);
            r[k].mean = bs_load(statistics, i);
            r[k].low = bs_load(statistics, n.rows + i);
            r[k].inverse = bs_load(statistics, 2 * n.rows + i);
        }
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows) BS_UNROLL for (int c = 0; c < 4; c++)
        {
            sum[c] += g[k].at[c];
            sum[4 + c] = bs_fma(g[k].at[c], normalised(r[k], s[k].at[c]), sum[4 + c]);
        }
        first += EACH * at.lanes;
    }
    bs_sum_lanes(sum, at, room);
    if (at.lane == 0) {
        const bs_global<float> partial = bs_at<float>(n.partial) + (at.slab * n.columns + at.column);
        bs_store_some<false>(partial, 0, at.left, {{sum[0], sum[1], sum[2], sum[3]}});
        bs_store_some<false>(partial, n.geometry.slabs * n.columns, at.left,
                             {{sum[4], sum[5], sum[6], sum[7]}});
    }
}
template <class T> BS_DEVICE void sums(const struct bs__row_norm_grad &n)
{
    BS_SHARED(float, room, 8 * BS__COLUMNS_BLOCK);
    if (n.in_fours)
        sums_of<T, true>(n, room);
    else
        sums_of<T, false>(n, room);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(row_norm_grad_256_##type, BS__NORM_WARPS * 32, (warp_rows<bs_##type, 2>),                      \
              struct bs__row_norm_grad)                                                                      \
    BS_KERNEL_OF(row_norm_grad_1280_##type, BS__NORM_WARPS * 32, 3, (warp_rows<bs_##type, 10>),              \
                 struct bs__row_norm_grad)                                                                   \
    BS_KERNEL(row_norm_grad_##type, BS__NORM_BLOCK, block_rows<bs_##type>, struct bs__row_norm_grad)         \
    BS_KERNEL_OF(row_norm_grad_sums_##type, BS__COLUMNS_BLOCK, 2, sums<bs_##type>, struct bs__row_norm_grad)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_norms_grad
