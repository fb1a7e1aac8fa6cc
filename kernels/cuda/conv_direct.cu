// A matrix product of pixels x (kernel_h kernel_w in) by a weight of that x out, whose left side is read from the image as it
// is needed: a block has PIXELS x OUT results, walks the sum in chunks of DEPTH and keeps the chunk of both sides in shared
// memory, the next one on its way in registers meanwhile. A thread has 8 x 4 results (4 x 4 where few channels come out), so
// that each four values from shared memory feed 16 to 32 multiply-adds. Bound by these: by the general units' float rate with
// many channels, by memory with few.
#include "kernels/cuda/conv_direct.h"
#include "kernels/cuda/rows.cuh"

namespace bs_conv_direct
{

constexpr int THREADS = BS__CONV_THREADS, DEPTH = BS__CONV_DEPTH;

// Where the window of a pixel of y begins in x; h above any image where there is no such pixel.
struct window {
    int32_t top, left;
    int64_t sample;
};
BS_DEVICE window window_of(const struct bs__conv_direct &c, int64_t pixel)
{
    if (pixel >= c.samples * c.out_h * c.out_w)
        return {INT32_MAX / 2, 0, 0};
    const bs_quotient line = bs_divide((uint32_t)pixel, c.by_width),
                      sample = bs_divide(line.whole, c.by_height);
    return {(int32_t)sample.rest * c.stride - c.pad, (int32_t)line.rest * c.stride - c.pad,
            (int64_t)sample.whole};
}

// PIXELS x OUT results of a block; ROWS x 4 of a thread.
template <class T, int PIXELS, int OUT> BS_DEVICE void convolve(const struct bs__conv_direct &c)
{
    constexpr int ROWS = PIXELS * OUT / THREADS / 4; // pixels of a thread
    constexpr int LOADS = PIXELS * DEPTH / THREADS;  // of x, per thread and chunk
    constexpr int WEIGHTS = DEPTH * OUT / THREADS;   // of w; 0: not every thread has one
    constexpr int LINE = PIXELS + 4;                 // of a depth in shared memory; keeps fours aligned
    constexpr int SIDE = DEPTH * LINE, BUFFER = SIDE + DEPTH * OUT;
    static_assert(ROWS * 4 * THREADS == PIXELS * OUT && ROWS % 4 == 0 && THREADS % DEPTH == 0,
                  "shape of a block");
    BS_SHARED_DYNAMIC(float, room); // two buffers of both sides, then the windows
    BS_SHARED(int32_t, windows, 3 * PIXELS);

    const int thread = (int)threadIdx.x;
    const bs_quotient tile = bs_divide((uint32_t)blockIdx.x, c.by_tiles);
    const int64_t first_pixel = (int64_t)tile.whole * PIXELS, first_out = (int64_t)tile.rest * OUT;
    const bs_global<const T> x = bs_at<const T>(c.x.at);
    const bs_global<const float> w = bs_at<const float>(c.w);
    for (int i = thread; i < PIXELS; i += THREADS) {
        const window v = window_of(c, first_pixel + i);
        bs_store_int(windows, i, v.top);
        bs_store_int(windows, PIXELS + i, v.left);
        bs_store_int(windows, 2 * PIXELS + i, (int32_t)v.sample);
    }
    bs_barrier();

    // A thread loads one depth of every THREADS / DEPTH-th pixel, so that neighbours load neighbouring channels.
    const int own_depth = thread % DEPTH, own_pixel = thread / DEPTH;
    const int depths = c.kernel_h * c.kernel_w * (int)c.in;
    float from_x[LOADS], from_w[WEIGHTS > 0 ? WEIGHTS : 1];
    const auto load = [&](int chunk) {
        const int depth = chunk + own_depth;
        const bs_quotient tap = bs_divide((uint32_t)depth, c.by_in),
                          place = bs_divide(tap.whole, c.by_kernel_w);
        const int64_t channel = tap.rest;
        BS_UNROLL for (int k = 0; k < LOADS; k++)
        {
            const int pixel = own_pixel + k * (THREADS / DEPTH);
            const int32_t i = bs_load_int(windows, pixel) + (int32_t)place.whole,
                          j = bs_load_int(windows, PIXELS + pixel) + (int32_t)place.rest;
            const bool inside = depth < depths && i >= 0 && i < c.h && j >= 0 && j < c.w_pixels;
            const int64_t row = (bs_load_int(windows, 2 * PIXELS + pixel) * c.h + i) * c.w_pixels + j;
            from_x[k] = inside ? bs_load(x, row * c.x.stride + channel) : 0.0f;
        }
        BS_UNROLL for (int k = 0; k < (WEIGHTS > 0 ? WEIGHTS : 1); k++)
        {
            const int at = thread + k * THREADS, d = chunk + at / OUT;
            const int64_t out = first_out + at % OUT;
            from_w[k] = at < DEPTH * OUT && d < depths && out < c.out ? bs_load(w, d * c.out + out) : 0.0f;
        }
    };
    const auto keep = [&](int buffer) {
        BS_UNROLL for (int k = 0; k < LOADS; k++)
            bs_store(room, buffer * BUFFER + own_depth * LINE + own_pixel + k * (THREADS / DEPTH), from_x[k]);
        BS_UNROLL for (int k = 0; k < (WEIGHTS > 0 ? WEIGHTS : 1);
                       k++) if (thread + k * THREADS < DEPTH * OUT)
            bs_store(room, buffer * BUFFER + SIDE + thread + k * THREADS, from_w[k]);
    };

    const int across = thread % (OUT / 4), down = thread / (OUT / 4); // which results are the thread's
    float sum[ROWS][4];
    BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int o = 0; o < 4; o++) sum[i][o] = 0.0f;
    load(0);
    keep(0);
    bs_barrier();
    int buffer = 0;
    for (int chunk = 0; chunk < depths; chunk += DEPTH) {
        const bool more = chunk + DEPTH < depths;
        if (more)
            load(chunk + DEPTH);
        BS_UNROLL for (int d = 0; d < DEPTH; d++)
        {
            const int at = buffer * BUFFER + d * LINE + 4 * down;
            const bs_float4 right = bs_load4(room, buffer * BUFFER + SIDE + d * OUT + 4 * across);
            BS_UNROLL for (int four = 0; four < ROWS / 4; four++)
            {
                const bs_float4 left = bs_load4(room, at + four * (PIXELS / (ROWS / 4)));
                BS_UNROLL for (int i = 0; i < 4; i++) BS_UNROLL for (int o = 0; o < 4; o++)
                    sum[4 * four + i][o] = bs_fma(left.at[i], right.at[o], sum[4 * four + i][o]);
            }
        }
        if (more)
            keep(1 - buffer);
        bs_barrier();
        buffer = 1 - buffer;
    }

    const int64_t out = first_out + 4 * across, left = c.out - out;
    if (left <= 0)
        return;
    bs_float4 bias = {{0.0f, 0.0f, 0.0f, 0.0f}};
    if (c.b != 0)
        bias = bs_load_some<false>(bs_at<const float>(c.b), out, left);
    const bs_global<T> y = bs_at<T>(c.y.at);
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        const int64_t pixel = first_pixel + (i / 4) * (PIXELS / (ROWS / 4)) + 4 * down + i % 4;
        if (pixel >= c.samples * c.out_h * c.out_w)
            continue;
        bs_float4 v;
        BS_UNROLL for (int o = 0; o < 4; o++) v.at[o] = sum[i][o] + bias.at[o];
        v = bs_activate(c.activation, v);
        if (c.in_fours)
            bs_store_some<true>(y, pixel * c.y.stride + out, left, v);
        else
            bs_store_some<false>(y, pixel * c.y.stride + out, left, v);
    }
}

#define KERNELS(type)                                                                                        \
    BS_KERNEL_OF(conv_direct_##type, BS__CONV_THREADS, 2,                                                    \
                 (convolve<bs_##type, BS__CONV_PIXELS, BS__CONV_OUT>), struct bs__conv_direct)               \
    BS_KERNEL_OF(conv_direct_few_##type, BS__CONV_THREADS, 2,                                                \
                 (convolve<bs_##type, BS__CONV_FEW_PIXELS, BS__CONV_FEW_OUT>), struct bs__conv_direct)

KERNELS(f32)
KERNELS(f16)
KERNELS(bf16)

#undef KERNELS
} // namespace bs_conv_direct
