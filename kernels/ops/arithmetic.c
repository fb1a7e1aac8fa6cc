/* Sum and product of two tensors of one shape, and one tensor times a number, element by element. */
#include "kernels/ops/ops_internal.h"

#include <math.h>

static bs_status infer_add(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    *out = in[0];
    return bs__need_equal("add", "the first input", &in[0], "the second", &in[1], err);
}

static bs_status infer_mul(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    *out = in[0];
    return bs__need_equal("mul", "the first input", &in[0], "the second", &in[1], err);
}

static void reference_add(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *a = in[0].data, *b = in[1].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}

static void reference_mul(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *a = in[0].data, *b = in[1].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] * b[i];
}

static void backward_add(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    (void)g, (void)node;
    gin[0] = gin[1] = gy;
}

static void backward_mul(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs_graph_mul(g, gy, n->input[1]);
    gin[1] = bs_graph_mul(g, gy, n->input[0]);
}

const struct bs_op_def bs__op_add = {
    .name = "add",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_add,
    .reference = reference_add,
    .backward = backward_add,
};

const struct bs_op_def bs__op_mul = {
    .name = "mul",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_mul,
    .reference = reference_mul,
    .backward = backward_mul,
};

static bs_status infer_scale(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                             struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    if (!isfinite(attr->factor))
        return BS_FAIL(err, BS_EINVAL, "scale: factor is %g; a finite value is accepted",
                       (double)attr->factor);
    *out = in[0];
    return BS_OK;
}

static void reference_scale(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                            struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = attr->factor * x[i];
}

static void backward_scale(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    gin[0] = bs_graph_scale(g, gy, bs_graph_node(g, node)->attr.factor);
}

const struct bs_op_def bs__op_scale = {
    .name = "scale",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_scale,
    .reference = reference_scale,
    .backward = backward_scale,
};
