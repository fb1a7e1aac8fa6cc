// Bound by memory: each pixel is read once. A thread takes four channels of a window; the gradient's reads them twice, the
// second time from the cache.
#include "kernels/cuda/pool.h"
#include "kernels/cuda/rows.cuh"

namespace bs_pool
{

// Which of a window's pixels is the first largest so far, for four channels; a NaN is larger than any number.
struct largest {
    bs_float4 value;
    int32_t index[4];
};
BS_DEVICE void look_at(largest &best, const bs_float4 &v, int32_t index)
{
    BS_UNROLL for (int c = 0; c < 4; c++)
    {
        const float was = best.value.at[c], is = v.at[c];
        if (index == 0 || is > was || (is != is && was == was)) {
            best.value.at[c] = is;
            best.index[c] = index;
        }
    }
}
// The window whose first pixel is row `first` of x; w pixels to a line.
template <bool FOURS, class P>
BS_DEVICE largest largest_of(P x, int64_t first, int64_t stride, int64_t w, int k, int64_t channel,
                             int64_t left)
{
    largest best = {{{0.0f, 0.0f, 0.0f, 0.0f}}, {0, 0, 0, 0}};
    for (int p = 0; p < k; p++)
        for (int q = 0; q < k; q++)
            look_at(best, bs_load_some<FOURS>(x, (first + p * w + q) * stride + channel, left), p * k + q);
    return best;
}

template <class T, bool FOURS> BS_DEVICE void pool_of(const struct bs__max_pool &p)
{
    const uint32_t item = bs_item(1, 0);
    const bs_quotient pixel = bs_divide(item, p.by_fours), line = bs_divide(pixel.whole, p.by_width),
                      sample = bs_divide(line.whole, p.by_height);
    if (sample.whole >= (uint32_t)p.samples)
        return;
    const int64_t channel = 4 * (int64_t)pixel.rest, left = p.channels - channel;
    const int64_t first = (sample.whole * p.h + (int64_t)sample.rest * p.k) * p.w + (int64_t)line.rest * p.k;
    const largest best =
        largest_of<FOURS>(bs_at<const T>(p.x.at), first, p.x.stride, p.w, p.k, channel, left);
    bs_store_some<FOURS>(bs_at<T>(p.y.at), pixel.whole * p.y.stride + channel, left, best.value);
}
template <class T> BS_DEVICE void max_pool(const struct bs__max_pool &p)
{
    if (p.in_fours)
        pool_of<T, true>(p);
    else
        pool_of<T, false>(p);
}

// Windows here cover the whole image; the last of a line or column may stick out, and what is left of them gets zeros.
template <class T, bool FOURS> BS_DEVICE void pool_grad_of(const struct bs__max_pool_grad &p)
{
    const uint32_t item = bs_item(1, 0);
    const bs_quotient window = bs_divide(item, p.by_fours), line = bs_divide(window.whole, p.by_width),
                      sample = bs_divide(line.whole, p.by_height);
    if (sample.whole >= (uint32_t)p.samples)
        return;
    const bs_global<const T> x = bs_at<const T>(p.x.at), gy = bs_at<const T>(p.gy.at);
    const bs_global<T> gx = bs_at<T>(p.gx.at);
    const int64_t channel = 4 * (int64_t)window.rest, left = p.channels - channel;
    const int64_t i = sample.rest, j = line.rest, top = i * p.k, from = j * p.k;
    const int64_t first = (sample.whole * p.h + top) * p.w + from, out_h = p.h / p.k, out_w = p.w / p.k;
    const bool whole = i < out_h && j < out_w;
    largest best = {{{0.0f, 0.0f, 0.0f, 0.0f}}, {-1, -1, -1, -1}};
    bs_float4 g = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (whole) {
        best = largest_of<FOURS>(x, first, p.x.stride, p.w, p.k, channel, left);
        g = bs_load_some<FOURS>(gy, ((sample.whole * out_h + i) * out_w + j) * p.gy.stride + channel, left);
    }
    for (int a = 0; a < p.k && top + a < p.h; a++)
        for (int b = 0; b < p.k && from + b < p.w; b++) {
            bs_float4 v;
            BS_UNROLL for (int c = 0; c < 4; c++) v.at[c] = best.index[c] == a * p.k + b ? g.at[c] : 0.0f;
            bs_store_some<FOURS>(gx, (first + a * p.w + b) * p.gx.stride + channel, left, v);
        }
}
template <class T> BS_DEVICE void max_pool_grad(const struct bs__max_pool_grad &p)
{
    if (p.in_fours)
        pool_grad_of<T, true>(p);
    else
        pool_grad_of<T, false>(p);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(max_pool_##type, BS__ITEM_THREADS, max_pool<bs_##type>, struct bs__max_pool)                   \
    BS_KERNEL_OF(max_pool_grad_##type, BS__ITEM_THREADS, 4, max_pool_grad<bs_##type>,                        \
                 struct bs__max_pool_grad)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_pool
