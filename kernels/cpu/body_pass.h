/* Passes that read an image once: layout, norm, activation, arithmetic, moments, pooling, bilinear resize.
   A task is a group of destination rows of one channel block of one sample. */

#ifndef HAVE_PASS_PLACE
#define HAVE_PASS_PLACE
/* Where a task works. */
struct place {
    int64_t n, block, group, y0, y1;
};

INLINE struct place place_of(const struct bs__pass *c, int64_t task)
{
    struct place p;
    p.group = task % c->groups;
    p.block = task / c->groups % c->source.blocks;
    p.n = task / c->groups / c->source.blocks;
    p.y0 = p.group * c->rows;
    p.y1 = p.y0 + c->rows < c->dst_h ? p.y0 + c->rows : c->dst_h;
    return p;
}

INLINE struct bs__moments *part_of(const struct bs__pass *c, const struct place *p)
{
    if (!c->part)
        return NULL;
    struct bs__moments *m =
        c->part + ((p->n * c->groups + p->group) * c->dst_blocks + c->dst_block + p->block) * L;
    memset(m, 0, L * sizeof *m);
    return m;
}

/* 1 in the lanes that hold a channel, 0 in the padding. */
INLINE vec live_lanes(const struct bs__pass *c, int64_t block)
{
    vec live = splat(0);
    for (int i = 0; i < L; i++)
        if (block * L + i < c->channels)
            live[i] = 1;
    return live;
}
#endif

INLINE const ELEM *FN(source_plane)(const struct bs__pass *c, const struct bs__source *s,
                                    const struct place *p)
{
    return (const ELEM *)s->data + (p->n * s->stride + p->block) * c->h * c->w * L;
}

INLINE ELEM *FN(target_plane)(const struct bs__pass *c, const struct place *p)
{
    return (ELEM *)c->dst + (p->n * c->dst_blocks + c->dst_block + p->block) * c->dst_h * c->dst_w * L;
}

/* float32 C order to blocked. */
static void FN(load_image)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    ELEM *dst = FN(target_plane)(c, &p);
    int live = c->channels - (int)p.block * L < L ? c->channels - (int)p.block * L : L;
    for (int64_t y = p.y0; y < p.y1; y++) {
        struct sums sums = {.count = 0};
        for (int64_t x = 0; x < c->w; x++) {
            vec v = splat(0);
            for (int i = 0; i < live; i++)
                v[i] = c->plain[((p.n * c->channels + p.block * L + i) * c->h + y) * c->w + x];
            STORE(dst + (y * c->w + x) * L, v);
            if (part)
                sums_add(&sums, v);
        }
        if (part)
            sums_merge(part, &sums);
    }
}

/* Blocked to float32 C order. */
static void FN(store_image)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    int live = c->channels - (int)p.block * L < L ? c->channels - (int)p.block * L : L;
    for (int64_t y = p.y0; y < p.y1; y++)
        for (int64_t x = 0; x < c->w; x++) {
            vec v = LOAD(src + (y * c->w + x) * L);
            for (int i = 0; i < live; i++)
                c->plain[((p.n * c->channels + p.block * L + i) * c->h + y) * c->w + x] =
                    c->sigmoid ? 1.0f / (1.0f + expf(-v[i])) : v[i];
        }
}

/* Element by element: norm of the source, then op. Padding lanes stay zero. */
static void FN(apply)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    const ELEM *other = c->op == BS__ADD || c->op == BS__MUL ? FN(source_plane)(c, &c->other, &p) : NULL;
    ELEM *dst = FN(target_plane)(c, &p);
    const float *norm =
        c->source.norm ? c->source.norm + p.n * c->source.norm_stride + p.block * 3 * L : NULL;
    vec mean = splat(0), scale = splat(1), shift = splat(0), live = live_lanes(c, p.block);
    if (norm)
        mean = load_f32(norm), scale = load_f32(norm + L), shift = load_f32(norm + 2 * L);
    for (int64_t y = p.y0; y < p.y1; y++) {
        struct sums sums = {.count = 0};
        for (int64_t i = y * c->w * L; i < (y + 1) * c->w * L; i += L) {
            vec v = LOAD(src + i);
            if (norm)
                v = fma_v(v - mean, scale, shift);
            switch (c->op) {
            case BS__COPY:
                break;
            case BS__RELU:
                v = relu_v(v);
                break;
            case BS__SIGMOID:
                for (int l = 0; l < L; l++)
                    v[l] = 1.0f / (1.0f + expf(-v[l]));
                v *= live;
                break;
            case BS__ADD:
                v += LOAD(other + i);
                break;
            case BS__MUL:
                v *= LOAD(other + i);
                break;
            }
            STORE(dst + i, v);
            if (part)
                sums_add(&sums, v);
        }
        if (part)
            sums_merge(part, &sums);
    }
}

/* Moments of the source alone. */
static void FN(moments)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    for (int64_t y = p.y0; y < p.y1; y++) {
        struct sums sums = {.count = 0};
        for (int64_t x = 0; x < c->w; x++)
            sums_add(&sums, LOAD(src + (y * c->w + x) * L));
        sums_merge(part, &sums);
    }
}

static void FN(pool)(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    ELEM *dst = FN(target_plane)(c, &p);
    for (int64_t y = p.y0; y < p.y1; y++) {
        struct sums sums = {.count = 0};
        for (int64_t x = 0; x < c->dst_w; x++) {
            const ELEM *corner = src + (y * c->kernel * c->w + x * c->kernel) * L;
            vec v = LOAD(corner);
            for (int i = 0; i < c->kernel; i++)
                for (int j = 0; j < c->kernel; j++)
                    v = max_v(v, LOAD(corner + (i * c->w + j) * L));
            STORE(dst + (y * c->dst_w + x) * L, v);
            if (part)
                sums_add(&sums, v);
        }
        if (part)
            sums_merge(part, &sums);
    }
}

/* Rows first into scratch, then columns. */
static void FN(resize)(const void *ctx, int64_t task, int worker)
{
    const struct bs__pass *c = ctx;
    struct place p = place_of(c, task);
    struct bs__moments *part = part_of(c, &p);
    const ELEM *src = FN(source_plane)(c, &c->source, &p);
    ELEM *dst = FN(target_plane)(c, &p);
    float *row = c->scratch + c->scratch_floats * (size_t)worker;
    for (int64_t y = p.y0; y < p.y1; y++) {
        struct sums sums = {.count = 0};
        const ELEM *upper = src + (int64_t)c->lo_y[y] * c->w * L,
                   *lower = src + (int64_t)c->hi_y[y] * c->w * L;
        vec t = splat(c->t_y[y]), s = splat(1 - c->t_y[y]);
        for (int64_t i = 0; i < c->w * L; i += L)
            store_f32(row + i, fma_v(t, LOAD(lower + i), s * LOAD(upper + i)));
        for (int64_t x = 0; x < c->dst_w; x++) {
            vec a = load_f32(row + (int64_t)c->lo_x[x] * L), b = load_f32(row + (int64_t)c->hi_x[x] * L);
            vec v = fma_v(splat(c->t_x[x]), b, splat(1 - c->t_x[x]) * a);
            STORE(dst + (y * c->dst_w + x) * L, v);
            if (part)
                sums_add(&sums, v);
        }
        if (part)
            sums_merge(part, &sums);
    }
}
