// Bound by memory: prediction and target are read once for the loss. The gradient of dice reads them once more before, since it
// needs the sums; those of the means need nothing but the element.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/losses.h"
#include "kernels/cuda/sums.cuh"

namespace bs_losses
{

BS_DEVICE float bounded_log(float v)
{
    const float l = bs_log(v);
    return l < -100.0f ? -100.0f : l; // NaN stays NaN
}

// What a prediction and a target add to the sums (first, second), and a gradient per element, of one loss; slope and shrink are
// those of dice.
struct dice {
    BS_DEVICE void add(float p, float t, float &first, float &second)
    {
        first = bs_fma(p, t, first);
        second = bs_fma(p, p, bs_fma(t, t, second));
    }
    BS_DEVICE float grad(float p, float t, float slope, float shrink)
    {
        return slope * p - shrink * t;
    }
};
struct bce {
    BS_DEVICE void add(float p, float t, float &first, float &)
    {
        first -= t * bounded_log(p) + (1.0f - t) * bounded_log(1.0f - p);
    }
    BS_DEVICE float grad(float p, float t, float, float)
    {
        const float variance = p * (1.0f - p);
        return (p - t) / (variance < 1e-12f ? 1e-12f : variance);
    }
};
struct mse {
    BS_DEVICE void add(float p, float t, float &first, float &)
    {
        first = bs_fma(p - t, p - t, first);
    }
    BS_DEVICE float grad(float p, float t, float, float)
    {
        return 2.0f * (p - t);
    }
};

template <class T, class F, bool FOURS>
BS_DEVICE void sums_of(const struct bs__loss &l, bs_shared<float> room)
{
    constexpr int EACH = bs_column_each<FOURS> / 2;
    const bs_column_place at = bs_column_place_of(l.geometry);
    const int64_t first = at.first + at.lane;
    bs_global<const T> p = bs_at<const T>(l.p.at) + (first * l.p.stride + at.column);
    bs_global<const T> t = bs_at<const T>(l.t.at) + (first * l.t.stride + at.column);
    float sum[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 a[EACH], b[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            a[k] = bs_load_some<FOURS>(p, k * at.lanes * l.p.stride, at.left);
            b[k] = bs_load_some<FOURS>(t, k * at.lanes * l.t.stride, at.left);
        }
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
            BS_UNROLL for (int c = 0; c < 4; c++) if (c < at.left) // beyond it there is no logarithm
            F::add(a[k].at[c], b[k].at[c], sum[c], sum[4 + c]);
        p += EACH * at.lanes * l.p.stride;
        t += EACH * at.lanes * l.t.stride;
    }
    bs_sum_lanes(sum, at, room);
    if (at.lane == 0) {
        const bs_global<float> partial = bs_at<float>(l.partial) + (at.slab * l.channels + at.column);
        bs_store_some<false>(partial, 0, at.left, {{sum[0], sum[1], sum[2], sum[3]}});
        bs_store_some<false>(partial, l.geometry.slabs * l.channels, at.left,
                             {{sum[4], sum[5], sum[6], sum[7]}});
    }
}
template <class T, class F> BS_DEVICE void sums(const struct bs__loss &l)
{
    BS_SHARED(float, room, 8 * BS__COLUMNS_BLOCK);
    if (l.in_fours)
        sums_of<T, F, true>(l, room);
    else
        sums_of<T, F, false>(l, room);
}

// One block; a warp has a group at a time. The loss is of dice where eps is not 0, else a mean.
BS_DEVICE void total(const struct bs__loss &l)
{
    BS_SHARED(float, room, BS__COLUMNS_BLOCK / 32);
    const bs_global<const float> partial = bs_at<const float>(l.partial);
    const int64_t plane = l.geometry.slabs * l.channels;
    const uint32_t parts = (uint32_t)l.geometry.slabs * l.by_channels.by;
    const int lane = (int)threadIdx.x % 32;
    float loss = 0.0f;
    for (int64_t group = threadIdx.x / 32; group < l.groups; group += BS__COLUMNS_BLOCK / 32) {
        float first = 0.0f, second = 0.0f;
        for (uint32_t i = (uint32_t)lane; i < parts; i += 32) {
            const bs_quotient part = bs_divide(i, l.by_channels); // slab, channel
            const int64_t place = part.whole * l.channels + group * l.by_channels.by + part.rest;
            first += bs_load(partial, place);
            second += bs_load(partial, plane + place);
        }
        first = bs_warp_sum(first);
        second = bs_warp_sum(second);
        if (lane != 0)
            continue;
        bs_store(bs_at<float>(l.totals), group, first);
        bs_store(bs_at<float>(l.totals), l.groups + group, second);
        loss += l.eps > 0.0f ? 1.0f - 2.0f * first / bs_max(second, l.eps)
                             : first / ((float)l.rows * (float)l.channels);
    }
    loss = bs_block_sum(loss, room);
    if (l.gp.at == 0 && threadIdx.x == 0)
        bs_store(bs_at<float>(l.loss), 0, loss);
}

template <class T, class F, bool FOURS> BS_DEVICE void grad_of(const struct bs__loss &l)
{
    const bs_quotient row = bs_divide(bs_item(1, 0), l.by_fours);
    if (row.whole >= (uint32_t)l.rows)
        return;
    const int64_t channel = 4 * (int64_t)row.rest, left = l.channels - channel;
    const bs_float4 p = bs_load_some<FOURS>(bs_at<const T>(l.p.at), row.whole * l.p.stride + channel, left),
                    t = bs_load_some<FOURS>(bs_at<const T>(l.t.at), row.whole * l.t.stride + channel, left);
    const bs_global<const float> totals = bs_at<const float>(l.totals);
    float gy = bs_load(bs_at<const float>(l.loss), 0);
    if (l.eps == 0.0f)
        gy = gy / ((float)l.rows * (float)l.channels);
    bs_float4 g;
    BS_UNROLL for (int c = 0; c < 4; c++)
    {
        float slope = 0.0f, shrink = 0.0f;
        if (l.eps > 0.0f && c < left) {
            const int64_t group = bs_divide((uint32_t)(channel + c), l.by_channels).whole;
            const float product = bs_load(totals, group), squares = bs_load(totals, l.groups + group);
            shrink = 2.0f / bs_max(squares, l.eps);
            slope = squares > l.eps ? product * shrink * shrink : 0.0f;
        }
        g.at[c] = gy * F::grad(p.at[c], t.at[c], slope, shrink);
    }
    bs_store_some<FOURS>(bs_at<T>(l.gp.at), row.whole * l.gp.stride + channel, left, g);
}
template <class T, class F> BS_DEVICE void grad(const struct bs__loss &l)
{
    if (l.in_fours)
        grad_of<T, F, true>(l);
    else
        grad_of<T, F, false>(l);
}

#define KERNELS(f, type)                                                                                     \
    BS_KERNEL(loss_##f##_##type, BS__COLUMNS_BLOCK, (sums<bs_##type, f>), struct bs__loss)                   \
    BS_KERNEL(loss_##f##_grad_##type, BS__ITEM_THREADS, (grad<bs_##type, f>), struct bs__loss)

KERNELS(dice, f32)
KERNELS(dice, f16)
KERNELS(dice, bf16)
KERNELS(bce, f32)
KERNELS(bce, f16)
KERNELS(bce, bf16)
KERNELS(mse, f32)
KERNELS(mse, f16)
KERNELS(mse, bf16)
BS_KERNEL(loss_total_f32, BS__COLUMNS_BLOCK, total, struct bs__loss)

#undef KERNELS
} // namespace bs_losses
