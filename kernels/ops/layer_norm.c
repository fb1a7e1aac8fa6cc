/* Layer norm over the last axis, any leading axes:
     y = (x - mean) / sqrt(var + eps) * w[c] + b[c]           var biased */
#include "kernels/ops/ops_internal.h"

#include <math.h>

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
        double sum = 0, squares = 0;
        for (int64_t c = 0; c < count; c++)
            sum += (double)x[c];
        const double mean = sum / (double)count;
        for (int64_t c = 0; c < count; c++)
            squares += ((double)x[c] - mean) * ((double)x[c] - mean);
        const double inverse = 1.0 / sqrt(squares / (double)count + (double)attr->eps);
        for (int64_t c = 0; c < count; c++)
            y[c] = (float)(((double)x[c] - mean) * inverse * (double)w[c] + (double)b[c]);
    }
}

const struct bs_op_def bs__op_layer_norm = {
    .name = "layer_norm",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
};
