// Attention of half elements on tensor cores (attention.h): a block has 64 queries of one window of one head, 16 in each of its
// four warps, and all keys of the window go past them in tiles. A warp keeps its queries, scores and sums in registers: the
// scores that a lane has are the weights that it multiplies with values, so that weights never leave it.
//
// Bound by tensor cores and, beside them, by what a score costs outside: one exponential, about six other instructions, two
// reads of relative positions. Those are kept as floats, h + w a query, made by the product of the queries with the
// tables' rows as in attention.cu. Where a tile of keys is a row of the grid (64 x 64 tokens), y is one for the whole tile.
// Keys are copied under the softmax and the sum, values under the scores.
#include "kernels/cuda/attention_half.cuh"

// Scores become exponents of 2: scaled, with their relative positions, -infinity behind the last key.
template <int KEYS>
BS_DEVICE void attention_half_exponents(float (&score)[KEYS / 8][4], bs_shared<float> bias,
                                        const bs__attention_arguments &a, const attention_place &p, int first)
{
    const int row = fragment_warp() * 16 + fragment_row(), column = fragment_column();
    if (a.bias_stride && a.w == KEYS) { // the tile is row first / w of the grid
        BS_UNROLL for (int i = 0; i < 2; i++)
        {
            const int at = (row + 8 * i) * a.bias_stride;
            const float of_row = bs_load(bias, at + first / KEYS);
            BS_UNROLL for (int n = 0; n < KEYS / 8; n++) BS_UNROLL for (int e = 0; e < 2; e++)
            {
                const float relative = of_row + bs_load(bias, at + a.h + 8 * n + column + e);
                score[n][2 * i + e] = bs_fma(score[n][2 * i + e], a.scale, relative);
            }
        }
        return;
    }
    const int last = p.keys - 1;
    BS_UNROLL for (int n = 0; n < KEYS / 8; n++) BS_UNROLL for (int e = 0; e < 2; e++)
    {
        const int k = first + 8 * n + column + e, there = k < last ? k : last;
        const int y = attention_row(a, there), x = there - y * a.w;
        BS_UNROLL for (int i = 0; i < 2; i++)
        {
            float relative = 0;
            if (a.bias_stride) {
                const int at = (row + 8 * i) * a.bias_stride;
                relative = bs_load(bias, at + y) + bs_load(bias, at + a.h + x);
            }
            score[n][2 * i + e] = k <= last ? bs_fma(score[n][2 * i + e], a.scale, relative) : -INFINITY;
        }
    }
}

// The weights of a tile's keys, relative to the largest exponent so far; what was summed before shrinks accordingly.
template <int WIDE, int KEYS>
BS_DEVICE void attention_half_softmax(float (&score)[KEYS / 8][4], float (&out)[WIDE][4], float (&largest)[2],
                                      float (&sum)[2])
{
    BS_UNROLL for (int i = 0; i < 2; i++)
    {
        float most = largest[i];
        BS_UNROLL for (int n = 0; n < KEYS / 8; n++) most =
            bs_max(most, bs_max(score[n][2 * i], score[n][2 * i + 1]));
        most = bs_max(most, bs_lane_across(most, 1));
        most = bs_max(most, bs_lane_across(most, 2));
        const float shrink = bs_exp2(largest[i] - most);
        largest[i] = most;
        sum[i] *= shrink;
        BS_UNROLL for (int n = 0; n < WIDE; n++)
        {
            out[n][2 * i] *= shrink;
            out[n][2 * i + 1] *= shrink;
        }
        BS_UNROLL for (int n = 0; n < KEYS / 8; n++) BS_UNROLL for (int e = 0; e < 2; e++)
        {
            score[n][2 * i + e] = bs_exp2(score[n][2 * i + e] - most);
            sum[i] += score[n][2 * i + e];
        }
    }
}

template <class T, int FEATURES, int KEYS> BS_DEVICE void attention_tensor(const bs__attention_arguments &a)
{
    constexpr int STRIDE = FEATURES + 8, WIDE = FEATURES / 8;
    const attention_place p = attention_here(a, ATTENTION_HALF_QUERIES);
    if (p.first >= p.queries)
        return;
    BS_SHARED_DYNAMIC(float, shared);
    // The queries pass through the room of keys and values, which hold 64 rows together.
    const bs_shared<T> key = bs_view<T>(shared), value = key + KEYS * STRIDE;
    const bs_shared<float> bias = shared + KEYS * STRIDE; // behind 2 KEYS * STRIDE half elements
    const int row = fragment_warp() * 16 + fragment_row(), column = fragment_column();
    const bool active = p.first + fragment_warp() * 16 < p.queries; // has the warp any queries?

    uint32_t query[FEATURES / 16][4];
    attention_half_copy_queries<T, FEATURES>(key, a, p);
    bs_copy_commit();
    bs_copy_wait<0>();
    bs_barrier();
    BS_UNROLL for (int k = 0; k < FEATURES / 16; k++)
        fragment_left_along(query[k], key, STRIDE, fragment_warp() * 16, 16 * k);
    bs_barrier();
    if (a.bias_stride) {
        attention_half_bias<T, FEATURES, KEYS>(bias, query, key, a, p, a.rel_h,
                                               attention_axis_y(a, p, ATTENTION_HALF_QUERIES), false);
        attention_half_bias<T, FEATURES, KEYS>(bias + a.h, query, key, a, p, a.rel_w,
                                               attention_axis_x(a, p, ATTENTION_HALF_QUERIES), true);
    }

    float out[WIDE][4] = {}, largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
    attention_half_copy_keys<T, FEATURES, KEYS>(key, a, p, ATTENTION_K, 0);
    bs_copy_commit();
    for (int first = 0; first < p.keys; first += KEYS) {
        attention_half_copy_keys<T, FEATURES, KEYS>(value, a, p, ATTENTION_V, first);
        bs_copy_commit();
        bs_copy_wait<1>();
        bs_barrier(); // keys are there
        float score[KEYS / 8][4];
        if (active)
            attention_half_scores<T, FEATURES, KEYS>(score, query, key, p.keys - first);
        bs_barrier(); // and were read
        if (first + KEYS < p.keys)
            attention_half_copy_keys<T, FEATURES, KEYS>(key, a, p, ATTENTION_K, first + KEYS);
        bs_copy_commit();

        if (active) {
            attention_half_exponents<KEYS>(score, bias, a, p, first);
            attention_half_softmax<WIDE, KEYS>(score, out, largest, sum);
        }
        bs_copy_wait<1>();
        bs_barrier(); // values are there
        BS_UNROLL for (int k = 0; k < KEYS / 16; k++)
        {
            if (!active || first + 16 * k >= p.keys)
                continue;
            uint32_t weight[4];
            BS_UNROLL for (int e = 0; e < 4; e++) weight[e] =
                bs_pack<T>(score[2 * k + (e >> 1)][2 * (e & 1)], score[2 * k + (e >> 1)][2 * (e & 1) + 1]);
            BS_UNROLL for (int n = 0; n < WIDE / 2; n++)
            {
                uint32_t b[4];
                fragment_right_across(b, value, STRIDE, 16 * n, 16 * k);
                bs_multiply_add<T>(out[2 * n], weight, b[0], b[1]);
                bs_multiply_add<T>(out[2 * n + 1], weight, b[2], b[3]);
            }
        }
        bs_barrier(); // and were read
    }

    const bs_global<T> y = bs_at<T>(a.y);
    BS_UNROLL for (int i = 0; i < 2; i++)
    {
        sum[i] += bs_lane_across(sum[i], 1);
        sum[i] += bs_lane_across(sum[i], 2);
        const int q = p.first + row + 8 * i;
        if (q >= p.queries)
            continue;
        const int64_t token = attention_query_token(a, p, q), at = attention_y_at(a, p, token);
        const float factor = 1.0f / sum[i];
        BS_UNROLL for (int n = 0; n < WIDE; n++)
        {
            const int feature = 8 * n + column;
            const float low = out[n][2 * i] * factor, high = out[n][2 * i + 1] * factor;
            if (a.vectors && feature + 1 < a.features)
                bs_store_pair(y, at + feature, bs_pack<T>(low, high));
            else {
                if (feature < a.features)
                    bs_store(y, at + feature, low);
                if (feature + 1 < a.features)
                    bs_store(y, at + feature + 1, high);
            }
        }
        if (a.lse && column == 0)
            bs_store(bs_at<float>(a.lse), (p.sample * a.tokens + token) * a.heads + p.head,
                     bs_fma(largest[i], 0.693147181f, bs_log1p(sum[i] - 1.0f)));
    }
}

#define ATTENTION_TENSOR(type, T)                                                                            \
    BS_KERNEL_OF(attention_tensor_32_##type, TILE_THREADS, 4, (attention_tensor<T, 32, 64>),                 \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_tensor_64_##type, TILE_THREADS, 3, (attention_tensor<T, 64, 64>),                 \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_tensor_80_##type, TILE_THREADS, 3, (attention_tensor<T, 80, 64>),                 \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_tensor_128_##type, TILE_THREADS, 2, (attention_tensor<T, 128, 32>),               \
                 bs__attention_arguments)
ATTENTION_TENSOR(f16, bs_f16)
ATTENTION_TENSOR(bf16, bs_bf16)
