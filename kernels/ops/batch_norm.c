/* Batch norm in evaluation mode, with the running statistics of training:
     y = (x - mean[c]) / sqrt(var[c] + eps) * w[c] + b[c]
   and its gradients of x and w, the statistics taken as constants (a network trained on with frozen statistics):
     gx = gy w[c] / sqrt(var[c] + eps),  gw[c] = sum over samples and pixels of gy (x - mean[c]) / sqrt(var[c] + eps)
   The training mode stands in batch_norm_train.c. */
#include "kernels/ops/ops_internal.h"

#include <math.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "batch_norm";
    static const char *const what[] = {"input", "weight", "bias", "running mean", "running variance"};
    bs_status rc = bs__need_image(op, what[0], &in[0], err);
    for (int i = 1; i < 5 && rc == BS_OK; i++)
        rc = bs__need_per_channel(op, what[i], &in[i], &in[0], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_eps(op, attr->eps, err) : rc;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data, *mean = in[3].data, *var = in[4].data;
    float *y = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t c = 0; c < s.c; c++, x += pixels, y += pixels) {
            double scale = (double)w[c] / sqrt((double)var[c] + (double)attr->eps);
            for (int64_t i = 0; i < pixels; i++)
                y[i] = (float)(((double)x[i] - (double)mean[c]) * scale + (double)b[c]);
        }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs__emit_siblings(g, BS_OP_BATCH_NORM_GRAD,
                      (bs_value[]){n->input[0], n->input[1], n->input[3], n->input[4], gy}, 5, n->attr, 2,
                      gin);
    gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_CHANNEL, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_batch_norm = {
    .name = "batch_norm",
    .min_inputs = 5,
    .max_inputs = 5,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "batch_norm_grad";
    static const char *const what[] = {"input", "weight", "running mean", "running variance"};
    bs_status rc = bs__need_image(op, what[0], &in[0], err);
    for (int i = 1; i < 4 && rc == BS_OK; i++)
        rc = bs__need_per_channel(op, what[i], &in[i], &in[0], err);
    if (rc != BS_OK || (rc = bs__need_equal(op, "gradient", &in[4], what[0], &in[0], err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK || (rc = bs__need_which(op, attr, 1, err)) != BS_OK)
        return rc;
    *out = in[attr->which];
    return BS_OK;
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *w = in[1].data, *mean = in[2].data, *var = in[3].data, *gy = in[4].data;
    float *g = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t c = 0; c < s.c; c++) {
        const double inverse = 1.0 / sqrt((double)var[c] + (double)attr->eps);
        double sum = 0;
        for (int64_t n = 0; n < s.n; n++)
            for (int64_t i = (n * s.c + c) * pixels, end = i + pixels; i < end; i++)
                if (attr->which == 0)
                    g[i] = (float)((double)gy[i] * (double)w[c] * inverse);
                else
                    sum += (double)gy[i] * ((double)x[i] - (double)mean[c]) * inverse;
        if (attr->which == 1)
            g[c] = (float)sum;
    }
}

const struct bs_op_def bs__op_batch_norm_grad = {
    .name = "batch_norm_grad",
    .min_inputs = 5,
    .max_inputs = 5,
    .infer = infer_grad,
    .reference = reference_grad,
};
