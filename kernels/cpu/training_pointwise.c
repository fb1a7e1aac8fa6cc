/* See training_pointwise.h. */
#include "kernels/cpu/training_pointwise.h"

#include "kernels/cpu/training_operators.h"

static bool of_weights(const struct bs__training_call *c)
{
    return c->step->op == BS_OP_CONV2D_GRAD_W;
}

bool bs__training_pointwise_fits(const struct bs__training_call *c)
{
    const enum bs_op op = c->step->op;
    const struct bs_shape *w = of_weights(c) ? &c->out[0].shape : &c->in[1].shape;
    return (op == BS_OP_CONV2D || op == BS_OP_CONV2D_GRAD_X || op == BS_OP_CONV2D_GRAD_W) && w->dim[2] == 1 &&
           w->dim[3] == 1 && c->step->attr.stride == 1 && c->step->attr.pad == 0;
}

/* ---- gradient of the weights ---- */

static struct bs__pointwise_grad grad_of(const struct bs__training_call *c)
{
    const int64_t *d = c->in[0].shape.dim;
    struct bs__pointwise_grad k = {.x = c->in[0].data,
                                   .gy = c->in[1].data,
                                   .in = (int)d[1],
                                   .out = (int)c->in[1].shape.dim[1],
                                   .pixels = d[2] * d[3]};
    const int64_t runs = bs__tasks(16, d[0]); /* 16 tasks where there are pixels enough */
    k.run = bs__tasks(bs__tasks(k.pixels, runs), BS__POINTWISE_RUN) * BS__POINTWISE_RUN;
    k.runs = bs__tasks(k.pixels, k.run);
    return k;
}

static size_t strip_floats(const struct bs__training_call *c)
{
    return bs__floats(c->in[0].shape.dim[1] * BS__POINTWISE_STRIP);
}

size_t bs__training_pointwise_scratch(const struct bs__training_call *c)
{
    if (!of_weights(c))
        return strip_floats(c) * (size_t)c->cpu->threads * sizeof(float);
    const struct bs__pointwise_grad k = grad_of(c);
    return bs__floats(c->in[0].shape.dim[0] * k.runs * k.in * k.out) * sizeof(float);
}

static void gather_weights(const struct bs__training_call *c)
{
    struct bs__pointwise_grad k = grad_of(c);
    const int64_t tasks = c->in[0].shape.dim[0] * k.runs, count = (int64_t)k.in * k.out;
    k.part = c->scratch;
    bs__parallel(c->cpu->threads, tasks, bs__gradients_of(c->cpu->simd)->pointwise_grad, &k);
    bs__merge_parts(c->cpu, k.part, tasks, count, NULL, count, c->out[0].data);
}

/* ---- result and gradient of x ---- */

void bs__training_pointwise_run(const struct bs__training_call *c)
{
    if (of_weights(c)) {
        gather_weights(c);
        return;
    }
    const int64_t *d = c->in[0].shape.dim, *w = c->in[1].shape.dim;
    const bool back = c->step->op == BS_OP_CONV2D_GRAD_X;
    struct bs__pointwise_planes k = {.x = c->in[0].data,
                                     .w = c->in[1].data,
                                     .b = !back && c->step->ninput == 3 ? c->in[2].data : NULL,
                                     .y = c->out[0].data,
                                     .in = (int)d[1],
                                     .out = (int)c->out[0].shape.dim[1],
                                     .w_row = back ? 1 : w[1],
                                     .w_step = back ? w[1] : 1,
                                     .pixels = d[2] * d[3],
                                     .scratch = c->scratch,
                                     .scratch_floats = strip_floats(c)};
    k.runs = bs__tasks(k.pixels, BS__POINTWISE_RUN);
    bs__parallel(c->cpu->threads, d[0] * k.runs, bs__gradients_of(c->cpu->simd)->pointwise, &k);
}
