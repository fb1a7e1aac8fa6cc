/* Group norm: channels are split into groups of neighbours; over the pixels of all channels of a group of one sample,
     y = (x - mean) / sqrt(var + eps) * w[c] + b[c]           var biased
   Trained models of this kind run; a backward rule comes with training. */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <math.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "group_norm";
    bs_status rc;
    char a[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "input", &in[0], err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "weight", &in[1], &in[0], err)) != BS_OK ||
        (rc = bs__need_per_channel(op, "bias", &in[2], &in[0], err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK)
        return rc;
    if (attr->groups < 1 || in[0].dim[1] % attr->groups)
        return BS_FAIL(err, BS_EINVAL, "%s: %d groups do not divide the %" PRId64 " channels of input %s", op,
                       attr->groups, in[0].dim[1], bs_shape_text(&in[0], a, sizeof a));
    if (in[0].dim[1] == attr->groups && in[0].dim[2] == 1 && in[0].dim[3] == 1)
        return BS_FAIL(err, BS_EINVAL, "%s: input is %s; more than one value per group is needed", op,
                       bs_shape_text(&in[0], a, sizeof a));
    *out = in[0];
    return BS_OK;
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
            double sum = 0, squares = 0;
            for (int64_t i = 0; i < count; i++)
                sum += (double)x[i];
            double mean = sum / (double)count;
            for (int64_t i = 0; i < count; i++)
                squares += ((double)x[i] - mean) * ((double)x[i] - mean);
            double inverse = 1.0 / sqrt(squares / (double)count + (double)attr->eps);
            for (int64_t c = 0; c < channels; c++) {
                double scale = inverse * (double)w[group * channels + c],
                       shift = (double)b[group * channels + c];
                for (int64_t i = c * pixels; i < (c + 1) * pixels; i++)
                    y[i] = (float)(((double)x[i] - mean) * scale + shift);
            }
        }
}

const struct bs_op_def bs__op_group_norm = {
    .name = "group_norm",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
};
