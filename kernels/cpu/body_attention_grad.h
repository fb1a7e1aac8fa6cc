/* The gradients of attention without the score matrix; see attention.h. As in the forward (body_attention.h) a chunk of queries
   lies in the lanes. For every block of keys
     P   (key, query) = exp(logit - lse)           dS (key, query) = P (v gy - gy y)
     gq  (feature, query) += k dS                  gk (key, feature) += dS q,  gv (key, feature) += P gy
   are products of a few rows with vectors of queries, or of features. */

struct grad_task {
    struct attention_task t;   /* of the forward */
    struct bs__attention back; /* the forward with gy in place of q */
    const struct bs__attention_grad *c;
    struct bs__attention_grad_layout at;
    float *scratch;
    int64_t window_keys;
};

/* One chunk of queries. */
struct grad_chunk {
    struct attention_chunk k;
    float lse[OCC], gy_y[OCC]; /* lse in units of log 2 */
};

INLINE int64_t grad_token(const struct grad_task *g, int64_t query)
{
    const struct attention_task *t = &g->t;
    return (t->top + query / t->inside_w) * t->c->grid_w + t->left + query % t->inside_w;
}

/* Rows of a chunk, features in lanes: (columns / OCC, query, OCC), zeros behind what is there. */
static void pack_feature_rows(const struct grad_task *g, const struct grad_chunk *k,
                              const struct bs__rows *rows, float *to)
{
    const int64_t first = (int64_t)g->t.head * g->t.c->d;
    for (int64_t f = 0; f < g->at.columns; f += OCC)
        for (int q = 0; q < k->k.vectors * L; q++, to += OCC)
            for (int i = 0; i < OCC; i += L) {
                vec x = splat(0);
                if (q < k->k.count)
                    x = load_values(row_at(rows, g->t.sample, grad_token(g, k->k.first + q)), false,
                                    first + f + i, g->t.c->d - f - i);
                store_f32(to + i, x);
            }
}

static void begin_grad_chunk(const struct grad_task *g, struct grad_chunk *k)
{
    const struct bs__attention *c = g->t.c;
    const int64_t first = (int64_t)g->t.head * c->d;
    struct attention_task back = g->t;
    struct attention_chunk gy = k->k;
    back.c = &g->back;
    gy.query = g->scratch + g->at.gy;
    pack_queries(&g->t, &k->k);
    pack_queries(&back, &gy);
    pack_feature_rows(g, k, &c->qkv, g->scratch + g->at.query_rows);
    pack_feature_rows(g, k, &g->c->gy, g->scratch + g->at.gy_rows);
    memset(g->scratch + g->at.gq, 0, (size_t)(g->at.rel - g->at.gq) * sizeof(float));
    for (int q = 0; q < OCC; q++) {
        k->lse[q] = 0;
        k->gy_y[q] = 0;
        if (q >= k->k.count)
            continue;
        const int64_t token = grad_token(g, k->k.first + q);
        const void *y = row_at(&c->dst, g->t.sample, token), *from = row_at(&g->c->gy, g->t.sample, token);
        vec sum = splat(0);
        for (int64_t i = 0; i < c->d; i += L)
            sum = fma_v(load_values(y, false, first + i, c->d - i),
                        load_values(from, false, first + i, c->d - i), sum);
        k->gy_y[q] = lane_sum(sum);
        k->lse[q] =
            c->lse[(g->t.sample * c->grid_h * c->grid_w + token) * c->heads + g->t.head] * 1.44269504f;
    }
    if (!k->k.rel)
        return;
    int32_t y[OCC], x[OCC];
    for (int q = 0; q < k->k.count; q++) {
        y[q] = (int32_t)((k->k.first + q) / g->t.inside_w);
        x[q] = (int32_t)((k->k.first + q) % g->t.inside_w);
    }
    const word *table = g->scratch + g->at.at.table;
    pack_relative(&g->t, &k->k, table, c->h, y, k->k.rel);
    pack_relative(&g->t, &k->k, table + (2 * c->h - 1) * g->at.at.row, c->w, x, k->k.rel + c->h * OCC);
    memset(g->scratch + g->at.grel, 0, (size_t)(c->h + c->w) * OCC * sizeof(float));
}

/* P and dS of keys [from, from + count). Queries that are not there have q = gy = 0 and get P of some finite size, which
   nothing takes: their rows of q and gy are zeros. */
static void weigh_slopes(const struct grad_task *g, const struct grad_chunk *k, int64_t from, int64_t count)
{
    const float *key = g->scratch + g->at.at.keys + from * g->at.at.row;
    const float *value = g->scratch + g->at.at.values + from * g->at.at.row;
    const int32_t *position = (const int32_t *)(g->scratch + g->at.at.positions) + 2 * from;
    const float *query = g->scratch + g->at.query, *gy = g->scratch + g->at.gy;
    float *weights = g->scratch + g->at.weights, *slopes = g->scratch + g->at.slopes;
    const vec scale = splat(1.44269504f / sqrtf((float)g->t.c->d));
    int64_t left = count;
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV];                                                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] =                                \
                k->k.rel ? load_f32(k->k.rel + position[2 * r] * OCC + v * L) +                              \
                               load_f32(k->k.rel + position[2 * r + 1] * OCC + v * L)                        \
                         : splat(0);                                                                         \
        multiply_tile(n, m, key, g->at.at.row, 1, g->t.c->d, query, sum);                                    \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(weights + r * OCC + v * L,                                                         \
                          exp2_v(fma_v(sum[r][v], scale, -*(const vec_u *)(k->lse + v * L))));               \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] = splat(0);                      \
        multiply_tile(n, m, value, g->at.at.row, 1, g->t.c->d, gy, sum);                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(slopes + r * OCC + v * L, load_f32(weights + r * OCC + v * L) *                    \
                                                        (sum[r][v] - *(const vec_u *)(k->gy_y + v * L)));    \
        key += (n)*g->at.at.row;                                                                             \
        value += (n)*g->at.at.row;                                                                           \
        position += (n)*2;                                                                                   \
        weights += (n)*OCC;                                                                                  \
        slopes += (n)*OCC;                                                                                   \
    } while (0)
    OVER_VECTORS(left, k->k.vectors, STEP);
#undef STEP
}

/* to (rows of keys, columns) += from (key, query) times the chunk's rows (query, feature) */
static void add_to_keys(const struct grad_task *g, const struct grad_chunk *k, const float *from,
                        const float *rows, int64_t count, float *to)
{
    const int64_t queries = (int64_t)k->k.vectors * L;
    for (int64_t f = 0; f < g->t.c->d; f += OCC, rows += queries * OCC) {
        const int64_t features = g->t.c->d - f < OCC ? g->t.c->d - f : OCC;
        const int vectors = (int)((features + L - 1) / L);
        const float *a = from;
        float *out = to + f;
        int64_t left = count;
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV];                                                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] =                                \
                load_f32(out + r * g->at.columns + v * L);                                                   \
        multiply_tile(n, m, a, OCC, 1, queries, rows, sum);                                                  \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(out + r * g->at.columns + v * L, sum[r][v]);                                       \
        a += (n)*OCC;                                                                                        \
        out += (n)*g->at.columns;                                                                            \
    } while (0)
        OVER_VECTORS(left, vectors, STEP);
#undef STEP
    }
}

/* gq (feature, query) += key (key, feature) times dS (key, query), still without 1 / sqrt d */
static void add_to_queries(const struct grad_task *g, const struct grad_chunk *k, int64_t from, int64_t count)
{
    const float *key = g->scratch + g->at.at.keys + from * g->at.at.row;
    const float *slopes = g->scratch + g->at.slopes;
    float *gq = g->scratch + g->at.gq;
    int64_t left = g->t.c->d;
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV];                                                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] =                                \
                load_f32(gq + r * OCC + v * L);                                                              \
        multiply_tile(n, m, key, 1, g->at.at.row, count, slopes, sum);                                       \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(gq + r * OCC + v * L, sum[r][v]);                                                  \
        key += (n);                                                                                          \
        gq += (n)*OCC;                                                                                       \
    } while (0)
    OVER_VECTORS(left, k->k.vectors, STEP);
#undef STEP
}

/* dS summed over the keys of a row, and of a column, of the window. */
static void add_to_positions(const struct grad_task *g, const struct grad_chunk *k, int64_t from,
                             int64_t count)
{
    const int32_t *position = (const int32_t *)(g->scratch + g->at.at.positions) + 2 * from;
    const float *slopes = g->scratch + g->at.slopes;
    float *grel = g->scratch + g->at.grel;
    for (int64_t j = 0; j < count; j++, slopes += OCC, position += 2)
        for (int v = 0; v < k->k.vectors; v++) {
            const vec s = load_f32(slopes + v * L);
            float *row = grel + position[0] * OCC + v * L, *column = grel + position[1] * OCC + v * L;
            store_f32(row, load_f32(row) + s);
            store_f32(column, load_f32(column) + s);
        }
}

/* What one axis gives to the q of a query, whose gradient is `gq`, and to the table's rows. */
INLINE void spread_axis(const struct grad_task *g, int q, int64_t position, int64_t length, const float *grel,
                        const float *table, float *gtable, const float *query, float *gq)
{
    for (int64_t key = 0; key < length; key++) {
        const int64_t row = (position - key + length - 1) * g->at.at.row;
        const vec s = splat(grel[key * OCC + q]);
        for (int64_t i = 0; i < g->at.at.row; i += L) {
            store_f32(gq + i, fma_v(s, load_f32(table + row + i), load_f32(gq + i)));
            store_f32(gtable + row + i, fma_v(s, load_f32(query + i), load_f32(gtable + row + i)));
        }
    }
}

/* gq of a chunk, row by row into gqkv; tables get their share. row: memory for two. */
static void end_grad_chunk(const struct grad_task *g, const struct grad_chunk *k, float *row)
{
    const struct bs__attention *c = g->t.c;
    const float scale = 1.0f / sqrtf((float)c->d);
    const float *gq = g->scratch + g->at.gq, *table = g->scratch + g->at.at.table;
    const float *grel = g->scratch + g->at.grel;
    float *gtable = g->scratch + g->at.gtable, *query = row + g->at.at.row;
    const int64_t behind = (2 * c->h - 1) * g->at.at.row;
    for (int q = 0; q < k->k.count; q++) {
        const int64_t token = grad_token(g, k->k.first + q);
        const void *own = row_at(&c->qkv, g->t.sample, token);
        for (int64_t i = 0; i < g->at.at.row; i++)
            row[i] = i < c->d ? gq[i * OCC + q] * scale : 0;
        if (k->k.rel) {
            for (int64_t i = 0; i < g->at.at.row; i += L)
                store_f32(query + i, load_values(own, false, (int64_t)g->t.head * c->d + i, c->d - i));
            spread_axis(g, q, (k->k.first + q) / g->t.inside_w, c->h, grel, table, gtable, query, row);
            spread_axis(g, q, (k->k.first + q) % g->t.inside_w, c->w, grel + c->h * OCC, table + behind,
                        gtable + behind, query, row);
        }
        if (g->c->gqkv)
            memcpy(g->c->gqkv + (g->t.sample * c->grid_h * c->grid_w + token) * 3 * c->heads * c->d +
                       (int64_t)g->t.head * c->d,
                   row, (size_t)c->d * sizeof *row);
    }
}

/* gk and gv of the window: to their tokens, or to padding. */
static void store_keys(const struct grad_task *g, int64_t task)
{
    const struct bs__attention *c = g->t.c;
    const float scale = 1.0f / sqrtf((float)c->d);
    const float *gk = g->scratch + g->at.gk, *gv = g->scratch + g->at.gv;
    const int64_t width = (int64_t)c->heads * c->d, first = (int64_t)g->t.head * c->d;
    float *pad = g->c->pad ? g->c->pad + task * 2 * c->d : NULL;
    if (pad)
        memset(pad, 0, (size_t)(2 * c->d) * sizeof *pad);
    for (int64_t j = 0; j < g->window_keys; j++, gk += g->at.columns, gv += g->at.columns) {
        const int64_t y = g->t.top + j / c->w, x = g->t.left + j % c->w;
        if (y >= c->grid_h || x >= c->grid_w) {
            for (int64_t i = 0; pad && i < c->d; i++) {
                pad[i] += gk[i] * scale;
                pad[c->d + i] += gv[i];
            }
            continue;
        }
        if (!g->c->gqkv)
            continue;
        float *to = g->c->gqkv + ((g->t.sample * c->grid_h + y) * c->grid_w + x) * 3 * width + width + first;
        for (int64_t i = 0; i < c->d; i++) {
            to[i] = gk[i] * scale;
            to[width + i] = gv[i];
        }
    }
}

static void store_tables(const struct grad_task *g, int64_t task)
{
    const struct bs__attention *c = g->t.c;
    const int64_t rows = 2 * c->h - 1 + 2 * c->w - 1;
    const float *from = g->scratch + g->at.gtable;
    for (int64_t r = 0; r < rows; r++)
        memcpy(g->c->rel + (task * rows + r) * c->d, from + r * g->at.at.row, (size_t)c->d * sizeof(float));
}

static void attention_grad(const void *ctx, int64_t task, int worker)
{
    const struct bs__attention_grad *all = ctx;
    const struct bs__attention *c = &all->forward;
    const int64_t windows = c->windows_y * c->windows_x, window = task % windows, head = task / windows;
    struct grad_task g = {.c = all,
                          .at = bs__attention_grad_layout(all, L, OCC),
                          .scratch = all->scratch + all->scratch_floats * (size_t)worker,
                          .back = *c,
                          .window_keys = c->h * c->w};
    g.back.qkv = all->gy;
    g.t = (struct attention_task){.c = c,
                                  .at = g.at.at,
                                  .sample = head / c->heads,
                                  .head = (int)(head % c->heads),
                                  .top = window / c->windows_x * c->h,
                                  .left = window % c->windows_x * c->w,
                                  .scratch = g.scratch};
    const int64_t inside_h = c->grid_h - g.t.top < c->h ? c->grid_h - g.t.top : c->h;
    g.t.inside_w = c->grid_w - g.t.left < c->w ? c->grid_w - g.t.left : c->w;
    const int64_t queries = inside_h * g.t.inside_w;
    if (c->rel_h) {
        pack_table(&g.t, c->rel_h, 2 * c->h - 1, g.scratch + g.at.at.table);
        pack_table(&g.t, c->rel_w, 2 * c->w - 1, g.scratch + g.at.at.table + (2 * c->h - 1) * g.at.at.row);
    }
    pack_keys(&g.t, 0, g.window_keys);
    memset(g.scratch + g.at.gtable, 0, (size_t)(g.at.query - g.at.gtable) * sizeof(float));
    for (int64_t first = 0; first < queries; first += OCC) {
        struct grad_chunk k = {.k = {.first = first,
                                     .count = (int)(queries - first < OCC ? queries - first : OCC),
                                     .query = g.scratch + g.at.query,
                                     .rel = c->rel_h ? g.scratch + g.at.rel : NULL}};
        k.k.vectors = (k.k.count + L - 1) / L;
        begin_grad_chunk(&g, &k);
        for (int64_t from = 0; from < g.window_keys; from += all->keys) {
            const int64_t left = g.window_keys - from, count = left < all->keys ? left : all->keys;
            weigh_slopes(&g, &k, from, count);
            add_to_keys(&g, &k, g.scratch + g.at.weights, g.scratch + g.at.gy_rows, count,
                        g.scratch + g.at.gv + from * g.at.columns);
            add_to_keys(&g, &k, g.scratch + g.at.slopes, g.scratch + g.at.query_rows, count,
                        g.scratch + g.at.gk + from * g.at.columns);
            add_to_queries(&g, &k, from, count);
            if (k.k.rel)
                add_to_positions(&g, &k, from, count);
        }
        end_grad_chunk(&g, &k, g.scratch + g.at.rows);
    }
    store_keys(&g, task);
    if (all->rel)
        store_tables(&g, task);
}
