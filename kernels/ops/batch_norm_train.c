/* Batch norm in training mode: over the samples and pixels of each channel of this batch,
     xhat = (x - mean) / sqrt(var + eps),  y = xhat w[c] + b[c]           var biased
   its gradients, with gy the gradient of y and means over samples and pixels:
     gx = w[c] (gy - mean(gy) - xhat mean(gy xhat)) / sqrt(var + eps),  gw[c] = sum of gy xhat
   and the statistics from which training keeps running ones: mean and unbiased variance (divided by the count less 1). */
#include "kernels/ops/ops_internal.h"

#include <math.h>

/* Like the reference (torch) we refuse a single value per channel: it has no variance. */
static bs_status check(const char *op, const struct bs_shape *x, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    bs_status rc = bs__need_image(op, "input", x, err);
    if (rc == BS_OK && x->dim[0] == 1 && x->dim[2] == 1 && x->dim[3] == 1)
        rc = BS_FAIL(err, BS_EINVAL, "%s: input is %s; more than one value per channel is needed", op,
                     bs_shape_text(x, a, sizeof a));
    return rc;
}

/* Of one channel of x. */
struct moments {
    double count, mean, squares; /* squares: sum of squared distances from the mean */
};
static struct moments moments(const float *x, const struct bs__image *s, int64_t channel)
{
    const int64_t pixels = s->h * s->w;
    struct moments m = {.count = (double)(s->n * pixels)};
    double sum = 0;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t i = 0; i < pixels; i++)
            sum += (double)x[(n * s->c + channel) * pixels + i];
    m.mean = sum / m.count;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t i = 0; i < pixels; i++) {
            const double d = (double)x[(n * s->c + channel) * pixels + i] - m.mean;
            m.squares += d * d;
        }
    return m;
}

static double inverse_deviation(const struct moments *m, const struct bs_attr *attr)
{
    return 1.0 / sqrt(m->squares / m->count + (double)attr->eps);
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "batch_norm_train";
    bs_status rc;
    if ((rc = check(op, &in[0], err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "weight", &in[1], &in[0], err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "bias", &in[2], &in[0], err)) != BS_OK)
        return rc;
    *out = in[0];
    return bs__need_eps(op, attr->eps, err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const float *x = in[0].data, *w = in[1].data, *b = in[2].data;
    float *y = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t c = 0; c < s.c; c++) {
        const struct moments m = moments(x, &s, c);
        const double scale = inverse_deviation(&m, attr) * (double)w[c];
        for (int64_t n = 0; n < s.n; n++)
            for (int64_t i = (n * s.c + c) * pixels, end = i + pixels; i < end; i++)
                y[i] = (float)(((double)x[i] - m.mean) * scale + (double)b[c]);
    }
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    bs__emit_siblings(g, BS_OP_BATCH_NORM_TRAIN_GRAD, (bs_value[]){n->input[0], n->input[1], gy}, 3, n->attr,
                      2, gin);
    gin[2] = bs_graph_apply(g, BS_OP_SUM_TO_CHANNEL, &gy, 1, (struct bs_attr){0});
}

const struct bs_op_def bs__op_batch_norm_train = {
    .name = "batch_norm_train",
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
    static const char op[] = "batch_norm_train_grad";
    bs_status rc;
    if ((rc = check(op, &in[0], err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "weight", &in[1], &in[0], err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[2], "input", &in[0], err)) != BS_OK ||
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
    const float *x = in[0].data, *w = in[1].data, *gy = in[2].data;
    float *g = out->data;
    const int64_t pixels = s.h * s.w;
    for (int64_t c = 0; c < s.c; c++) {
        const struct moments m = moments(x, &s, c);
        const double inverse = inverse_deviation(&m, attr);
        double sum_g = 0, sum_gx = 0;
        for (int64_t n = 0; n < s.n; n++)
            for (int64_t i = (n * s.c + c) * pixels, end = i + pixels; i < end; i++) {
                sum_g += (double)gy[i];
                sum_gx += (double)gy[i] * ((double)x[i] - m.mean) * inverse;
            }
        if (attr->which == 1) {
            g[c] = (float)sum_gx;
            continue;
        }
        for (int64_t n = 0; n < s.n; n++)
            for (int64_t i = (n * s.c + c) * pixels, end = i + pixels; i < end; i++) {
                const double xhat = ((double)x[i] - m.mean) * inverse;
                g[i] = (float)(((double)gy[i] - sum_g / m.count - xhat * sum_gx / m.count) * inverse *
                               (double)w[c]);
            }
    }
}

const struct bs_op_def bs__op_batch_norm_train_grad = {
    .name = "batch_norm_train_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_grad,
    .reference = reference_grad,
};

static bs_status infer_statistics(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                                  struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    bs_status rc = check("batch_statistics", &in[0], err);
    if (rc == BS_OK)
        *out = BS_SHAPE(2, in[0].dim[1]);
    return rc;
}

static void reference_statistics(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                                 struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    float *mean = out->data, *variance = mean + s.c;
    for (int64_t c = 0; c < s.c; c++) {
        const struct moments m = moments(in[0].data, &s, c);
        mean[c] = (float)m.mean;
        variance[c] = (float)(m.squares / (m.count - 1));
    }
}

const struct bs_op_def bs__op_batch_statistics = {
    .name = "batch_statistics",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_statistics,
    .reference = reference_statistics,
};
