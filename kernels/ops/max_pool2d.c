/* Max pooling over windows of k x k that do not overlap; rows and columns that do not fill a window are dropped:
     y[n,c,i,j] = max_{p,q < k} x[n,c, i k + p, j k + q]      (NaN wins)
   The gradient goes to the first largest pixel of each window, in reading order. */
#include "kernels/ops/ops_internal.h"

#include <math.h>
#include <string.h>

static bs_status check(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                       struct bs_shape *y, struct bs_err *err)
{
    bs_status rc;
    char a[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_attribute(op, "kernel", attr->kernel, 1, err)) != BS_OK)
        return rc;
    if (x->dim[2] < attr->kernel || x->dim[3] < attr->kernel)
        return BS_FAIL(err, BS_EINVAL, "%s: input %s is smaller than the window of %dx%d", op,
                       bs_shape_text(x, a, sizeof a), attr->kernel, attr->kernel);
    *y = BS_SHAPE(x->dim[0], x->dim[1], x->dim[2] / attr->kernel, x->dim[3] / attr->kernel);
    return BS_OK;
}

/* Index of the first largest pixel of the k x k window at x, in an image of row length w. */
static int64_t largest(const float *x, int64_t w, int64_t k)
{
    int64_t best = 0;
    for (int64_t p = 0; p < k; p++)
        for (int64_t q = 0; q < k; q++)
            if (x[p * w + q] > x[best] || (isnan(x[p * w + q]) && !isnan(x[best])))
                best = p * w + q;
    return best;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    return check("max_pool2d", attr, &in[0], out, err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&out->shape);
    const int64_t k = attr->kernel;
    float *yp = out->data;
    for (int64_t plane = 0; plane < y.n * y.c; plane++)
        for (int64_t i = 0; i < y.h; i++)
            for (int64_t j = 0; j < y.w; j++) {
                const float *window = (const float *)in[0].data + (plane * x.h + i * k) * x.w + j * k;
                *yp++ = window[largest(window, x.w, k)];
            }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs_graph_apply(g, BS_OP_MAX_POOL2D_GRAD, (bs_value[]){n->input[0], gy}, 2, n->attr);
}

const struct bs_op_def bs__op_max_pool2d = {
    .name = "max_pool2d",
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
    struct bs_shape y;
    bs_status rc = check("max_pool2d_grad", attr, &in[0], &y, err);
    *out = in[0];
    return rc == BS_OK ? bs__need_equal("max_pool2d_grad", "gradient", &in[1], "the pooled image", &y, err)
                       : rc;
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&in[1].shape);
    const int64_t k = attr->kernel;
    const float *gy = in[1].data;
    float *gx = out->data;
    memset(gx, 0, bs_shape_count(&out->shape) * sizeof *gx);
    for (int64_t plane = 0; plane < y.n * y.c; plane++)
        for (int64_t i = 0; i < y.h; i++)
            for (int64_t j = 0; j < y.w; j++) {
                int64_t at = (plane * x.h + i * k) * x.w + j * k;
                gx[at + largest((const float *)in[0].data + at, x.w, k)] = *gy++;
            }
}

const struct bs_op_def bs__op_max_pool2d_grad = {
    .name = "max_pool2d_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_grad,
};
