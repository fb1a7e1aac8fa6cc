// Causal convolution along tokens, with SiLU, of one or both directions (conv1d.h).
//
// What bounds it: bytes. The input is read once for both directions and each result is written once; 2 x 4 multiply-adds and two
// exponentials an element hide behind that. A thread has four neighbouring features (one where rows do not allow it) of 8 tokens and
// asks for all the rows it needs, 8 and three on either side, before it computes: 14 loads of 16 bytes under way. The rows on either
// side are the neighbours' too and come from the caches.
#include "kernels/cuda/scan_parts.cuh"
#include "kernels/cuda/conv1d.h"

constexpr int conv1d_tokens = BS__CONV1D_TOKENS;
constexpr int conv1d_taps = 4; // of the fast way

// V neighbouring elements, at once where V is 4.
template <int V, class P> BS_DEVICE void conv1d_load(P from, int64_t at, float (&v)[V])
{
    if constexpr (V == 4) {
        const bs_float4 four = bs_load4(from, at);
        BS_UNROLL
        for (int i = 0; i < V; i++)
            v[i] = four.at[i];
    } else {
        v[0] = bs_load(from, at);
    }
}
template <int V, class P> BS_DEVICE void conv1d_store(P to, int64_t at, const float (&v)[V])
{
    if constexpr (V == 4)
        bs_store4(to, at, {{v[0], v[1], v[2], v[3]}});
    else
        bs_store(to, at, v[0]);
}

// Where a thread's tokens are.
struct conv1d_piece {
    int64_t row;    // of the sample's first token
    int begin, end; // tokens
    int feature;
};

template <class T, int V> BS_DEVICE void conv1d_four_taps(const bs__conv1d &a, const conv1d_piece &p)
{
    constexpr int around = conv1d_taps - 1, rows = conv1d_tokens + 2 * around;
    float x[rows][V];
    BS_UNROLL
    for (int i = 0; i < rows; i++) {
        const int token = p.begin - around + i;
        BS_UNROLL
        for (int v = 0; v < V; v++)
            x[i][v] = 0.0f;
        if (token >= 0 && token < a.length)
            conv1d_load<V>(bs_at<const T>(a.x.at), (p.row + token) * a.x.stride + p.feature, x[i]);
    }
    BS_UNROLL
    for (int d = 0; d < 2; d++) {
        if (d >= a.directions)
            break;
        const bs__conv1d_direction &to = a.direction[d];
        float w[V][conv1d_taps], bias[V];
        BS_UNROLL
        for (int v = 0; v < V; v++) {
            conv1d_load<conv1d_taps>(bs_at<const float>(to.weights), (int64_t)(p.feature + v) * conv1d_taps,
                                     w[v]);
            bias[v] = to.bias ? bs_load(bs_at<const float>(to.bias), p.feature + v) : 0.0f;
        }
        BS_UNROLL
        for (int i = 0; i < conv1d_tokens; i++) {
            if (p.begin + i >= p.end)
                break;
            float y[V];
            BS_UNROLL
            for (int v = 0; v < V; v++) {
                y[v] = bias[v];
                BS_UNROLL
                for (int k = 0; k < conv1d_taps; k++)
                    y[v] = bs_fma(w[v][k], to.reverse ? x[i + around + around - k][v] : x[i + k][v], y[v]);
                if (a.silu)
                    y[v] = bs__scan_gate(y[v]);
            }
            conv1d_store<V>(bs_at<T>(to.y.at), (p.row + p.begin + i) * to.y.stride + p.feature, y);
        }
    }
}

// Any number of taps: one feature, every tap a load.
template <class T> BS_DEVICE void conv1d_any_taps(const bs__conv1d &a, const conv1d_piece &p)
{
    for (int d = 0; d < a.directions; d++) {
        const bs__conv1d_direction &to = a.direction[d];
        const float bias = to.bias ? bs_load(bs_at<const float>(to.bias), p.feature) : 0.0f;
        for (int token = p.begin; token < p.end; token++) {
            float y = bias;
            for (int k = 0; k < a.taps; k++) {
                const int back = a.taps - 1 - k, from = to.reverse ? token + back : token - back;
                if (from >= 0 && from < a.length)
                    y = bs_fma(bs_load(bs_at<const float>(to.weights), (int64_t)p.feature * a.taps + k),
                               bs_load(bs_at<const T>(a.x.at), (p.row + from) * a.x.stride + p.feature), y);
            }
            bs_store(bs_at<T>(to.y.at), (p.row + token) * to.y.stride + p.feature,
                     a.silu ? bs__scan_gate(y) : y);
        }
    }
}

// A thread for every piece of every sample and every four features (or every one), features fastest.
template <class T> BS_DEVICE void conv1d_body(const bs__conv1d &a)
{
    const int wide = a.in_fours ? 4 : 1;
    const uint32_t columns = (uint32_t)(a.features / wide), pieces = (uint32_t)a.pieces;
    const uint32_t item = (uint32_t)blockIdx.x * (uint32_t)blockDim.x + (uint32_t)threadIdx.x;
    const uint32_t piece = item / columns, sample = piece / pieces;
    if (sample >= a.samples)
        return;
    conv1d_piece p;
    p.row = (int64_t)sample * a.length;
    p.begin = (int)(piece % pieces) * conv1d_tokens;
    p.end = p.begin + conv1d_tokens < a.length ? p.begin + conv1d_tokens : (int)a.length;
    p.feature = (int)(item % columns) * wide;
    if (a.in_fours)
        conv1d_four_taps<T, 4>(a, p);
    else if (a.four_taps)
        conv1d_four_taps<T, 1>(a, p);
    else
        conv1d_any_taps<T>(a, p);
}

BS_KERNEL(conv1d_f32, BS__CONV1D_THREADS, conv1d_body<bs_f32>, bs__conv1d)
BS_KERNEL(conv1d_f16, BS__CONV1D_THREADS, conv1d_body<bs_f16>, bs__conv1d)
BS_KERNEL(conv1d_bf16, BS__CONV1D_THREADS, conv1d_body<bs_bf16>, bs__conv1d)
