/* Activations, any shape. GELU (exact): y = x/2 (1 + erf(x / sqrt 2)).
   ReLU and sigmoid with their gradients from the OUTPUT y (so that the input need not be kept):
     relu: y = max(x, 0), gx = gy where y > 0 (NaN stays NaN)
     sigmoid: y = 1 / (1 + exp(-x)), gx = gy y (1 - y)
     silu: y = x / (1 + exp(-x))
   The gradients of GELU and SiLU come from the INPUT x, which the output does not tell:
     gelu: gx = gy (Phi(x) + x phi(x)), Phi the normal distribution, phi its density
     silu: gx = gy s (1 + x (1 - s)), s = 1 / (1 + exp(-x)) */
#include "kernels/ops/ops_internal.h"

#include <math.h>

static bs_status infer_same(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput, (void)err;
    *out = in[0];
    return BS_OK;
}

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    *out = in[0];
    return bs__need_equal("gradient of an activation", "gradient", &in[1], "output or input", &in[0], err);
}

static void reference_relu(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = x[i] <= 0.0f ? 0.0f : x[i];
}

static void backward_relu(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    gin[0] = bs_graph_apply(g, BS_OP_RELU_GRAD, (bs_value[]){node, gy}, 2, (struct bs_attr){0});
}

const struct bs_op_def bs__op_relu = {
    .name = "relu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_same,
    .reference = reference_relu,
    .backward = backward_relu,
};

static void reference_relu_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *y = in[0].data, *gy = in[1].data;
    float *gx = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        gx[i] = y[i] <= 0.0f ? 0.0f : gy[i];
}

const struct bs_op_def bs__op_relu_grad = {
    .name = "relu_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_relu_grad,
};

static void reference_sigmoid(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                              struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(1.0 / (1.0 + exp(-(double)x[i])));
}

static void backward_sigmoid(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    gin[0] = bs_graph_apply(g, BS_OP_SIGMOID_GRAD, (bs_value[]){node, gy}, 2, (struct bs_attr){0});
}

const struct bs_op_def bs__op_sigmoid = {
    .name = "sigmoid",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_same,
    .reference = reference_sigmoid,
    .backward = backward_sigmoid,
};

static void reference_sigmoid_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                   struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *y = in[0].data, *gy = in[1].data;
    float *gx = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        gx[i] = (float)((double)gy[i] * (double)y[i] * (1.0 - (double)y[i]));
}

const struct bs_op_def bs__op_sigmoid_grad = {
    .name = "sigmoid_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_sigmoid_grad,
};

static void reference_gelu(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = (float)(0.5 * (double)x[i] * (1.0 + erf((double)x[i] * 0.70710678118654752440)));
}

static void backward_gelu(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    bs_value x = bs_graph_node(g, node)->input[0];
    gin[0] = bs_graph_apply(g, BS_OP_GELU_GRAD, (bs_value[]){x, gy}, 2, (struct bs_attr){0});
}

const struct bs_op_def bs__op_gelu = {
    .name = "gelu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_same,
    .reference = reference_gelu,
    .backward = backward_gelu,
};

static void reference_gelu_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data, *gy = in[1].data;
    float *gx = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        gx[i] = (float)((double)gy[i] *
                        (0.5 * (1.0 + erf((double)x[i] * 0.70710678118654752440)) +
                         (double)x[i] * 0.39894228040143267794 * exp(-0.5 * (double)x[i] * (double)x[i])));
}

const struct bs_op_def bs__op_gelu_grad = {
    .name = "gelu_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_gelu_grad,
};

static void reference_silu(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data;
    float *y = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++)
        y[i] = (float)((double)x[i] / (1.0 + exp(-(double)x[i])));
}

static void backward_silu(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    bs_value x = bs_graph_node(g, node)->input[0];
    gin[0] = bs_graph_apply(g, BS_OP_SILU_GRAD, (bs_value[]){x, gy}, 2, (struct bs_attr){0});
}

const struct bs_op_def bs__op_silu = {
    .name = "silu",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_same,
    .reference = reference_silu,
    .backward = backward_silu,
};

static void reference_silu_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const float *x = in[0].data, *gy = in[1].data;
    float *gx = out->data;
    size_t count = bs_shape_count(&out->shape);
    for (size_t i = 0; i < count; i++) {
        const double s = 1.0 / (1.0 + exp(-(double)x[i]));
        gx[i] = (float)((double)gy[i] * s * (1.0 + (double)x[i] * (1.0 - s)));
    }
}

const struct bs_op_def bs__op_silu_grad = {
    .name = "silu_grad",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_grad,
    .reference = reference_silu_grad,
};
