/* Losses that are a mean over every element of a prediction p and a target t of one shape:
     binary cross entropy: mean of -(t log p + (1-t) log(1-p)), p in [0,1], a logarithm being at least -100
       gp = gy (p - t) / max(p (1-p), 1e-12) / count            (both bounds as torch's)
     squared error: mean of (p - t)^2,  gp = gy 2 (p - t) / count */
#include "kernels/ops/ops_internal.h"

#include <math.h>

static bs_status infer_grad(const char *op, const struct bs_shape *in, struct bs_shape *out,
                            struct bs_err *err)
{
    bs_status rc = bs__need_equal(op, "target", &in[1], "the prediction", &in[0], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_equal(op, "gradient", &in[2], "a loss", &BS_SHAPE(1), err) : rc;
}

/* NaN, from a p outside [0,1], stays. */
static double bounded_log(double v)
{
    const double l = log(v);
    return l < -100 ? -100 : l;
}

static double variance(double p)
{
    const double v = p * (1 - p);
    return v < 1e-12 ? 1e-12 : v;
}

static bs_status infer_loss(const char *op, const struct bs_shape *in, struct bs_shape *out,
                            struct bs_err *err)
{
    *out = BS_SHAPE(1);
    return bs__need_equal(op, "target", &in[1], "the prediction", &in[0], err);
}

/* The mean of a term of each prediction and target. */
static void mean(double (*term)(double p, double t), const struct bs_tensor *in, struct bs_tensor *out)
{
    const float *prediction = in[0].data, *target = in[1].data;
    const size_t count = bs_shape_count(&in[0].shape);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += term((double)prediction[i], (double)target[i]);
    *(float *)out->data = (float)(sum / (double)count);
}

/* The gradient of every prediction, from gy divided by their number. */
static void gradients(double (*gradient)(double gy, double p, double t), const struct bs_tensor *in,
                      struct bs_tensor *out)
{
    const float *prediction = in[0].data, *target = in[1].data;
    float *gp = out->data;
    const size_t count = bs_shape_count(&in[0].shape);
    const double gy = (double)*(const float *)in[2].data / (double)count;
    for (size_t i = 0; i < count; i++)
        gp[i] = (float)gradient(gy, (double)prediction[i], (double)target[i]);
}

static bs_status infer_bce(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    return infer_loss("bce_loss", in, out, err);
}

static double bce_term(double p, double t)
{
    return -(t * bounded_log(p) + (1 - t) * bounded_log(1 - p));
}

static void reference_bce(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    mean(bce_term, in, out);
}

static void backward_bce(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    const bs_value p = n->input[0], t = n->input[1];
    gin[0] = bs_graph_apply(g, BS_OP_BCE_LOSS_GRAD, (bs_value[]){p, t, gy}, 3, (struct bs_attr){0});
}

const struct bs_op_def bs__op_bce_loss = {
    .name = "bce_loss",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_bce,
    .reference = reference_bce,
    .backward = backward_bce,
};

static bs_status infer_bce_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    return infer_grad("bce_loss_grad", in, out, err);
}

static double bce_gradient(double gy, double p, double t)
{
    return gy * (p - t) / variance(p);
}

static void reference_bce_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                               struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    gradients(bce_gradient, in, out);
}

const struct bs_op_def bs__op_bce_loss_grad = {
    .name = "bce_loss_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_bce_grad,
    .reference = reference_bce_grad,
};

static bs_status infer_mse(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    return infer_loss("mse_loss", in, out, err);
}

static double mse_term(double p, double t)
{
    return (p - t) * (p - t);
}

static void reference_mse(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    mean(mse_term, in, out);
}

static void backward_mse(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    const bs_value p = n->input[0], t = n->input[1];
    gin[0] = bs_graph_apply(g, BS_OP_MSE_LOSS_GRAD, (bs_value[]){p, t, gy}, 3, (struct bs_attr){0});
    gin[1] = bs_graph_apply(g, BS_OP_MSE_LOSS_GRAD, (bs_value[]){t, p, gy}, 3, (struct bs_attr){0});
}

const struct bs_op_def bs__op_mse_loss = {
    .name = "mse_loss",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_mse,
    .reference = reference_mse,
    .backward = backward_mse,
};

static bs_status infer_mse_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    return infer_grad("mse_loss_grad", in, out, err);
}

static double mse_gradient(double gy, double p, double t)
{
    return gy * 2 * (p - t);
}

static void reference_mse_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                               struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    gradients(mse_gradient, in, out);
}

const struct bs_op_def bs__op_mse_loss_grad = {
    .name = "mse_loss_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_mse_grad,
    .reference = reference_mse_grad,
};
