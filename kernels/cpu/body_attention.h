/* Attention without the score matrix; see attention.h. The queries of a task lie in the lanes of vectors: a chunk of NV
   vectors of queries is the right operand of q k (features down) and its weights that of the sum over values (keys down), so
   maxima, sums and corrections are vectors too and nothing is ever added across lanes. A block of keys and values is
   brought into words once for all chunks of the task. */

struct attention_task {
    const struct bs__attention *c;
    struct bs__attention_layout at;
    int64_t sample, top, left, inside_w; /* of the window; columns of it that lie in the grid */
    int head;
    word *scratch;
};

/* Queries of one chunk and what is known about them so far. */
struct attention_chunk {
    int vectors, count;
    int64_t first; /* query of the window, counted over tokens inside the grid */
    word *query;   /* (word of feature, OCC) */
    float *out;    /* (feature, OCC) */
    float *rel; /* (h + w, OCC): relative positions by key row and by key column, times sqrt d; NULL: none */
    float *largest, *sum;
};

INLINE vec larger_v(vec a, vec b)
{
#ifdef BS__AVX512
    return (vec)_mm512_max_ps((__m512)a, (__m512)b);
#else
    ivec take = a > b;
    return (vec)(((ivec)a & take) | ((ivec)b & ~take));
#endif
}

/* Row of token (y, x) of the window, or NULL where it sticks out of the grid. */
INLINE const void *token_at(const struct attention_task *t, int64_t y, int64_t x)
{
    const int64_t gy = t->top + y, gx = t->left + x;
    if (gy >= t->c->grid_h || gx >= t->c->grid_w)
        return NULL;
    return row_at(&t->c->qkv, t->sample, gy * t->c->grid_w + gx);
}

/* Queries in the lanes, features (or pairs of them) down. */
static void pack_queries(const struct attention_task *t, const struct attention_chunk *k)
{
    const struct bs__attention *c = t->c;
    for (int v = 0; v < k->vectors; v++)
        for (int64_t i = 0; i < t->at.words; i += L) {
            vec x[L];
            for (int l = 0; l < L; l++) {
                const int64_t q = k->first + v * L + l;
                x[l] = splat(0);
                if (v * L + l < k->count) {
                    const void *row = token_at(t, q / t->inside_w, q % t->inside_w);
                    row = values_at(row, c->qkv.bf16, (int64_t)t->head * c->d);
                    x[l] = (vec)load_row_words(row, c->qkv.bf16, i * WORD_VALUES, c->d - i * WORD_VALUES);
                }
            }
            transpose_v(x);
            for (int64_t l = 0; l < L && i + l < t->at.words; l++)
                *(word_vec *)(k->query + (i + l) * OCC + v * L) = (word_vec)x[l];
        }
}

/* Relative positions of one axis: to[key position][query] = sqrt d * q table[query position - key position + length - 1].
   Neighbouring queries need the same rows of the table: each row meets all queries of the chunk, and each query takes
   its own. */
static void pack_relative(const struct attention_task *t, const struct attention_chunk *k, const word *table,
                          int64_t length, const int32_t *position, float *to)
{
    float *products = (float *)(t->scratch + t->at.products);
    const vec root = splat(sqrtf((float)t->c->d));
    int32_t low = position[0], high = low;
    for (int q = 1; q < k->count; q++) {
        low = position[q] < low ? position[q] : low;
        high = position[q] > high ? position[q] : high;
    }
    int64_t row = 0, left = high - low + length;
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV] = {0};                                                                               \
        multiply_tile(n, m, table + (low + row) * t->at.row, t->at.row, 1, t->at.words, k->query, sum);      \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(products + (row + r) * OCC + v * L, sum[r][v] * root);                             \
        row += (n);                                                                                          \
    } while (0)
    OVER_VECTORS(left, k->vectors, STEP);
#undef STEP
    for (int64_t key = 0; key < length; key++, to += OCC)
        for (int q = 0; q < k->vectors * L; q++)
            to[q] = products[(position[q < k->count ? q : 0] - key + length - 1 - low) * OCC + q];
}

/* A table of (rows, d) as words. */
static void pack_table(const struct attention_task *t, const float *table, int64_t rows, word *to)
{
    for (int64_t r = 0; r < rows; r++, table += t->c->d, to += t->at.row)
        for (int64_t i = 0; i < t->at.words; i += L)
            *(word_vec *)(to + i) = load_row_words(table, false, i * WORD_VALUES, t->c->d - i * WORD_VALUES);
}

static void begin_chunk(const struct attention_task *t, const struct attention_chunk *k)
{
    const struct bs__attention *c = t->c;
    pack_queries(t, k);
    memset(k->out, 0, (size_t)c->d * OCC * sizeof *k->out);
    for (int q = 0; q < OCC; q++) {
        k->largest[q] = -INFINITY;
        k->sum[q] = 0;
    }
    if (!k->rel)
        return;
    int32_t y[OCC], x[OCC];
    for (int q = 0; q < k->count; q++) {
        y[q] = (int32_t)((k->first + q) / t->inside_w);
        x[q] = (int32_t)((k->first + q) % t->inside_w);
    }
    const word *table = t->scratch + t->at.table;
    pack_relative(t, k, table, c->h, y, k->rel);
    pack_relative(t, k, table + (2 * c->h - 1) * t->at.row, c->w, x, k->rel + c->h * OCC);
}

/* Keys [from, from + count) of the window and their values; with pairs, two values of a feature side by side. */
static void pack_keys(const struct attention_task *t, int64_t from, int64_t count)
{
    const struct bs__attention *c = t->c;
    const int64_t width = (int64_t)c->heads * c->d, first = (int64_t)t->head * c->d;
    word *key = t->scratch + t->at.keys, *value = t->scratch + t->at.values;
    int32_t *position = (int32_t *)(t->scratch + t->at.positions);
    const void *values[2] = {NULL, NULL};
    bool bf16[2] = {false, false};
    int64_t y = from / c->w, x = from % c->w;
    for (int64_t j = 0; j < count; j++, key += t->at.row) {
        const void *row = token_at(t, y, x);
        const int half = (int)(j % WORD_VALUES);
        int64_t features = c->d;
        bf16[half] = row && c->qkv.bf16;
        if (!row) {
            row = c->pad;
            features = c->pad ? c->d : 0;
        }
        values[half] = features ? values_at(row, bf16[half], 2 * width + first) : NULL;
        if (features)
            row = values_at(row, bf16[half], width + first);
        for (int64_t i = 0; i < t->at.words; i += L)
            *(word_vec *)(key + i) =
                load_row_words(row, bf16[half], i * WORD_VALUES, features - i * WORD_VALUES);
        position[2 * j] = (int32_t)y;
        position[2 * j + 1] = (int32_t)(c->h + x);
        if (++x == c->w) {
            x = 0;
            y++;
        }
#ifdef BS__PAIRS
        if (!half && j + 1 < count)
            continue;
        if (!half)
            values[1] = NULL;
        for (int64_t i = 0; i < c->d; i += L, value += L) {
            vec low = load_values(values[0], bf16[0], i, values[0] ? c->d - i : 0);
            vec high = load_values(values[1], bf16[1], i, values[1] ? c->d - i : 0);
            *(word_vec *)value = pairs_of_v(low, high);
        }
#else
        for (int64_t i = 0; i < c->d; i += L, value += L)
            store_f32(value, load_values(values[0], bf16[0], i, values[0] ? c->d - i : 0));
#endif
    }
}

/* Keys [from, to) of the window and their values, brought into the second cache while something else is computed: rows lie
   kilobytes apart, where no processor looks ahead by itself. */
static void prefetch_keys(const struct attention_task *t, int64_t from, int64_t to)
{
    const struct bs__attention *c = t->c;
    const int64_t width = (int64_t)c->heads * c->d, first = width + (int64_t)t->head * c->d;
    const int64_t line = 64 / (c->qkv.bf16 ? 2 : 4);
    int64_t y = from / c->w, x = from % c->w;
    for (int64_t j = from; j < to; j++) {
        const void *row = token_at(t, y, x);
        for (int64_t i = 0; row && i < c->d; i += line) {
            __builtin_prefetch(values_at(row, c->qkv.bf16, first + i), 0, 2);
            __builtin_prefetch(values_at(row, c->qkv.bf16, first + width + i), 0, 2);
        }
        if (++x == c->w) {
            x = 0;
            y++;
        }
    }
}

/* sqrt d times the logits of a block of keys, into (key, OCC); the largest ones so far. */
static void score(const struct attention_task *t, const struct attention_chunk *k, int64_t count)
{
    const word *key = t->scratch + t->at.keys;
    const int32_t *position = (const int32_t *)(t->scratch + t->at.positions);
    float *to = (float *)(t->scratch + t->at.scores);
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV];                                                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] =                                \
                k->rel ? load_f32(k->rel + position[2 * r] * OCC + v * L) +                                  \
                             load_f32(k->rel + position[2 * r + 1] * OCC + v * L)                            \
                       : splat(0);                                                                           \
        multiply_tile(n, m, key, t->at.row, 1, t->at.words, k->query, sum);                                  \
        _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                                \
        {                                                                                                    \
            vec largest = load_f32(k->largest + v * L);                                                      \
            _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                            \
            {                                                                                                \
                largest = larger_v(largest, sum[r][v]);                                                      \
                store_f32(to + r * OCC + v * L, sum[r][v]);                                                  \
            }                                                                                                \
            store_f32(k->largest + v * L, largest);                                                          \
        }                                                                                                    \
        key += (n)*t->at.row;                                                                                \
        position += (n)*2;                                                                                   \
        to += (n)*OCC;                                                                                       \
    } while (0)
    OVER_VECTORS(count, k->vectors, STEP);
#undef STEP
}

#ifdef BS__PAIRS
#define WEIGHT(x) exp2_rough_v(x)
#else
#define WEIGHT(x) exp2_v(x)
#endif

/* Scores become weights exp(logit - largest logit), in place and in words; `before` holds the largest of the blocks before
   and becomes the factor by which their sums shrink. */
static void weigh(const struct attention_task *t, const struct attention_chunk *k, int64_t count,
                  float *before)
{
    const vec scale = splat(1.44269504f / sqrtf((float)t->c->d)); /* 2^x takes log2 e */
    for (int v = 0; v < k->vectors; v++) {
        float *score = (float *)(t->scratch + t->at.scores) + v * L;
        const vec top = load_f32(k->largest + v * L) * scale;
        const vec shrink = exp2_v(load_f32(before + v * L) * scale - top);
        vec sum[2] = {load_f32(k->sum + v * L) * shrink, splat(0)};
        store_f32(before + v * L, shrink);
        int64_t j = 0;
        for (; j + 2 <= count; j += 2, score += 2 * OCC) {
            vec a = WEIGHT(fma_v(load_f32(score), scale, -top));
            vec b = WEIGHT(fma_v(load_f32(score + OCC), scale, -top));
            sum[0] += a;
            sum[1] += b;
#ifdef BS__PAIRS
            *(word_vec *)(score - j / 2 * OCC) = pairs_of_v(a, b);
#else
            store_f32(score, a);
            store_f32(score + OCC, b);
#endif
        }
        if (j < count) {
            vec a = WEIGHT(fma_v(load_f32(score), scale, -top));
            sum[0] += a;
#ifdef BS__PAIRS
            *(word_vec *)(score - j / 2 * OCC) = pairs_of_v(a, splat(0));
#else
            store_f32(score, a);
#endif
        }
        store_f32(k->sum + v * L, sum[0] + sum[1]);
    }
}

/* out = out shrink + sum over keys of weight value */
static void add_values(const struct attention_task *t, const struct attention_chunk *k, int64_t count,
                       const float *shrink)
{
    const word *value = t->scratch + t->at.values, *weight = t->scratch + t->at.scores;
    const int64_t step = (t->c->d + L - 1) / L * L, words = (count + WORD_VALUES - 1) / WORD_VALUES;
    float *out = k->out;
    int64_t left = t->c->d;
#define STEP(n, m)                                                                                           \
    do {                                                                                                     \
        vec sum[MT][NV];                                                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++) sum[r][v] =                                \
                load_f32(out + r * OCC + v * L) * load_f32(shrink + v * L);                                  \
        multiply_tile(n, m, value, 1, step, words, weight, sum);                                             \
        _Pragma("GCC unroll 8") for (int r = 0; r < (n); r++)                                                \
            _Pragma("GCC unroll 4") for (int v = 0; v < (m); v++)                                            \
                store_f32(out + r * OCC + v * L, sum[r][v]);                                                 \
        value += (n);                                                                                        \
        out += (n)*OCC;                                                                                      \
    } while (0)
    OVER_VECTORS(left, k->vectors, STEP);
#undef STEP
}

static void store_lse(const struct attention_task *t, const struct attention_chunk *k)
{
    const struct bs__attention *c = t->c;
    const float scale = 1.0f / sqrtf((float)c->d);
    for (int q = 0; q < k->count; q++) {
        const int64_t y = t->top + (k->first + q) / t->inside_w, x = t->left + (k->first + q) % t->inside_w;
        c->lse[((t->sample * c->grid_h + y) * c->grid_w + x) * c->heads + t->head] =
            k->largest[q] * scale + logf(k->sum[q]);
    }
}

static void store_chunk(const struct attention_task *t, const struct attention_chunk *k)
{
    const struct bs__attention *c = t->c;
    if (c->lse)
        store_lse(t, k);
    for (int v = 0; v < k->vectors; v++) {
        const vec inverse = 1.0f / load_f32(k->sum + v * L);
        for (int64_t i = 0; i < c->d; i += L) {
            vec x[L];
            for (int l = 0; l < L; l++)
                x[l] = i + l < c->d ? load_f32(k->out + (i + l) * OCC + v * L) * inverse : splat(0);
            transpose_v(x);
            for (int l = 0; l < L && v * L + l < k->count; l++) {
                const int64_t q = k->first + v * L + l;
                const int64_t y = t->top + q / t->inside_w, z = t->left + q % t->inside_w;
                store_values(row_at(&c->dst, t->sample, y * c->grid_w + z), c->dst.bf16,
                             (int64_t)t->head * c->d + i, c->d - i, x[l]);
            }
        }
    }
}

static void attention(const void *ctx, int64_t task, int worker)
{
    const struct bs__attention *c = ctx;
    const int64_t windows = c->windows_y * c->windows_x, window = task / c->blocks % windows;
    const int64_t head = task / c->blocks / windows;
    struct attention_task t = {.c = c,
                               .at = bs__attention_layout(c, L, NV, WORD_VALUES),
                               .sample = head / c->heads,
                               .head = (int)(head % c->heads),
                               .top = window / c->windows_x * c->h,
                               .left = window % c->windows_x * c->w,
                               .scratch = (word *)(c->scratch + c->scratch_floats * (size_t)worker)};
    const int64_t inside_h = c->grid_h - t.top < c->h ? c->grid_h - t.top : c->h;
    t.inside_w = c->grid_w - t.left < c->w ? c->grid_w - t.left : c->w;
    const int64_t first = task % c->blocks * c->queries_per_task, left = inside_h * t.inside_w - first;
    if (left <= 0)
        return;
    const int64_t queries = left < c->queries_per_task ? left : c->queries_per_task;
    const int vectors = (int)((queries + L - 1) / L), chunks = (vectors + NV - 1) / NV;
    if (c->rel_h) {
        pack_table(&t, c->rel_h, 2 * c->h - 1, t.scratch + t.at.table);
        pack_table(&t, c->rel_w, 2 * c->w - 1, t.scratch + t.at.table + (2 * c->h - 1) * t.at.row);
    }
    const int64_t keys = c->h * c->w;
    prefetch_keys(&t, 0, c->keys < keys ? c->keys : keys);
    struct attention_chunk chunk[BS__ATTENTION_CHUNKS];
    for (int i = 0, v = 0; i < chunks; i++) {
        struct attention_chunk *k = &chunk[i];
        word *own = t.scratch + t.at.chunk + i * t.at.chunk_words;
        k->vectors = (vectors - v + chunks - i - 1) / (chunks - i);
        k->first = first + v * L;
        k->count = (int)(queries - v * L < k->vectors * L ? queries - v * L : k->vectors * L);
        k->largest = (float *)own;
        k->sum = k->largest + OCC;
        k->query = own + (int64_t)2 * OCC;
        k->out = (float *)(k->query + t.at.words * OCC);
        k->rel = c->rel_h ? k->out + (int64_t)c->d * OCC : NULL;
        begin_chunk(&t, k);
        v += k->vectors;
    }
    for (int64_t from = 0; from < keys; from += c->keys) {
        const int64_t count = keys - from < c->keys ? keys - from : c->keys, next = from + count;
        const int64_t ahead = keys - next < c->keys ? keys - next : c->keys;
        pack_keys(&t, from, count);
        for (int i = 0; i < chunks; i++) {
            prefetch_keys(&t, next + ahead * i / chunks, next + ahead * (i + 1) / chunks);
            float before[OCC] __attribute__((aligned(64)));
            memcpy(before, chunk[i].largest, sizeof before);
            score(&t, &chunk[i], count);
            weigh(&t, &chunk[i], count, before);
            add_values(&t, &chunk[i], count, before);
        }
    }
    for (int i = 0; i < chunks; i++)
        store_chunk(&t, &chunk[i]);
}
