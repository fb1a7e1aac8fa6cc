// Gradients of the causal convolution along tokens and of the SiLU after it (conv1d_grad.h).
//
// What bounds it: bytes. x and the gradients of both results are read once, gx is written once; sums before the SiLU are computed
// again, for 11 tokens where 8 are wanted. A warp has 32 neighbouring features of 8 tokens at a time; a block of 8 warps walks a
// slice of all tokens and leaves one partial sum of gw and gb for each feature. A second kernel adds the slices in order.
#include "kernels/cuda/scan_parts.cuh"
#include "kernels/cuda/conv1d_grad.h"

constexpr int conv1d_grad_tokens = BS__CONV1D_TOKENS;
constexpr int conv1d_grad_taps = 4; // at a time
constexpr int conv1d_grad_around = conv1d_grad_taps - 1;
constexpr int conv1d_grad_warps = BS__CONV1D_GRAD_THREADS / 32;
constexpr int conv1d_grad_sums = conv1d_grad_taps + 1; // with the bias

struct conv1d_grad_lane {
    int64_t row; // of the sample's first token
    int begin;   // first token of the piece
    int feature;
};

template <class T>
BS_DEVICE float conv1d_grad_at(const bs__rows &rows, const bs__conv1d &c, const conv1d_grad_lane &l,
                               int token)
{
    return token >= 0 && token < c.length
               ? bs_load(bs_at<const T>(rows.at), (l.row + token) * rows.stride + l.feature)
               : 0.0f;
}

BS_DEVICE float conv1d_grad_tap(const bs__conv1d_direction &d, const bs__conv1d &c, int feature, int tap)
{
    return bs_load(bs_at<const float>(d.weights), (int64_t)feature * c.taps + tap);
}

BS_DEVICE float conv1d_grad_bias(const bs__conv1d_direction &d, int feature)
{
    return d.bias ? bs_load(bs_at<const float>(d.bias), feature) : 0.0f;
}

// The four taps of one direction: x begins three tokens before the piece; sums and gx grow.
template <class T, bool REVERSE>
BS_DEVICE void conv1d_grad_four(const bs__conv1d_grad &a, int direction, const conv1d_grad_lane &l,
                                const float (&x)[conv1d_grad_tokens + 2 * conv1d_grad_around],
                                float (&gx)[conv1d_grad_tokens], float (&sums)[conv1d_grad_sums])
{
    constexpr int seen = conv1d_grad_tokens + conv1d_grad_around, own = REVERSE ? conv1d_grad_around : 0;
    const bs__conv1d &c = a.forward;
    const bs__conv1d_direction &d = c.direction[direction];
    const float bias = conv1d_grad_bias(d, l.feature);
    float w[conv1d_grad_taps], gs[seen]; // gs[i] of token begin - own + i
    BS_UNROLL
    for (int k = 0; k < conv1d_grad_taps; k++)
        w[k] = conv1d_grad_tap(d, c, l.feature, k);
    BS_UNROLL
    for (int i = 0; i < seen; i++) {
        gs[i] = conv1d_grad_at<T>(a.gy[direction], c, l, l.begin - own + i);
        float s = bias;
        BS_UNROLL
        for (int k = 0; k < conv1d_grad_taps; k++)
            s = bs_fma(w[k], x[REVERSE ? i + conv1d_grad_around - k : i + k], s);
        if (c.silu)
            gs[i] *= bs__scan_gate_slope(s);
    }
    BS_UNROLL
    for (int i = 0; i < conv1d_grad_tokens; i++) {
        sums[conv1d_grad_taps] += gs[own + i];
        BS_UNROLL
        for (int k = 0; k < conv1d_grad_taps; k++) {
            gx[i] = bs_fma(w[k], gs[REVERSE ? i + k : i + conv1d_grad_around - k], gx[i]);
            sums[k] = bs_fma(gs[own + i], x[REVERSE ? i + 2 * conv1d_grad_around - k : i + k], sums[k]);
        }
    }
}

// Any number of taps: the gradient of the sum at one token, the convolution computed again tap by tap.
template <class T>
BS_DEVICE float conv1d_grad_of_sum(const bs__conv1d_grad &a, int direction, const conv1d_grad_lane &l,
                                   int token)
{
    const bs__conv1d &c = a.forward;
    const bs__conv1d_direction &d = c.direction[direction];
    float g = conv1d_grad_at<T>(a.gy[direction], c, l, token);
    if (!c.silu || token < 0 || token >= c.length)
        return g;
    float s = conv1d_grad_bias(d, l.feature);
    for (int k = 0; k < c.taps; k++) {
        const int back = c.taps - 1 - k;
        s = bs_fma(conv1d_grad_tap(d, c, l.feature, k),
                   conv1d_grad_at<T>(c.x, c, l, d.reverse ? token + back : token - back), s);
    }
    return g * bs__scan_gate_slope(s);
}

// A piece of 8 tokens; taps `first` to first + 3 enter the sums, and gx is written with the first of them.
template <class T>
BS_DEVICE void conv1d_grad_piece(const bs__conv1d_grad &a, const conv1d_grad_lane &l, int first,
                                 float (&sums)[2][conv1d_grad_sums])
{
    const bs__conv1d &c = a.forward;
    float gx[conv1d_grad_tokens];
    BS_UNROLL
    for (int i = 0; i < conv1d_grad_tokens; i++)
        gx[i] = 0.0f;
    if (c.taps == conv1d_grad_taps) {
        float x[conv1d_grad_tokens + 2 * conv1d_grad_around];
        BS_UNROLL
        for (int i = 0; i < conv1d_grad_tokens + 2 * conv1d_grad_around; i++)
            x[i] = conv1d_grad_at<T>(c.x, c, l, l.begin - conv1d_grad_around + i);
        BS_UNROLL
        for (int d = 0; d < 2; d++) {
            if (d < c.directions && c.direction[d].reverse)
                conv1d_grad_four<T, true>(a, d, l, x, gx, sums[d]);
            else if (d < c.directions)
                conv1d_grad_four<T, false>(a, d, l, x, gx, sums[d]);
        }
    } else {
        BS_UNROLL
        for (int d = 0; d < 2; d++) {
            if (d >= c.directions)
                break;
            const int sign = c.direction[d].reverse ? -1 : 1;
            BS_UNROLL
            for (int i = 0; i < conv1d_grad_tokens; i++) {
                const int token = l.begin + i;
                for (int k = 0; a.gx.at && first == 0 && k < c.taps; k++)
                    gx[i] = bs_fma(conv1d_grad_tap(c.direction[d], c, l.feature, k),
                                   conv1d_grad_of_sum<T>(a, d, l, token + sign * (c.taps - 1 - k)), gx[i]);
                const float gs = conv1d_grad_of_sum<T>(a, d, l, token);
                sums[d][conv1d_grad_taps] += gs;
                BS_UNROLL
                for (int k = 0; k < conv1d_grad_taps; k++)
                    sums[d][k] =
                        bs_fma(gs, conv1d_grad_at<T>(c.x, c, l, token - sign * (c.taps - 1 - first - k)),
                               sums[d][k]);
            }
        }
    }
    if (a.gx.at && first == 0)
        BS_UNROLL
    for (int i = 0; i < conv1d_grad_tokens; i++)
        if (l.begin + i < c.length)
            bs_store(bs_at<T>(a.gx.at), (l.row + l.begin + i) * a.gx.stride + l.feature, gx[i]);
}

// One block: 32 features of one slice. Partial sums go to (slice, direction, tap or bias, feature).
template <class T> BS_DEVICE void conv1d_grad_body(const bs__conv1d_grad &a)
{
    BS_SHARED(float, shared, conv1d_grad_warps * 32);
    const bs__conv1d &c = a.forward;
    const int columns = (c.features + 31) / 32, slice = (int)blockIdx.x / columns;
    const int warp = (int)threadIdx.x / 32, lane = (int)threadIdx.x % 32;
    conv1d_grad_lane l;
    l.feature = (int)blockIdx.x % columns * 32 + lane;
    const bool live = l.feature < c.features;
    const uint32_t pieces = (uint32_t)c.pieces, all = (uint32_t)c.samples * pieces;
    const uint32_t each = (all + (uint32_t)a.slices - 1) / (uint32_t)a.slices, begin = (uint32_t)slice * each;
    const uint32_t end = begin + each < all ? begin + each : all;
    for (int first = 0; first < c.taps; first += conv1d_grad_taps) {
        float sums[2][conv1d_grad_sums];
        BS_UNROLL
        for (int d = 0; d < 2; d++)
            BS_UNROLL
        for (int k = 0; k < conv1d_grad_sums; k++)
            sums[d][k] = 0.0f;
        for (uint32_t piece = begin + (uint32_t)warp; live && piece < end; piece += conv1d_grad_warps) {
            l.row = (int64_t)(piece / pieces) * c.length;
            l.begin = (int)(piece % pieces) * conv1d_grad_tokens;
            conv1d_grad_piece<T>(a, l, first, sums);
        }
        BS_UNROLL
        for (int d = 0; d < 2; d++) {
            if (d >= c.directions)
                break;
            BS_UNROLL
            for (int k = 0; k < conv1d_grad_sums; k++) {
                bs_store(shared, (int)threadIdx.x, sums[d][k]);
                bs_barrier();
                float sum = 0.0f;
                for (int w = 0; w < conv1d_grad_warps; w++)
                    sum += bs_load(shared, w * 32 + lane);
                bs_barrier();
                const int tap = k < conv1d_grad_taps ? first + k : c.taps;
                if (warp == 0 && live && (k < conv1d_grad_taps ? tap < c.taps : first == 0))
                    bs_store(bs_at<float>(a.workspace),
                             (((int64_t)slice * c.directions + d) * (c.taps + 1) + tap) * c.features +
                                 l.feature,
                             sum);
            }
        }
    }
}

// Adds the slices: a thread for each (direction, tap or bias, feature).
BS_DEVICE void conv1d_grad_sum_body(const bs__conv1d_grad &a)
{
    const bs__conv1d &c = a.forward;
    const int64_t item = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, features = c.features,
                  kinds = c.taps + 1;
    const int64_t all = c.directions * kinds * features;
    if (item >= all)
        return;
    const int64_t feature = item % features, tap = item / features % kinds;
    const int d = (int)(item / features / kinds);
    float sum = 0.0f;
    for (int slice = 0; slice < a.slices; slice++)
        sum += bs_load(bs_at<const float>(a.workspace), slice * all + item);
    if (tap == c.taps && a.gb[d])
        bs_store(bs_at<float>(a.gb[d]), feature, sum);
    else if (tap < c.taps && a.gw[d])
        bs_store(bs_at<float>(a.gw[d]), feature * c.taps + tap, sum);
}

BS_KERNEL_OF(conv1d_grad_f32, BS__CONV1D_GRAD_THREADS, 2, conv1d_grad_body<bs_f32>, bs__conv1d_grad)
BS_KERNEL_OF(conv1d_grad_f16, BS__CONV1D_GRAD_THREADS, 2, conv1d_grad_body<bs_f16>, bs__conv1d_grad)
BS_KERNEL_OF(conv1d_grad_bf16, BS__CONV1D_GRAD_THREADS, 2, conv1d_grad_body<bs_bf16>, bs__conv1d_grad)
BS_KERNEL(conv1d_grad_sum_f32, BS__CONV1D_GRAD_THREADS, conv1d_grad_sum_body, bs__conv1d_grad)
