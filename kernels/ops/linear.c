/* A linear map of the last axis, any leading axes:
     y[..., o] = b[o] + sum_i w[o, i] x[..., i]
   and its gradients, with gy the gradient of y:
     gx[..., i] = sum_o w[o, i] gy[..., o],  gw[o, i] = sum over rows of gy[o] x[i],  gb[o] = sum over rows of gy[o] */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)attr;
    static const char op[] = "linear";
    bs_status rc = bs__need_rank(op, "weight", &in[1], 2, "O,I", err);
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if (rc != BS_OK)
        return rc;
    const int last = in[0].ndim - 1;
    if (last < 0 || in[0].dim[last] != in[1].dim[1])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: input %s does not end in the %" PRId64 " features that weight %s takes", op,
                       bs_shape_text(&in[0], a, sizeof a), in[1].dim[1], bs_shape_text(&in[1], b, sizeof b));
    *out = in[0];
    out->dim[last] = in[1].dim[0];
    return ninput == 3 ? bs__need_per_feature(op, "bias", &in[2], out, err) : BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)attr;
    const int64_t outputs = in[1].shape.dim[0], inputs = in[1].shape.dim[1];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / outputs;
    const float *x = in[0].data, *w = in[1].data, *b = ninput == 3 ? in[2].data : NULL;
    float *y = out->data;
    for (int64_t r = 0; r < rows; r++, x += inputs)
        for (int64_t o = 0; o < outputs; o++) {
            double sum = b ? (double)b[o] : 0;
            for (int64_t i = 0; i < inputs; i++)
                sum += (double)w[o * inputs + i] * (double)x[i];
            *y++ = (float)sum;
        }
}

static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(out) * (double)in[1].dim[1];
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs_graph_apply(g, BS_OP_LINEAR_GRAD_X, (bs_value[]){gy, n->input[1]}, 2, (struct bs_attr){0});
    gin[1] = bs_graph_apply(g, BS_OP_LINEAR_GRAD_W, (bs_value[]){n->input[0], gy}, 2, (struct bs_attr){0});
    if (n->ninput == 3)
        gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_FEATURE, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_linear = {
    .name = "linear",
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
    (void)attr, (void)ninput;
    static const char op[] = "linear_grad_x";
    bs_status rc = bs__need_rank(op, "weight", &in[1], 2, "O,I", err);
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    const int last = in[0].ndim - 1;
    if (rc != BS_OK)
        return rc;
    if (last < 0 || in[0].dim[last] != in[1].dim[0])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: gradient %s does not end in the %" PRId64 " features that weight %s makes", op,
                       bs_shape_text(&in[0], a, sizeof a), in[1].dim[0], bs_shape_text(&in[1], b, sizeof b));
    *out = in[0];
    out->dim[last] = in[1].dim[1];
    return BS_OK;
}

static void reference_grad_x(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const int64_t outputs = in[1].shape.dim[0], inputs = in[1].shape.dim[1];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / inputs;
    const float *gy = in[0].data, *w = in[1].data;
    float *gx = out->data;
    for (int64_t r = 0; r < rows; r++, gy += outputs)
        for (int64_t i = 0; i < inputs; i++) {
            double sum = 0;
            for (int64_t o = 0; o < outputs; o++)
                sum += (double)w[o * inputs + i] * (double)gy[o];
            *gx++ = (float)sum;
        }
}

static double flops_grad_x(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(out) * (double)in[1].dim[0];
}

const struct bs_op_def bs__op_linear_grad_x = {
    .name = "linear_grad_x",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad_x,
    .reference = reference_grad_x,
    .flops = flops_grad_x,
};

static bs_status infer_grad_w(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    const struct bs_shape *x = &in[0], *gy = &in[1];
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    bool rows_differ = x->ndim < 1 || x->ndim != gy->ndim;
    for (int i = 0; !rows_differ && i < x->ndim - 1; i++)
        rows_differ = x->dim[i] != gy->dim[i];
    if (rows_differ)
        return BS_FAIL(err, BS_EINVAL, "linear_grad_w: input %s and gradient %s differ in more than features",
                       bs_shape_text(x, a, sizeof a), bs_shape_text(gy, b, sizeof b));
    *out = BS_SHAPE(gy->dim[gy->ndim - 1], x->dim[x->ndim - 1]);
    return BS_OK;
}

static void reference_grad_w(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const int64_t outputs = out->shape.dim[0], inputs = out->shape.dim[1];
    const int64_t rows = (int64_t)bs_shape_count(&in[0].shape) / inputs;
    const float *x = in[0].data, *gy = in[1].data;
    float *gw = out->data;
    for (int64_t o = 0; o < outputs; o++)
        for (int64_t i = 0; i < inputs; i++) {
            double sum = 0;
            for (int64_t r = 0; r < rows; r++)
                sum += (double)gy[r * outputs + o] * (double)x[r * inputs + i];
            *gw++ = (float)sum;
        }
}

static double flops_grad_w(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(&in[0]) * (double)out->dim[0];
}

const struct bs_op_def bs__op_linear_grad_w = {
    .name = "linear_grad_w",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad_w,
    .reference = reference_grad_w,
    .flops = flops_grad_w,
};

static bs_status infer_sum(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    if (in[0].ndim == 0)
        return BS_FAIL(err, BS_EINVAL, "sum_to_feature: input is a scalar; at least 1 dimension is accepted");
    *out = BS_SHAPE(in[0].dim[in[0].ndim - 1]);
    return BS_OK;
}

static void reference_sum(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const int64_t features = out->shape.dim[0], rows = (int64_t)bs_shape_count(&in[0].shape) / features;
    const float *x = in[0].data;
    float *y = out->data;
    for (int64_t f = 0; f < features; f++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)x[r * features + f];
        y[f] = (float)sum;
    }
}

const struct bs_op_def bs__op_sum_to_feature = {
    .name = "sum_to_feature",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_sum,
    .reference = reference_sum,
};
