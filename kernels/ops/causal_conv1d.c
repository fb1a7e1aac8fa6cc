/* Depthwise convolution along the tokens that looks back only, K taps per feature:
     y[t] = b + sum_k w[k] x[t - (K-1) + k], zero before the first token
   reverse: the same with the tokens in opposite order, so that it looks ahead only:
     y[t] = b + sum_k w[k] x[t + (K-1) - k], zero after the last token */
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

const struct bs_op_def bs__op_causal_conv1d = {
    .name = "causal_conv1d",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .flops = flops,
};
