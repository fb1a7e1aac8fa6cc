// Bound by memory: the image and its gradient are read twice (for the sums, then for the result) and the gradient is written
// once; a third time the image where the forward's statistics were not kept. Sums are partial by slabs (columns.h).
#include "kernels/cuda/columns.cuh"
#include "kernels/cuda/image_norms_grad.h"
#include "kernels/cuda/sums.cuh"

namespace bs_image_norms_grad
{

// For four channels: xhat = (x - mean) inverse + rest, and, where ReLU followed, its argument (x - mean) factor + addend, in
// which the forward's arithmetic is repeated.
struct mapping {
    float mean[4], inverse[4], rest[4], factor[4], addend[4];
};
// Where the statistics of a channel stand.
BS_DEVICE int64_t item_of(const struct bs__image_grad &n, const bs_column_place &at, int c)
{
    return at.sample * n.groups + bs_divide((uint32_t)(at.column + c), n.by_channels).whole;
}
BS_DEVICE mapping mapping_of(const struct bs__image_grad &n, const bs_column_place &at)
{
    mapping f;
    const bs_global<const float> s = bs_at<const float>(n.statistics), w = bs_at<const float>(n.w),
                                 b = bs_at<const float>(n.b);
    const int64_t items = n.geometry.samples * n.groups;
    BS_UNROLL for (int c = 0; c < 4; c++)
    {
        f.mean[c] = f.inverse[c] = f.rest[c] = f.factor[c] = f.addend[c] = 0.0f;
        if (c >= at.left)
            continue;
        const int64_t channel = at.column + c;
        const int64_t item = item_of(n, at, c);
        f.mean[c] = bs_load(s, item);
        const float low = bs_load(s, items + item);
        f.inverse[c] = f.factor[c] = bs_load(s, 2 * items + item);
        f.rest[c] = -low * f.inverse[c];
        if (n.w != 0) {
            f.factor[c] *= bs_load(w, channel);
            f.addend[c] = bs_load(b, channel);
        }
        f.addend[c] = bs_fma(-low, f.factor[c], f.addend[c]);
    }
    return f;
}
// gy as the norm gets it: nothing where ReLU held it back.
BS_DEVICE float through_relu(const struct bs__image_grad &n, const mapping &f, int c, float x, float gy)
{
    return n.relu && bs_fma(x - f.mean[c], f.factor[c], f.addend[c]) <= 0.0f ? 0.0f : gy;
}

// Partial sums of gy (plane 0) and of gy xhat (plane 1).
template <class T, bool FOURS> BS_DEVICE void sums_of(const struct bs__image_grad &n, bs_shared<float> room)
{
    constexpr int EACH = bs_column_each<FOURS> / 2;
    const bs_column_place at = bs_column_place_of(n.geometry);
    const int64_t first = at.sample * n.geometry.rows + at.first + at.lane;
    const int64_t x_step = at.lanes * n.x.stride, g_step = at.lanes * n.gy.stride;
    bs_global<const T> x = bs_at<const T>(n.x.at) + (first * n.x.stride + at.column);
    bs_global<const T> gy = bs_at<const T>(n.gy.at) + (first * n.gy.stride + at.column);
    const mapping f = mapping_of(n, at);
    float sum[8] = {0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f, 0.0f};
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 v[EACH], g[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            v[k] = bs_load_some<FOURS>(x, k * x_step, at.left);
            g[k] = bs_load_some<FOURS>(gy, k * g_step, at.left);
        }
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows) BS_UNROLL for (int c = 0; c < 4; c++)
        {
            const float here = through_relu(n, f, c, v[k].at[c], g[k].at[c]);
            sum[c] += here;
            sum[4 + c] = bs_fma(here, bs_fma(v[k].at[c] - f.mean[c], f.inverse[c], f.rest[c]), sum[4 + c]);
        }
        x += EACH * x_step;
        gy += EACH * g_step;
    }
    bs_sum_lanes(sum, at, room);
    if (at.lane == 0) {
        const struct bs__columns &g = n.geometry;
        const bs_global<float> partial =
            bs_at<float>(n.partial) + ((at.sample * g.slabs + at.slab) * g.columns + at.column);
        bs_store_some<false>(partial, 0, at.left, {{sum[0], sum[1], sum[2], sum[3]}});
        bs_store_some<false>(partial, g.samples * g.slabs * g.columns, at.left,
                             {{sum[4], sum[5], sum[6], sum[7]}});
    }
}
template <class T> BS_DEVICE void sums(const struct bs__image_grad &n)
{
    BS_SHARED(float, room, 8 * BS__COLUMNS_BLOCK);
    if (n.in_fours)
        sums_of<T, true>(n, room);
    else
        sums_of<T, false>(n, room);
}

// The means of gy w and gy w xhat over a group of a sample, which a warp has.
BS_DEVICE void means(const struct bs__image_grad &n)
{
    const struct bs__columns &g = n.geometry;
    const uint32_t item = (uint32_t)blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
    const bs_quotient place_of_item = bs_divide(item, n.by_groups); // sample, group
    if (place_of_item.whole >= (uint32_t)g.samples)
        return;
    const int64_t channel = place_of_item.rest * (int64_t)n.by_channels.by,
                  plane = g.samples * g.slabs * g.columns;
    const bs_global<const float> from = bs_at<const float>(n.partial) +
                                        place_of_item.whole * g.slabs * g.columns,
                                 w = bs_at<const float>(n.w);
    const uint32_t parts = (uint32_t)g.slabs * n.by_channels.by;
    float sum = 0.0f, with_xhat = 0.0f;
    for (uint32_t i = threadIdx.x % 32; i < parts; i += 32) {
        const bs_quotient part = bs_divide(i, n.by_channels); // slab, channel
        const int64_t column = channel + part.rest, place = part.whole * g.columns + column;
        const float weight = n.w != 0 ? bs_load(w, column) : 1.0f;
        sum = bs_fma(weight, bs_load(from, place), sum);
        with_xhat = bs_fma(weight, bs_load(from, plane + place), with_xhat);
    }
    const float share = 1.0f / ((float)g.rows * (float)n.by_channels.by);
    sum = bs_warp_sum(sum) * share;
    with_xhat = bs_warp_sum(with_xhat) * share;
    if (threadIdx.x % 32 == 0) {
        bs_store(bs_at<float>(n.means), item, sum);
        bs_store(bs_at<float>(n.means), g.samples * n.groups + item, with_xhat);
    }
}

template <class T, bool FOURS> BS_DEVICE void apply_of(const struct bs__image_grad &n)
{
    constexpr int EACH = 2;
    const bs_column_place at = bs_column_place_of(n.geometry);
    const int64_t first = at.sample * n.geometry.rows + at.first + at.lane;
    bs_global<const T> x = bs_at<const T>(n.x.at) + (first * n.x.stride + at.column);
    bs_global<const T> gy = bs_at<const T>(n.gy.at) + (first * n.gy.stride + at.column);
    bs_global<T> gx = bs_at<T>(n.gx.at) + (first * n.gx.stride + at.column);
    const bs_global<const float> means = bs_at<const float>(n.means);
    const mapping f = mapping_of(n, at);
    float mean[4], with_xhat[4];
    BS_UNROLL for (int c = 0; c < 4; c++)
    {
        mean[c] = with_xhat[c] = 0.0f;
        if (c >= at.left)
            continue;
        const int64_t item = item_of(n, at, c);
        mean[c] = f.inverse[c] * bs_load(means, item);
        with_xhat[c] = f.inverse[c] * bs_load(means, n.geometry.samples * n.groups + item);
    }
    for (int rows = bs_column_rows(at); rows > 0; rows -= EACH) {
        bs_float4 v[EACH], g[EACH];
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            v[k] = bs_load_some<FOURS>(x, k * at.lanes * n.x.stride, at.left);
            g[k] = bs_load_some<FOURS>(gy, k * at.lanes * n.gy.stride, at.left);
        }
        BS_UNROLL for (int k = 0; k < EACH; k++) if (k < rows)
        {
            BS_UNROLL for (int c = 0; c < 4; c++)
            {
                const float here = through_relu(n, f, c, v[k].at[c], g[k].at[c]);
                const float xhat = bs_fma(v[k].at[c] - f.mean[c], f.inverse[c], f.rest[c]);
                g[k].at[c] = bs_fma(here, f.factor[c], -bs_fma(xhat, with_xhat[c], mean[c]));
            }
            bs_store_some<FOURS>(gx, k * at.lanes * n.gx.stride, at.left, g[k]);
        }
        x += EACH * at.lanes * n.x.stride;
        gy += EACH * at.lanes * n.gy.stride;
        gx += EACH * at.lanes * n.gx.stride;
    }
}
template <class T> BS_DEVICE void apply(const struct bs__image_grad &n)
{
    if (n.in_fours)
        apply_of<T, true>(n);
    else
        apply_of<T, false>(n);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(image_grad_sums_##type, BS__COLUMNS_BLOCK, sums<bs_##type>, struct bs__image_grad)             \
    BS_KERNEL_OF(image_grad_apply_##type, BS__COLUMNS_BLOCK, 3, apply<bs_##type>, struct bs__image_grad)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)
BS_KERNEL(image_grad_means_f32, BS__COLUMNS_BLOCK, means, struct bs__image_grad)

#undef KERNELS
} // namespace bs_image_norms_grad
