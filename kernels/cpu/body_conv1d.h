/* Causal depthwise convolution along the tokens, SiLU behind it, for one or both directions of a scan in one pass (scan.h).
   Tokens go by a few at a time so that weights are read once for all of them, features in the order of memory. */

#define CONV_TOKENS 8

/* One token by the definition: any number of taps, and the ends of the sequence. */
static vec conv1d_token(const struct bs__conv1d *c, int direction, int64_t sample, int64_t token,
                        int64_t block, int live)
{
    const float *w = c->direction[direction].weights + block * c->kernel * L;
    const float *bias = c->direction[direction].bias;
    vec sum = bias ? load_f32(bias + block * L) : splat(0);
    for (int k = 0; k < c->kernel; k++) {
        const int64_t back = c->kernel - 1 - k;
        const int64_t from = c->direction[direction].reverse ? token + back : token - back;
        if (from >= 0 && from < c->length)
            sum = fma_v(load_f32(w + k * L), load_lanes(&c->src, sample, from, block * L, live), sum);
    }
    return sum;
}

/* Four taps of a few tokens away from the ends: token + tap * step for tap = 0..3, the last one being the token itself. */
INLINE void conv1d_four(const int count, const struct bs__conv1d *c, int direction, int64_t sample, int64_t t,
                        int64_t block)
{
    const float *w = c->direction[direction].weights + block * 4 * L;
    const float *bias = c->direction[direction].bias;
    const int64_t step = c->direction[direction].reverse ? -1 : 1;
    const vec w0 = load_f32(w), w1 = load_f32(w + L), w2 = load_f32(w + 2 * L), w3 = load_f32(w + 3 * L);
    const vec b = bias ? load_f32(bias + block * L) : splat(0);
    vec y[SIDE_BY_SIDE];
    EACH_OF(count) y[i] = fma_v(w0, load_lanes(&c->src, sample, t + i - 3 * step, block * L, L), b);
    EACH_OF(count) y[i] = fma_v(w1, load_lanes(&c->src, sample, t + i - 2 * step, block * L, L), y[i]);
    EACH_OF(count) y[i] = fma_v(w2, load_lanes(&c->src, sample, t + i - step, block * L, L), y[i]);
    EACH_OF(count) y[i] = fma_v(w3, load_lanes(&c->src, sample, t + i, block * L, L), y[i]);
    if (c->silu)
        silu_each(count, y);
    EACH_OF(count) store_lanes(&c->direction[direction].dst, sample, t + i, block * L, L, y[i]);
}

static void conv1d(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__conv1d *c = ctx;
    const int64_t sample = task / c->runs, blocks = (c->features + L - 1) / L;
    const int64_t begin = task % c->runs * c->run;
    const int64_t end = begin + c->run < c->length ? begin + c->run : c->length;
    for (int64_t t0 = begin; t0 < end; t0 += CONV_TOKENS) {
        const int64_t t1 = t0 + CONV_TOKENS < end ? t0 + CONV_TOKENS : end;
        const bool inside = c->kernel == 4 && t0 >= 3 && t1 + 3 <= c->length;
        for (int64_t block = 0; block < blocks; block++) {
            const int live = c->features - block * L < L ? (int)(c->features - block * L) : L;
            for (int i = 0; i < c->ndirection; i++) {
                if (inside && live == L) {
                    int64_t t = t0;
                    for (; t + SIDE_BY_SIDE <= t1; t += SIDE_BY_SIDE)
                        conv1d_four(SIDE_BY_SIDE, c, i, sample, t, block);
                    for (; t < t1; t++)
                        conv1d_four(1, c, i, sample, t, block);
                    continue;
                }
                for (int64_t t = t0; t < t1; t++) {
                    vec y = conv1d_token(c, i, sample, t, block, live);
                    store_lanes(&c->direction[i].dst, sample, t, block * L, live, c->silu ? silu_v(y) : y);
                }
            }
        }
    }
}

/* Of the weights: every tap meets all tokens of the run before the next one. */
static void conv1d_grad(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__conv1d_grad *c = ctx;
    const int64_t sample = task / c->runs, blocks = (c->features + L - 1) / L;
    const int64_t begin = task % c->runs * c->run;
    const int64_t end = begin + c->run < c->length ? begin + c->run : c->length;
    float *part = c->part + task * blocks * c->kernel * L;
    for (int64_t block = 0; block < blocks; block++) {
        const int live = c->features - block * L < L ? (int)(c->features - block * L) : L;
        for (int k = 0; k < c->kernel; k++, part += L) {
            const int64_t shift = c->reverse ? c->kernel - 1 - k : k + 1 - c->kernel;
            vec sum = splat(0);
            for (int64_t t = begin; t < end; t++)
                if (t + shift >= 0 && t + shift < c->length)
                    sum = fma_v(load_lanes(&c->gy, sample, t, block * L, live),
                                load_lanes(&c->x, sample, t + shift, block * L, live), sum);
            store_f32(part, sum);
        }
    }
}
