/* Batch norm in evaluation mode, with the running statistics of training:
     y = (x - mean[c]) / sqrt(var[c] + eps) * w[c] + b[c]
   A backward rule (of the training mode) comes with training. */
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

const struct bs_op_def bs__op_batch_norm = {
    .name = "batch_norm",
    .min_inputs = 5,
    .max_inputs = 5,
    .infer = infer,
    .reference = reference,
};
