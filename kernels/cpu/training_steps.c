/* Running graphs of training; see training.h. */
#include "kernels/cpu/parallel.h"
#include "kernels/cpu/training.h"
#include "kernels/op.h"

#include <string.h>

#define RANGE 16384 /* elements of a task; 64 KiB of each value */

static struct bs_tensor tensor_at(const struct bs_program *program, const struct bs__training_value *v,
                                  const struct bs_run *run)
{
    void *in_arena = v->buffer == BS__NO_BUFFER ? NULL : run->arena + program->buffer[v->buffer].offset;
    /* a bs_tensor's data is not const; parameters are only read */
    return (struct bs_tensor){BS_F32, v->shape, in_arena ? in_arena : (void *)(uintptr_t)v->param};
}

/* An operator on whole tensors, of which a task takes its part. */
struct loops {
    const struct bs__training_step *step;
    struct bs_tensor in[BS_MAX_INPUTS], out;
};

static void compute(const struct loops *l, const struct bs_tensor *in, struct bs_tensor *out)
{
    bs_op_def(l->step->op)->reference(&l->step->attr, in, l->step->ninput, out);
}

static struct bs_tensor range_of(const struct bs_tensor *t, int64_t from, int64_t count)
{
    return (struct bs_tensor){BS_F32, BS_SHAPE(count), (float *)t->data + from};
}

static void run_range(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct loops *l = ctx;
    const int64_t all = (int64_t)bs_shape_count(&l->out.shape), from = task * RANGE;
    const int64_t count = all - from < RANGE ? all - from : RANGE;
    struct bs_tensor in[BS_MAX_INPUTS], out = range_of(&l->out, from, count);
    for (int i = 0; i < l->step->ninput; i++)
        in[i] = range_of(&l->in[i], from, count);
    compute(l, in, &out);
}

static struct bs_tensor plane_of(const struct bs_tensor *t, int64_t plane)
{
    const int64_t h = t->shape.dim[2], w = t->shape.dim[3];
    return (struct bs_tensor){BS_F32, BS_SHAPE(1, 1, h, w), (float *)t->data + plane * h * w};
}

static void run_plane(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct loops *l = ctx;
    struct bs_tensor in[BS_MAX_INPUTS], out = plane_of(&l->out, task);
    for (int i = 0; i < l->step->ninput; i++)
        in[i] = plane_of(&l->in[i], task);
    compute(l, in, &out);
}

/* Sum over samples and pixels of one channel. */
static void run_channel(const void *ctx, int64_t channel, int worker)
{
    (void)worker;
    const struct loops *l = ctx;
    const int64_t *d = l->in[0].shape.dim, pixels = d[2] * d[3];
    double sum = 0;
    for (int64_t n = 0; n < d[0]; n++) {
        const float *x = (const float *)l->in[0].data + (n * d[1] + channel) * pixels;
        for (int64_t i = 0; i < pixels; i++)
            sum += (double)x[i];
    }
    ((float *)l->out.data)[channel] = (float)sum;
}

static void run_loops(const struct bs__cpu *cpu, struct loops *l)
{
    const struct bs_shape *out = &l->out.shape;
    switch (l->step->spread) {
    case BS__SPREAD_ELEMENTS:
        bs__parallel(cpu->threads, ((int64_t)bs_shape_count(out) + RANGE - 1) / RANGE, run_range, l);
        break;
    case BS__SPREAD_PLANES:
        bs__parallel(cpu->threads, out->dim[0] * out->dim[1], run_plane, l);
        break;
    case BS__SPREAD_CHANNELS:
        bs__parallel(cpu->threads, out->dim[0], run_channel, l);
        break;
    case BS__SPREAD_NONE:
        compute(l, l->in, &l->out);
        break;
    }
}

/* What a transformer's deconvolution adds behind oneDNN's gradient. */
struct biased {
    float *y;
    const float *bias;
    int64_t channels, pixels;
};
static void add_bias(const void *ctx, int64_t plane, int worker)
{
    (void)worker;
    const struct biased *b = ctx;
    const float value = b->bias[plane % b->channels];
    for (int64_t i = plane * b->pixels; i < (plane + 1) * b->pixels; i++)
        b->y[i] += value;
}

static bs_status run_conv(const struct bs__cpu *cpu, struct loops *l, void *scratch, struct bs_err *err)
{
    const struct bs__training_step *s = l->step;
    float *a = l->in[0].data, *b = l->in[1].data, *out = l->out.data;
    const float *bias = s->ninput == 3 ? l->in[2].data : NULL;
    bs__parallel_set_threads(cpu->threads);
    if (s->op == BS_OP_CONV2D)
        return bs__dnnl_grad_run(s->conv, a, b, out, bias, scratch, err);
    if (s->op == BS_OP_CONV2D_GRAD_W)
        return bs__dnnl_grad_run(s->conv, a, out, b, NULL, scratch, err);
    bs_status rc = bs__dnnl_grad_run(s->conv, out, b, a, NULL, scratch, err);
    if (rc == BS_OK && bias) {
        const int64_t *d = l->out.shape.dim;
        const struct biased with = {out, bias, d[1], d[2] * d[3]};
        bs__parallel(cpu->threads, d[0] * d[1], add_bias, &with);
    }
    return rc;
}

bs_status bs__training_run_step(const struct bs__cpu *cpu, const struct bs_program *program,
                                const struct bs__training *t, int step, const struct bs_run *run,
                                struct bs_err *err)
{
    const struct bs__training_step *s = &t->step[step];
    struct loops l = {.step = s, .out = tensor_at(program, &t->value[s->value], run)};
    const size_t bytes = bs_shape_count(&l.out.shape) * sizeof(float);
    for (int i = 0; i < s->ninput; i++)
        l.in[i] = tensor_at(program, &t->value[s->input[i]], run);
    switch (s->kind) {
    case BS__TRAINING_LOAD:
        memcpy(l.out.data, run->input[s->host].data, bytes);
        break;
    case BS__TRAINING_STORE:
        memcpy(run->output[s->host].data, l.out.data, bytes);
        break;
    case BS__TRAINING_LOOPS:
        run_loops(cpu, &l);
        break;
    case BS__TRAINING_CONV:
        return run_conv(cpu, &l,
                        s->scratch == BS__NO_BUFFER ? NULL : run->arena + program->buffer[s->scratch].offset,
                        err);
    }
    return BS_OK;
}
