/* Layer norm over the last axis, any leading axes:
     xhat = (x - mean) / sqrt(var + eps),  y = xhat w[c] + b[c]           var biased
   and its gradients, with gy the gradient of y and h = gy w:
     gx = (h - mean(h) - xhat mean(h xhat)) / sqrt(var + eps),  gw[c] = sum over rows of gy xhat */
#include "kernels/ops/ops_internal.h"

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "layer_norm";
    bs_status rc;
    if ((rc = bs__need_per_feature(op, "weight", &in[1], &in[0], err)) != BS_OK ||
        (rc = bs__need_per_feature(op, "bias", &in[2], &in[0], err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK)
        return rc;
    *out = in[0];
    return BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const int64_t count = in[1].shape.dim[0], rows = (int64_t)bs_shape_count(&out->shape) / count;
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data;
    float *y = out->data;
    for (int64_t r = 0; r < rows; r++, x += count, y += count) {
        const struct bs__moments m = bs__moments(x, count, (double)attr->eps);
        for (int64_t c = 0; c < count; c++)
            y[c] = (float)(((double)x[c] - m.mean) * m.inverse_deviation * (double)w[c] + (double)b[c]);
    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs__emit_siblings(g, BS_OP_LAYER_NORM_GRAD, (bs_value[]){n->input[0], n->input[1], gy}, 3, n->attr, 2,
                      gin);
    gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_FEATURE, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_layer_norm = {
    .name = "layer_norm",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    return bs__infer_row_norm_grad("layer_norm_grad", attr, in, out, err);
}

static void grad_x(const struct bs_attr *attr, const struct bs_tensor *in, float *gx)
{
    const int64_t count = in[1].shape.dim[0], rows = (int64_t)bs_shape_count(&in[0].shape) / count;
    const float *x = in[0].data, *w = in[1].data, *gy = in[2].data;
    for (int64_t r = 0; r < rows; r++, x += count, gy += count, gx += count) {
        const struct bs__moments m = bs__moments(x, count, (double)attr->eps);
        double mean_h = 0, mean_hx = 0;
        for (int64_t c = 0; c < count; c++) {
            const double h = (double)gy[c] * (double)w[c];
            mean_h += h;
            mean_hx += h * ((double)x[c] - m.mean) * m.inverse_deviation;
        }
        mean_h /= (double)count;
        mean_hx /= (double)count;
        for (int64_t c = 0; c < count; c++) {
            const double xhat = ((double)x[c] - m.mean) * m.inverse_deviation;
            gx[c] = (float)(((double)gy[c] * (double)w[c] - mean_h - xhat * mean_hx) * m.inverse_deviation);
        }
    }
}

#define STRIP 128 /* features summed at a time; 1 KiB of doubles on the stack */

static void grad_w(const struct bs_attr *attr, const struct bs_tensor *in, float *gw)
{
    const int64_t count = in[1].shape.dim[0], rows = (int64_t)bs_shape_count(&in[0].shape) / count;
    for (int64_t from = 0; from < count; from += STRIP) {
        const int64_t len = count - from < STRIP ? count - from : STRIP;
        const float *x = in[0].data, *gy = in[2].data;
        double sum[STRIP] = {0};
        for (int64_t r = 0; r < rows; r++, x += count, gy += count) {
            const struct bs__moments m = bs__moments(x, count, (double)attr->eps);
            for (int64_t c = 0; c < len; c++)
                sum[c] += (double)gy[from + c] * ((double)x[from + c] - m.mean) * m.inverse_deviation;
        }
        for (int64_t c = 0; c < len; c++)
            gw[from + c] = (float)sum[c];
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

const struct bs_op_def bs__op_layer_norm_grad = {
    .name = "layer_norm_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_grad,
    .reference = reference_grad,
};
