/* Transposed convolution whose stride is its kernel size k, so that output blocks do not overlap:
     y[n,o, i k + p, j k + q] = b[o] + sum_c w[c,o,p,q] x[n,c,i,j]
   Its gradients are those of a convolution seen from the other side: gx = conv2d(gy, w, stride k), and gw is the weight
   gradient of that convolution with gy as its input and x as its output's gradient. */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

#define STRIP 256

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    static const char op[] = "conv_transpose2d";
    const struct bs_shape *x = &in[0], *w = &in[1];
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_rank(op, "weight", w, 4, "Ci,Co,k,k", err)) != BS_OK ||
        (rc = bs__need_attribute(op, "stride", attr->stride, 1, err)) != BS_OK)
        return rc;
    if (x->dim[1] != w->dim[0])
        return BS_FAIL(err, BS_EINVAL, "%s: input %s has %" PRId64 " channels but weight %s takes %" PRId64,
                       op, bs_shape_text(x, a, sizeof a), x->dim[1], bs_shape_text(w, b, sizeof b),
                       w->dim[0]);
    if (w->dim[2] != attr->stride || w->dim[3] != attr->stride)
        return BS_FAIL(err, BS_EINVAL,
                       "%s: weight %s with stride %d; a kernel as large as the stride is accepted", op,
                       bs_shape_text(w, b, sizeof b), attr->stride);
    *out = BS_SHAPE(x->dim[0], w->dim[1], x->dim[2] * attr->stride, x->dim[3] * attr->stride);
    return ninput == 3 ? bs__need_per_channel(op, "bias", &in[2], out, err) : BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&out->shape);
    const float *xp = in[0].data, *wp = in[1].data, *bias = ninput == 3 ? in[2].data : NULL;
    const int64_t k = attr->stride;
    float *yp = out->data;
    for (int64_t n = 0; n < y.n; n++)
        for (int64_t o = 0; o < y.c; o++)
            for (int64_t row = 0; row < y.h; row++)
                for (int64_t q = 0; q < k; q++)
                    for (int64_t at = 0; at < x.w; at += STRIP) {
                        double sum[STRIP];
                        int64_t i = row / k, p = row % k, len = x.w - at < STRIP ? x.w - at : STRIP;
                        for (int64_t j = 0; j < len; j++)
                            sum[j] = bias ? (double)bias[o] : 0.0;
                        for (int64_t c = 0; c < x.c; c++) {
                            double weight = (double)wp[((c * y.c + o) * k + p) * k + q];
                            const float *source = xp + ((n * x.c + c) * x.h + i) * x.w + at;
                            for (int64_t j = 0; j < len; j++)
                                sum[j] += weight * (double)source[j];
                        }
                        float *target = yp + ((n * y.c + o) * y.h + row) * y.w;
                        for (int64_t j = 0; j < len; j++)
                            target[(at + j) * k + q] = (float)sum[j];
                    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs_value x = n->input[0], w = n->input[1];
    gin[0] = bs_graph_conv2d(g, gy, w, BS_NO_VALUE, n->attr.stride, 0);
    struct bs_attr attr = {.stride = n->attr.stride, .shape = bs_graph_node(g, w)->shape};
    gin[1] = bs_graph_apply(g, BS_OP_CONV2D_GRAD_W, (bs_value[]){gy, x}, 2, attr);
    if (n->ninput == 3)
        gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_CHANNEL, &gy, 1, (struct bs_attr){0});
}

static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    /* each output pixel is one sum over the input channels */
    return 2.0 * (double)bs_shape_count(out) * (double)in[0].dim[1];
}

const struct bs_op_def bs__op_conv_transpose2d = {
    .name = "conv_transpose2d",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .backward = backward,
    .flops = flops,
};
