/* Rotary embedding: the features of a token, taken in pairs, are turned by angles that depend on the token's place:
     y[2i] = x[2i] cos[2i] - x[2i+1] sin[2i],  y[2i+1] = x[2i+1] cos[2i+1] + x[2i] sin[2i+1]
   and its gradient, the same turned back:
     gx[2i] = gy[2i] cos[2i] + gy[2i+1] sin[2i+1],  gx[2i+1] = gy[2i+1] cos[2i+1] - gy[2i] sin[2i]
   The tables have a row per token from the END of the sequence; tokens before that (a class token in front) pass. */
#include "kernels/ops/ops_internal.h"

#include <string.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    static const char op[] = "rotary";
    const struct bs_shape *x = &in[0], *cosine = &in[1];
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_tokens(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_rank(op, "table of cosines", cosine, 2, "M,D", err)) != BS_OK ||
        (rc = bs__need_equal(op, "table of sines", &in[2], "table of cosines", cosine, err)) != BS_OK)
        return rc;
    if (x->dim[2] % 2 != 0)
        return BS_FAIL(err, BS_EINVAL, "%s: input %s; an even number of features is accepted", op,
                       bs_shape_text(x, a, sizeof a));
    if (cosine->dim[1] != x->dim[2] || cosine->dim[0] > x->dim[1])
        return BS_FAIL(
            err, BS_EINVAL,
            "%s: tables of %s for input %s; as many features and at most as many rows as tokens are accepted",
            op, bs_shape_text(cosine, b, sizeof b), bs_shape_text(x, a, sizeof a));
    *out = *x;
    return BS_OK;
}

/* The rotation, or its transpose. */
static void turn(const struct bs_tensor *in, struct bs_tensor *out, bool back)
{
    const float *x = in[0].data;
    float *y = out->data;
    const int64_t *d = out->shape.dim;
    const int64_t features = d[2], passing = d[1] - in[1].shape.dim[0];
    for (int64_t n = 0; n < d[0]; n++) {
        const float *cosine = in[1].data, *sine = in[2].data;
        for (int64_t t = 0; t < d[1]; t++, x += features, y += features) {
            if (t < passing) {
                memcpy(y, x, (size_t)features * sizeof *y);
                continue;
            }
            for (int64_t i = 0; i < features; i += 2) {
                double even = (double)x[i], odd = (double)x[i + 1];
                double to_even = back ? (double)sine[i + 1] : -(double)sine[i],
                       to_odd = back ? -(double)sine[i] : (double)sine[i + 1];
                y[i] = (float)(even * (double)cosine[i] + odd * to_even);
                y[i + 1] = (float)(odd * (double)cosine[i + 1] + even * to_odd);
            }
            cosine += features;
            sine += features;
        }
    }
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    turn(in, out, false);
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    turn(in, out, true);
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs_graph_apply(g, BS_OP_ROTARY_GRAD, (bs_value[]){gy, n->input[1], n->input[2]}, 3, n->attr);
}

const struct bs_op_def bs__op_rotary = {
    .name = "rotary",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

const struct bs_op_def bs__op_rotary_grad = {
    .name = "rotary_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference_grad,
};
