/* The selective scan of one block of features (scan.h). Time is cut into pieces; of each piece first the step sizes are
   made, then the recurrence runs with a group of states in registers, then the result is gated and written. A reversed
   direction walks the same pieces from the end: position i of a piece is token first + i * step. */

#define PIECE BS__SCAN_PIECE
#if defined(BS__AVX512)
#define STATES 16 /* of a group: with 16 registers more for the exponential and its table */
#elif defined(BS__AVX2)
#define STATES 8
#else
#define STATES 2 /* a vector of 8 takes two of the portable 16 registers */
#endif

/* Scratch of one worker. */
struct scan_scratch {
    float *state;         /* (vectors, S, L) */
    float *b, *c, *low;   /* (PIECE, S or R) where rows are bf16 */
    float *dt, *du, *sum; /* (PIECE, L) */
};

/* Rows of small float32 vectors, one for each position of a piece. */
struct scan_rows {
    const float *data;
    int64_t step;
};

/* The rows of the piece that follows, asked for while this one is worked on: they lie too far apart for the processor to
   guess them, and all blocks of a task at once, because memory gives neighbours fastest. */
struct scan_ahead {
    uintptr_t at[3]; /* u, z, dst */
    int64_t block[3],
        row[3]; /* bytes to the next block, from the last block to the next row; 0: nothing to ask for */
    int column, columns;
};

/* Rows of this piece that are read when its recurrence is over: the next block's u, and z and dst of this one. They have been
   asked for already, but a power of two apart, so that the first cache keeps few of them. */
struct scan_near {
    uintptr_t at[3];
    int64_t row[3]; /* bytes to the next row; 0: nothing to ask for */
};

struct scan_piece {
    int64_t sample, first, step, tokens;
    struct scan_rows b, c, low;
};

INLINE float *take(float **at, int64_t count)
{
    float *p = *at;
    *at += (count + 15) / 16 * 16;
    return p;
}

INLINE vec load_lanes(const struct bs__rows *r, int64_t sample, int64_t token, int64_t feature, int live)
{
    const int64_t at = sample * r->sample + token * r->row + feature;
    if (live == L)
        return r->bf16 ? load_bf16_u((const uint16_t *)r->data + at)
                       : *(const vec_u *)((const float *)r->data + at);
    vec v = splat(0);
    for (int i = 0; i < live; i++)
        v[i] = r->bf16 ? f32_of(((const uint16_t *)r->data)[at + i]) : ((const float *)r->data)[at + i];
    return v;
}

INLINE void store_lanes(const struct bs__rows *r, int64_t sample, int64_t token, int64_t feature, int live,
                        vec v)
{
    const int64_t at = sample * r->sample + token * r->row + feature;
    if (live < L)
        for (int i = 0; i < live; i++)
            if (r->bf16)
                ((uint16_t *)r->data)[at + i] = bf16_of(v[i]);
            else
                ((float *)r->data)[at + i] = v[i];
    else if (r->bf16)
        *(hvec_u *)((uint16_t *)r->data + at) = bf16_of_v(v);
    else
        *(vec_u *)((float *)r->data + at) = v;
}

/* Rows as float32: where they lie, or copied from bf16. */
static struct scan_rows rows_of_piece(const struct bs__rows *r, const struct scan_piece *p, int width,
                                      float *copy)
{
    const int64_t at = p->sample * r->sample + p->first * r->row;
    if (!r->data)
        return (struct scan_rows){NULL, 0};
    if (!r->bf16)
        return (struct scan_rows){(const float *)r->data + at, p->step * r->row};
    for (int64_t t = 0; t < p->tokens; t++)
        for (int i = 0; i < width; i++)
            copy[t * width + i] = f32_of(((const uint16_t *)r->data)[at + t * p->step * r->row + i]);
    return (struct scan_rows){copy, width};
}

INLINE void softplus_all(const int count, vec *x)
{
#pragma GCC unroll 8
    for (int i = 0; i < count; i += SIDE_BY_SIDE)
        softplus_each(count - i < SIDE_BY_SIDE ? count - i : SIDE_BY_SIDE, x + i);
}

/* dt, dt u and skip u of a few positions, so that the projection's weights are read once for all. */
INLINE void step_sizes(const int count, const struct bs__scan *c, const struct bs__scan_direction *d,
                       const struct scan_piece *p, int64_t block, int live, int64_t t,
                       const struct scan_scratch *s)
{
    vec dt[8];
    const vec bias = d->delta_bias ? load_f32(d->delta_bias + block * L) : splat(0);
    const vec skip = d->skip ? load_f32(d->skip + block * L) : splat(0);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++)
        dt[i] = bias;
    if (p->low.data) {
        const float *w = d->delta_weights + block * c->rank * L, *x = p->low.data + t * p->low.step;
        for (int r = 0; r < c->rank; r++, w += L)
#pragma GCC unroll 8
            for (int i = 0; i < count; i++)
                dt[i] = fma_v(load_f32(w), splat(x[i * p->low.step + r]), dt[i]);
    } else
#pragma GCC unroll 8
        for (int i = 0; i < count; i++)
            dt[i] += load_lanes(&d->delta, p->sample, p->first + (t + i) * p->step, block * L, live);
    if (c->softplus)
        softplus_all(count, dt);
#pragma GCC unroll 8
    for (int i = 0; i < count; i++) {
        const vec u = load_lanes(&d->u, p->sample, p->first + (t + i) * p->step, block * L, live);
        store_f32(s->dt + (t + i) * L, dt[i]);
        store_f32(s->du + (t + i) * L, dt[i] * u);
        store_f32(s->sum + (t + i) * L, skip * u);
    }
}

INLINE void ask_ahead(struct scan_ahead *a)
{
    const bool wrap = ++a->column == a->columns;
    a->column = wrap ? 0 : a->column;
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        __builtin_prefetch((const void *)a->at[i]);
        a->at[i] += (uintptr_t)(wrap ? a->row[i] : a->block[i]);
    }
}

INLINE void ask_near(struct scan_near *a)
{
#pragma GCC unroll 3
    for (int i = 0; i < 3; i++) {
        __builtin_prefetch((const void *)a->at[i]);
        a->at[i] += (uintptr_t)a->row[i];
    }
}

/* 2^(dt a) */
INLINE vec decay(const bool fused, vec dt, vec a)
{
#if defined(BS__AVX512)
    if (fused)
        return exp2_of_product_v(dt, a);
#endif
    (void)fused;
    return exp2_v(dt * a);
}

/* The recurrence of `count` states over a piece; a, state: (count, L). One group of a block asks for rows: ahead and near, or
   neither. */
INLINE void recurrence(const int count, const bool fused, const struct scan_piece *p, int first_state,
                       const float *a, float *state, const struct scan_scratch *s, struct scan_ahead *ahead,
                       struct scan_near *near)
{
    const float *b = p->b.data + first_state, *c = p->c.data + first_state;
    struct scan_ahead next = ahead ? *ahead : (struct scan_ahead){{0}, {0}, {0}, 0, 0};
    vec h[STATES];
#pragma GCC unroll 16
    for (int n = 0; n < count; n++)
        h[n] = load_f32(state + n * L);
    for (int64_t t = 0; t < p->tokens; t++, b += p->b.step, c += p->c.step) {
        if (ahead) {
            ask_ahead(&next);
            ask_near(near);
        }
        const vec dt = load_f32(s->dt + t * L), du = load_f32(s->du + t * L);
        vec sum = load_f32(s->sum + t * L);
#pragma GCC unroll 16
        for (int n = 0; n < count; n++) {
            h[n] = fma_v(decay(fused, dt, load_f32(a + n * L)), h[n], du * splat(b[n]));
            sum = fma_v(h[n], splat(c[n]), sum);
        }
        store_f32(s->sum + t * L, sum);
    }
#pragma GCC unroll 16
    for (int n = 0; n < count; n++)
        store_f32(state + n * L, h[n]);
    if (ahead)
        *ahead = next;
}

/* All states of a block, in groups. */
INLINE void recur(const bool fused, const struct scan_piece *p, int states, const float *a, float *state,
                  const struct scan_scratch *s, struct scan_ahead *ahead, struct scan_near *near)
{
    int n = 0;
    if (states >= STATES) {
        recurrence(STATES, fused, p, 0, a, state, s, ahead, near);
        n = STATES;
    }
    for (; n + STATES <= states; n += STATES)
        recurrence(STATES, fused, p, n, a + n * L, state + n * L, s, NULL, NULL);
    for (; n < states; n++)
        recurrence(1, fused, p, n, a + n * L, state + n * L, s, NULL, NULL);
}

INLINE vec sum_of_sizes(const float *x, int64_t count)
{
    vec sum = splat(0);
    for (int64_t i = 0; i < count; i++)
        sum += (vec)((ivec)load_f32(x + i * L) & 0x7fffffff);
    return sum;
}

/* Whether no |dt a| can be above 2^40, which is what the fused decay takes. Not with a NaN among them. */
INLINE bool products_are_small(int64_t tokens, const float *dt, int states, const float *a)
{
    const vec bound = sum_of_sizes(dt, tokens) * sum_of_sizes(a, states);
    for (int i = 0; i < L; i++)
        if (!(bound[i] <= 0x1p40F))
            return false;
    return true;
}

/* What a few positions have come to: added to the first direction's, gated and scaled after the last. */
INLINE void results(const int count, const struct bs__scan *c, int direction, const struct scan_piece *p,
                    int64_t block, int live, int64_t t, const struct scan_scratch *s)
{
    const bool last = direction == c->ndirection - 1;
    const int64_t token = p->first + t * p->step;
    vec gate[SIDE_BY_SIDE];
    EACH_OF(count) gate[i] = splat(last ? c->scale : 1);
    if (last && c->z.data) {
        EACH_OF(count) gate[i] = load_lanes(&c->z, p->sample, token + i * p->step, block * L, live);
        silu_each(count, gate);
        EACH_OF(count) gate[i] = gate[i] * splat(c->scale);
    }
    EACH_OF(count)
    {
        vec y = load_f32(s->sum + (t + i) * L);
        if (direction > 0)
            y += load_lanes(&c->dst, p->sample, token + i * p->step, block * L, live);
        store_lanes(&c->dst, p->sample, token + i * p->step, block * L, live, y * gate[i]);
    }
}

static void run_piece(const struct bs__scan *c, int direction, const struct scan_piece *p, int64_t block,
                      float *state, const struct scan_scratch *s, struct scan_ahead *ahead,
                      struct scan_near *near)
{
    const struct bs__scan_direction *d = &c->direction[direction];
    const int live = c->features - block * L < L ? (int)(c->features - block * L) : L;
    const float *a = d->a + block * c->states * L;
    int64_t t = 0;
    for (; t + 8 <= p->tokens; t += 8)
        step_sizes(8, c, d, p, block, live, t, s);
    for (; t < p->tokens; t++)
        step_sizes(1, c, d, p, block, live, t, s);
    if (c->fused && products_are_small(p->tokens, s->dt, c->states, a))
        recur(true, p, c->states, a, state, s, ahead, near);
    else
        recur(false, p, c->states, a, state, s, ahead, near);
    for (t = 0; t + SIDE_BY_SIDE <= p->tokens; t += SIDE_BY_SIDE)
        results(SIDE_BY_SIDE, c, direction, p, block, live, t, s);
    for (; t < p->tokens; t++)
        results(1, c, direction, p, block, live, t, s);
}

/* What follows piece p; nothing after the last of a direction. */
static struct scan_ahead ahead_of(const struct bs__scan *c, const struct bs__scan_direction *d,
                                  const struct scan_piece *p, int64_t begin, int64_t end)
{
    const int64_t token = p->first + p->tokens * p->step;
    const struct bs__rows *rows[3] = {&d->u, &c->z, &c->dst};
    struct scan_ahead ahead = {.columns = (int)(end - begin)};
    for (int i = 0; i < 3 && token >= 0 && token < c->length; i++)
        if (rows[i]->data) {
            const int64_t size = rows[i]->bf16 ? 2 : 4;
            ahead.at[i] =
                (uintptr_t)rows[i]->data +
                (uintptr_t)((p->sample * rows[i]->sample + token * rows[i]->row + begin * L) * size);
            ahead.block[i] = L * size;
            ahead.row[i] = (p->step * rows[i]->row - (end - begin - 1) * L) * size;
        }
    return ahead;
}

static struct scan_near near_of(const struct bs__scan *c, const struct bs__scan_direction *d,
                                const struct scan_piece *p, int64_t block, int64_t next)
{
    const struct bs__rows *rows[3] = {&d->u, &c->z, &c->dst};
    const int64_t of[3] = {next, block, block};
    struct scan_near near = {{0}, {0}};
    for (int i = 0; i < 3; i++)
        if (rows[i]->data) {
            const int64_t size = rows[i]->bf16 ? 2 : 4;
            near.at[i] =
                (uintptr_t)rows[i]->data +
                (uintptr_t)((p->sample * rows[i]->sample + p->first * rows[i]->row + of[i] * L) * size);
            near.row[i] = p->step * rows[i]->row * size;
        }
    return near;
}

static void scan(const void *ctx, int64_t task, int worker)
{
    const struct bs__scan *c = ctx;
    const int64_t sample = task / c->groups, blocks = (c->features + L - 1) / L;
    const int64_t begin = task % c->groups * c->vectors;
    const int64_t end = begin + c->vectors < blocks ? begin + c->vectors : blocks;
    float *at = c->scratch + c->scratch_floats * (size_t)worker;
    struct scan_scratch s;
    s.state = take(&at, (int64_t)c->vectors * c->states * L);
    s.b = take(&at, (int64_t)PIECE * c->states);
    s.c = take(&at, (int64_t)PIECE * c->states);
    s.low = take(&at, (int64_t)PIECE * c->rank);
    s.dt = take(&at, PIECE * L);
    s.du = take(&at, PIECE * L);
    s.sum = take(&at, PIECE * L);
    for (int i = 0; i < c->ndirection; i++) {
        const struct bs__scan_direction *d = &c->direction[i];
        memset(s.state, 0, (size_t)c->vectors * (size_t)c->states * L * sizeof *s.state);
        for (int64_t done = 0; done < c->length; done += PIECE) {
            struct scan_piece p = {.sample = sample, .step = d->reverse ? -1 : 1};
            p.first = d->reverse ? c->length - 1 - done : done;
            p.tokens = c->length - done < PIECE ? c->length - done : PIECE;
            p.b = rows_of_piece(&d->b, &p, c->states, s.b);
            p.c = rows_of_piece(&d->c, &p, c->states, s.c);
            p.low = rows_of_piece(&d->low, &p, c->rank, s.low);
            struct scan_ahead ahead = ahead_of(c, d, &p, begin, end);
            for (int64_t block = begin; block < end; block++) {
                struct scan_near near = near_of(c, d, &p, block, block + 1 < end ? block + 1 : block);
                run_piece(c, i, &p, block, s.state + (block - begin) * c->states * L, &s, &ahead, &near);
            }
        }
    }
}
