// Gradients of attention in float (attention_grad.h). With P = exp(logit - lse) and D = P (gy v - delta):
//   gv = P^T gy,   gk = D^T q / sqrt d,   gq = D k / sqrt d + (D summed by key row and column) (rows of the tables).
// P and D are made again, tile by tile, twice: by blocks that own keys (for gk and gv) and by blocks that own queries (gq and the
// gradients of relative positions), so that no two blocks add to one place. Relative positions are made once, to memory;
// the blocks that own queries leave their gradients there, and the tables' gradients are sums over those.
// Bound by multiply-adds: four products of the size of the forward's two in each pass.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/attention_grad_arguments.h"

// delta: eight threads for a token's head.
template <class T> BS_DEVICE void attention_grad_delta(const bs__attention_grad_arguments &g)
{
    const bs__attention_arguments &a = g.forward;
    const int64_t row = (int64_t)blockIdx.x * 16 + tile_y(), rows = g.samples * a.tokens * a.heads;
    float sum = 0;
    for (int f = tile_x() * 4; row < rows && f < a.features; f += 32) {
        const bs_float4 y = tile_read4<T>(bs_at<const T>(a.y), row * a.features + f, a.features - f,
                                          a.vectors),
                        gy = tile_read4<T>(bs_at<const T>(g.gy), row * a.features + f, a.features - f,
                                           a.vectors);
        BS_UNROLL for (int e = 0; e < 4; e++) sum = bs_fma(y.at[e], gy.at[e], sum);
    }
    BS_UNROLL for (int mask = 1; mask < 8; mask *= 2) sum += bs_lane_across(sum, mask);
    if (row < rows && tile_x() == 0)
        bs_store(bs_at<float>(g.delta), row, sum);
}

// Where the relative positions of a query begin, of its token in a head of a sample.
BS_DEVICE int64_t attention_relative_at(const bs__attention_arguments &a, const attention_place &p,
                                        int64_t token)
{
    return ((p.sample * a.heads + p.head) * a.tokens + token) * (a.h + a.w);
}

template <class T, int FEATURES> BS_DEVICE void attention_grad_relative(const bs__attention_grad_arguments &g)
{
    constexpr int ROWS = 2, QUERIES = 16 * ROWS, KEYS = 32, STRIDE = FEATURES + 4;
    const bs__attention_arguments &a = g.forward;
    const attention_place p = attention_here(a, QUERIES);
    if (p.first >= p.queries)
        return;
    BS_SHARED(float, shared, (QUERIES + KEYS) * STRIDE);
    const bs_shared<float> query = shared, rows = query + QUERIES * STRIDE;
    attention_copy_queries<T, FEATURES, QUERIES, true>(query, STRIDE, a, p, bs_at<const T>(a.qkv), p.first);
    bs_copy_commit();
    int64_t at[ROWS];
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        const int q = p.first + tile_row(i);
        at[i] = q < p.queries ? attention_relative_at(a, p, attention_query_token(a, p, q)) : -1;
    }
    const bs_global<float> to = bs_at<float>(g.relative);
    attention_bias<T, FEATURES, ROWS, KEYS>(to, at, query, rows, STRIDE, a, p, a.rel_h,
                                            attention_axis_y(a, p, QUERIES), false);
    attention_bias<T, FEATURES, ROWS, KEYS>(to + a.h, at, query, rows, STRIDE, a, p, a.rel_w,
                                            attention_axis_x(a, p, QUERIES), true);
}

// From products q k and gy v of a tile to P and D. first_query, first_key: of the tile in the window.
template <int ROWS, int COLUMNS>
BS_DEVICE void attention_grad_weights(float (&score)[ROWS][COLUMNS], float (&grad)[ROWS][COLUMNS],
                                      const bs__attention_grad_arguments &g, const attention_place &p,
                                      int first_query, int first_key)
{
    const bs__attention_arguments &a = g.forward;
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        const int q = first_query + tile_row(i);
        const bool asks = q < p.queries;
        const int64_t token = asks ? attention_query_token(a, p, q) : 0,
                      row = (p.sample * a.tokens + token) * a.heads + p.head;
        const int64_t relative = attention_relative_at(a, p, token);
        const float lse = asks ? bs_load(bs_at<const float>(a.lse), row) * 1.44269504f : 0.0f;
        const float delta = asks ? bs_load(bs_at<const float>(g.delta), row) : 0.0f;
        BS_UNROLL for (int j = 0; j < COLUMNS; j++)
        {
            const int k = first_key + tile_column(j);
            float weight = 0;
            if (asks && k < p.keys) {
                const int y = attention_row(a, k), x = k - y * a.w;
                float bias = -lse;
                if (a.rel_h)
                    bias += bs_load(bs_at<const float>(g.relative), relative + y) +
                            bs_load(bs_at<const float>(g.relative), relative + a.h + x);
                weight = bs_exp2(bs_fma(score[i][j], a.scale, bias));
            }
            score[i][j] = weight;
            grad[i][j] = weight * (grad[i][j] - delta);
        }
    }
}

// gk and gv of 64 keys of a window, over all its queries.
template <class T, int FEATURES, int ROWS>
BS_DEVICE void attention_grad_keys(const bs__attention_grad_arguments &g)
{
    constexpr int QUERIES = 16 * ROWS, KEYS = 64, STRIDE = FEATURES + 4, WEIGHTS = KEYS + 4,
                  COLUMNS = (FEATURES + 31) / 32 * 4;
    const bs__attention_arguments &a = g.forward;
    const attention_place p = attention_here(a, KEYS);
    BS_SHARED_DYNAMIC(float, shared);
    const bs_shared<float> key = shared, value = key + KEYS * STRIDE, query = value + KEYS * STRIDE,
                           gy = query + QUERIES * STRIDE, weight = gy + QUERIES * STRIDE,
                           change = weight + QUERIES * WEIGHTS;
    attention_copy_keys<T, FEATURES, KEYS>(key, STRIDE, a, p, ATTENTION_K, p.first);
    attention_copy_keys<T, FEATURES, KEYS>(value, STRIDE, a, p, ATTENTION_V, p.first);
    float gk[4][COLUMNS] = {}, gv[4][COLUMNS] = {};
    const int depth = (a.features + 3) & ~3;
    for (int first = 0; first < p.queries; first += QUERIES) {
        bs_barrier(); // the last queries were read
        attention_copy_queries<T, FEATURES, QUERIES, true>(query, STRIDE, a, p, bs_at<const T>(a.qkv), first);
        attention_copy_queries<T, FEATURES, QUERIES, false>(gy, STRIDE, a, p, bs_at<const T>(g.gy), first);
        bs_copy_commit();
        bs_copy_wait<0>();
        bs_barrier();
        float score[ROWS][8] = {}, grad[ROWS][8] = {};
        tile_along_along(score, query, STRIDE, key, STRIDE, depth);
        tile_along_along(grad, gy, STRIDE, value, STRIDE, depth);
        attention_grad_weights(score, grad, g, p, first, p.first);
        BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int j = 0; j < 8; j++)
        {
            bs_store(weight, tile_row(i) * WEIGHTS + tile_column(j), score[i][j]);
            bs_store(change, tile_row(i) * WEIGHTS + tile_column(j), grad[i][j]);
        }
        bs_barrier();
        tile_across_across<KEYS, FEATURES>(gv, weight, WEIGHTS, gy, STRIDE, QUERIES);
        tile_across_across<KEYS, FEATURES>(gk, change, WEIGHTS, query, STRIDE, QUERIES);
    }

    const float scale = a.scale * 0.693147181f;
    const bs_global<T> to = bs_at<T>(g.gqkv);
    BS_UNROLL for (int i = 0; i < 4; i++)
    {
        const int k = p.first + tile_row_across(i);
        const int64_t token = k < p.keys ? attention_key_token(a, p, k) : -1;
        BS_UNROLL for (int c = 0; c < COLUMNS; c += 4)
        {
            const int f = tile_column_across(c);
            const bs_float4 k4 = {{gk[i][c] * scale, gk[i][c + 1] * scale, gk[i][c + 2] * scale,
                                   gk[i][c + 3] * scale}},
                            v4 = {{gv[i][c], gv[i][c + 1], gv[i][c + 2], gv[i][c + 3]}};
            if (token >= 0) {
                tile_write4(to, attention_qkv_at(a, p, ATTENTION_K, token) + f, a.features - f, a.vectors,
                            k4);
                tile_write4(to, attention_qkv_at(a, p, ATTENTION_V, token) + f, a.features - f, a.vectors,
                            v4);
            }
            // The padding's share lies in shared memory by key; keys inside the grid add nothing.
            if (g.pad_parts && f < FEATURES) {
                const bool outside = k < p.keys && token < 0;
                const bs_float4 none = {{0, 0, 0, 0}};
                bs_store4(key, tile_row_across(i) * STRIDE + f, outside ? k4 : none);
                bs_store4(value, tile_row_across(i) * STRIDE + f, outside ? v4 : none);
            }
        }
    }
    if (!g.pad_parts)
        return;
    bs_barrier();
    const int64_t part = (p.sample * a.windows_y * a.windows_x + p.window) * a.tiles + p.first / KEYS;
    for (int i = (int)threadIdx.x; i < 2 * a.features; i += TILE_THREADS) {
        const int of_value = i >= a.features, f = i - of_value * a.features;
        float sum = 0;
        for (int r = 0; r < KEYS; r++)
            sum += bs_load(of_value ? value : key, r * STRIDE + f);
        bs_store(bs_at<float>(g.pad_parts), ((part * 2 + of_value) * a.heads + p.head) * a.features + f, sum);
    }
}

// Gradients of the relative positions of one tile of keys: lane l of a warp has one of its queries, by key row (l < 16) or column.
template <int ROWS, int KEYS>
BS_DEVICE void attention_grad_positions(bs_shared<float> gbias, bs_shared<float> change,
                                        const bs__attention_arguments &a, const attention_place &p, int first)
{
    const int lane = (int)threadIdx.x & 31, i = lane >> 2 & 3,
              row = (int)(threadIdx.x >> 5) * 4 + (lane & 3) + 16 * i;
    const int last = first + KEYS < p.keys ? KEYS : p.keys - first, by_column = lane >> 4;
    if (i >= ROWS)
        return;
    int y = attention_row(a, first), x = first - y * a.w;
    const int at = row * a.bias_stride + (by_column ? a.h : 0);
    float sum = by_column ? 0.0f : bs_load(gbias, at + y);
    for (int k = 0; k < last; k++) {
        const float v = bs_load(change, row * (KEYS + 4) + k);
        if (by_column)
            bs_store(gbias, at + x, bs_load(gbias, at + x) + v);
        else
            sum += v;
        if (++x == a.w || k + 1 == last) {
            if (!by_column) {
                bs_store(gbias, at + y, sum);
                sum = k + 1 < last ? bs_load(gbias, at + y + 1) : 0.0f;
            }
            x = 0;
            y++;
        }
    }
}

// gq of a tile of queries, over all keys of their window, and the gradients of their relative positions.
template <class T, int FEATURES, int ROWS>
BS_DEVICE void attention_grad_queries(const bs__attention_grad_arguments &g)
{
    constexpr int QUERIES = 16 * ROWS, KEYS = 32, STRIDE = FEATURES + 4, WEIGHTS = KEYS + 4;
    constexpr int COLUMNS = (FEATURES + 31) / 32 * 4;
    const bs__attention_arguments &a = g.forward;
    const attention_place p = attention_here(a, QUERIES);
    if (p.first >= p.queries)
        return;
    BS_SHARED_DYNAMIC(float, shared);
    const bs_shared<float> query = shared, gy = query + QUERIES * STRIDE, key = gy + QUERIES * STRIDE,
                           value = key + KEYS * STRIDE, change = value + KEYS * STRIDE,
                           gbias = change + QUERIES * WEIGHTS;
    attention_copy_queries<T, FEATURES, QUERIES, true>(query, STRIDE, a, p, bs_at<const T>(a.qkv), p.first);
    attention_copy_queries<T, FEATURES, QUERIES, false>(gy, STRIDE, a, p, bs_at<const T>(g.gy), p.first);
    for (int i = (int)threadIdx.x; i < QUERIES * a.bias_stride; i += TILE_THREADS)
        bs_store(gbias, i, 0.0f);
    float gq[ROWS][COLUMNS] = {};
    const int depth = (a.features + 3) & ~3;
    for (int first = 0; first < p.keys; first += KEYS) {
        bs_barrier(); // the last keys were read
        attention_copy_keys<T, FEATURES, KEYS>(key, STRIDE, a, p, ATTENTION_K, first);
        attention_copy_keys<T, FEATURES, KEYS>(value, STRIDE, a, p, ATTENTION_V, first);
        bs_copy_commit();
        bs_copy_wait<0>();
        bs_barrier();
        float score[ROWS][4] = {}, grad[ROWS][4] = {};
        tile_along_along(score, query, STRIDE, key, STRIDE, depth);
        tile_along_along(grad, gy, STRIDE, value, STRIDE, depth);
        attention_grad_weights(score, grad, g, p, p.first, first);
        BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int j = 0; j < 4; j++)
            bs_store(change, tile_row(i) * WEIGHTS + tile_column(j), grad[i][j]);
        bs_warp_barrier(); // a warp reads the rows that it wrote
        tile_along_across<FEATURES>(gq, change, WEIGHTS, key, STRIDE, KEYS);
        if (a.bias_stride)
            attention_grad_positions<ROWS, KEYS>(gbias, change, a, p, first);
    }

    const float scale = a.scale * 0.693147181f;
    BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int c = 0; c < COLUMNS; c++) gq[i][c] *= scale;
    for (int along_x = 0; along_x < 2 && a.bias_stride; along_x++) {
        const attention_axis axis =
            along_x ? attention_axis_x(a, p, QUERIES) : attention_axis_y(a, p, QUERIES);
        const bs_global<const T> table = bs_at<const T>(along_x ? a.rel_w : a.rel_h);
        int position[ROWS];
        attention_positions(position, p, along_x);
        for (int first = axis.low; first < axis.high + axis.length; first += KEYS) {
            bs_barrier();
            attention_copy_table<T, FEATURES, KEYS>(key, STRIDE, a, table, first, 2 * axis.length - 1);
            bs_copy_commit();
            BS_UNROLL for (int i = 0; i < ROWS; i++) BS_UNROLL for (int j = 0; j < 4; j++)
            {
                const int k = position[i] - (first + tile_column(j)) + axis.length - 1;
                const int at = tile_row(i) * a.bias_stride + (along_x ? a.h : 0) + k;
                bs_store(change, tile_row(i) * WEIGHTS + tile_column(j),
                         k >= 0 && k < axis.length ? bs_load(gbias, at) : 0.0f);
            }
            bs_copy_wait<0>();
            bs_barrier();
            tile_along_across<FEATURES>(gq, change, WEIGHTS, key, STRIDE, KEYS);
        }
    }

    const bs_global<T> to = bs_at<T>(g.gqkv);
    BS_UNROLL for (int i = 0; i < ROWS; i++)
    {
        const int q = p.first + tile_row(i);
        if (q >= p.queries)
            continue;
        const int64_t token = attention_query_token(a, p, q), relative = attention_relative_at(a, p, token);
        BS_UNROLL for (int c = 0; c < COLUMNS; c += 4)
        {
            const int f = tile_column_across(c);
            const bs_float4 v = {{gq[i][c], gq[i][c + 1], gq[i][c + 2], gq[i][c + 3]}};
            tile_write4(to, attention_qkv_at(a, p, ATTENTION_Q, token) + f, a.features - f, a.vectors, v);
        }
        for (int j = tile_x(); a.bias_stride && j < a.h + a.w; j += 8)
            bs_store(bs_at<float>(g.relative), relative + j, bs_load(gbias, tile_row(i) * a.bias_stride + j));
    }
}

// Sums for 64 rows of a table over the queries of one chunk: the gradients of relative positions, by table row, times q.
template <class T, int FEATURES> BS_DEVICE void attention_grad_table(const bs__attention_grad_arguments &g)
{
    constexpr int QUERIES = 32, TABLE = 64, STRIDE = FEATURES + 4, WEIGHTS = TABLE + 4,
                  COLUMNS = (FEATURES + 31) / 32 * 4;
    const bs__attention_arguments &a = g.forward;
    const int rows_h = 2 * a.h - 1, rows_w = 2 * a.w - 1, tiles_h = (rows_h + TABLE - 1) / TABLE;
    const int chunk = (int)(blockIdx.x % (unsigned)g.chunks), tile = (int)(blockIdx.x / (unsigned)g.chunks);
    const bool along_x = tile >= tiles_h;
    const int first = (along_x ? tile - tiles_h : tile) * TABLE, rows = along_x ? rows_w : rows_h;
    BS_SHARED(float, shared, QUERIES *(STRIDE + WEIGHTS));
    const bs_shared<float> query = shared, change = query + QUERIES * STRIDE;
    float sum[4][COLUMNS] = {};
    const int windows = a.windows_y * a.windows_x;
    const int64_t items = g.samples * a.heads * windows * g.query_tiles;
    for (int64_t item = chunk; item < items; item += g.chunks) {
        int64_t rest = item;
        const int start = (int)(rest % g.query_tiles) * QUERIES;
        rest /= g.query_tiles;
        const int window = (int)(rest % windows);
        rest /= windows;
        const attention_place p = attention_window(a, rest / a.heads, (int)(rest % a.heads), window, start);
        if (p.first >= p.queries)
            continue;
        const attention_axis axis =
            along_x ? attention_axis_x(a, p, QUERIES) : attention_axis_y(a, p, QUERIES);
        if (first >= axis.high + axis.length || first + TABLE <= axis.low)
            continue;
        bs_barrier();
        attention_copy_queries<T, FEATURES, QUERIES, true>(query, STRIDE, a, p, bs_at<const T>(a.qkv),
                                                           p.first);
        bs_copy_commit();
        for (int i = (int)threadIdx.x; i < QUERIES * TABLE; i += TILE_THREADS) {
            const int q = i / TABLE, r = i % TABLE, y = (p.first + q) / p.inside_w,
                      x = p.first + q - y * p.inside_w;
            const int k = (along_x ? x : y) - (first + r) + axis.length - 1;
            float v = 0;
            if (p.first + q < p.queries && k >= 0 && k < axis.length)
                v = bs_load(bs_at<const float>(g.relative),
                            attention_relative_at(a, p, attention_query_token(a, p, p.first + q)) +
                                (along_x ? a.h : 0) + k);
            bs_store(change, q * WEIGHTS + r, v);
        }
        bs_copy_wait<0>();
        bs_barrier();
        tile_across_across<TABLE, FEATURES>(sum, change, WEIGHTS, query, STRIDE, QUERIES);
    }
    const bs_global<float> to = bs_at<float>(g.table_parts);
    BS_UNROLL for (int i = 0; i < 4; i++)
    {
        const int r = first + tile_row_across(i);
        if (r < rows)
            BS_UNROLL for (int c = 0; c < COLUMNS; c++)
            {
                const int f = tile_column_across(c);
                if (f < a.features)
                    bs_store(to,
                             ((int64_t)chunk * (rows_h + rows_w) + (along_x ? rows_h : 0) + r) * a.features +
                                 f,
                             sum[i][c]);
            }
    }
}

// One value of a table's or the padding's gradient for a thread: parts summed in order, back through the resampling.
BS_DEVICE void attention_grad_parts(const bs__attention_parts_arguments &s)
{
    const int64_t i = (int64_t)blockIdx.x * TILE_THREADS + threadIdx.x, row = i / s.features,
                  f = i % s.features;
    if (row >= s.rows)
        return;
    const bool resampled = s.rows != s.parts_rows;
    float total = 0;
    for (int64_t r = resampled ? 0 : row; r < (resampled ? s.parts_rows : row + 1); r++) {
        double share = 1;
        if (resampled) {
            double u = ((double)r + 0.5) * (double)s.rows / (double)s.parts_rows - 0.5;
            u = u < 0 ? 0 : u;
            const int64_t low = (int64_t)u, // below rows, since u is
                high = low < s.rows - 1 ? low + 1 : low;
            share = (row == low ? 1 - (u - (double)low) : 0) + (row == high ? u - (double)low : 0);
        }
        if (share == 0)
            continue;
        float sum = 0;
        for (int64_t part = 0; part < s.count; part++)
            sum += bs_load(bs_at<const float>(s.parts), part * s.stride + s.first + r * s.features + f);
        total = bs_fma((float)share, sum, total);
    }
    bs_store(bs_at<float>(s.to), i, total);
}

#define ATTENTION_GRAD_OF(type, T, room)                                                                     \
    BS_KERNEL_OF(attention_grad_relative_##room##_##type, TILE_THREADS, 4,                                   \
                 (attention_grad_relative<T, room>), bs__attention_grad_arguments)                           \
    BS_KERNEL_OF(attention_grad_keys_32x##room##_##type, TILE_THREADS, 2, (attention_grad_keys<T, room, 2>), \
                 bs__attention_grad_arguments)                                                               \
    BS_KERNEL_OF(attention_grad_keys_16x##room##_##type, TILE_THREADS, 2, (attention_grad_keys<T, room, 1>), \
                 bs__attention_grad_arguments)                                                               \
    BS_KERNEL_OF(attention_grad_queries_64x##room##_##type, TILE_THREADS, 2,                                 \
                 (attention_grad_queries<T, room, 4>), bs__attention_grad_arguments)                         \
    BS_KERNEL_OF(attention_grad_queries_16x##room##_##type, TILE_THREADS, 3,                                 \
                 (attention_grad_queries<T, room, 1>), bs__attention_grad_arguments)                         \
    BS_KERNEL_OF(attention_grad_table_##room##_##type, TILE_THREADS, 4, (attention_grad_table<T, room>),     \
                 bs__attention_grad_arguments)
#define ATTENTION_GRAD(type, T)                                                                              \
    BS_KERNEL(attention_grad_delta_##type, TILE_THREADS, attention_grad_delta<T>,                            \
              bs__attention_grad_arguments)                                                                  \
    ATTENTION_GRAD_OF(type, T, 32)                                                                           \
    ATTENTION_GRAD_OF(type, T, 64)                                                                           \
    ATTENTION_GRAD_OF(type, T, 80)                                                                           \
    ATTENTION_GRAD_OF(type, T, 128)
ATTENTION_GRAD(f32, bs_f32)
ATTENTION_GRAD(f16, bs_f16)
ATTENTION_GRAD(bf16, bs_bf16)
BS_KERNEL(attention_grad_parts_f32, TILE_THREADS, attention_grad_parts, bs__attention_parts_arguments)
