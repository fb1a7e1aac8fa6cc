// What the kernels of attention share: which queries a block has, where their tokens and those of the keys lie.
#ifndef BS_KERNELS_CUDA_ATTENTION_CUH
#define BS_KERNELS_CUDA_ATTENTION_CUH

#include "kernels/cuda/attention_arguments.h"
#include "kernels/cuda/tile.cuh"

#include <math.h>
#include <type_traits>

enum { ATTENTION_Q, ATTENTION_K, ATTENTION_V };

// One window of one head of one sample, and the first of a tile of its tokens.
struct attention_place {
    int64_t sample;
    int window, head;
    int top, left;     // of the window on the grid
    int inside_w;      // columns of the window that lie in the grid
    int queries, keys; // tokens of the window inside the grid; all, those outside too
    int first;
};

BS_DEVICE attention_place attention_window(const bs__attention_arguments &a, int64_t sample, int head,
                                           int window, int first)
{
    attention_place p;
    p.sample = sample;
    p.head = head;
    p.window = window;
    p.first = first;
    p.top = window / a.windows_x * a.h;
    p.left = window % a.windows_x * a.w;
    const int down = a.grid_h - p.top, right = a.grid_w - p.left;
    p.inside_w = right < a.w ? right : a.w;
    p.queries = (down < a.h ? down : a.h) * p.inside_w;
    p.keys = a.h * a.w;
    return p;
}

// What the block works on. Tiles of one window are neighbouring blocks, so that they read the same keys from the second level
// cache.
BS_DEVICE attention_place attention_here(const bs__attention_arguments &a, int tile_length)
{
    const unsigned tiles = (unsigned)a.tiles, windows = (unsigned)(a.windows_y * a.windows_x),
                   heads = (unsigned)a.heads;
    const unsigned tile = blockIdx.x % tiles, window = blockIdx.x / tiles % windows,
                   head = blockIdx.x / tiles / windows;
    return attention_window(a, head / heads, (int)(head % heads), (int)window, (int)tile * tile_length);
}

// Row of key k in its window: k / w.
BS_DEVICE int attention_row(const bs__attention_arguments &a, int k)
{
    return (int)((uint64_t)(unsigned)k * a.reciprocal >> 32);
}

// The token of query i of the window among the sample's.
BS_DEVICE int64_t attention_query_token(const bs__attention_arguments &a, const attention_place &p, int i)
{
    const int y = i / p.inside_w;
    return (int64_t)(p.top + y) * a.grid_w + p.left + (i - y * p.inside_w);
}
// The same of key k; negative where it lies outside the grid.
BS_DEVICE int64_t attention_key_token(const bs__attention_arguments &a, const attention_place &p, int k)
{
    if (a.whole)
        return k;
    const int y = attention_row(a, k), row = p.top + y, column = p.left + (k - y * a.w);
    return row < a.grid_h && column < a.grid_w ? (int64_t)row * a.grid_w + column : -1;
}

// Where the features of a head begin: q, k or v (part) of a token in qkv; `part` of the padding token in pad; y of a token.
BS_DEVICE int64_t attention_qkv_at(const bs__attention_arguments &a, const attention_place &p, int part,
                                   int64_t token)
{
    return (((p.sample * a.tokens + token) * 3 + part) * a.heads + p.head) * a.features;
}
BS_DEVICE int64_t attention_pad_at(const bs__attention_arguments &a, const attention_place &p, int part)
{
    return (int64_t)(part * a.heads + p.head) * a.features;
}
BS_DEVICE int64_t attention_y_at(const bs__attention_arguments &a, const attention_place &p, int64_t token)
{
    return ((p.sample * a.tokens + token) * a.heads + p.head) * a.features;
}

// Positions along one axis of the queries of a tile, and the rows of its table that they meet: of a query at position i and a
// key at j, row i - j + length - 1.
struct attention_axis {
    int length, low, high; // low, high: of the queries' positions
};
BS_DEVICE attention_axis attention_axis_y(const bs__attention_arguments &a, const attention_place &p,
                                          int tile_length)
{
    const int last = p.first + tile_length < p.queries ? p.first + tile_length - 1 : p.queries - 1;
    return {a.h, p.first / p.inside_w, last / p.inside_w};
}
BS_DEVICE attention_axis attention_axis_x(const bs__attention_arguments &a, const attention_place &p,
                                          int tile_length)
{
    const attention_axis y = attention_axis_y(a, p, tile_length);
    const int last = p.first + tile_length < p.queries ? p.first + tile_length - 1 : p.queries - 1;
    if (y.low == y.high)
        return {a.w, p.first - y.low * p.inside_w, last - y.low * p.inside_w};
    return {a.w, 0, p.inside_w - 1};
}

// Positions on an axis of the thread's queries (tile_row); those behind the last query stand where the first of the tile does.
template <int ROWS>
BS_DEVICE void attention_positions(int (&position)[ROWS], const attention_place &p, bool along_x)
{
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        const int q = p.first + tile_row(i), there = q < p.queries ? q : p.first, y = there / p.inside_w;
        position[i] = along_x ? there - y * p.inside_w : y;
    }
}

// Four elements, of which `count` are there, to floats in shared memory; float32 goes as bs_copy16 does.
template <class T>
BS_DEVICE void attention_copy4(bs_shared<float> to, int at, bs_global<const T> from, int64_t j, int count,
                               bool vectors)
{
    if constexpr (std::is_same_v<T, bs_f32>)
        if (vectors && count >= 4) {
            bs_copy16(to, at, from, j);
            return;
        }
    bs_store4(to, at, tile_read4<T>(from, j, count, vectors));
}

// Keys [first, first + ROWS) of the window (part K or V) to shared memory, zeros behind the last key and the last feature.
template <class T, int FEATURES, int ROWS>
BS_DEVICE void attention_copy_keys(bs_shared<float> to, int stride, const bs__attention_arguments &a,
                                   const attention_place &p, int part, int first)
{
    const bs_global<const T> qkv = bs_at<const T>(a.qkv);
    for (int i = (int)threadIdx.x; i < ROWS * (FEATURES / 4); i += TILE_THREADS) {
        const int row = i / (FEATURES / 4), feature = i % (FEATURES / 4) * 4, key = first + row;
        const int count = key < p.keys ? a.features - feature : 0, at = row * stride + feature;
        const int64_t token = count > 0 ? attention_key_token(a, p, key) : -1;
        if (token >= 0)
            attention_copy4(to, at, qkv, attention_qkv_at(a, p, part, token) + feature, count, a.vectors);
        else if (count > 0 && a.pad)
            attention_copy4(to, at, bs_at<const T>(a.pad), attention_pad_at(a, p, part) + feature, count,
                            a.vectors);
        else
            bs_store4(to, at, bs_float4{{0, 0, 0, 0}});
    }
}

// Queries [first, first + ROWS) of the window from `from`, where those of a token begin at attention_qkv_at (of_qkv) or
// attention_y_at; zeros behind.
template <class T, int FEATURES, int ROWS, bool of_qkv>
BS_DEVICE void attention_copy_queries(bs_shared<float> to, int stride, const bs__attention_arguments &a,
                                      const attention_place &p, bs_global<const T> from, int first)
{
    for (int i = (int)threadIdx.x; i < ROWS * (FEATURES / 4); i += TILE_THREADS) {
        const int row = i / (FEATURES / 4), feature = i % (FEATURES / 4) * 4, query = first + row;
        const int count = query < p.queries ? a.features - feature : 0;
        int64_t place = 0;
        if (count > 0) {
            const int64_t token = attention_query_token(a, p, query);
            place = of_qkv ? attention_qkv_at(a, p, ATTENTION_Q, token) : attention_y_at(a, p, token);
        }
        attention_copy4(to, row * stride + feature, from, place + feature, count, a.vectors);
    }
}

// Rows [first, first + ROWS) of a table of `rows` rows; zeros behind.
template <class T, int FEATURES, int ROWS>
BS_DEVICE void attention_copy_table(bs_shared<float> to, int stride, const bs__attention_arguments &a,
                                    bs_global<const T> table, int first, int rows)
{
    for (int i = (int)threadIdx.x; i < ROWS * (FEATURES / 4); i += TILE_THREADS) {
        const int row = i / (FEATURES / 4), feature = i % (FEATURES / 4) * 4;
        const int count = first + row < rows ? a.features - feature : 0;
        attention_copy4(to, row * stride + feature, table, (int64_t)(first + row) * a.features + feature,
                        count, a.vectors);
    }
}

// Products of the tile's queries with the table of one axis, times log2(e): to[at[i] + j] for query tile_row(i) and every position
// j of a key on the axis, nothing where at[i] is negative. A query meets table row r at j = its position - r + length - 1.
// `rows` is room for KEYS rows. Begins and ends with a barrier.
template <class T, int FEATURES, int ROWS, int KEYS, class PLACE>
BS_DEVICE void attention_bias(PLACE to, const int64_t (&at)[ROWS], bs_shared<float> query,
                              bs_shared<float> rows, int stride, const bs__attention_arguments &a,
                              const attention_place &p, uint64_t table, const attention_axis &axis,
                              bool along_x)
{
    int position[ROWS];
    attention_positions(position, p, along_x);
    for (int first = axis.low; first < axis.high + axis.length; first += KEYS) {
        bs_barrier();
        attention_copy_table<T, FEATURES, KEYS>(rows, stride, a, bs_at<const T>(table), first,
                                                2 * axis.length - 1);
        bs_copy_commit();
        bs_copy_wait<0>();
        bs_barrier();
        float product[ROWS][KEYS / 8] = {};
        tile_along_along(product, query, stride, rows, stride, (a.features + 3) & ~3);
        BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int j = 0; j < KEYS / 8; j++)
        {
            const int key = position[i] - (first + tile_column(j)) + axis.length - 1;
            if (key >= 0 && key < axis.length && at[i] >= 0)
                bs_store(to, at[i] + key, product[i][j] * 1.44269504f);
        }
    }
    bs_barrier();
}

#endif
