/* RMS norm over the last axis of any shape:
     y[i] = x[i] / sqrt(mean of x^2 + eps) * w[i]
   No mean is subtracted and there is no bias. Its gradients, with xhat = x / sqrt(mean of x^2 + eps) and h = gy w:
     gx = (h - xhat mean(h xhat)) / sqrt(mean of x^2 + eps),  gw[i] = sum over rows of gy xhat */
#include "kernels/ops/ops_internal.h"

#include <math.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = bs__need_per_feature("rms_norm", "weight", &in[1], &in[0], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_eps("rms_norm", attr->eps, err) : rc;
}

/* 1 / sqrt(mean of x^2 + eps) */
static double inverse_size(const float *x, int64_t features, double eps)
{
    double squares = 0;
    for (int64_t i = 0; i < features; i++)
        squares += (double)x[i] * (double)x[i];
    return 1.0 / sqrt(squares / (double)features + eps);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data, *w = in[1].data;
    float *y = out->data;
    const int64_t features = in[1].shape.dim[0];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / features;
    for (int64_t r = 0; r < rows; r++, x += features, y += features) {
        double scale = inverse_size(x, features, (double)attr->eps);
        for (int64_t i = 0; i < features; i++)
            y[i] = (float)((double)x[i] * scale * (double)w[i]);
    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs__emit_siblings(g, BS_OP_RMS_NORM_GRAD, (bs_value[]){n->input[0], n->input[1], gy}, 3, n->attr, 2, gin);
}

const struct bs_op_def bs__op_rms_norm = {
    .name = "rms_norm",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    return bs__infer_row_norm_grad("rms_norm_grad", attr, in, out, err);
}

static void grad_x(const struct bs_attr *attr, const struct bs_tensor *in, float *gx)
{
    const int64_t features = in[1].shape.dim[0], rows = (int64_t)bs_shape_count(&in[0].shape) / features;
    const float *x = in[0].data, *w = in[1].data, *gy = in[2].data;
    for (int64_t r = 0; r < rows; r++, x += features, gy += features, gx += features) {
        const double scale = inverse_size(x, features, (double)attr->eps);
        double mean = 0;
        for (int64_t i = 0; i < features; i++)
            mean += (double)gy[i] * (double)w[i] * (double)x[i] * scale;
        mean /= (double)features;
        for (int64_t i = 0; i < features; i++)
            gx[i] = (float)(((double)gy[i] * (double)w[i] - (double)x[i] * scale * mean) * scale);
    }
}

#define STRIP 128 /* features summed at a time; 1 KiB of doubles on the stack */

static void grad_w(const struct bs_attr *attr, const struct bs_tensor *in, float *gw)
{
    const int64_t features = in[1].shape.dim[0], rows = (int64_t)bs_shape_count(&in[0].shape) / features;
    for (int64_t from = 0; from < features; from += STRIP) {
        const int64_t len = features - from < STRIP ? features - from : STRIP;
        const float *x = in[0].data, *gy = in[2].data;
        double sum[STRIP] = {0};
        for (int64_t r = 0; r < rows; r++, x += features, gy += features) {
            const double scale = inverse_size(x, features, (double)attr->eps);
            for (int64_t i = 0; i < len; i++)
                sum[i] += (double)gy[from + i] * (double)x[from + i] * scale;
        }
        for (int64_t i = 0; i < len; i++)
            gw[from + i] = (float)sum[i];
    }
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    if (attr->which == 0)
        grad_x(attr, in, out->data);
    else
        grad_w(attr, in, out->data);
}

const struct bs_op_def bs__op_rms_norm_grad = {
    .name = "rms_norm_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_grad,
    .reference = reference_grad,
};
