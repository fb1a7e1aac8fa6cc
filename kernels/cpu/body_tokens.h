/* Passes over rows of tokens: sums, norms, activations, rotary embedding, patches, and the way between tokens and blocked
   images. A row is brought into float32 scratch, padded with zeros to whole vectors, and worked on there: no tail needs
   care. */

INLINE bool has_rows(const struct bs__rows *r)
{
    return r->data != NULL;
}

/* First feature of a row. */
INLINE void *row_at(const struct bs__rows *r, int64_t sample, int64_t token)
{
    int64_t i = sample * r->sample + token * r->row;
    return r->bf16 ? (void *)((uint16_t *)r->data + i) : (void *)((float *)r->data + i);
}

/* to: aligned, room for whole vectors; the rest of the last one is zero. */
static void load_row(const struct bs__rows *r, int64_t sample, int64_t token, int features, float *to)
{
    const void *from = row_at(r, sample, token);
    int i = 0;
    if (r->bf16) {
        const uint16_t *x = from;
        for (; i + L <= features; i += L)
            store_f32(to + i, load_bf16_u(x + i));
        for (int k = i; k < features; k++)
            to[k] = f32_of(x[k]);
    } else {
        const float *x = from;
        for (; i + L <= features; i += L)
            store_f32(to + i, *(const vec_u *)(x + i));
        for (int k = i; k < features; k++)
            to[k] = x[k];
    }
    for (int k = features; k % L; k++)
        to[k] = 0;
}

static void store_row(const struct bs__rows *r, int64_t sample, int64_t token, int features, const float *x)
{
    void *to = row_at(r, sample, token);
    int i = 0;
    if (r->bf16) {
        uint16_t *y = to;
        for (; i + L <= features; i += L)
            *(hvec_u *)(y + i) = bf16_of_v(load_f32(x + i));
        for (; i < features; i++)
            y[i] = bf16_of(x[i]);
    } else {
        float *y = to;
        for (; i + L <= features; i += L)
            *(vec_u *)(y + i) = load_f32(x + i);
        for (; i < features; i++)
            y[i] = x[i];
    }
}

/* Biased variance around the mean, in two passes over the row; the padding is left zero. */
static void normalise(const struct bs__row_pass *c, float *x)
{
    const int whole = (c->features + L - 1) / L * L, full = c->features / L * L;
    const float count = (float)c->features;
    float mean = 0;
    if (c->norm == BS__ROW_LAYER_NORM) {
        vec sum = splat(0);
        for (int i = 0; i < whole; i += L)
            sum += load_f32(x + i);
        mean = lane_sum(sum) / count;
    }
    vec square = splat(0), m = splat(mean);
    for (int i = 0; i < full; i += L) {
        vec d = load_f32(x + i) - m;
        square = fma_v(d, d, square);
    }
    float sum = lane_sum(square);
    for (int i = full; i < c->features; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    const float var = sum / count;
    const vec scale = splat(1.0f / sqrtf(var + c->eps));
    for (int i = 0; i < whole; i += L) {
        vec y = (load_f32(x + i) - m) * scale * load_f32(c->norm_weight + i);
        store_f32(x + i, c->norm_bias ? y + load_f32(c->norm_bias + i) : y);
    }
}

static void activate(enum bs__row_act act, float factor, int features, float *x)
{
    const int whole = (features + L - 1) / L * L;
    switch (act) {
    case BS__ROW_AS_IS:
        break;
    case BS__ROW_GELU:
        for (int i = 0; i < features; i++)
            x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678118654752f));
        break;
    case BS__ROW_SILU:
        for (int i = 0; i < features; i++)
            x[i] = x[i] / (1.0f + expf(-x[i]));
        break;
    case BS__ROW_RELU:
        for (int i = 0; i < whole; i += L)
            store_f32(x + i, relu_v(load_f32(x + i)));
        break;
    case BS__ROW_SIGMOID:
        for (int i = 0; i < features; i++)
            x[i] = 1.0f / (1.0f + expf(-x[i]));
        break;
    }
    if (factor != 1.0f) /* exactly one means: no factor */
        for (int i = 0; i < whole; i += L)
            store_f32(x + i, load_f32(x + i) * splat(factor));
}

/* (x[2i], x[2i+1]) -> (x[2i] cos - x[2i+1] sin, x[2i+1] cos + x[2i] sin) */
static void turn(const float *cosine, const float *sine, int features, float *x)
{
    for (int i = 0; i + 1 < features; i += 2) {
        float even = x[i], odd = x[i + 1];
        x[i] = even * cosine[i] - odd * sine[i];
        x[i + 1] = odd * cosine[i + 1] + even * sine[i + 1];
    }
}

static void row_pass(const void *ctx, int64_t task, int worker)
{
    const struct bs__row_pass *c = ctx;
    const int64_t n = task / c->groups, first = task % c->groups * c->rows;
    const int64_t end = first + c->rows < c->tokens ? first + c->rows : c->tokens;
    const int whole = (c->features + L - 1) / L * L;
    float *x = c->scratch + c->scratch_floats * (size_t)worker, *other = x + whole;
    for (int64_t t = first; t < end; t++) {
        if (c->inserted && t == c->insert_at)
            memcpy(x, c->inserted, (size_t)whole * sizeof *x);
        else
            load_row(&c->a, n, c->inserted && t > c->insert_at ? t - 1 : t, c->features, x);
        if (has_rows(&c->b)) {
            load_row(&c->b, n, t, c->features, other);
            for (int i = 0; i < whole; i += L) {
                vec u = load_f32(x + i), v = load_f32(other + i);
                store_f32(x + i, c->multiply ? u * v : u + v);
            }
        }
        if (c->cosine && t >= c->turned_from) {
            int64_t at = (t - c->turned_from) * c->features;
            turn(c->cosine + at, c->sine + at, c->features, x);
        }
        if (has_rows(&c->sum))
            store_row(&c->sum, n, t, c->features, x);
        if (c->norm != BS__ROW_PLAIN)
            normalise(c, x);
        activate(c->act, c->factor, c->features, x);
        if (has_rows(&c->dst))
            store_row(&c->dst, n, t, c->features, x);
    }
}

static void patches(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__patches *c = ctx;
    const int64_t n = task / c->patches_y, y = task % c->patches_y;
    const float *image = c->image + n * c->channels * c->h * c->w;
    for (int64_t x = 0; x < c->patches_x; x++) {
        void *to = row_at(&c->dst, n, y * c->patches_x + x);
        int64_t at = 0;
        for (int k = 0; k < c->channels; k++)
            for (int i = 0; i < c->patch; i++, at += c->patch) {
                const float *from = image + (k * c->h + y * c->stride + i) * c->w + x * c->stride;
                if (!c->dst.bf16) {
                    memcpy((float *)to + at, from, (size_t)c->patch * sizeof *from);
                    continue;
                }
                uint16_t *h = (uint16_t *)to + at;
                int j = 0;
                for (; j + L <= c->patch; j += L)
                    *(hvec_u *)(h + j) = bf16_of_v(*(const vec_u *)(from + j));
                for (; j < c->patch; j++)
                    h[j] = bf16_of(from[j]);
            }
    }
}
