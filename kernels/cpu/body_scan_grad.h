/* The backward of the selective scan of one direction; see scan.h, and selective_scan_grad.c for the formulas. Vectors run over
   features. First the recurrence alone, which leaves the states at the beginning of every piece; then the pieces from the
   last to the first: each makes its states again, keeping them and their decays, and goes back through them. */

#define SPAN BS__SCAN_GRAD_PIECE
#if defined(BS__AVX512)
#define BACK_STATES 8 /* of a group, with the gradients of the state and of a in registers */
#elif defined(BS__AVX2)
#define BACK_STATES 4
#else
#define BACK_STATES 1
#endif

/* Scratch of one worker. */
struct back_scratch {
    float *start;           /* (pieces, vectors, S, L): states before a piece */
    float *carry, *ga;      /* (vectors, S, L): e H of the token that follows; sums of H dt e h */
    float *gskip, *gbias;   /* (vectors, L) */
    float *decay, *state;   /* (SPAN, S, L), (SPAN + 1, S, L): state t is the one before token t */
    float *gb, *gc;         /* (SPAN, S, L): of the blocks so far */
    float *dt, *du, *u, *g; /* (SPAN, L) */
    float *slope, *sum;     /* of dt; sum of h C + skip u */
    float *sum_b, *sum_a;   /* sums over states of H B and of a e h H */
};

struct back_piece {
    int64_t sample, first, step, tokens, index;
    const float *b, *c; /* rows of the first token, `row` floats apart */
    int64_t row_b, row_c;
};

static void back_scratch(const struct bs__scan_grad *c, int worker, struct back_scratch *s)
{
    const int64_t pieces = (c->length + SPAN - 1) / SPAN, states = (int64_t)c->states * L;
    float *at = c->scratch + c->scratch_floats * (size_t)worker;
    s->start = take(&at, pieces * c->vectors * states);
    s->carry = take(&at, c->vectors * states);
    s->ga = take(&at, c->vectors * states);
    s->gskip = take(&at, (int64_t)c->vectors * L);
    s->gbias = take(&at, (int64_t)c->vectors * L);
    s->decay = take(&at, SPAN * states);
    s->state = take(&at, (SPAN + 1) * states);
    s->gb = take(&at, SPAN * states);
    s->gc = take(&at, SPAN * states);
    s->dt = take(&at, SPAN * L);
    s->du = take(&at, SPAN * L);
    s->u = take(&at, SPAN * L);
    s->g = take(&at, SPAN * L);
    s->slope = take(&at, SPAN * L);
    s->sum = take(&at, SPAN * L);
    s->sum_b = take(&at, SPAN * L);
    s->sum_a = take(&at, SPAN * L);
}

static struct back_piece back_piece_at(const struct bs__scan_grad *c, int64_t sample, int64_t index)
{
    struct back_piece p = {.sample = sample, .index = index, .step = c->reverse ? -1 : 1};
    const int64_t done = index * SPAN;
    p.first = c->reverse ? c->length - 1 - done : done;
    p.tokens = c->length - done < SPAN ? c->length - done : SPAN;
    p.b = (const float *)c->b.data + sample * c->b.sample + p.first * c->b.row;
    p.c = (const float *)c->c.data + sample * c->c.sample + p.first * c->c.row;
    p.row_b = p.step * c->b.row;
    p.row_c = p.step * c->c.row;
    return p;
}

static int lanes_of_block(const struct bs__scan_grad *c, int64_t block)
{
    return c->features - block * L < L ? (int)(c->features - block * L) : L;
}

/* dt and dt u of a piece. */
static void back_steps(const struct bs__scan_grad *c, const struct back_piece *p, int64_t block,
                       const struct back_scratch *s)
{
    const int live = lanes_of_block(c, block);
    const vec bias = load_f32(c->delta_bias + block * L);
    for (int64_t t = 0; t < p->tokens; t++) {
        const int64_t token = p->first + t * p->step;
        const vec v = load_lanes(&c->delta, p->sample, token, block * L, live) + bias;
        const vec dt = c->softplus ? softplus_v(v) : v;
        const vec u = load_lanes(&c->u, p->sample, token, block * L, live);
        store_f32(s->dt + t * L, dt);
        store_f32(s->u + t * L, u);
        store_f32(s->du + t * L, dt * u);
    }
}

/* What came back before the gate, the slope of dt, and where the sums begin. */
static void back_begin(const struct bs__scan_grad *c, const struct back_piece *p, int64_t block,
                       const struct back_scratch *s)
{
    const int live = lanes_of_block(c, block);
    const vec bias = load_f32(c->delta_bias + block * L), skip = load_f32(c->skip + block * L);
    for (int64_t t = 0; t < p->tokens; t++) {
        const int64_t token = p->first + t * p->step;
        vec g = load_lanes(&c->gy, p->sample, token, block * L, live);
        if (c->z.data)
            g *= silu_v(load_lanes(&c->z, p->sample, token, block * L, live));
        store_f32(s->g + t * L, g);
        vec slope = splat(1);
        if (c->softplus) {
            const vec v = load_lanes(&c->delta, p->sample, token, block * L, live) + bias;
            slope = 1.0f / (1.0f + exp2_v(at_least_v(v * splat(-LOG2E), -150)));
        }
        store_f32(s->slope + t * L, slope);
        store_f32(s->sum + t * L, skip * load_f32(s->u + t * L));
        store_f32(s->sum_b + t * L, splat(0));
        store_f32(s->sum_a + t * L, splat(0));
    }
}

/* The recurrence of `count` states from h on; keep: decays and states of every token, and the sum of h C. */
INLINE void retrace(const int count, const bool keep, const struct bs__scan_grad *c,
                    const struct back_piece *p, int first_state, const float *a, float *h,
                    const struct back_scratch *s)
{
    const float *b = p->b + first_state, *cs = p->c + first_state;
    float *decay = s->decay + first_state * L, *state = s->state + first_state * L;
    vec now[STATES];
#pragma GCC unroll 16
    for (int n = 0; n < count; n++)
        now[n] = load_f32(h + n * L);
    for (int64_t t = 0; t < p->tokens; t++, b += p->row_b, cs += p->row_c) {
        const vec dt = load_f32(s->dt + t * L), du = load_f32(s->du + t * L);
        vec sum = keep ? load_f32(s->sum + t * L) : splat(0);
#pragma GCC unroll 16
        for (int n = 0; n < count; n++) {
            const vec e = exp2_v(dt * load_f32(a + n * L));
            if (keep) {
                store_f32(decay + (t * c->states + n) * L, e);
                store_f32(state + (t * c->states + n) * L, now[n]);
            }
            now[n] = fma_v(e, now[n], du * splat(b[n]));
            if (keep)
                sum = fma_v(now[n], splat(cs[n]), sum);
        }
        if (keep)
            store_f32(s->sum + t * L, sum);
    }
#pragma GCC unroll 16
    for (int n = 0; n < count; n++)
        store_f32(keep ? state + (p->tokens * c->states + n) * L : h + n * L, now[n]);
}

#define OVER_STATES(group, CALL)                                                                             \
    do {                                                                                                     \
        int n = 0;                                                                                           \
        for (; n + (group) <= c->states; n += (group))                                                       \
            CALL(group);                                                                                     \
        for (; n < c->states; n++)                                                                           \
            CALL(1);                                                                                         \
    } while (0)

/* Back through `count` states of a piece. */
INLINE void go_back(const int count, const struct bs__scan_grad *c, const struct back_piece *p,
                    int first_state, const float *a, float *carry, float *ga, const struct back_scratch *s)
{
    vec back[BACK_STATES], rate[BACK_STATES];
#pragma GCC unroll 16
    for (int n = 0; n < count; n++) {
        back[n] = load_f32(carry + n * L);
        rate[n] = load_f32(ga + n * L);
    }
    for (int64_t t = p->tokens; t-- > 0;) {
        const float *b = p->b + t * p->row_b + first_state, *cs = p->c + t * p->row_c + first_state;
        const int64_t at = (t * c->states + first_state) * L;
        const vec g = load_f32(s->g + t * L), du = load_f32(s->du + t * L), dt = load_f32(s->dt + t * L);
        vec sum_b = load_f32(s->sum_b + t * L), sum_a = load_f32(s->sum_a + t * L);
#pragma GCC unroll 16
        for (int n = 0; n < count; n++) {
            float *gb = s->gb + at + n * L, *gc = s->gc + at + n * L;
            const vec own = fma_v(g, splat(cs[n]), back[n]);
            store_f32(gc, fma_v(g, load_f32(s->state + at + (c->states + n) * L), load_f32(gc)));
            store_f32(gb, fma_v(own, du, load_f32(gb)));
            sum_b = fma_v(own, splat(b[n]), sum_b);
            back[n] = own * load_f32(s->decay + at + n * L);
            const vec kept = back[n] * load_f32(s->state + at + n * L);
            sum_a = fma_v(kept, load_f32(a + n * L), sum_a);
            rate[n] = fma_v(kept, dt, rate[n]);
        }
        store_f32(s->sum_b + t * L, sum_b);
        store_f32(s->sum_a + t * L, sum_a);
    }
#pragma GCC unroll 16
    for (int n = 0; n < count; n++) {
        store_f32(carry + n * L, back[n]);
        store_f32(ga + n * L, rate[n]);
    }
}

/* Gradients of u, delta and z of a piece, and the sums for skip and delta_bias. `a` has the factor log2 e. */
static void back_end(const struct bs__scan_grad *c, const struct back_piece *p, int64_t block, int64_t own,
                     const struct back_scratch *s)
{
    const int live = lanes_of_block(c, block);
    const vec skip = load_f32(c->skip + block * L), log2 = splat(0.693147181F);
    vec gskip = load_f32(s->gskip + own * L), gbias = load_f32(s->gbias + own * L);
    for (int64_t t = p->tokens; t-- > 0;) {
        const int64_t token = p->first + t * p->step;
        const vec g = load_f32(s->g + t * L), u = load_f32(s->u + t * L), sum_b = load_f32(s->sum_b + t * L);
        const vec gdelta = fma_v(u, sum_b, load_f32(s->sum_a + t * L) * log2) * load_f32(s->slope + t * L);
        gskip = fma_v(g, u, gskip);
        gbias += gdelta;
        if (c->gu.data)
            store_lanes(&c->gu, p->sample, token, block * L, live,
                        fma_v(load_f32(s->dt + t * L), sum_b, skip * g));
        if (c->gdelta.data)
            store_lanes(&c->gdelta, p->sample, token, block * L, live, gdelta);
        if (c->gz.data) {
            const vec z = load_lanes(&c->z, p->sample, token, block * L, live);
            const vec gate = 1.0f / (1.0f + exp2_v(at_least_v(z * splat(-LOG2E), -150)));
            const vec gy = load_lanes(&c->gy, p->sample, token, block * L, live);
            store_lanes(&c->gz, p->sample, token, block * L, live,
                        gy * gate * fma_v(z, 1.0f - gate, splat(1)) * load_f32(s->sum + t * L));
        }
    }
    store_f32(s->gskip + own * L, gskip);
    store_f32(s->gbias + own * L, gbias);
}

/* Sums over the lanes of a piece's (SPAN, S, L), into rows of states. */
static void sum_lanes(const struct bs__scan_grad *c, const struct back_piece *p, const float *from, float *to)
{
    for (int64_t t = 0; t < p->tokens; t++, from += (int64_t)c->states * L) {
        float *row = to + (p->first + t * p->step) * c->states;
        for (int n = 0; n < c->states; n += L) {
            vec x[L];
#pragma GCC unroll 16
            for (int i = 0; i < L; i++)
                x[i] = n + i < c->states ? load_f32(from + (n + i) * L) : splat(0);
            transpose_v(x);
#pragma GCC unroll 16
            for (int i = 1; i < L; i++)
                x[0] += x[i];
            if (n + L <= c->states)
                *(vec_u *)(row + n) = x[0];
            else
                for (int i = 0; n + i < c->states; i++)
                    row[n + i] = x[0][i];
        }
    }
}

/* States at the beginning of every piece of a block. */
static void find_starts(const struct bs__scan_grad *c, int64_t sample, int64_t block, int64_t own,
                        const struct back_scratch *s)
{
    const int64_t pieces = (c->length + SPAN - 1) / SPAN, states = (int64_t)c->states * L;
    const float *a = c->a + block * states;
    float *h = s->start + own * states;
    memset(h, 0, (size_t)states * sizeof *h);
    for (int64_t i = 0; i + 1 < pieces; i++) {
        const struct back_piece p = back_piece_at(c, sample, i);
        float *next = h + c->vectors * states;
        memcpy(next, h, (size_t)states * sizeof *h);
        h = next;
        back_steps(c, &p, block, s);
#define CALL(count) retrace(count, false, c, &p, n, a + n * L, h + n * L, s)
        OVER_STATES(STATES, CALL);
#undef CALL
    }
}

static void back_block(const struct bs__scan_grad *c, const struct back_piece *p, int64_t block, int64_t own,
                       const struct back_scratch *s)
{
    const int64_t states = (int64_t)c->states * L;
    const float *a = c->a + block * states;
    float *h = s->start + (p->index * c->vectors + own) * states;
    float *carry = s->carry + own * states, *ga = s->ga + own * states;
    back_steps(c, p, block, s);
    back_begin(c, p, block, s);
#define CALL(count) retrace(count, true, c, p, n, a + n * L, h + n * L, s)
    OVER_STATES(STATES, CALL);
#undef CALL
#define CALL(count) go_back(count, c, p, n, a + n * L, carry + n * L, ga + n * L, s)
    OVER_STATES(BACK_STATES, CALL);
#undef CALL
    back_end(c, p, block, own, s);
}

static void scan_grad(const void *ctx, int64_t task, int worker)
{
    const struct bs__scan_grad *c = ctx;
    const int64_t sample = task / c->groups, blocks = (c->features + L - 1) / L;
    const int64_t states = (int64_t)c->states * L, pieces = (c->length + SPAN - 1) / SPAN;
    const int64_t begin = task % c->groups * c->vectors;
    const int64_t end = begin + c->vectors < blocks ? begin + c->vectors : blocks;
    struct back_scratch s;
    back_scratch(c, worker, &s);
    for (int64_t block = begin; block < end; block++)
        find_starts(c, sample, block, block - begin, &s);
    memset(s.carry, 0, (size_t)(c->vectors * states) * sizeof(float));
    memset(s.ga, 0, (size_t)(c->vectors * states) * sizeof(float));
    memset(s.gskip, 0, (size_t)c->vectors * L * sizeof(float));
    memset(s.gbias, 0, (size_t)c->vectors * L * sizeof(float));
    for (int64_t i = pieces; i-- > 0;) {
        const struct back_piece p = back_piece_at(c, sample, i);
        memset(s.gb, 0, (size_t)(p.tokens * states) * sizeof(float));
        memset(s.gc, 0, (size_t)(p.tokens * states) * sizeof(float));
        for (int64_t block = begin; block < end; block++)
            back_block(c, &p, block, block - begin, &s);
        if (c->gb)
            sum_lanes(c, &p, s.gb, c->gb + task * c->length * c->states);
        if (c->gc)
            sum_lanes(c, &p, s.gc, c->gc + task * c->length * c->states);
    }
    const size_t own = (size_t)(end - begin);
    if (c->ga)
        memcpy(c->ga + (sample * blocks + begin) * states, s.ga, own * (size_t)states * sizeof(float));
    if (c->gskip)
        memcpy(c->gskip + (sample * blocks + begin) * L, s.gskip, own * L * sizeof(float));
    if (c->gbias)
        memcpy(c->gbias + (sample * blocks + begin) * L, s.gbias, own * L * sizeof(float));
}
