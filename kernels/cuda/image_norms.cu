// Statistics and the normalised image are each bound by memory: the image is read twice and written once.
//
// Moments without cancellation: a thread takes eight pixels of four channels into registers, less the channel's value at the
// first pixel of its slab (exact where the two are within a factor of 2), finds their mean and the sum of squares about it, and
// joins that to what it has (Chan, Golub, LeVeque 1983):
//   d = mean' - mean,  mean += d n' / (n + n'),  m2 += m2' + d^2 n n' / (n + n')
// The same joins threads, slabs (each has its own shift) and the channels of a group, in an order that depends on the shape
// alone. The mean is kept in two parts, so that y errs by about 30 2^-24 (1 + |y|), and by 2^-24 (1 + |y|) |shift - mean| /
// deviation where the first pixel lies far out; the size of the mean does not come in.
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/image_norms.h"
#include "kernels/cuda/sums.cuh"

namespace bs_image_norms
{

// Moments of four channels: how many values, their means and sums of squared differences from them.
struct moments {
    float count;
    float mean[4], m2[4];
};
BS_DEVICE void join(float &mean, float &m2, float count, float more_mean, float more_m2, float more)
{
    const float d = more_mean - mean, share = more / (count + more);
    mean = bs_fma(d, share, mean);
    m2 += bs_fma(d * d, count * share, more_m2);
}

template <class T, bool FOURS>
BS_DEVICE void partial_of(const struct bs__image_moments &m, bs_shared<float> room)
{
    constexpr int EACH = bs_column_each<FOURS>;
    const bs_column_place at = bs_column_place_of(m.geometry);
    const int64_t first = at.sample * m.geometry.rows + at.first, step = at.lanes * m.x.stride;
    bs_global<const T> x = bs_at<const T>(m.x.at) + (first * m.x.stride + at.column);
    bs_float4 shift = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (at.end > at.first)
        shift = bs_load_some<FOURS>(x, 0, at.left);
    moments own = {0.0f, {0.0f, 0.0f, 0.0f, 0.0f}, {0.0f, 0.0f, 0.0f, 0.0f}};
    x += at.lane * m.x.stride;
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        const int have = rows < EACH ? rows : EACH;
        bs_float4 v[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < have) v[k] =
            bs_load_some<FOURS>(x, k * step, at.left);
        else v[k] = shift;
        x += EACH * step;
        const float count = (float)have, share = 1.0f / count;
        BS_UNROLL for (int c = 0; c < 4; c++)
        {
            float sum = 0.0f, m2 = 0.0f;
            BS_UNROLL for (int k = 0; k < EACH; k++)
            {
                v[k].at[c] -= shift.at[c];
                sum += v[k].at[c];
            }
            const float mean = sum * share;
            BS_UNROLL for (int k = 0; k < EACH; k++) if (k < have) m2 =
                bs_fma(v[k].at[c] - mean, v[k].at[c] - mean, m2);
            join(own.mean[c], own.m2[c], own.count, mean, m2, count);
        }
        own.count += count;
    }
    const int across = BS__COLUMNS_BLOCK / at.lanes;
    for (int half = at.lanes / 2; half > 0; half /= 2) {
        if (at.lane >= half && at.lane < 2 * half) {
            bs_store(room, (int)threadIdx.x, own.count);
            BS_UNROLL for (int c = 0; c < 4; c++)
            {
                bs_store(room, (1 + c) * BS__COLUMNS_BLOCK + (int)threadIdx.x, own.mean[c]);
                bs_store(room, (5 + c) * BS__COLUMNS_BLOCK + (int)threadIdx.x, own.m2[c]);
            }
        }
        bs_barrier();
        if (at.lane < half) {
            const int other = (int)threadIdx.x + half * across;
            const float count = bs_load(room, other);
            if (count > 0.0f)
                BS_UNROLL for (int c = 0; c < 4; c++) join(
                    own.mean[c], own.m2[c], own.count, bs_load(room, (1 + c) * BS__COLUMNS_BLOCK + other),
                    bs_load(room, (5 + c) * BS__COLUMNS_BLOCK + other), count);
            own.count += count;
        }
        bs_barrier();
    }
    if (at.lane == 0) {
        const int64_t plane = m.geometry.samples * m.geometry.slabs * m.geometry.columns;
        const bs_global<float> partial = bs_at<float>(m.partial);
        const int64_t place = (at.sample * m.geometry.slabs + at.slab) * m.geometry.columns + at.column;
        bs_store_some<false>(partial, place, at.left, shift);
        bs_store_some<false>(partial, plane + place, at.left,
                             {{own.mean[0], own.mean[1], own.mean[2], own.mean[3]}});
        bs_store_some<false>(partial, 2 * plane + place, at.left,
                             {{own.m2[0], own.m2[1], own.m2[2], own.m2[3]}});
    }
}
template <class T> BS_DEVICE void partial(const struct bs__image_moments &m)
{
    BS_SHARED(float, room, 9 * BS__COLUMNS_BLOCK);
    if (m.in_fours)
        partial_of<T, true>(m, room);
    else
        partial_of<T, false>(m, room);
}

// A warp has a group of a sample; its lanes take every 32nd of the group's slabs and channels.
BS_DEVICE void merge(const struct bs__image_moments &m)
{
    const struct bs__columns &g = m.geometry;
    const uint32_t item = (uint32_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const bs_quotient place_of_item = bs_divide(item, m.by_groups); // sample, group
    if (place_of_item.whole >= (uint32_t)g.samples)
        return;
    const int64_t items = g.samples * m.groups, plane = g.samples * g.slabs * g.columns;
    const int64_t start =
        place_of_item.whole * g.slabs * g.columns + place_of_item.rest * (int64_t)m.by_channels.by;
    const uint32_t parts = (uint32_t)g.slabs * m.by_channels.by;
    const bs_global<const float> from = bs_at<const float>(m.partial);
    const float shift = bs_load(from, start);
    float count = 0.0f, mean = 0.0f, m2 = 0.0f;
    for (uint32_t i = threadIdx.x % 32; i < parts; i += 32) {
        const bs_quotient part = bs_divide(i, m.by_channels); // slab, channel
        const int64_t slab = part.whole, place = start + slab * g.columns + part.rest;
        const int64_t rows = slab < g.slabs - 1 ? g.slab : g.rows - slab * g.slab;
        join(mean, m2, count, (bs_load(from, place) - shift) + bs_load(from, plane + place),
             bs_load(from, 2 * plane + place), (float)rows);
        count += (float)rows;
    }
    BS_UNROLL for (int by = 16; by > 0; by /= 2)
    {
        const float more = bs_lane_down(count, by), more_mean = bs_lane_down(mean, by),
                    more_m2 = bs_lane_down(m2, by);
        if (more > 0.0f)
            join(mean, m2, count, more_mean, more_m2, more);
        count += more;
    }
    if (threadIdx.x % 32 == 0) {
        // shift + mean as a rounded sum and what the rounding left
        const float high = shift + mean, back = high - shift, low = (shift - (high - back)) + (mean - back);
        const bs_global<float> to = bs_at<float>(m.statistics);
        bs_store(to, item, high);
        bs_store(to, items + item, low);
        bs_store(to, 2 * items + item, bs_rsqrt(m2 / count + m.eps));
    }
}

// y = (x - mean) factor + addend for four channels; what the mean's rounding left is in the addend.
struct mapping {
    float mean[4], factor[4], addend[4];
};
BS_DEVICE mapping mapping_of(const struct bs__image_apply &a, const bs_column_place &at)
{
    mapping f;
    const bs_global<const float> s = bs_at<const float>(a.statistics), w = bs_at<const float>(a.w),
                                 b = bs_at<const float>(a.b), mean = bs_at<const float>(a.mean),
                                 variance = bs_at<const float>(a.variance);
    const int64_t items = a.geometry.samples * a.groups;
    BS_UNROLL for (int c = 0; c < 4; c++)
    {
        f.mean[c] = f.factor[c] = f.addend[c] = 0.0f;
        if (c >= at.left)
            continue;
        const int64_t channel = at.column + c;
        float low = 0.0f;
        if (a.statistics != 0) {
            const int64_t item = at.sample * a.groups + bs_divide((uint32_t)channel, a.by_channels).whole;
            f.mean[c] = bs_load(s, item);
            low = bs_load(s, items + item);
            f.factor[c] = bs_load(s, 2 * items + item);
        } else {
            f.mean[c] = bs_load(mean, channel);
            f.factor[c] = bs_rsqrt(bs_load(variance, channel) + a.eps);
        }
        if (a.w != 0) {
            f.factor[c] *= bs_load(w, channel);
            f.addend[c] = bs_load(b, channel);
        }
        f.addend[c] = bs_fma(-low, f.factor[c], f.addend[c]);
    }
    return f;
}
template <class T, bool FOURS> BS_DEVICE void apply_of(const struct bs__image_apply &a)
{
    constexpr int EACH = bs_column_each<FOURS> / 2;
    const bs_column_place at = bs_column_place_of(a.geometry);
    const int64_t first = at.sample * a.geometry.rows + at.first + at.lane;
    const int64_t x_step = at.lanes * a.x.stride, y_step = at.lanes * a.y.stride;
    bs_global<const T> x = bs_at<const T>(a.x.at) + (first * a.x.stride + at.column);
    bs_global<T> y = bs_at<T>(a.y.at) + (first * a.y.stride + at.column);
    const int left = at.left < 4 ? (int)at.left : 4;
    const mapping f = mapping_of(a, at);
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 v[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows) v[k] =
            bs_load_some<FOURS>(x, k * x_step, left);
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            BS_UNROLL for (int c = 0; c < 4; c++)
            {
                v[k].at[c] = bs_fma(v[k].at[c] - f.mean[c], f.factor[c], f.addend[c]);
                if (a.relu)
                    v[k].at[c] = bs_relu(v[k].at[c]);
            }
            bs_store_some<FOURS>(y, k * y_step, left, v[k]);
        }
        x += EACH * x_step;
        y += EACH * y_step;
    }
}
template <class T> BS_DEVICE void apply(const struct bs__image_apply &a)
{
    if (a.in_fours)
        apply_of<T, true>(a);
    else
        apply_of<T, false>(a);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(image_moments_##type, BS__COLUMNS_BLOCK, partial<bs_##type>, struct bs__image_moments)         \
    BS_KERNEL(image_apply_##type, BS__COLUMNS_BLOCK, apply<bs_##type>, struct bs__image_apply)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
BS_KERNEL(image_moments_merge_f32, BS__COLUMNS_BLOCK, merge, struct bs__image_moments)

#undef KERNELS
} // namespace bs_image_norms
