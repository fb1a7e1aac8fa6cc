/* The kernels of blocks.h. Included by body_gradients.h. */
#include "kernels/cpu/blocks.h"
#include "kernels/cpu/body_moments.h"

/* Where a task works. */
struct block_run {
    int64_t plane, block, from, end; /* plane: block of a sample; pixels [from, end) */
};

INLINE struct block_run block_run(const struct bs__blocks *c, int64_t task)
{
    struct block_run r = {.plane = task / c->runs, .from = task % c->runs * BS__BLOCKS_RUN};
    r.block = r.plane % c->blocks;
    r.end = c->pixels - r.from < BS__BLOCKS_RUN ? c->pixels : r.from + BS__BLOCKS_RUN;
    return r;
}

INLINE int64_t group_of(const struct bs__blocks *c, const struct block_run *r)
{
    return c->of_batch ? r->block : r->plane;
}

/* Part i of those that make a group, in order: of one plane, or of one block in all samples. */
INLINE int64_t part_of_group(const struct bs__blocks *c, int64_t group, int64_t i)
{
    return c->of_batch ? (i / c->runs * c->blocks + group) * c->runs + i % c->runs : group * c->runs + i;
}

INLINE int64_t parts_of_group(const struct bs__blocks *c)
{
    return c->of_batch ? c->samples * c->runs : c->runs;
}

INLINE vec above_zero(vec x, vec mask)
{
    return (vec)((ivec)x & ~(mask <= 0));
}

/* ---- norms ---- */

static void block_moments(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const struct block_run r = block_run(c, task);
    const float *x = c->x + r.plane * c->pixels * L;
    struct bs__moments *part = c->part + task * L;
    struct sums sums = {.count = 0};
    for (int64_t i = r.from; i < r.end; i++)
        sums_add(&sums, load_f32(x + i * L));
    memset(part, 0, L * sizeof *part);
    sums_merge(part, &sums);
}

static void block_moments_merge(const void *ctx, int64_t group, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    float *to = c->moments + group * 3 * L;
    for (int l = 0; l < L; l++) {
        double count = 0, mean = 0, m2 = 0;
        for (int64_t i = 0; i < parts_of_group(c); i++) {
            const struct bs__moments *p = &c->part[part_of_group(c, group, i) * L + l];
            const double total = count + p->count, delta = p->mean - mean;
            m2 += p->m2 + delta * delta * (count * p->count / total);
            mean += delta * (p->count / total);
            count = total;
        }
        to[l] = (float)mean;
        to[L + l] = (float)(1.0 / sqrt(m2 / count + (double)c->eps));
        to[2 * L + l] = c->of_batch ? (float)(m2 / (count - 1)) : 0.0f;
    }
}

static void block_norm(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const struct block_run r = block_run(c, task);
    const float *x = c->x + r.plane * c->pixels * L, *moments = c->moments + group_of(c, &r) * 3 * L;
    float *y = c->y + r.plane * c->pixels * L;
    const vec mean = load_f32(moments), inverse = load_f32(moments + L);
    const vec scale = c->w ? inverse * *(const vec_u *)(c->w + r.block * L) : inverse;
    const vec shift = c->b ? *(const vec_u *)(c->b + r.block * L) : splat(0);
    for (int64_t i = r.from; i < r.end; i++) {
        const vec v = fma_v(load_f32(x + i * L) - mean, scale, shift);
        store_f32(y + i * L, c->relu ? relu_v(v) : v);
    }
}

#define FLOAT_RUN 512 /* pixels whose sum is float32, in two vectors */

INLINE void add_lanes(double *to, vec x)
{
    for (int l = 0; l < L; l++)
        to[l] += (double)x[l];
}

static void block_norm_sums(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const struct block_run r = block_run(c, task);
    const int64_t at = r.plane * c->pixels * L;
    const vec mean = load_f32(c->moments + group_of(c, &r) * 3 * L);
    double *to = c->sums + task * 2 * L;
    memset(to, 0, 2 * L * sizeof *to);
    for (int64_t from = r.from; from < r.end; from += FLOAT_RUN) {
        const int64_t count = r.end - from < FLOAT_RUN ? r.end - from : FLOAT_RUN;
        const float *x = c->x + at + from * L, *gy = c->gy + at + from * L;
        vec sum[2] = {splat(0), splat(0)}, product[2] = {splat(0), splat(0)};
        for (int64_t i = 0; i < count; i++) {
            const vec g = load_f32(gy + i * L);
            sum[i & 1] += g;
            product[i & 1] = fma_v(g, load_f32(x + i * L) - mean, product[i & 1]);
        }
        add_lanes(to, sum[0] + sum[1]);
        add_lanes(to + L, product[0] + product[1]);
    }
}

static void block_norm_sums_merge(const void *ctx, int64_t group, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const float *inverse = c->moments + group * 3 * L + L;
    const double count = (double)c->pixels * (double)(c->of_batch ? c->samples : 1);
    double sum[2 * L] = {0};
    for (int64_t i = 0; i < parts_of_group(c); i++)
        for (int l = 0; l < 2 * L; l++)
            sum[l] += c->sums[part_of_group(c, group, i) * 2 * L + l];
    for (int l = 0; l < L; l++) {
        const double product = sum[L + l] * (double)inverse[l];
        c->means[group * 2 * L + l] = (float)(sum[l] / count);
        c->means[group * 2 * L + L + l] = (float)(product / count * (double)inverse[l]);
        if (c->gw)
            c->gw[group * L + l] = (float)product;
    }
}

/* Sums of what a pass wrote, in two vectors of float32 that go to double now and then. */
struct column {
    vec sum[2];
    double *to;
};

INLINE struct column column_of(const struct bs__blocks *c, int64_t task)
{
    struct column k = {.to = c->column ? c->column + task * L : NULL};
    if (k.to)
        memset(k.to, 0, L * sizeof *k.to);
    return k;
}

/* One pass that writes EACH, an expression of the pixel i, masks it and sums it. */
#define MASKED_PASS(EACH)                                                                                    \
    struct column column = column_of(c, task);                                                               \
    for (int64_t from = r.from; from < r.end; from += FLOAT_RUN) {                                           \
        const int64_t end = r.end - from < FLOAT_RUN ? r.end : from + FLOAT_RUN;                             \
        column.sum[0] = column.sum[1] = splat(0);                                                            \
        for (int64_t i = from; i < end; i++) {                                                               \
            vec v = (EACH);                                                                                  \
            if (mask)                                                                                        \
                v = above_zero(v, load_f32(mask + i * L));                                                   \
            if (y)                                                                                           \
                store_f32(y + i * L, v);                                                                     \
            column.sum[i & 1] += v;                                                                          \
        }                                                                                                    \
        if (column.to)                                                                                       \
            add_lanes(column.to, column.sum[0] + column.sum[1]);                                             \
    }

/* gx = w (gy - mean(gy) - xhat mean(gy xhat)) / deviation */
static void block_norm_grad(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const struct block_run r = block_run(c, task);
    const int64_t at = r.plane * c->pixels * L, group = group_of(c, &r);
    const float *x = c->x + at, *gy = c->gy + at, *mask = c->mask ? c->mask + at : NULL;
    float *y = c->y + at;
    const float *moments = c->moments + group * 3 * L, *means = c->means + group * 2 * L;
    const vec mean = load_f32(moments), inverse = load_f32(moments + L), mean_g = load_f32(means),
              slope = load_f32(means + L);
    const vec scale = c->w ? inverse * *(const vec_u *)(c->w + r.block * L) : inverse;
    MASKED_PASS((fnma_v(load_f32(x + i * L) - mean, slope, load_f32(gy + i * L)) - mean_g) * scale)
}

static void block_pass_back(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    const struct block_run r = block_run(c, task);
    const int64_t at = r.plane * c->pixels * L;
    const float *gy = c->gy + at, *other = c->other ? c->other + at : NULL,
                *mask = c->mask ? c->mask + at : NULL;
    float *y = c->y ? c->y + at : NULL;
    MASKED_PASS(other ? load_f32(gy + i * L) + load_f32(other + i * L) : load_f32(gy + i * L))
}

static void block_sum_merge(const void *ctx, int64_t block, int worker)
{
    (void)worker;
    const struct bs__blocks *c = ctx;
    double sum[L] = {0};
    for (int64_t n = 0; n < c->samples; n++)
        for (int64_t i = 0; i < c->runs; i++)
            for (int l = 0; l < L; l++)
                sum[l] += c->column[((n * c->blocks + block) * c->runs + i) * L + l];
    for (int l = 0; l < L; l++)
        c->total[block * L + l] = (float)sum[l];
}

/* ---- pooling ---- */

/* The first largest pixel of a window, in reading order, takes what came back; a NaN is the largest. */
INLINE void pool_window_grad(const struct bs__pool_blocks *c, const float *x, float *gx, vec g)
{
    vec best = load_f32(x);
    ivec which = {0};
    for (int p = 1; p < c->kernel * c->kernel; p++) {
        const vec v = load_f32(x + (p / c->kernel * c->w + p % c->kernel) * L);
        /* NOLINTNEXTLINE(misc-redundant-expression): true for NaN alone */
        const ivec take = (v > best) | ((v != v) & (best == best));
        best = (vec)(((ivec)v & take) | ((ivec)best & ~take));
        which = (((ivec){0} + p) & take) | (which & ~take);
    }
    for (int p = 0; p < c->kernel * c->kernel; p++)
        store_f32(gx + (p / c->kernel * c->w + p % c->kernel) * L, (vec)((ivec)g & (which == p)));
}

static void block_pool_grad(const void *ctx, int64_t plane, int worker)
{
    (void)worker;
    const struct bs__pool_blocks *c = ctx;
    const float *x = c->x + plane * c->h * c->w * L, *gy = c->gy + plane * c->out_h * c->out_w * L;
    float *gx = c->gx + plane * c->h * c->w * L;
    if (c->h % c->kernel || c->w % c->kernel)
        memset(gx, 0, (size_t)(c->h * c->w) * L * sizeof *gx);
    for (int64_t i = 0; i < c->out_h; i++)
        for (int64_t j = 0; j < c->out_w; j++, gy += L) {
            const int64_t at = (i * c->kernel * c->w + j * c->kernel) * L;
            pool_window_grad(c, x + at, gx + at, load_f32(gy));
        }
}

/* ---- resizing ---- */

/* row = sum over the rows of the large image that lie beside row y, by their share of it. */
static void gather_rows(const struct bs__resize_blocks *c, const float *gy, int64_t y, float *row)
{
    int64_t first = 0, behind = c->out_h; /* the first row below which y is */
    while (first < behind) {
        const int64_t middle = (first + behind) / 2;
        if (c->hi_y[middle] < y)
            first = middle + 1;
        else
            behind = middle;
    }
    memset(row, 0, (size_t)c->out_w * L * sizeof *row);
    for (int64_t i = first; i < c->out_h && c->lo_y[i] <= y; i++) {
        const float share = (c->lo_y[i] == y ? 1 - c->t_y[i] : 0.0f) + (c->hi_y[i] == y ? c->t_y[i] : 0.0f);
        const vec t = splat(share);
        for (int64_t k = 0; share > 0 && k < c->out_w * L; k += L)
            store_f32(row + k, fma_v(load_f32(gy + i * c->out_w * L + k), t, load_f32(row + k)));
    }
}

static void block_resize_grad(const void *ctx, int64_t task, int worker)
{
    const struct bs__resize_blocks *c = ctx;
    const int64_t plane = task / c->groups, from = task % c->groups * c->rows;
    const int64_t end = c->h - from < c->rows ? c->h : from + c->rows;
    const float *gy = c->gy + plane * c->out_h * c->out_w * L;
    float *row = c->scratch + c->scratch_floats * (size_t)worker;
    for (int64_t y = from; y < end; y++) {
        float *gx = c->gx + (plane * c->h + y) * c->w * L;
        gather_rows(c, gy, y, row);
        memset(gx, 0, (size_t)c->w * L * sizeof *gx);
        for (int64_t j = 0; j < c->out_w; j++) {
            const vec g = load_f32(row + j * L), t = splat(c->t_x[j]);
            float *lo = gx + (int64_t)c->lo_x[j] * L, *hi = gx + (int64_t)c->hi_x[j] * L;
            store_f32(lo, fma_v(g, 1.0f - t, load_f32(lo)));
            if (c->t_x[j] > 0) /* what is infinite reaches no pixel without a share */
                store_f32(hi, fma_v(g, t, load_f32(hi)));
        }
    }
}
