/* Group norm: channels are split into groups of neighbours; over the pixels of all channels of a group of one sample,
     xhat = (x - mean) / sqrt(var + eps),  y = xhat w[c] + b[c]           var biased
   and its gradients, with gy the gradient of y, h = gy w, and means over the group:
     gx = (h - mean(h) - xhat mean(h xhat)) / sqrt(var + eps),  gw[c] = sum over samples and pixels of gy xhat */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status check(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                       const struct bs_shape *w, struct bs_err *err)
{
    bs_status rc;
    char a[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", x, err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "weight", w, x, err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK)
        return rc;
    if (attr->groups < 1 || x->dim[1] % attr->groups)
        return BS_FAIL(err, BS_EINVAL, "%s: %d groups do not divide the %" PRId64 " channels of input %s", op,
                       attr->groups, x->dim[1], bs_shape_text(x, a, sizeof a));
    if (x->dim[1] == attr->groups && x->dim[2] == 1 && x->dim[3] == 1)
        return BS_FAIL(err, BS_EINVAL, "%s: input is %s; more than one value per group is needed", op,
                       bs_shape_text(x, a, sizeof a));
    return BS_OK;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = check("group_norm", attr, &in[0], &in[1], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_per_channel("group_norm", "bias", &in[2], &in[0], err) : rc;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data;
    float *y = out->data;
    const int64_t pixels = s.h * s.w, channels = s.c / attr->groups, count = channels * pixels;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t group = 0; group < attr->groups; group++, x += count, y += count) {
            const struct bs__moments m = bs__moments(x, count, (double)attr->eps);
            for (int64_t c = 0; c < channels; c++) {
                double scale = m.inverse_deviation * (double)w[group * channels + c],
                       shift = (double)b[group * channels + c];
                for (int64_t i = c * pixels; i < (c + 1) * pixels; i++)
                    y[i] = (float)(((double)x[i] - m.mean) * scale + shift);
            }
        }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs__emit_siblings(g, BS_OP_GROUP_NORM_GRAD, (bs_value[]){n->input[0], n->input[1], gy}, 3, n->attr, 2,
                      gin);
    gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_CHANNEL, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_group_norm = {
    .name = "group_norm",
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
    static const char op[] = "group_norm_grad";
    bs_status rc;
    if ((rc = check(op, attr, &in[0], &in[1], err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[2], "input", &in[0], err)) != BS_OK ||
        (rc = bs__need_which(op, attr, 1, err)) != BS_OK)
        return rc;
    *out = in[attr->which];
    return BS_OK;
}

static void grad_x(const struct bs_attr *attr, const struct bs_tensor *in, float *gx)
{
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *w = in[1].data, *gy = in[2].data;
    const int64_t pixels = s.h * s.w, channels = s.c / attr->groups, count = channels * pixels;
    for (int64_t n = 0; n < s.n; n++)
        for (int64_t group = 0; group < attr->groups; group++, x += count, gy += count, gx += count) {
            const struct bs__moments m = bs__moments(x, count, (double)attr->eps);
            const float *weight = w + group * channels;
            double mean_h = 0, mean_hx = 0;
            for (int64_t i = 0; i < count; i++) {
                const double h = (double)gy[i] * (double)weight[i / pixels];
                mean_h += h;
                mean_hx += h * ((double)x[i] - m.mean) * m.inverse_deviation;
            }
            mean_h /= (double)count;
            mean_hx /= (double)count;
            for (int64_t i = 0; i < count; i++) {
                const double h = (double)gy[i] * (double)weight[i / pixels],
                             xhat = ((double)x[i] - m.mean) * m.inverse_deviation;
                gx[i] = (float)((h - mean_h - xhat * mean_hx) * m.inverse_deviation);
            }
        }
}

static void grad_w(const struct bs_attr *attr, const struct bs_tensor *in, float *gw)
{
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *gy = in[2].data;
    const int64_t pixels = s.h * s.w, channels = s.c / attr->groups;
    for (int64_t c = 0; c < s.c; c++) {
        double sum = 0;
        for (int64_t n = 0; n < s.n; n++) {
            const int64_t group = c / channels * channels, plane = (n * s.c + c) * pixels;
            const struct bs__moments m =
                bs__moments(x + (n * s.c + group) * pixels, channels * pixels, (double)attr->eps);
            for (int64_t i = plane; i < plane + pixels; i++)
                sum += (double)gy[i] * ((double)x[i] - m.mean) * m.inverse_deviation;
        }
        gw[c] = (float)sum;
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

const struct bs_op_def bs__op_group_norm_grad = {
    .name = "group_norm_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_grad,
    .reference = reference_grad,
};
