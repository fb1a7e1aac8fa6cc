/* Operators of training over images in blocks of channels, by the kernels of blocks.h and, for pooling and resizing forward, those of
   prediction. The moments of a norm lie in a buffer of their own, made once and read by the norm, the convolution that applies it
   while reading, and the backward. */
#include "kernels/cpu/training_operators.h"

/* ---- norms, masks and sums ---- */

static bool of_batch(enum bs_op op)
{
    return op == BS_OP_BATCH_NORM_TRAIN || op == BS_OP_BATCH_NORM_TRAIN_GRAD || op == BS_OP_BATCH_STATISTICS;
}

static bool is_norm_grad(enum bs_op op)
{
    return op == BS_OP_INSTANCE_NORM_GRAD || op == BS_OP_BATCH_NORM_TRAIN_GRAD;
}

/* Sums of what a pass writes, or reads and does not write. */
static bool has_column(const struct bs__training_call *c)
{
    const enum bs_op op = c->step->op;
    return op == BS_OP_SUM_TO_CHANNEL || (c->step->masked && bs__wanted(c, 1));
}

/* The next bytes of the scratch memory; `base` is NULL while lowering. */
static void *next(char *base, size_t *used, int64_t bytes)
{
    void *p = base ? base + *used : NULL;
    *used += bs__floats((bytes + 3) / 4) * sizeof(float);
    return p;
}

/* The image and where sums wait; returns the bytes that these take. */
static size_t blocks_of(const struct bs__training_call *c, struct bs__blocks *b)
{
    const struct bs__training_step *s = c->step;
    const int64_t *d = c->in[0].shape.dim, lanes = c->cpu->simd->lanes;
    size_t used = 0;
    *b = (struct bs__blocks){.samples = d[0],
                             .blocks = d[1] / lanes,
                             .pixels = d[2] * d[3],
                             .runs = bs__tasks(d[2] * d[3], BS__BLOCKS_RUN),
                             .of_batch = of_batch(s->op),
                             .relu = s->relu,
                             .eps = s->attr.eps,
                             .moments = c->moments};
    const int64_t tasks = b->samples * b->blocks * b->runs;
    if (s->make_moments)
        b->part = next(c->scratch, &used, tasks * lanes * (int64_t)sizeof *b->part);
    if (is_norm_grad(s->op)) {
        b->sums = next(c->scratch, &used, tasks * 2 * lanes * (int64_t)sizeof *b->sums);
        b->means = next(c->scratch, &used, b->samples * b->blocks * 2 * lanes * (int64_t)sizeof *b->means);
    }
    if (has_column(c))
        b->column = next(c->scratch, &used, tasks * lanes * (int64_t)sizeof *b->column);
    return used;
}

size_t bs__train_blocks_scratch(const struct bs__training_call *c)
{
    struct bs__blocks b;
    return blocks_of(c, &b);
}

struct passes {
    const struct bs__training_call *c;
    const struct bs__block_kernels *k;
    struct bs__blocks b;
    int64_t tasks, groups;
};

static struct passes passes_of(const struct bs__training_call *c)
{
    struct passes p = {.c = c, .k = &bs__gradients_of(c->cpu->simd)->blocks};
    blocks_of(c, &p.b);
    p.tasks = p.b.samples * p.b.blocks * p.b.runs;
    p.groups = p.b.of_batch ? p.b.blocks : p.b.samples * p.b.blocks;
    p.b.x = c->in[0].data;
    if (c->step->make_moments) {
        bs__parallel(c->cpu->threads, p.tasks, p.k->moments, &p.b);
        bs__parallel(c->cpu->threads, p.groups, p.k->moments_merge, &p.b);
    }
    return p;
}

static void pass(const struct passes *p, bs__task_fn each)
{
    bs__parallel(p->c->cpu->threads, p->tasks, each, &p->b);
    if (p->b.column)
        bs__parallel(p->c->cpu->threads, p->b.blocks, p->k->sum_merge, &p->b);
}

void bs__blocks_norm(const struct bs__training_call *c)
{
    struct passes p = passes_of(c);
    p.b.w = of_batch(c->step->op) ? c->in[1].data : NULL;
    p.b.b = of_batch(c->step->op) ? c->in[2].data : NULL;
    p.b.y = c->out[0].data;
    if (p.b.y) /* else convolutions apply it */
        pass(&p, p.k->norm);
}

void bs__blocks_norm_grad(const struct bs__training_call *c)
{
    struct passes p = passes_of(c);
    const bool batch = p.b.of_batch;
    p.b.w = batch ? c->in[1].data : NULL;
    p.b.gy = c->in[batch ? 2 : 1].data;
    p.b.gw = batch ? c->out[1].data : NULL;
    p.b.mask = c->step->masked ? c->in[2].data : NULL;
    p.b.total = c->step->masked ? c->out[1].data : NULL;
    p.b.y = c->out[0].data;
    bs__parallel(c->cpu->threads, p.tasks, p.k->norm_sums, &p.b);
    bs__parallel(c->cpu->threads, p.groups, p.k->norm_sums_merge, &p.b);
    if (p.b.y)
        pass(&p, p.k->norm_grad);
}

void bs__blocks_statistics(const struct bs__training_call *c)
{
    const struct passes p = passes_of(c);
    const int64_t lanes = c->cpu->simd->lanes, channels = p.b.blocks * lanes;
    float *to = c->out[0].data;
    for (int64_t i = 0; i < channels; i++) {
        const float *m = p.b.moments + i / lanes * 3 * lanes + i % lanes;
        to[i] = m[0];
        to[channels + i] = m[2 * lanes];
    }
}

void bs__blocks_relu_grad(const struct bs__training_call *c)
{
    struct passes p = passes_of(c);
    p.b.mask = c->in[0].data;
    p.b.gy = c->in[1].data;
    p.b.other = c->step->ninput > 2 ? c->in[2].data : NULL;
    p.b.y = c->out[0].data;
    p.b.total = c->out[1].data;
    pass(&p, p.k->pass_back);
}

void bs__blocks_sum(const struct bs__training_call *c)
{
    struct passes p = passes_of(c);
    p.b.gy = c->in[0].data;
    p.b.total = c->out[0].data;
    pass(&p, p.k->pass_back);
}

/* ---- pooling ---- */

static struct bs__pass pass_of(const struct bs__training_call *c, int64_t rows)
{
    const int64_t *x = c->in[0].shape.dim, *y = c->out[0].shape.dim;
    const int blocks = (int)(x[1] / c->cpu->simd->lanes);
    return (struct bs__pass){.source = {.data = c->in[0].data, .blocks = blocks, .stride = blocks},
                             .n = x[0],
                             .h = x[2],
                             .w = x[3],
                             .channels = (int)x[1],
                             .dst = c->out[0].data,
                             .dst_blocks = blocks,
                             .dst_h = y[2],
                             .dst_w = y[3],
                             .rows = rows,
                             .groups = bs__tasks(y[2], rows),
                             .kernel = c->step->attr.kernel};
}

void bs__blocks_pool(const struct bs__training_call *c)
{
    const struct bs__pass p = pass_of(c, 32);
    bs__parallel(c->cpu->threads, p.n * p.source.blocks * p.groups, c->cpu->simd->f32.pool, &p);
}

void bs__blocks_pool_grad(const struct bs__training_call *c)
{
    const int64_t *x = c->in[0].shape.dim, *y = c->in[1].shape.dim;
    const struct bs__pool_blocks p = {.x = c->in[0].data,
                                      .gy = c->in[1].data,
                                      .gx = c->out[0].data,
                                      .h = x[2],
                                      .w = x[3],
                                      .out_h = y[2],
                                      .out_w = y[3],
                                      .kernel = c->step->attr.kernel};
    bs__parallel(c->cpu->threads, x[0] * x[1] / c->cpu->simd->lanes,
                 bs__gradients_of(c->cpu->simd)->blocks.pool_grad, &p);
}

/* ---- resizing ---- */

#define RESIZE_ROWS 16 /* of a task */

/* Where `out` pixels lie in a row or column of `in`: what lies below, above, and the share of what is above. */
struct between {
    int32_t *lo, *hi;
    float *t;
};
static struct between between(float **at, int64_t in, int64_t out)
{
    const struct between b = {.lo = (int32_t *)bs__take(at, bs__floats(out)),
                              .hi = (int32_t *)bs__take(at, bs__floats(out)),
                              .t = bs__take(at, bs__floats(out))};
    for (int64_t i = 0; i < out; i++) {
        double u = ((double)i + 0.5) * (double)in / (double)out - 0.5;
        u = u < 0 ? 0 : u;
        b.lo[i] = (int32_t)(u > (double)(in - 1) ? (double)(in - 1) : u);
        b.hi[i] = b.lo[i] < in - 1 ? b.lo[i] + 1 : b.lo[i];
        b.t[i] = (float)(u - (double)b.lo[i]);
    }
    return b;
}

static bool shrinks(const struct bs__training_call *c)
{
    return c->step->op == BS_OP_RESIZE_BILINEAR_GRAD;
}

/* A row of the small image forward, of the large one backward; either is the input's. */
static size_t row_floats(const struct bs__training_call *c)
{
    return bs__floats(c->in[0].shape.dim[3] * c->cpu->simd->lanes);
}

size_t bs__blocks_resize_scratch(const struct bs__training_call *c)
{
    const int64_t *large = (shrinks(c) ? &c->in[0] : &c->out[0])->shape.dim;
    return (3 * bs__floats(large[2]) + 3 * bs__floats(large[3]) + row_floats(c) * (size_t)c->cpu->threads) *
           sizeof(float);
}

void bs__blocks_resize(const struct bs__training_call *c)
{
    const int64_t *in = c->in[0].shape.dim, *out = c->out[0].shape.dim;
    const int64_t *small = shrinks(c) ? out : in, *large = shrinks(c) ? in : out;
    const int64_t planes = in[0] * in[1] / c->cpu->simd->lanes;
    float *at = c->scratch;
    const struct between y = between(&at, small[2], large[2]), x = between(&at, small[3], large[3]);
    if (shrinks(c)) {
        const struct bs__resize_blocks r = {.gy = c->in[0].data,
                                            .gx = c->out[0].data,
                                            .h = out[2],
                                            .w = out[3],
                                            .out_h = in[2],
                                            .out_w = in[3],
                                            .rows = RESIZE_ROWS,
                                            .groups = bs__tasks(out[2], RESIZE_ROWS),
                                            .lo_y = y.lo,
                                            .hi_y = y.hi,
                                            .lo_x = x.lo,
                                            .hi_x = x.hi,
                                            .t_y = y.t,
                                            .t_x = x.t,
                                            .scratch = at,
                                            .scratch_floats = row_floats(c)};
        bs__parallel(c->cpu->threads, planes * r.groups, bs__gradients_of(c->cpu->simd)->blocks.resize_grad,
                     &r);
        return;
    }
    struct bs__pass p = pass_of(c, RESIZE_ROWS);
    p.lo_y = y.lo, p.hi_y = y.hi, p.t_y = y.t;
    p.lo_x = x.lo, p.hi_x = x.hi, p.t_x = x.t;
    p.scratch = at;
    p.scratch_floats = row_floats(c);
    bs__parallel(c->cpu->threads, planes * p.groups, c->cpu->simd->f32.resize, &p);
}
