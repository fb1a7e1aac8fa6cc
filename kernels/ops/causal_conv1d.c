/* Depthwise convolution along the tokens that looks back only, K taps per feature:
     y[t] = b + sum_k w[k] x[t - (K-1) + k], zero before the first token
   reverse: the same with the tokens in opposite order, so that it looks ahead only:
     y[t] = b + sum_k w[k] x[t + (K-1) - k], zero after the last token
   The gradient of x is the same operator in the other direction: gx[t] = sum_k w[k] gy[t + (K-1) - k]. Of w:
     gw[k] = sum over samples and t of gy[t] x[t - (K-1) + k]          (reverse: x[t + (K-1) - k]) */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)attr;
    static const char op[] = "causal_conv1d";
    const struct bs_shape *x = &in[0], *w = &in[1];
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_tokens(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_rank(op, "weight", w, 3, "D,1,K", err)) != BS_OK)
        return rc;
    if (w->dim[0] != x->dim[2] || w->dim[1] != 1 || w->dim[2] > BS_MAX_ATTRIBUTE)
        return BS_FAIL(err, BS_EINVAL, "%s: weight is %s; input %s takes one of %" PRId64 "x1xK, K up to %d",
                       op, bs_shape_text(w, b, sizeof b), bs_shape_text(x, a, sizeof a), x->dim[2],
                       BS_MAX_ATTRIBUTE);
    *out = *x;
    return ninput == 3 ? bs__need_per_feature(op, "bias", &in[2], x, err) : BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    const float *x = in[0].data, *w = in[1].data, *bias = ninput == 3 ? in[2].data : NULL;
    float *y = out->data;
    const int64_t tokens = out->shape.dim[1], features = out->shape.dim[2], taps = in[1].shape.dim[2];
    for (int64_t n = 0; n < out->shape.dim[0]; n++, x += tokens * features)
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t f = 0; f < features; f++) {
                double sum = bias ? (double)bias[f] : 0.0;
                for (int64_t k = 0; k < taps; k++) {
                    int64_t back = taps - 1 - k, from = attr->reverse ? t + back : t - back;
                    if (from >= 0 && from < tokens)
                        sum += (double)w[f * taps + k] * (double)x[from * features + f];
                }
                *y++ = (float)sum;
            }
}

static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(out) * (double)in[1].dim[2];
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    struct bs_attr attr = n->attr;
    attr.shape = bs_graph_node(g, n->input[1])->shape;
    gin[0] = bs_graph_causal_conv1d(g, gy, n->input[1], BS_NO_VALUE, !attr.reverse);
    gin[1] = bs_graph_apply(g, BS_OP_CAUSAL_CONV1D_GRAD_W, (bs_value[]){n->input[0], gy}, 2, attr);
    if (n->ninput == 3)
        gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_FEATURE, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_causal_conv1d = {
    .name = "causal_conv1d",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .backward = backward,
    .flops = flops,
};

static bs_status infer_grad_w(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "causal_conv1d_grad_w";
    struct bs_shape y;
    bs_status rc;
    if ((rc = bs_shape_check("causal_conv1d_grad_w: shape", &attr->shape, err)) != BS_OK ||
        (rc = infer(attr, (struct bs_shape[]){in[0], attr->shape}, 2, &y, err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[1], "input", &in[0], err)) != BS_OK)
        return rc;
    *out = attr->shape;
    return BS_OK;
}

static void reference_grad_w(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data, *gy = in[1].data;
    float *gw = out->data;
    const int64_t *d = in[0].shape.dim;
    const int64_t tokens = d[1], features = d[2], taps = out->shape.dim[2];
    for (int64_t f = 0; f < features; f++)
        for (int64_t k = 0; k < taps; k++) {
            const int64_t back = taps - 1 - k;
            double sum = 0;
            for (int64_t n = 0; n < d[0]; n++)
                for (int64_t t = 0; t < tokens; t++) {
                    const int64_t from = attr->reverse ? t + back : t - back;
                    if (from >= 0 && from < tokens)
                        sum += (double)gy[(n * tokens + t) * features + f] *
                               (double)x[(n * tokens + from) * features + f];
                }
            *gw++ = (float)sum;
        }
}

static double flops_grad_w(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(&in[0]) * (double)out->dim[2];
}

const struct bs_op_def bs__op_causal_conv1d_grad_w = {
    .name = "causal_conv1d_grad_w",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad_w,
    .reference = reference_grad_w,
    .flops = flops_grad_w,
};
