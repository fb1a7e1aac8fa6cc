// Queries and keys with relative positions as further dimensions (attention_extend.h), for an attention that knows none: of query
// q at (i, j) and key k at (y, x) of a window
//
//   q' = [q, s q . rel_h[i - y' + h - 1] for each y', s q . rel_w[j - x' + w - 1] for each x', 0 ...],  s = sqrt(features)
//   k' = [k, 1 at y, 1 at x, 0 ...]
//
// so that q' . k' / s is the logit. A block has 64 tokens of one window of one head, as queries and as keys; windows are
// copied apart, those that stick out filled up with the padding token. The positions are products on tensor cores, as in
// attention_half.cu. Bound by memory: each element is written once.
#include "kernels/cuda/attention_half.cuh"

// Eight elements of q, k or v of a token of the window: from qkv, or the padding token.
template <class T>
BS_DEVICE void attention_extend_copy8(bs_global<T> to, int64_t at, const bs__attention_arguments &a,
                                      const attention_place &p, int part, int64_t token, int feature)
{
    bs_float4 low = {{0, 0, 0, 0}}, high = low;
    if (token >= 0) {
        const int64_t from = attention_qkv_at(a, p, part, token) + feature;
        low = bs_load4(bs_at<const T>(a.qkv), from);
        high = bs_load4(bs_at<const T>(a.qkv), from + 4);
    } else if (a.pad) {
        const int64_t from = attention_pad_at(a, p, part) + feature;
        low = bs_load4(bs_at<const T>(a.pad), from);
        high = bs_load4(bs_at<const T>(a.pad), from + 4);
    }
    bs_store4(to, at, low);
    bs_store4(to, at + 4, high);
}

template <class T, int FEATURES> BS_DEVICE void attention_extend(const bs__attention_extension &e)
{
    constexpr int STRIDE = FEATURES + 8, TOKENS = ATTENTION_HALF_QUERIES;
    const bs__attention_arguments &a = e.of;
    attention_place p = attention_here(a, TOKENS);
    p.inside_w =
        a.w; // every token of the window is a query here, also those outside the grid, which no one reads
    p.queries = p.keys;
    BS_SHARED_DYNAMIC(float, shared);
    const bs_shared<T> rows = bs_view<T>(shared);
    const bs_shared<float> bias = shared + TOKENS * STRIDE / 2;
    if (a.bias_stride) {
        uint32_t query[FEATURES / 16][4];
        attention_half_copy_keys<T, FEATURES, TOKENS>(rows, a, p, ATTENTION_Q, p.first);
        bs_copy_commit();
        bs_copy_wait<0>();
        bs_barrier();
        BS_UNROLL for (int k = 0; k < FEATURES / 16; k++)
            fragment_left_along(query[k], rows, STRIDE, fragment_warp() * 16, 16 * k);
        attention_half_bias<T, FEATURES, TOKENS>(bias, query, rows, a, p, a.rel_h,
                                                 attention_axis_y(a, p, TOKENS), false);
        attention_half_bias<T, FEATURES, TOKENS>(bias + a.h, query, rows, a, p, a.rel_w,
                                                 attention_axis_x(a, p, TOKENS), true);
    }

    const int groups = e.width / 8, positions = a.bias_stride ? a.h + a.w : 0;
    const int64_t windows = a.windows_y * a.windows_x,
                  first = (p.sample * windows + p.window) * p.keys + p.first;
    for (int i = (int)threadIdx.x; i < TOKENS * groups; i += TILE_THREADS) {
        const int row = i / groups, dimension = i % groups * 8, k = p.first + row;
        if (k >= p.keys)
            break;
        const int64_t head = (first + row) * a.heads + p.head, at = head * e.width + dimension;
        const int position = dimension - a.features;
        if (position < 0) {
            const int64_t token = attention_key_token(a, p, k);
            attention_extend_copy8(bs_at<T>(e.query), at, a, p, ATTENTION_Q, token, dimension);
            attention_extend_copy8(bs_at<T>(e.key), at, a, p, ATTENTION_K, token, dimension);
            if (e.value)
                attention_extend_copy8(bs_at<T>(e.value), head * a.features + dimension, a, p, ATTENTION_V,
                                       token, dimension);
            continue;
        }
        const int y = attention_row(a, k), x = a.h + (k - y * a.w);
        float query[8], key[8];
        BS_UNROLL for (int j = 0; j < 8; j++)
        {
            const int place = position + j;
            const float v = place < positions ? bs_load(bias, row * a.bias_stride + place) * e.factor : 0.0f;
            query[j] = v > e.most    ? e.most
                       : v < -e.most ? -e.most
                                     : v; // infinity times 0 would be NaN; NaN stays
            key[j] = place == y || place == x ? 1.0f : 0.0f;
        }
        bs_store4(bs_at<T>(e.query), at, bs_float4{{query[0], query[1], query[2], query[3]}});
        bs_store4(bs_at<T>(e.query), at + 4, bs_float4{{query[4], query[5], query[6], query[7]}});
        bs_store4(bs_at<T>(e.key), at, bs_float4{{key[0], key[1], key[2], key[3]}});
        bs_store4(bs_at<T>(e.key), at + 4, bs_float4{{key[4], key[5], key[6], key[7]}});
    }
}

// What windows were computed back to the tokens of the grid: a thread for four features of a head of a token.
template <class T> BS_DEVICE void attention_from_windows(const bs__attention_extension &e)
{
    const bs__attention_arguments &a = e.of;
    const int fours = a.features / 4, tokens = (int)a.tokens;
    const int i = (int)(blockIdx.x * blockDim.x + threadIdx.x), row = i / fours,
              feature = (i - row * fours) * 4;
    const int all = row / a.heads, head = row - all * a.heads, sample = all / tokens,
              token = all - sample * tokens;
    if (sample >= e.samples)
        return;
    const int y = token / a.grid_w, x = token - y * a.grid_w, down = y / a.h, right = x / a.w;
    const int64_t window = ((int64_t)sample * a.windows_y + down) * a.windows_x + right;
    const int64_t from = window * a.h * a.w + (y - down * a.h) * a.w + (x - right * a.w);
    const bs_float4 v = bs_load4(bs_at<const T>(e.value), (from * a.heads + head) * a.features + feature);
    bs_store4(bs_at<T>(a.y), ((int64_t)all * a.heads + head) * a.features + feature, v);
}

#define ATTENTION_EXTEND(type, T)                                                                            \
    BS_KERNEL(attention_extend_32_##type, TILE_THREADS, (attention_extend<T, 32>), bs__attention_extension)  \
    BS_KERNEL(attention_extend_64_##type, TILE_THREADS, (attention_extend<T, 64>), bs__attention_extension)  \
    BS_KERNEL(attention_extend_80_##type, TILE_THREADS, (attention_extend<T, 80>), bs__attention_extension)  \
    BS_KERNEL(attention_extend_128_##type, TILE_THREADS, (attention_extend<T, 128>),                         \
              bs__attention_extension)                                                                       \
    BS_KERNEL(attention_from_windows_##type, 256, attention_from_windows<T>, bs__attention_extension)
ATTENTION_EXTEND(f16, bs_f16)
ATTENTION_EXTEND(bf16, bs_bf16)
