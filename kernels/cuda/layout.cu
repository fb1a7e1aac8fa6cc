// Bound by memory. Planes and rows are each other's transpose: where a pixel has few channels a thread takes a pixel, so that
// neighbouring threads read neighbouring pixels of each plane and write neighbouring rows; where it has many, a block turns
// a tile of 32 x 32 in shared memory, whose rows are 33 apart, so that the 32 lanes meet 32 banks both ways.
#include "kernels/cuda/layout.h"
#include "kernels/cuda/rows.cuh"

namespace bs_layout
{

template <class T, bool FOURS> BS_DEVICE void few_to_image(const struct bs__planes &p)
{
    const uint32_t item = bs_item(1, 0);
    if (item >= (uint32_t)(p.samples * p.pixels))
        return;
    const bs_quotient at = bs_divide(item, p.by_pixels);
    const bs_global<const float> planes =
        bs_at<const float>(p.planes) + (at.whole * p.channels * p.pixels + at.rest);
    const bs_global<T> row = bs_at<T>(p.image.at) + item * p.image.stride;
    for (int64_t c = 0; c < p.padded; c += 4) {
        bs_float4 v;
        BS_UNROLL for (int k = 0; k < 4; k++) v.at[k] =
            c + k < p.channels ? bs_load(planes, (c + k) * p.pixels) : 0.0f;
        bs_store_some<FOURS>(row, c, p.padded - c, v);
    }
}
template <class T> BS_DEVICE void image_from_few(const struct bs__planes &p)
{
    if (p.in_fours)
        few_to_image<T, true>(p);
    else
        few_to_image<T, false>(p);
}

template <class T> BS_DEVICE void few_from_image(const struct bs__planes &p)
{
    const uint32_t item = bs_item(1, 0);
    if (item >= (uint32_t)(p.samples * p.pixels))
        return;
    const bs_quotient at = bs_divide(item, p.by_pixels);
    const bs_global<float> planes = bs_at<float>(p.planes) + (at.whole * p.channels * p.pixels + at.rest);
    const bs_global<const T> row = bs_at<const T>(p.image.at) + item * p.image.stride;
    for (int64_t c = 0; c < p.channels; c++)
        bs_store(planes, c * p.pixels, bs_load(row, c));
}

// Where a block's tile lies: sample, first pixel, first channel.
struct tile_place {
    int64_t sample, pixel, channel;
};
BS_DEVICE tile_place place_of(const struct bs__planes &p)
{
    const uint32_t block = (uint32_t)blockIdx.x;
    const bs_quotient line = bs_divide(block, p.by_channel_tiles),
                      sample = bs_divide(line.whole, p.by_pixel_tiles);
    return {sample.whole, (int64_t)sample.rest * BS__LAYOUT_TILE, (int64_t)line.rest * BS__LAYOUT_TILE};
}

template <class T> BS_DEVICE void image_from_many(const struct bs__planes &p)
{
    BS_SHARED(float, tile, BS__LAYOUT_TILE *(BS__LAYOUT_TILE + 1));
    const tile_place at = place_of(p);
    const int lane = (int)threadIdx.x % BS__LAYOUT_TILE, line = (int)threadIdx.x / BS__LAYOUT_TILE,
              lines = (int)blockDim.x / BS__LAYOUT_TILE;
    const bs_global<const float> planes =
        bs_at<const float>(p.planes) + (at.sample * p.channels * p.pixels + at.pixel + lane);
    for (int c = line; c < BS__LAYOUT_TILE; c += lines)
        if (at.channel + c < p.padded) {
            const bool is = at.channel + c < p.channels && at.pixel + lane < p.pixels;
            bs_store(tile, c * (BS__LAYOUT_TILE + 1) + lane,
                     is ? bs_load(planes, (at.channel + c) * p.pixels) : 0.0f);
        }
    bs_barrier();
    const bs_global<T> image = bs_at<T>(p.image.at);
    for (int i = line; i < BS__LAYOUT_TILE; i += lines)
        if (at.pixel + i < p.pixels && at.channel + lane < p.padded)
            bs_store(image, (at.sample * p.pixels + at.pixel + i) * p.image.stride + at.channel + lane,
                     bs_load(tile, lane * (BS__LAYOUT_TILE + 1) + i));
}

template <class T> BS_DEVICE void many_from_image(const struct bs__planes &p)
{
    BS_SHARED(float, tile, BS__LAYOUT_TILE *(BS__LAYOUT_TILE + 1));
    const tile_place at = place_of(p);
    const int lane = (int)threadIdx.x % BS__LAYOUT_TILE, line = (int)threadIdx.x / BS__LAYOUT_TILE,
              lines = (int)blockDim.x / BS__LAYOUT_TILE;
    const bs_global<const T> image = bs_at<const T>(p.image.at);
    for (int i = line; i < BS__LAYOUT_TILE; i += lines)
        if (at.pixel + i < p.pixels && at.channel + lane < p.channels)
            bs_store(
                tile, lane * (BS__LAYOUT_TILE + 1) + i,
                bs_load(image, (at.sample * p.pixels + at.pixel + i) * p.image.stride + at.channel + lane));
    bs_barrier();
    const bs_global<float> planes =
        bs_at<float>(p.planes) + (at.sample * p.channels * p.pixels + at.pixel + lane);
    for (int c = line; c < BS__LAYOUT_TILE; c += lines)
        if (at.channel + c < p.channels && at.pixel + lane < p.pixels)
            bs_store(planes, (at.channel + c) * p.pixels, bs_load(tile, c * (BS__LAYOUT_TILE + 1) + lane));
}

template <class From, class To, bool FOURS> BS_DEVICE void copy_of(const struct bs__copy &c)
{
    const bs_global<const From> from = bs_at<const From>(c.from.at);
    const bs_global<To> to = bs_at<To>(c.to.at);
    const uint32_t items = (uint32_t)(c.batches * c.rows) * c.by_fours.by;
    bs_float4 v[BS__COPY_EACH];
    int64_t target[BS__COPY_EACH], left[BS__COPY_EACH];
    BS_UNROLL for (int k = 0; k < BS__COPY_EACH; k++)
    {
        const uint32_t item = bs_item(BS__COPY_EACH, k);
        if (item >= items)
            continue;
        const bs_quotient row = bs_divide(item, c.by_fours), batch = bs_divide(row.whole, c.by_rows);
        const int64_t column = 4 * (int64_t)row.rest;
        left[k] = c.columns - column;
        target[k] = batch.whole * c.to_batch + batch.rest * c.to.stride + column;
        v[k] = bs_load_some<FOURS>(from, batch.whole * c.from_batch + batch.rest * c.from.stride + column,
                                   left[k]);
    }
    BS_UNROLL for (int k = 0; k < BS__COPY_EACH; k++) if (bs_item(BS__COPY_EACH, k) < items)
        bs_store_some<FOURS>(to, target[k], left[k], v[k]);
}
template <class From, class To> BS_DEVICE void copy(const struct bs__copy &c)
{
    if (c.in_fours)
        copy_of<From, To, true>(c);
    else
        copy_of<From, To, false>(c);
}

// An item is four channels of a pixel of y; the thread reads them where the matrix product left them.
template <class T, bool FOURS> BS_DEVICE void shuffle(const struct bs__pixel_shuffle &s)
{
    const uint32_t item = bs_item(1, 0);
    if (item >= (uint32_t)(s.samples * s.h * s.k) * s.by_width.by * s.by_fours.by)
        return;
    const bs_quotient pixel = bs_divide(item, s.by_fours), line = bs_divide(pixel.whole, s.by_width);
    const bs_quotient i = bs_divide(line.whole, s.by_k), j = bs_divide(line.rest, s.by_k);
    const int64_t channel = 4 * (int64_t)pixel.rest, left = s.channels - channel;
    const int64_t row = (int64_t)i.whole * s.w + j.whole, block = (int64_t)i.rest * s.k + j.rest;
    bs_float4 v =
        bs_load_some<FOURS>(bs_at<const T>(s.x.at), row * s.x.stride + block * s.channels + channel, left);
    if (s.bias != 0) {
        const bs_float4 bias = bs_load_some<FOURS>(bs_at<const float>(s.bias), channel, left);
        BS_UNROLL for (int k = 0; k < 4; k++) v.at[k] += bias.at[k];
    }
    bs_store_some<FOURS>(bs_at<T>(s.y.at), pixel.whole * s.y.stride + channel, left,
                         bs_activate(s.activation, v));
}
template <class T> BS_DEVICE void pixel_shuffle(const struct bs__pixel_shuffle &s)
{
    if (s.in_fours)
        shuffle<T, true>(s);
    else
        shuffle<T, false>(s);
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL(image_from_few_planes_##type, BS__ITEM_THREADS, image_from_few<bs_##type>, struct bs__planes)  \
    BS_KERNEL(few_planes_from_image_##type, BS__ITEM_THREADS, few_from_image<bs_##type>, struct bs__planes)  \
    BS_KERNEL(image_from_planes_##type, BS__ITEM_THREADS, image_from_many<bs_##type>, struct bs__planes)     \
    BS_KERNEL(planes_from_image_##type, BS__ITEM_THREADS, many_from_image<bs_##type>, struct bs__planes)     \
    BS_KERNEL(copy_from_f32_##type, BS__ITEM_THREADS, (copy<bs_f32, bs_##type>), struct bs__copy)            \
    BS_KERNEL(copy_from_f16_##type, BS__ITEM_THREADS, (copy<bs_f16, bs_##type>), struct bs__copy)            \
    BS_KERNEL(copy_from_bf16_##type, BS__ITEM_THREADS, (copy<bs_bf16, bs_##type>), struct bs__copy)          \
    BS_KERNEL(pixel_shuffle_##type, BS__ITEM_THREADS, pixel_shuffle<bs_##type>, struct bs__pixel_shuffle)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_layout
