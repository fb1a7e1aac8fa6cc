/* Operators of training over elements and rows of features: activations, norms of rows, biases' gradients. The kernels are
   those of gradients.h. */
#include "kernels/cpu/training_operators.h"

const struct bs__gradients *bs__gradients_of(const struct bs__simd *simd)
{
#if defined(__x86_64__) || defined(__i386__)
    if (simd == bs__simd_avx512())
        return bs__gradients_avx512();
    if (simd == bs__simd_avx2())
        return bs__gradients_avx2();
#endif
    (void)simd;
    return bs__gradients_base();
}

bs_status bs__train_elements(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    if (bs__in_blocks(c) && c->step->masked) {
        bs__blocks_relu_grad(c);
        return BS_OK;
    }
    const struct bs__elements e = {.op = c->step->op,
                                   .a = c->in[0].data,
                                   .b = c->step->ninput > 1 ? c->in[1].data : NULL,
                                   .y = c->out[0].data,
                                   .factor = c->step->attr.factor,
                                   .count = (int64_t)bs_shape_count(&c->out[0].shape)};
    bs__parallel(c->cpu->threads, bs__tasks(e.count, BS__ELEMENTS_RUN),
                 bs__gradients_of(c->cpu->simd)->elements, &e);
    return BS_OK;
}

/* ---- sums of parts ---- */

#define STRIP 256 /* values of a task */

struct merge {
    const float *part, *factor;
    int64_t parts, stride, count;
    float *out;
};

static void merge_strip(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct merge *m = ctx;
    const int64_t from = task * STRIP, count = m->count - from < STRIP ? m->count - from : STRIP;
    double sum[STRIP] = {0};
    for (int64_t p = 0; p < m->parts; p++)
        for (int64_t i = 0; i < count; i++)
            sum[i] += (double)m->part[p * m->stride + from + i];
    for (int64_t i = 0; i < count; i++)
        m->out[from + i] = (float)(m->factor ? sum[i] * (double)m->factor[from + i] : sum[i]);
}

void bs__merge_parts(const struct bs__cpu *cpu, const float *part, int64_t parts, int64_t stride,
                     const float *factor, int64_t count, float *out)
{
    const struct merge m = {part, factor, parts, stride, count, out};
    bs__parallel(cpu->threads, bs__tasks(count, STRIP), merge_strip, &m);
}

/* ---- rows ---- */

static struct bs__norm_rows rows_of(const struct bs__training_call *c)
{
    return (struct bs__norm_rows){.rows = bs__rows_of(&c->in[0]),
                                  .run = BS__ROWS_RUN,
                                  .features = (int)bs__features_of(&c->in[0]),
                                  .eps = c->step->attr.eps,
                                  .x = c->in[0].data,
                                  .w = c->in[1].data};
}

bs_status bs__train_norm(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct bs__norm_rows r = rows_of(c);
    r.centred = c->step->op == BS_OP_LAYER_NORM;
    r.b = r.centred ? c->in[2].data : NULL;
    r.y = c->out[0].data;
    bs__parallel(c->cpu->threads, bs__tasks(r.rows, r.run), bs__gradients_of(c->cpu->simd)->norm, &r);
    return BS_OK;
}

size_t bs__train_norm_grad_scratch(const struct bs__training_call *c)
{
    const struct bs__norm_rows r = rows_of(c);
    return bs__wanted(c, 1) ? bs__floats(bs__tasks(r.rows, r.run) * r.features) * sizeof(float) : 0;
}

bs_status bs__train_norm_grad(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct bs__norm_rows r = rows_of(c);
    r.centred = c->step->op == BS_OP_LAYER_NORM_GRAD;
    r.gy = c->in[2].data;
    r.y = c->out[0].data;
    r.part = bs__wanted(c, 1) ? c->scratch : NULL;
    bs__parallel(c->cpu->threads, bs__tasks(r.rows, r.run), bs__gradients_of(c->cpu->simd)->norm_grad, &r);
    if (r.part)
        bs__merge_parts(c->cpu, r.part, bs__tasks(r.rows, r.run), r.features, NULL, r.features,
                        c->out[1].data);
    return BS_OK;
}

size_t bs__train_sum_rows_scratch(const struct bs__training_call *c)
{
    return bs__floats(bs__tasks(bs__rows_of(&c->in[0]), BS__ROWS_RUN) * bs__features_of(&c->in[0])) *
           sizeof(float);
}

bs_status bs__train_sum_rows(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const struct bs__sum_rows s = {.x = c->in[0].data,
                                   .rows = bs__rows_of(&c->in[0]),
                                   .run = BS__ROWS_RUN,
                                   .features = (int)bs__features_of(&c->in[0]),
                                   .part = c->scratch};
    const int64_t parts = bs__tasks(s.rows, s.run);
    bs__parallel(c->cpu->threads, parts, bs__gradients_of(c->cpu->simd)->sum_rows, &s);
    bs__merge_parts(c->cpu, s.part, parts, s.features, NULL, s.features, c->out[0].data);
    return BS_OK;
}
