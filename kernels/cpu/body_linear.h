/* Rows times packed weights; see linear.h. A task takes a block of rows and some panels of output features: a block of
   the input features of its rows is brought into words (normed on the way), or read where it lies, and stays in the second
   cache with one panel of weights after another. What does not fit a block of input features waits in `partial`. */

/* The part of a task that does not change from tile to tile. */
struct linear_tile {
    const struct bs__linear *c;
    int64_t sample, row, count; /* rows of the task */
    const word *a;              /* first row */
    int64_t a_row;
    int64_t words;
    bool first, last;  /* block of input features */
    const float *bias; /* of one panel, padded */
    float *partial;    /* of one panel: (row, OCC) */
};

/* Activation, residual, and the way into the destination's type, for a tile that is not simply stored. */
static void finish_rows(const struct bs__linear *c, int64_t sample, int64_t row, int rows, int column,
                        int vectors, float *sum)
{
    for (int r = 0; r < rows; r++) {
        void *to = row_at(&c->dst, sample, row + r);
        const void *add = c->residual.data ? row_at(&c->residual, sample, row + r) : NULL;
        for (int v = 0; v < vectors; v++) {
            const int at = column + v * L, count = c->out - at < L ? c->out - at : L;
            vec x = act_v(c->act, load_f32(sum + r * OCC + v * L));
            if (add)
                x += load_values(add, c->residual.bf16, at, count);
            store_values(to, c->dst.bf16, at, count, x);
        }
    }
}

/* What will be added to a tile, brought closer while it is multiplied. */
INLINE void prefetch_rows(const int rows, const int vectors, const struct linear_tile *t, int64_t row,
                          int column)
{
    const struct bs__rows *from = &t->c->residual;
    for (int r = 0; r < rows; r++)
        for (int v = 0; v < vectors * L; v += 64 / (int)sizeof(float))
            __builtin_prefetch(values_at(row_at(from, t->sample, t->row + row + r), from->bf16, column + v));
}

/* Rows [row, row + rows) of the task times the panel whose features begin at `column`. */
INLINE void linear_rows(const int rows, const int vectors, const struct linear_tile *t, int64_t row,
                        const word *b, int column)
{
    const struct bs__linear *c = t->c;
    float *partial = t->partial + row * OCC;
    vec sum[MT][NV];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = load_f32(t->first ? t->bias + v * L : partial + r * OCC + v * L);
    if (t->last && c->residual.data)
        prefetch_rows(rows, vectors, t, row, column);
    multiply_tile(rows, vectors, t->a + row * t->a_row, t->a_row, 1, t->words, b, sum);
    const bool plain = t->last && c->act == BS__ROW_AS_IS && !c->residual.data;
    if (plain && column + vectors * L <= c->out && (!c->dst.bf16 || WORD_VALUES == 2)) {
        void *to = row_at(&c->dst, t->sample, t->row + row);
        if (c->dst.bf16) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    *(hvec_u *)((uint16_t *)to + r * c->dst.row + column + v * L) = narrow_v(sum[r][v]);
            return;
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                *(vec_u *)((float *)to + r * c->dst.row + column + v * L) = sum[r][v];
        return;
    }
    float tile[MT * OCC] __attribute__((aligned(64)));
    float *to = t->last ? tile : partial;
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_f32(to + r * OCC + v * L, sum[r][v]);
    if (t->last)
        finish_rows(c, t->sample, t->row + row, rows, column, vectors, tile);
}

static void linear_panel(const struct linear_tile *t, int vectors, const word *b, int column)
{
    int64_t row = 0, left = t->count;
#define STEP(n, v)                                                                                           \
    do {                                                                                                     \
        linear_rows(n, v, t, row, b, column);                                                                \
        row += (n);                                                                                          \
    } while (0)
    OVER_VECTORS(left, vectors, STEP);
#undef STEP
}

/* Mean and 1 / deviation of every row; variance around the mean, in two passes. */
static void row_statistics(const struct bs__linear *c, int64_t sample, int64_t row, int64_t count,
                           float *stats)
{
    for (int64_t r = 0; r < count; r++) {
        const void *x = row_at(&c->x, sample, row + r);
        float mean = 0, square = 0;
        if (c->norm == BS__ROW_LAYER_NORM) {
            vec sum = splat(0);
            for (int64_t i = 0; i < c->in; i += L)
                sum += load_values(x, c->x.bf16, i, c->in - i);
            mean = lane_sum(sum) / (float)c->in;
        }
        vec sum = splat(0);
        int64_t i = 0;
        for (; i + L <= c->in; i += L) {
            vec d = load_values(x, c->x.bf16, i, L) - mean;
            sum = fma_v(d, d, sum);
        }
        float rest[L] __attribute__((aligned(64))) = {0};
        if (i < c->in)
            store_f32(rest, load_values(x, c->x.bf16, i, c->in - i) - mean);
        square = lane_sum(sum);
        for (int64_t k = 0; i + k < c->in; k++)
            square += rest[k] * rest[k];
        stats[2 * r] = mean;
        stats[2 * r + 1] = 1.0f / sqrtf(square / (float)c->in + c->eps);
    }
}

INLINE vec normed_values(const struct bs__linear *c, const void *x, const float *stats, int64_t at,
                         int64_t count)
{
    vec y = (load_values(x, c->x.bf16, at, count) - stats[0]) * stats[1] *
            load_values(c->norm_weight, false, at, count);
    return c->norm_bias ? y + load_values(c->norm_bias, false, at, count) : y;
}

/* Words [from, from + words) of the rows, `words` rounded up to vectors apart. */
static void pack_rows(const struct bs__linear *c, int64_t sample, int64_t row, int64_t count, int64_t from,
                      int64_t words, int64_t a_row, const float *stats, word *a)
{
    for (int64_t r = 0; r < count; r++, a += a_row, stats += 2) {
        const void *x = row_at(&c->x, sample, row + r);
        for (int64_t i = 0; i < words; i += L) {
            const int64_t at = (from + i) * WORD_VALUES, left = c->in - at;
            word_vec w;
            if (c->norm == BS__ROW_PLAIN) {
                w = load_row_words(x, c->x.bf16, at, left);
            } else {
#ifdef BS__PAIRS
                w = words_of_v(normed_values(c, x, stats, at, left),
                               normed_values(c, x, stats, at + L, left - L));
#else
                w = normed_values(c, x, stats, at, left);
#endif
            }
            *(word_vec *)(a + i) = w;
        }
    }
}

INLINE void linear_task(const struct bs__linear *c, int64_t task, int worker, const bool widen)
{
    const int64_t column_task = task % c->column_tasks, block = task / c->column_tasks;
    const int64_t sample = block / c->row_tasks, row = block % c->row_tasks * c->rows_per_task;
    const int64_t left = c->rows - row, count = left < c->rows_per_task ? left : c->rows_per_task;
    const int panels = (c->out + OCC - 1) / OCC, first_panel = (int)column_task * c->panels_per_task;
    const int after_panel =
        first_panel + c->panels_per_task < panels ? first_panel + c->panels_per_task : panels;
    const int64_t words = (c->in + WORD_VALUES - 1) / WORD_VALUES, at_once = bs__linear_block(words, L);
    const int64_t a_row = at_once + L; /* never a whole page: rows must not share the sets of a cache */
    float *scratch = c->scratch + c->scratch_floats * (size_t)worker;
    float *bias = scratch, *stats = bias + OCC;
    word *a = (word *)(stats + (2 * c->rows_per_task + 15) / 16 * 16);
    float *partial = (float *)(a + (c->direct ? 0 : c->rows_per_task * a_row));
    float *wide = partial + (words > at_once ? c->rows_per_task * c->panels_per_task * OCC : 0);
    (void)wide;
    (void)widen;
    struct linear_tile t = {
        .c = c, .sample = sample, .row = row, .count = count, .bias = bias, .a = a, .a_row = a_row};
    if (c->norm != BS__ROW_PLAIN)
        row_statistics(c, sample, row, count, stats);
    for (int64_t from = 0; from < words; from += at_once) {
        t.words = words - from < at_once ? words - from : at_once;
        t.first = from == 0;
        t.last = from + t.words == words;
        if (c->direct) {
            t.a = (const word *)row_at(&c->x, sample, row) + from;
            t.a_row = c->x.row / WORD_VALUES;
        } else {
            pack_rows(c, sample, row, count, from, t.words, a_row, stats, a);
        }
        for (int p = first_panel; p < after_panel; p++) {
            const int column = p * OCC, features = c->out - column < OCC ? c->out - column : OCC;
            const int64_t at = ((int64_t)p * words + from) * OCC;
            const word *b = (const word *)c->weights + at;
            for (int v = 0; t.first && v < NV; v++)
                store_f32(bias + v * L, c->bias && v * L < features
                                            ? load_values(c->bias, false, column + v * L, features - v * L)
                                            : splat(0));
#ifndef BS__PAIRS
            if (widen) {
                const uint16_t *narrow = (const uint16_t *)c->weights + at;
                for (int64_t i = 0; i < t.words * OCC; i += L)
                    store_f32(wide + i, load_bf16(narrow + i));
                b = wide;
            }
#endif
            t.partial = partial + (int64_t)(p - first_panel) * c->rows_per_task * OCC;
            linear_panel(&t, (features + L - 1) / L, b, column);
        }
    }
}

#ifdef BS__PAIRS
static void linear_pairs(const void *ctx, int64_t task, int worker)
{
    linear_task(ctx, task, worker, false);
}
#else
static void linear_f32(const void *ctx, int64_t task, int worker)
{
    linear_task(ctx, task, worker, false);
}

static void linear_bf16(const void *ctx, int64_t task, int worker)
{
    linear_task(ctx, task, worker, true);
}
#endif
