// What the kernels of attention on tensor cores share: tiles of half elements in shared memory, their products with the queries that
// a warp keeps in registers, and the relative positions that come of them.
#ifndef BS_KERNELS_CUDA_ATTENTION_HALF_CUH
#define BS_KERNELS_CUDA_ATTENTION_HALF_CUH

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/fragment.cuh"

#define ATTENTION_HALF_QUERIES 64

// Keys of the window (part K or V; Q where every token of the window is wanted as a query), from `first`; zeros behind the last key and the last feature.
template <class T, int FEATURES, int KEYS>
BS_DEVICE void attention_half_copy_keys(bs_shared<T> to, const bs__attention_arguments &a,
                                        const attention_place &p, int part, int first)
{
    constexpr int STRIDE = FEATURES + 8, GROUPS = FEATURES / 8;
    const bs_global<const T> qkv = bs_at<const T>(a.qkv);
    for (int i = (int)threadIdx.x; i < KEYS * GROUPS; i += TILE_THREADS) {
        const int row = i / GROUPS, feature = i % GROUPS * 8, key = first + row;
        const int count = key < p.keys ? a.features - feature : 0, at = row * STRIDE + feature;
        const int64_t token = count > 0 ? attention_key_token(a, p, key) : -1;
        if (token >= 0)
            fragment_copy8(to, at, qkv, attention_qkv_at(a, p, part, token) + feature, count, a.vectors);
        else if (count > 0 && a.pad)
            fragment_copy8(to, at, bs_at<const T>(a.pad), attention_pad_at(a, p, part) + feature, count,
                           a.vectors);
        else
            fragment_copy8(to, at, qkv, 0, 0, false);
    }
}

template <class T, int FEATURES>
BS_DEVICE void attention_half_copy_queries(bs_shared<T> to, const bs__attention_arguments &a,
                                           const attention_place &p)
{
    constexpr int STRIDE = FEATURES + 8, GROUPS = FEATURES / 8;
    for (int i = (int)threadIdx.x; i < ATTENTION_HALF_QUERIES * GROUPS; i += TILE_THREADS) {
        const int row = i / GROUPS, feature = i % GROUPS * 8, query = p.first + row;
        const int count = query < p.queries ? a.features - feature : 0;
        const int64_t token = count > 0 ? attention_query_token(a, p, query) : 0;
        fragment_copy8(to, row * STRIDE + feature, bs_at<const T>(a.qkv),
                       attention_qkv_at(a, p, ATTENTION_Q, token) + feature, count, a.vectors);
    }
}

template <class T, int FEATURES, int KEYS>
BS_DEVICE void attention_half_copy_table(bs_shared<T> to, const bs__attention_arguments &a,
                                         bs_global<const T> table, int first, int rows)
{
    constexpr int STRIDE = FEATURES + 8, GROUPS = FEATURES / 8;
    for (int i = (int)threadIdx.x; i < KEYS * GROUPS; i += TILE_THREADS) {
        const int row = i / GROUPS, feature = i % GROUPS * 8;
        fragment_copy8(to, row * STRIDE + feature, table, (int64_t)(first + row) * a.features + feature,
                       first + row < rows ? a.features - feature : 0, a.vectors);
    }
}

// Scores of the warp's 16 queries with the first `count` of the KEYS rows of a tile; zeros for groups of 16 behind them.
template <class T, int FEATURES, int KEYS>
BS_DEVICE void attention_half_scores(float (&score)[KEYS / 8][4], const uint32_t (&query)[FEATURES / 16][4],
                                     bs_shared<T> key, int count)
{
    BS_UNROLL for (int n = 0; n < KEYS / 16; n++)
    {
        BS_UNROLL for (int e = 0; e < 4; e++) score[2 * n][e] = score[2 * n + 1][e] = 0;
        if (16 * n >= count)
            continue;
        BS_UNROLL for (int k = 0; k < FEATURES / 16; k++)
        {
            uint32_t b[4];
            fragment_right_along(b, key, FEATURES + 8, 16 * n, 16 * k);
            bs_multiply_add<T>(score[2 * n], query[k], b[0], b[1]);
            bs_multiply_add<T>(score[2 * n + 1], query[k], b[2], b[3]);
        }
    }
}

// As attention_bias, by tensor cores.
template <class T, int FEATURES, int KEYS>
BS_DEVICE void attention_half_bias(bs_shared<float> bias, const uint32_t (&query)[FEATURES / 16][4],
                                   bs_shared<T> rows, const bs__attention_arguments &a,
                                   const attention_place &p, uint64_t table, const attention_axis &axis,
                                   bool along_x)
{
    int position[2];
    const int row = fragment_warp() * 16 + fragment_row();
    BS_UNROLL for (int i = 0; i < 2; i++)
    {
        const int q = p.first + row + 8 * i, there = q < p.queries ? q : p.first, y = there / p.inside_w;
        position[i] = along_x ? there - y * p.inside_w : y;
    }
    for (int first = axis.low; first < axis.high + axis.length; first += KEYS) {
        bs_barrier();
        attention_half_copy_table<T, FEATURES, KEYS>(rows, a, bs_at<const T>(table), first,
                                                     2 * axis.length - 1);
        bs_copy_commit();
        bs_copy_wait<0>();
        bs_barrier();
        float product[KEYS / 8][4];
        attention_half_scores<T, FEATURES, KEYS>(product, query, rows, KEYS);
        BS_UNROLL for (int n = 0; n < KEYS / 8; n++) BS_UNROLL for (int e = 0; e < 4; e++)
        {
            const int key =
                position[e >> 1] - (first + 8 * n + fragment_column() + (e & 1)) + axis.length - 1;
            if (key >= 0 && key < axis.length)
                bs_store(bias, (row + 8 * (e >> 1)) * a.bias_stride + key, product[n][e] * 1.44269504f);
        }
    }
    bs_barrier();
}

#endif
