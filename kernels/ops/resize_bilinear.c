/* Bilinear resize with half-pixel centres and no antialiasing (torch's interpolate with align_corners=False). Along an
   axis of input size m and output size n, output pixel i lies at
     u = max((i + 1/2) m / n - 1/2, 0),   between floor(u) and the next pixel (the last one has no next).
   The gradient spreads each output pixel back over the four it came from. */
#include "kernels/ops/ops_internal.h"

#include <math.h>
#include <string.h>

/* Where an output pixel lies between two input pixels: value = (1 - t) x[lo] + t x[hi]. */
struct between {
    int64_t lo, hi;
    double t;
};
static struct between between(int64_t i, int64_t in_size, int64_t out_size)
{
    double u = ((double)i + 0.5) * (double)in_size / (double)out_size - 0.5;
    if (u < 0)
        u = 0;
    int64_t lo = (int64_t)floor(u);
    if (lo > in_size - 1)
        lo = in_size - 1;
    return (struct between){lo, lo < in_size - 1 ? lo + 1 : lo, u - (double)lo};
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = bs__need_image("resize_bilinear", "input", &in[0], err);
    if (rc != BS_OK)
        return rc;
    *out = BS_SHAPE(in[0].dim[0], in[0].dim[1], attr->out_h, attr->out_w);
    return bs_shape_check("resize_bilinear: output", out, err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&out->shape);
    const float *xp = in[0].data;
    float *yp = out->data;
    for (int64_t plane = 0; plane < y.n * y.c; plane++, xp += x.h * x.w)
        for (int64_t i = 0; i < y.h; i++) {
            struct between v = between(i, x.h, y.h);
            const float *upper = xp + v.lo * x.w, *lower = xp + v.hi * x.w;
            for (int64_t j = 0; j < y.w; j++) {
                struct between h = between(j, x.w, y.w);
                double a = (1 - h.t) * (double)upper[h.lo] + h.t * (double)upper[h.hi];
                double b = (1 - h.t) * (double)lower[h.lo] + h.t * (double)lower[h.hi];
                *yp++ = (float)((1 - v.t) * a + v.t * b);
            }
        }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    struct bs_attr attr = {.shape = bs_graph_node(g, bs_graph_node(g, node)->input[0])->shape};
    gin[0] = bs_graph_apply(g, BS_OP_RESIZE_BILINEAR_GRAD, &gy, 1, attr);
}

const struct bs_op_def bs__op_resize_bilinear = {
    .name = "resize_bilinear",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "resize_bilinear_grad";
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "gradient", &in[0], err)) != BS_OK ||
        (rc = bs__need_image(op, "shape", &attr->shape, err)) != BS_OK ||
        (rc = bs_shape_check("resize_bilinear_grad: shape", &attr->shape, err)) != BS_OK)
        return rc;
    if (in[0].dim[0] != attr->shape.dim[0] || in[0].dim[1] != attr->shape.dim[1])
        return BS_FAIL(err, BS_EINVAL, "%s: gradient %s and input %s differ in samples or channels", op,
                       bs_shape_text(&in[0], a, sizeof a), bs_shape_text(&attr->shape, b, sizeof b));
    *out = attr->shape;
    return BS_OK;
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const struct bs__image y = bs__image(&in[0].shape), x = bs__image(&out->shape);
    const float *gy = in[0].data;
    float *gx = out->data;
    memset(gx, 0, bs_shape_count(&out->shape) * sizeof *gx);
    for (int64_t plane = 0; plane < y.n * y.c; plane++, gx += x.h * x.w)
        for (int64_t i = 0; i < y.h; i++) {
            struct between v = between(i, x.h, y.h);
            float *upper = gx + v.lo * x.w, *lower = gx + v.hi * x.w;
            for (int64_t j = 0; j < y.w; j++) {
                struct between h = between(j, x.w, y.w);
                double g = (double)*gy++;
                upper[h.lo] += (float)(g * (1 - v.t) * (1 - h.t));
                upper[h.hi] += (float)(g * (1 - v.t) * h.t);
                lower[h.lo] += (float)(g * v.t * (1 - h.t));
                lower[h.hi] += (float)(g * v.t * h.t);
            }
        }
}

const struct bs_op_def bs__op_resize_bilinear_grad = {
    .name = "resize_bilinear_grad",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_grad,
    .reference = reference_grad,
};
