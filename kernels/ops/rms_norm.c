/* RMS norm over the last axis of any shape:
     y[i] = x[i] / sqrt(mean of x^2 + eps) * w[i]
   No mean is subtracted and there is no bias. */
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

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const float *x = in[0].data, *w = in[1].data;
    float *y = out->data;
    const int64_t features = in[1].shape.dim[0];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / features;
    for (int64_t r = 0; r < rows; r++, x += features, y += features) {
        double squares = 0;
        for (int64_t i = 0; i < features; i++)
            squares += (double)x[i] * (double)x[i];
        double scale = 1.0 / sqrt(squares / (double)features + (double)attr->eps);
        for (int64_t i = 0; i < features; i++)
            y[i] = (float)((double)x[i] * scale * (double)w[i]);
    }
}

const struct bs_op_def bs__op_rms_norm = {
    .name = "rms_norm",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .reference = reference,
};
