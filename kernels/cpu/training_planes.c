/* Operators of training over planes of images: the reference's loops, spread over threads by planes or channels, which are the
   same whatever the number of threads. */
#include "kernels/cpu/training_operators.h"

static void compute(const struct bs__training_call *c, const struct bs_tensor *in, struct bs_tensor *out)
{
    bs_op_def(c->step->op)->reference(&c->step->attr, in, c->step->ninput, out);
}

static struct bs_tensor plane_of(const struct bs_tensor *t, int64_t plane)
{
    const int64_t h = t->shape.dim[2], w = t->shape.dim[3];
    return (struct bs_tensor){BS_F32, BS_SHAPE(1, 1, h, w), (float *)t->data + plane * h * w};
}

static void run_plane(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct bs__training_call *c = ctx;
    struct bs_tensor in[BS_MAX_INPUTS], out = plane_of(&c->out[0], task);
    for (int i = 0; i < c->step->ninput; i++)
        in[i] = plane_of(&c->in[i], task);
    compute(c, in, &out);
}

bs_status bs__train_planes(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const int64_t *d = c->out[0].shape.dim;
    bs__parallel(c->cpu->threads, d[0] * d[1], run_plane, c);
    return BS_OK;
}

/* Sum over samples and pixels of one channel. */
static void run_channel(const void *ctx, int64_t channel, int worker)
{
    (void)worker;
    const struct bs__training_call *c = ctx;
    const int64_t *d = c->in[0].shape.dim, pixels = d[2] * d[3];
    double sum = 0;
    for (int64_t n = 0; n < d[0]; n++) {
        const float *x = (const float *)c->in[0].data + (n * d[1] + channel) * pixels;
        for (int64_t i = 0; i < pixels; i++)
            sum += (double)x[i];
    }
    ((float *)c->out[0].data)[channel] = (float)sum;
}

bs_status bs__train_channels(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    bs__parallel(c->cpu->threads, c->out[0].shape.dim[0], run_channel, c);
    return BS_OK;
}

/* One task; siblings one after another. */
bs_status bs__train_whole(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    for (int i = 0; i < BS_MAX_INPUTS; i++) {
        struct bs_tensor out = c->out[i];
        struct bs_attr attr = c->step->attr;
        if (!bs__wanted(c, i))
            continue;
        if (bs__training_op(c->step->op)->siblings)
            attr.which = i;
        bs_op_def(c->step->op)->reference(&attr, c->in, c->step->ninput, &out);
    }
    return BS_OK;
}
