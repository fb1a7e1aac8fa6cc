/* Moving along the axes of tokens (N,L,D): a token put in, a run of tokens taken out, and, for any shape, a run of
   features of the last axis; and the gradients of a token put in (of a run taken out: slice_grad.c). */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <string.h>

/* `count` from `start` of an axis of `length`; the error names what and the whole input. */
static bs_status need_range(const char *op, const char *what, const struct bs_attr *attr, int64_t length,
                            const struct bs_shape *x, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    if (attr->start >= 0 && attr->count >= 1 && attr->start <= length && attr->count <= length - attr->start)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL,
                   "%s: %" PRId64 " %ss from %s %" PRId64 " of input %s; ranges inside its %" PRId64
                   " %ss are accepted",
                   op, attr->count, what, what, attr->start, bs_shape_text(x, a, sizeof a), length, what);
}

static bs_status infer_insert(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "insert_token";
    const struct bs_shape *x = &in[0], *token = &in[1];
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    bs_status rc = bs__need_tokens(op, "input", x, err);
    if (rc != BS_OK)
        return rc;
    if (token->ndim != 3 || token->dim[0] != 1 || token->dim[1] != 1 || token->dim[2] != x->dim[2])
        return BS_FAIL(err, BS_EINVAL, "%s: token is %s; input %s takes one of 1x1x%" PRId64, op,
                       bs_shape_text(token, b, sizeof b), bs_shape_text(x, a, sizeof a), x->dim[2]);
    if (attr->start < 0 || attr->start > x->dim[1])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: before token %" PRId64 " of input %s; 0 to %" PRId64 " are accepted", op,
                       attr->start, bs_shape_text(x, a, sizeof a), x->dim[1]);
    *out = *x;
    out->dim[1] += 1;
    return BS_OK;
}

static void reference_insert(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data, *token = in[1].data;
    float *y = out->data;
    const int64_t *d = out->shape.dim;
    const size_t features = (size_t)d[2];
    for (int64_t n = 0; n < d[0]; n++)
        for (int64_t t = 0; t < d[1]; t++, y += features) {
            memcpy(y, t == attr->start ? token : x, features * sizeof *y);
            if (t != attr->start)
                x += features;
        }
}

static void backward_insert(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    bs__emit_siblings(g, BS_OP_INSERT_TOKEN_GRAD, &gy, 1, bs_graph_node(g, node)->attr, 2, gin);
}

const struct bs_op_def bs__op_insert_token = {
    .name = "insert_token",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_insert,
    .reference = reference_insert,
    .backward = backward_insert,
};

static bs_status infer_insert_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                   struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "insert_token_grad";
    char a[BS_SHAPE_TEXT];
    bs_status rc;
    if ((rc = bs__need_tokens(op, "gradient", &in[0], err)) != BS_OK ||
        (rc = bs__need_which(op, attr, 1, err)) != BS_OK)
        return rc;
    if (attr->start < 0 || attr->start >= in[0].dim[1] || in[0].dim[1] < 2)
        return BS_FAIL(err, BS_EINVAL, "%s: token %" PRId64 " of gradient %s", op, attr->start,
                       bs_shape_text(&in[0], a, sizeof a));
    *out = attr->which == 0 ? BS_SHAPE(in[0].dim[0], in[0].dim[1] - 1, in[0].dim[2])
                            : BS_SHAPE(1, 1, in[0].dim[2]);
    return BS_OK;
}

static void reference_insert_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                  struct bs_tensor *out)
{
    (void)ninput;
    const float *gy = in[0].data;
    float *g = out->data;
    const int64_t samples = in[0].shape.dim[0], tokens = in[0].shape.dim[1], features = in[0].shape.dim[2];
    if (attr->which == 1) {
        for (int64_t f = 0; f < features; f++) {
            double sum = 0;
            for (int64_t n = 0; n < samples; n++)
                sum += (double)gy[(n * tokens + attr->start) * features + f];
            g[f] = (float)sum;
        }
        return;
    }
    for (int64_t n = 0; n < samples; n++)
        for (int64_t t = 0; t < tokens; t++, gy += features)
            if (t != attr->start) {
                memcpy(g, gy, (size_t)features * sizeof *g);
                g += features;
            }
}

const struct bs_op_def bs__op_insert_token_grad = {
    .name = "insert_token_grad",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_insert_grad,
    .reference = reference_insert_grad,
};

static bs_status infer_slice_tokens(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                    struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = bs__need_tokens("slice_tokens", "input", &in[0], err);
    if (rc == BS_OK)
        rc = need_range("slice_tokens", "token", attr, in[0].dim[1], &in[0], err);
    *out = in[0];
    out->dim[1] = attr->count;
    return rc;
}

static void reference_slice_tokens(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                   struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    const int64_t *d = in[0].shape.dim;
    const size_t count = (size_t)(attr->count * d[2]);
    for (int64_t n = 0; n < d[0]; n++, y += count)
        memcpy(y, x + (n * d[1] + attr->start) * d[2], count * sizeof *y);
}

static void backward_slice_tokens(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    const struct bs_shape *x = &bs_graph_node(g, n->input[0])->shape;
    gin[0] = bs__emit_slice_grad(g, gy, 1, n->attr.start, x);
}

const struct bs_op_def bs__op_slice_tokens = {
    .name = "slice_tokens",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_slice_tokens,
    .reference = reference_slice_tokens,
    .backward = backward_slice_tokens,
};

static bs_status infer_slice_last(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                  struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    *out = in[0];
    if (in[0].ndim == 0)
        return BS_FAIL(err, BS_EINVAL, "slice_last: input is a scalar; at least 1 dimension is accepted");
    out->dim[out->ndim - 1] = attr->count;
    return need_range("slice_last", "feature", attr, in[0].dim[in[0].ndim - 1], &in[0], err);
}

static void reference_slice_last(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                 struct bs_tensor *out)
{
    (void)ninput;
    const int64_t features = in[0].shape.dim[in[0].shape.ndim - 1];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / attr->count;
    const float *x = in[0].data;
    float *y = out->data;
    for (int64_t r = 0; r < rows; r++)
        memcpy(y + r * attr->count, x + r * features + attr->start, (size_t)attr->count * sizeof *y);
}

static void backward_slice_last(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    const struct bs_shape *x = &bs_graph_node(g, n->input[0])->shape;
    gin[0] = bs__emit_slice_grad(g, gy, x->ndim - 1, n->attr.start, x);
}

const struct bs_op_def bs__op_slice_last = {
    .name = "slice_last",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_slice_last,
    .reference = reference_slice_last,
    .backward = backward_slice_last,
};
