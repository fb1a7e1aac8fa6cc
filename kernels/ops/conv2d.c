/* Convolution (cross-correlation, as everyone in the field means it), zero padding:
     y[n,o,i,j] = b[o] + sum_{c,p,q} w[o,c,p,q] x[n,c, i s + p - pad, j s + q - pad]
   and its two gradients. With gy the gradient of y:
     gx[n,c,u,v] = sum_{o,p,q} w[o,c,p,q] gy[n,o,i,j]     over i s + p - pad = u, j s + q - pad = v
     gw[o,c,p,q] = sum_{n,i,j} gy[n,o,i,j] x[n,c, i s + p - pad, j s + q - pad]
   Sums are taken in double over strips of a row, so that the inner loop is contiguous. */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

#define STRIP 256 /* columns summed at a time; 2 KiB of doubles on the stack */

/* First and behind-last output column whose sample at kernel column q lies inside an input row of width w. */
struct columns {
    int64_t from, to;
};
static struct columns columns_inside(int64_t q, const struct bs_attr *attr, int64_t w, int64_t out_w)
{
    int64_t s = attr->stride, lead = attr->pad - q; /* column j reads j s - lead */
    struct columns c = {.from = lead > 0 ? (lead + s - 1) / s : 0, .to = 0};
    if (w - 1 + lead >= 0)
        c.to = (w - 1 + lead) / s + 1;
    if (c.to > out_w)
        c.to = out_w;
    return c;
}

/* Checks a weight against its input, and says how large the output is. */
static bs_status check_conv(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                            const struct bs_shape *w, struct bs_shape *out, struct bs_err *err)
{
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_rank(op, "weight", w, 4, "Co,Ci,kh,kw", err)) != BS_OK ||
        (rc = bs__need_attribute(op, "stride", attr->stride, 1, err)) != BS_OK ||
        (rc = bs__need_attribute(op, "padding", attr->pad, 0, err)) != BS_OK)
        return rc;
    if (x->dim[1] != w->dim[1])
        return BS_FAIL(err, BS_EINVAL, "%s: input %s has %" PRId64 " channels but weight %s takes %" PRId64,
                       op, bs_shape_text(x, a, sizeof a), x->dim[1], bs_shape_text(w, b, sizeof b),
                       w->dim[1]);
    int64_t span_h = x->dim[2] + 2 * (int64_t)attr->pad - w->dim[2];
    int64_t span_w = x->dim[3] + 2 * (int64_t)attr->pad - w->dim[3];
    if (span_h < 0 || span_w < 0)
        return BS_FAIL(err, BS_EINVAL, "%s: weight %s is larger than input %s with padding %d", op,
                       bs_shape_text(w, b, sizeof b), bs_shape_text(x, a, sizeof a), attr->pad);
    *out = BS_SHAPE(x->dim[0], w->dim[0], span_h / attr->stride + 1, span_w / attr->stride + 1);
    return BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    bs_status rc = check_conv("conv2d", attr, &in[0], &in[1], out, err);
    if (rc == BS_OK && ninput == 3)
        rc = bs__need_per_channel("conv2d", "bias", &in[2], out, err);
    return rc;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const struct bs__image x = bs__image(&in[0].shape), k = bs__image(&in[1].shape),
                           y = bs__image(&out->shape);
    const float *xp = in[0].data, *wp = in[1].data, *bias = ninput == 3 ? in[2].data : NULL;
    const int64_t s = attr->stride;
    float *row = out->data;
    for (int64_t n = 0; n < y.n; n++)
        for (int64_t o = 0; o < y.c; o++)
            for (int64_t i = 0; i < y.h; i++, row += y.w)
                for (int64_t at = 0; at < y.w; at += STRIP) {
                    double sum[STRIP];
                    int64_t end = at + STRIP < y.w ? at + STRIP : y.w;
                    for (int64_t j = at; j < end; j++)
                        sum[j - at] = bias ? (double)bias[o] : 0.0;
                    for (int64_t c = 0; c < x.c; c++)
                        for (int64_t p = 0; p < k.h; p++) {
                            int64_t u = i * s + p - attr->pad;
                            if (u < 0 || u >= x.h)
                                continue;
                            const float *source = xp + ((n * x.c + c) * x.h + u) * x.w;
                            for (int64_t q = 0; q < k.w; q++) {
                                double weight = (double)wp[((o * x.c + c) * k.h + p) * k.w + q];
                                struct columns inside = columns_inside(q, attr, x.w, y.w);
                                int64_t from = inside.from > at ? inside.from : at,
                                        to = inside.to < end ? inside.to : end;
                                if (s == 1)
                                    for (int64_t j = from; j < to; j++)
                                        sum[j - at] += weight * (double)source[j + q - attr->pad];
                                else
                                    for (int64_t j = from; j < to; j++)
                                        sum[j - at] += weight * (double)source[j * s + q - attr->pad];
                            }
                        }
                    for (int64_t j = at; j < end; j++)
                        row[j] = (float)sum[j - at];
                }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs_value x = n->input[0], w = n->input[1];
    struct bs_attr attr = n->attr;
    attr.shape = bs_graph_node(g, x)->shape;
    gin[0] = bs_graph_apply(g, BS_OP_CONV2D_GRAD_X, (bs_value[]){gy, w}, 2, attr);
    attr.shape = bs_graph_node(g, w)->shape;
    gin[1] = bs_graph_apply(g, BS_OP_CONV2D_GRAD_W, (bs_value[]){x, gy}, 2, attr);
    if (n->ninput == 3)
        gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_CHANNEL, &gy, 1, (struct bs_attr){0});
}

/* Every output pixel of every channel meets one filter: two operations per weight of it. */
static double operations(const struct bs_shape *y, const struct bs_shape *w)
{
    double pixels = (double)y->dim[0] * (double)y->dim[2] * (double)y->dim[3];
    return 2.0 * pixels * (double)w->dim[0] * (double)w->dim[1] * (double)w->dim[2] * (double)w->dim[3];
}

static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return operations(out, &in[1]);
}

const struct bs_op_def bs__op_conv2d = {
    .name = "conv2d",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .backward = backward,
    .flops = flops,
};

static bs_status infer_grad_x(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    struct bs_shape y;
    bs_status rc;
    if ((rc = bs_shape_check("conv2d_grad_x: shape", &attr->shape, err)) != BS_OK ||
        (rc = check_conv("conv2d_grad_x", attr, &attr->shape, &in[1], &y, err)) != BS_OK ||
        (rc = bs__need_equal("conv2d_grad_x", "gradient", &in[0], "the convolution's output", &y, err)) !=
            BS_OK)
        return rc;
    *out = attr->shape;
    return BS_OK;
}

static void reference_grad_x(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image y = bs__image(&in[0].shape), k = bs__image(&in[1].shape),
                           x = bs__image(&out->shape);
    const float *gy = in[0].data, *wp = in[1].data;
    const int64_t s = attr->stride;
    float *row = out->data;
    for (int64_t n = 0; n < x.n; n++)
        for (int64_t c = 0; c < x.c; c++)
            for (int64_t u = 0; u < x.h; u++, row += x.w)
                for (int64_t at = 0; at < x.w; at += STRIP) {
                    double sum[STRIP] = {0};
                    int64_t end = at + STRIP < x.w ? at + STRIP : x.w;
                    for (int64_t o = 0; o < y.c; o++)
                        for (int64_t p = 0; p < k.h; p++) {
                            int64_t t = u + attr->pad - p;
                            if (t < 0 || t % s || t / s >= y.h)
                                continue;
                            const float *source = gy + ((n * y.c + o) * y.h + t / s) * y.w;
                            for (int64_t q = 0; q < k.w; q++) {
                                double weight = (double)wp[((o * x.c + c) * k.h + p) * k.w + q];
                                /* column j of gy lands in column j s + q - pad of gx */
                                int64_t first = at + attr->pad - q;
                                int64_t from = first > 0 ? (first + s - 1) / s : 0;
                                for (int64_t j = from; j < y.w && j * s + q - attr->pad < end; j++)
                                    sum[j * s + q - attr->pad - at] += weight * (double)source[j];
                            }
                        }
                    for (int64_t v = at; v < end; v++)
                        row[v] = (float)sum[v - at];
                }
}

static double flops_grad_x(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr, (void)out;
    return operations(&in[0], &in[1]);
}

const struct bs_op_def bs__op_conv2d_grad_x = {
    .name = "conv2d_grad_x",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad_x,
    .reference = reference_grad_x,
    .flops = flops_grad_x,
};

static bs_status infer_grad_w(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    struct bs_shape y;
    bs_status rc;
    if ((rc = bs_shape_check("conv2d_grad_w: shape", &attr->shape, err)) != BS_OK ||
        (rc = check_conv("conv2d_grad_w", attr, &in[0], &attr->shape, &y, err)) != BS_OK ||
        (rc = bs__need_equal("conv2d_grad_w", "gradient", &in[1], "the convolution's output", &y, err)) !=
            BS_OK)
        return rc;
    *out = attr->shape;
    return BS_OK;
}

static void reference_grad_w(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&in[1].shape),
                           k = bs__image(&out->shape);
    const float *xp = in[0].data, *gy = in[1].data;
    const int64_t s = attr->stride;
    float *gw = out->data;
    for (int64_t o = 0; o < y.c; o++)
        for (int64_t c = 0; c < x.c; c++)
            for (int64_t p = 0; p < k.h; p++)
                for (int64_t q = 0; q < k.w; q++) {
                    struct columns inside = columns_inside(q, attr, x.w, y.w);
                    double sum = 0;
                    for (int64_t n = 0; n < y.n; n++)
                        for (int64_t i = 0; i < y.h; i++) {
                            int64_t u = i * s + p - attr->pad;
                            if (u < 0 || u >= x.h)
                                continue;
                            const float *a = xp + ((n * x.c + c) * x.h + u) * x.w;
                            const float *b = gy + ((n * y.c + o) * y.h + i) * y.w;
                            for (int64_t j = inside.from; j < inside.to; j++)
                                sum += (double)a[j * s + q - attr->pad] * (double)b[j];
                        }
                    *gw++ = (float)sum;
                }
}

static double flops_grad_w(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return operations(&in[1], out);
}

const struct bs_op_def bs__op_conv2d_grad_w = {
    .name = "conv2d_grad_w",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad_w,
    .reference = reference_grad_w,
    .flops = flops_grad_w,
};
