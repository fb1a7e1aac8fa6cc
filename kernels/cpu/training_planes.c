/* Operators of training over planes of images: norms, sums and resizing by the kernels of gradients.h, the rest by the
   reference's loops; spread over threads by planes or channels, which are the same whatever the number of threads. */
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

bs_status bs__train_pool(const struct bs__training_call *c, struct bs_err *err)
{
    if (!bs__in_blocks(c))
        return bs__train_planes(c, err);
    (c->step->op == BS_OP_MAX_POOL2D ? bs__blocks_pool : bs__blocks_pool_grad)(c);
    return BS_OK;
}

/* What norms, sums and resizing take. */
size_t bs__train_image_scratch(const struct bs__training_call *c)
{
    return bs__in_blocks(c) ? bs__train_blocks_scratch(c) : 0;
}

bs_status bs__train_channels(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    if (bs__in_blocks(c)) {
        bs__blocks_sum(c);
        return BS_OK;
    }
    const int64_t *d = c->in[0].shape.dim;
    const struct bs__sum_planes s = {c->in[0].data, d[0], d[1], d[2] * d[3], c->out[0].data};
    bs__parallel(c->cpu->threads, d[1], bs__gradients_of(c->cpu->simd)->sum_planes, &s);
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

/* ---- norms ---- */

/* Each plane by itself, or a channel in all samples. */
static struct bs__norm_planes norm_of(const struct bs__training_call *c, bool of_batch)
{
    const int64_t *d = c->in[0].shape.dim;
    return (struct bs__norm_planes){.pixels = d[2] * d[3],
                                    .count = of_batch ? d[0] : 1,
                                    .step = d[1],
                                    .eps = c->step->attr.eps,
                                    .x = c->in[0].data};
}

static int64_t norm_tasks(const struct bs__training_call *c, const struct bs__norm_planes *n)
{
    const int64_t *d = c->in[0].shape.dim;
    return d[0] * d[1] / n->count;
}

bs_status bs__train_instance_norm(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const struct bs__gradients *k = bs__gradients_of(c->cpu->simd);
    struct bs__norm_planes n = norm_of(c, false);
    const bool grad = c->step->op == BS_OP_INSTANCE_NORM_GRAD;
    if (bs__in_blocks(c)) {
        (grad ? bs__blocks_norm_grad : bs__blocks_norm)(c);
        return BS_OK;
    }
    n.y = c->out[0].data;
    n.gy = grad ? c->in[1].data : NULL;
    bs__parallel(c->cpu->threads, norm_tasks(c, &n), grad ? k->norm_planes_grad : k->norm_planes, &n);
    return BS_OK;
}

bs_status bs__train_batch_norm(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const struct bs__gradients *k = bs__gradients_of(c->cpu->simd);
    struct bs__norm_planes n = norm_of(c, true);
    const bool grad = c->step->op == BS_OP_BATCH_NORM_TRAIN_GRAD;
    if (bs__in_blocks(c)) {
        (grad                                    ? bs__blocks_norm_grad
         : c->step->op == BS_OP_BATCH_STATISTICS ? bs__blocks_statistics
                                                 : bs__blocks_norm)(c);
        return BS_OK;
    }
    if (c->step->op == BS_OP_BATCH_STATISTICS) {
        n.mean = c->out[0].data;
        n.variance = n.mean + n.step;
    } else {
        n.w = c->in[1].data;
        n.y = c->out[0].data;
        n.gw = grad ? c->out[1].data : NULL;
        n.gy = grad ? c->in[2].data : NULL;
        n.b = grad ? NULL : c->in[2].data;
    }
    bs__parallel(c->cpu->threads, norm_tasks(c, &n), grad ? k->norm_planes_grad : k->norm_planes, &n);
    return BS_OK;
}

/* ---- resizing ---- */

/* The large image is the result, or what came back. */
static struct bs__resize_planes resize_of(const struct bs__training_call *c, bool grad)
{
    const int64_t *small = (grad ? &c->out[0] : &c->in[0])->shape.dim,
                  *large = (grad ? &c->in[0] : &c->out[0])->shape.dim;
    return (struct bs__resize_planes){.src = c->in[0].data,
                                      .dst = c->out[0].data,
                                      .h = small[2],
                                      .w = small[3],
                                      .out_h = large[2],
                                      .out_w = large[3],
                                      .scratch_floats = bs__floats(small[3])};
}

size_t bs__train_resize_scratch(const struct bs__training_call *c)
{
    const struct bs__resize_planes r = resize_of(c, c->step->op == BS_OP_RESIZE_BILINEAR_GRAD);
    if (bs__in_blocks(c))
        return bs__blocks_resize_scratch(c);
    return (3 * bs__floats(r.out_w) + r.scratch_floats * (size_t)c->cpu->threads) * sizeof(float);
}

bs_status bs__train_resize(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const bool grad = c->step->op == BS_OP_RESIZE_BILINEAR_GRAD;
    const struct bs__gradients *k = bs__gradients_of(c->cpu->simd);
    if (bs__in_blocks(c)) {
        bs__blocks_resize(c);
        return BS_OK;
    }
    struct bs__resize_planes r = resize_of(c, grad);
    const int64_t *d = c->in[0].shape.dim;
    float *at = c->scratch, *t = bs__take(&at, bs__floats(r.out_w));
    int32_t *lo = (int32_t *)bs__take(&at, bs__floats(r.out_w)),
            *hi = (int32_t *)bs__take(&at, bs__floats(r.out_w));
    for (int64_t j = 0; j < r.out_w; j++) {
        double u = ((double)j + 0.5) * (double)r.w / (double)r.out_w - 0.5;
        u = u < 0 ? 0 : u;
        lo[j] = (int32_t)(u > (double)(r.w - 1) ? (double)(r.w - 1) : u);
        hi[j] = lo[j] < r.w - 1 ? lo[j] + 1 : lo[j];
        t[j] = (float)(u - (double)lo[j]);
    }
    r.lo_x = lo;
    r.hi_x = hi;
    r.t_x = t;
    r.scratch = at;
    bs__parallel(c->cpu->threads, d[0] * d[1], grad ? k->resize_grad : k->resize, &r);
    return BS_OK;
}
