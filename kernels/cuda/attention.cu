// Attention in float (attention.h): a block has a tile of queries of one window of one head, and all keys of the window go past
// it in tiles of 32. Keys, values and weights meet in shared memory; scores and sums stay in registers.
//
// Bound by multiply-adds: 2 features of them for a score, against one exponential. A thread has 4 queries x 4 keys of a score
// tile and 4 queries x features / 8 of the result; it reads 16 bytes for 16 and 11 multiply-adds. Relative positions are q
// with each row of the tables that the tile's queries meet, made once per tile by the same product and kept as h + w floats a
// query: two reads and one addition for a score, where 2 h + 2 w more dimensions would multiply the work. What a tile
// reads comes while another is multiplied: values under the scores, the next keys under the softmax and the sum.
#include "kernels/cuda/attention.cuh"

template <class T, int FEATURES, int ROWS> BS_DEVICE void attention_simt(const bs__attention_arguments &a)
{
    constexpr int QUERIES = 16 * ROWS, KEYS = 32, STRIDE = FEATURES + 4, WEIGHTS = KEYS + 4;
    constexpr int COLUMNS = (FEATURES + 31) / 32 * 4;
    const attention_place p = attention_here(a, QUERIES);
    if (p.first >= p.queries)
        return;
    BS_SHARED_DYNAMIC(float, shared);
    const bs_shared<float> query = shared, key = query + QUERIES * STRIDE, value = key + KEYS * STRIDE,
                           weight = value + KEYS * STRIDE, bias = weight + QUERIES * WEIGHTS;

    attention_copy_queries<T, FEATURES, QUERIES, true>(query, STRIDE, a, p, bs_at<const T>(a.qkv), p.first);
    bs_copy_commit();
    if (a.bias_stride) {
        int64_t at[ROWS];
        BS_UNROLL for (int i = 0; i < ROWS; i++) at[i] = tile_row(i) * a.bias_stride;
        attention_bias<T, FEATURES, ROWS, KEYS>(bias, at, query, key, STRIDE, a, p, a.rel_h,
                                                attention_axis_y(a, p, QUERIES), false);
        attention_bias<T, FEATURES, ROWS, KEYS>(bias + a.h, at, query, key, STRIDE, a, p, a.rel_w,
                                                attention_axis_x(a, p, QUERIES), true);
    }

    float out[ROWS][COLUMNS] = {}, largest[ROWS], sum[ROWS];
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        largest[i] = -INFINITY;
        sum[i] = 0;
    }
    attention_copy_keys<T, FEATURES, KEYS>(key, STRIDE, a, p, ATTENTION_K, 0);
    bs_copy_commit();
    for (int first = 0; first < p.keys; first += KEYS) {
        attention_copy_keys<T, FEATURES, KEYS>(value, STRIDE, a, p, ATTENTION_V, first);
        bs_copy_commit();
        bs_copy_wait<1>();
        bs_barrier(); // keys are there
        float score[ROWS][KEYS / 8] = {};
        tile_along_along(score, query, STRIDE, key, STRIDE, (a.features + 3) & ~3);
        bs_barrier(); // and were read
        if (first + KEYS < p.keys)
            attention_copy_keys<T, FEATURES, KEYS>(key, STRIDE, a, p, ATTENTION_K, first + KEYS);
        bs_copy_commit();

        BS_UNROLL for (int j = 0; j < KEYS / 8; j++)
        {
            const int k = first + tile_column(j), last = p.keys - 1, there = k < last ? k : last;
            const int y = attention_row(a, there), x = there - y * a.w;
            BS_UNROLL for (int i = 0; i < ROWS; i++)
            {
                float relative = 0;
                if (a.bias_stride) {
                    const int row = tile_row(i) * a.bias_stride;
                    relative = bs_load(bias, row + y) + bs_load(bias, row + a.h + x);
                }
                score[i][j] = k <= last ? bs_fma(score[i][j], a.scale, relative) : -INFINITY;
            }
        }
        BS_UNROLL for (int i = 0; i < ROWS; i++)
        {
            float most = score[i][0];
            BS_UNROLL for (int j = 1; j < KEYS / 8; j++) most = bs_max(most, score[i][j]);
            BS_UNROLL for (int mask = 1; mask < 8; mask *= 2) most = bs_max(most, bs_lane_across(most, mask));
            most = bs_max(most, largest[i]);
            const float shrink = bs_exp2(largest[i] - most);
            largest[i] = most;
            sum[i] *= shrink;
            BS_UNROLL for (int c = 0; c < COLUMNS; c++) out[i][c] *= shrink;
            BS_UNROLL for (int j = 0; j < KEYS / 8; j++)
            {
                const float w = bs_exp2(score[i][j] - most);
                sum[i] += w;
                bs_store(weight, tile_row(i) * WEIGHTS + tile_column(j), w);
            }
        }
        bs_copy_wait<1>();
        bs_barrier(); // values and weights are there
        tile_along_across<FEATURES>(out, weight, WEIGHTS, value, STRIDE, KEYS);
        bs_barrier(); // and were read
    }

    const bs_global<T> y = bs_at<T>(a.y);
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        BS_UNROLL for (int mask = 1; mask < 8; mask *= 2) sum[i] += bs_lane_across(sum[i], mask);
        const int q = p.first + tile_row(i);
        if (q >= p.queries)
            continue;
        const int64_t token = attention_query_token(a, p, q), row = attention_y_at(a, p, token);
        const float factor = 1.0f / sum[i];
        BS_UNROLL for (int c = 0; c < COLUMNS; c += 4)
        {
            const int feature = tile_column_across(c);
            const bs_float4 v = {
                {out[i][c] * factor, out[i][c + 1] * factor, out[i][c + 2] * factor, out[i][c + 3] * factor}};
            tile_write4(y, row + feature, a.features - feature, a.vectors, v);
        }
        if (a.lse && tile_x() == 0)
            bs_store(bs_at<float>(a.lse), (p.sample * a.tokens + token) * a.heads + p.head,
                     bs_fma(largest[i], 0.693147181f, bs_log1p(sum[i] - 1.0f)));
    }
}

// The tall tile wherever its shared memory fits; the low one on devices or grids where it does not. bf16 and f16 come here where
// tensor cores cannot.
BS_KERNEL_OF(attention_64x32_f32, TILE_THREADS, 3, (attention_simt<bs_f32, 32, 4>), bs__attention_arguments)
BS_KERNEL_OF(attention_64x64_f32, TILE_THREADS, 3, (attention_simt<bs_f32, 64, 4>), bs__attention_arguments)
BS_KERNEL_OF(attention_64x80_f32, TILE_THREADS, 3, (attention_simt<bs_f32, 80, 4>), bs__attention_arguments)
BS_KERNEL_OF(attention_64x128_f32, TILE_THREADS, 3, (attention_simt<bs_f32, 128, 4>), bs__attention_arguments)
#define ATTENTION_LOW(type, T)                                                                               \
    BS_KERNEL_OF(attention_32x32_##type, TILE_THREADS, 4, (attention_simt<T, 32, 2>),                        \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_32x64_##type, TILE_THREADS, 4, (attention_simt<T, 64, 2>),                        \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_32x80_##type, TILE_THREADS, 4, (attention_simt<T, 80, 2>),                        \
                 bs__attention_arguments)                                                                    \
    BS_KERNEL_OF(attention_16x128_##type, TILE_THREADS, 4, (attention_simt<T, 128, 1>),                      \
                 bs__attention_arguments)
ATTENTION_LOW(f32, bs_f32)
ATTENTION_LOW(f16, bs_f16)
ATTENTION_LOW(bf16, bs_bf16)
