// Bound by memory at large images, else by finding the places. These are computed in whole numbers: output pixel i of n lies
// ((2 i + 1) m - n) / (2 n) pixels into the m of the input, so that quotient and rest are exact and only the weight is rounded.
// A thread takes four channels of a pixel. The gradient looks, for each pixel of the input, at the output pixels that
// have read it, in a fixed order.
#include "kernels/cuda/resize.h"
#include "kernels/cuda/rows.cuh"

namespace bs_resize
{

// value = (1 - t) x[lo] + t x[hi]. Sides are below 2^15, so that 32 bits hold the products.
struct between {
    int32_t lo, hi;
    float t;
};
BS_DEVICE between between_of(uint32_t i, int32_t in, int32_t out)
{
    const int32_t at = (2 * (int32_t)i + 1) * in - out, unit = 2 * out;
    const int32_t lo = at > 0 ? at / unit : 0, rest = at > 0 ? at - lo * unit : 0;
    return {lo, lo < in - 1 ? lo + 1 : lo, (float)rest / (float)unit};
}

template <class T, bool FOURS> BS_DEVICE void resize_of(const struct bs__resize &r)
{
    const uint32_t item = bs_item(1, 0);
    const bs_quotient pixel = bs_divide(item, r.by_fours), line = bs_divide(pixel.whole, r.by_width),
                      sample = bs_divide(line.whole, r.by_height);
    if (sample.whole >= (uint32_t)r.samples)
        return;
    const bs_global<const T> x = bs_at<const T>(r.x.at);
    const int64_t channel = 4 * (int64_t)pixel.rest, left = r.channels - channel;
    const between v = between_of(sample.rest, (int32_t)r.h, (int32_t)r.out_h),
                  h = between_of(line.rest, (int32_t)r.w, (int32_t)r.out_w);
    const int64_t upper = (sample.whole * r.h + v.lo) * r.w, lower = (sample.whole * r.h + v.hi) * r.w;
    const bs_float4 a = bs_load_some<FOURS>(x, (upper + h.lo) * r.x.stride + channel, left),
                    b = bs_load_some<FOURS>(x, (upper + h.hi) * r.x.stride + channel, left),
                    c = bs_load_some<FOURS>(x, (lower + h.lo) * r.x.stride + channel, left),
                    d = bs_load_some<FOURS>(x, (lower + h.hi) * r.x.stride + channel, left);
    bs_float4 y;
    BS_UNROLL for (int k = 0; k < 4; k++)
    {
        const float above = bs_fma(h.t, b.at[k], (1.0f - h.t) * a.at[k]),
                    below = bs_fma(h.t, d.at[k], (1.0f - h.t) * c.at[k]);
        y.at[k] = bs_fma(v.t, below, (1.0f - v.t) * above);
    }
    bs_store_some<FOURS>(bs_at<T>(r.y.at), pixel.whole * r.y.stride + channel, left, y);
}
template <class T> BS_DEVICE void resize_bilinear(const struct bs__resize &r)
{
    if (r.in_fours)
        resize_of<T, true>(r);
    else
        resize_of<T, false>(r);
}

// The output pixels that read input pixel i: those that lie less than one pixel from it. (Beyond the border the first and
// last are read by all that is left.) No others, so that an infinite gradient stays where it belongs.
struct readers {
    int32_t from, to;
};
BS_DEVICE readers readers_of(uint32_t pixel, int32_t in, int32_t out)
{
    // i - 1 < ((2 o + 1) in - out) / (2 out) < i + 1  <=>  (2 i - 1) out / in < 2 o + 1 < (2 i + 3) out / in
    const int32_t i = (int32_t)pixel, below = (2 * i - 1) * out / in,
                  above = ((2 * i + 3) * out + in - 1) / in;
    return {i == 0 ? 0 : (below + 1) / 2, i == in - 1 ? out : above / 2};
}
// What share of output pixel o is read from pixel i.
BS_DEVICE float share_of(uint32_t i, int32_t o, int32_t in, int32_t out)
{
    const between p = between_of((uint32_t)o, in, out);
    return (p.lo == (int32_t)i ? 1.0f - p.t : 0.0f) + (p.hi == (int32_t)i ? p.t : 0.0f);
}

template <class T, bool FOURS> BS_DEVICE void resize_grad_of(const struct bs__resize &r)
{
    const uint32_t item = bs_item(1, 0);
    const bs_quotient pixel = bs_divide(item, r.by_fours), line = bs_divide(pixel.whole, r.by_width),
                      sample = bs_divide(line.whole, r.by_height);
    if (sample.whole >= (uint32_t)r.samples)
        return;
    const bs_global<const T> gy = bs_at<const T>(r.y.at);
    const int64_t channel = 4 * (int64_t)pixel.rest, left = r.channels - channel;
    const readers lines = readers_of(sample.rest, (int32_t)r.h, (int32_t)r.out_h),
                  columns = readers_of(line.rest, (int32_t)r.w, (int32_t)r.out_w);
    bs_float4 sum = {{0.0f, 0.0f, 0.0f, 0.0f}};
    for (int32_t i = lines.from; i < lines.to; i++) {
        const float down = share_of(sample.rest, i, (int32_t)r.h, (int32_t)r.out_h);
        for (int32_t j = columns.from; j < columns.to; j++) {
            const float share = down * share_of(line.rest, j, (int32_t)r.w, (int32_t)r.out_w);
            const int64_t row = (sample.whole * r.out_h + i) * r.out_w + j;
            const bs_float4 g = bs_load_some<FOURS>(gy, row * r.y.stride + channel, left);
            BS_UNROLL for (int k = 0; k < 4; k++) sum.at[k] = bs_fma(share, g.at[k], sum.at[k]);
        }
    }
    bs_store_some<FOURS>(bs_at<T>(r.x.at), pixel.whole * r.x.stride + channel, left, sum);
}
template <class T> BS_DEVICE void resize_bilinear_grad(const struct bs__resize &r)
{
    if (r.in_fours)
        resize_grad_of<T, true>(r);
    else
        resize_grad_of<T, false>(r);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(resize_bilinear_##type, BS__ITEM_THREADS, resize_bilinear<bs_##type>, struct bs__resize)       \
    BS_KERNEL(resize_bilinear_grad_##type, BS__ITEM_THREADS, resize_bilinear_grad<bs_##type>,                \
              struct bs__resize)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_resize
