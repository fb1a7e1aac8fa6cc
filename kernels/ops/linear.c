/* A linear map of the last axis, any leading axes:
     y[..., o] = b[o] + sum_i w[o, i] x[..., i] */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)attr;
    static const char op[] = "linear";
    bs_status rc = bs__need_rank(op, "weight", &in[1], 2, "O,I", err);
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if (rc != BS_OK)
        return rc;
    const int last = in[0].ndim - 1;
    if (last < 0 || in[0].dim[last] != in[1].dim[1])
        return BS_FAIL(err, BS_EINVAL,
                       "%s: input %s does not end in the %" PRId64 " features that weight %s takes", op,
                       bs_shape_text(&in[0], a, sizeof a), in[1].dim[1], bs_shape_text(&in[1], b, sizeof b));
    *out = in[0];
    out->dim[last] = in[1].dim[0];
    return ninput == 3 ? bs__need_per_feature(op, "bias", &in[2], out, err) : BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)attr;
    const int64_t outputs = in[1].shape.dim[0], inputs = in[1].shape.dim[1];
    const int64_t rows = (int64_t)bs_shape_count(&out->shape) / outputs;
    const float *x = in[0].data, *w = in[1].data, *b = ninput == 3 ? in[2].data : NULL;
    float *y = out->data;
    for (int64_t r = 0; r < rows; r++, x += inputs)
        for (int64_t o = 0; o < outputs; o++) {
            double sum = b ? (double)b[o] : 0;
            for (int64_t i = 0; i < inputs; i++)
                sum += (double)w[o * inputs + i] * (double)x[i];
            *y++ = (float)sum;
        }
}

static double flops(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out)
{
    (void)attr;
    return 2.0 * (double)bs_shape_count(out) * (double)in[1].dim[1];
}

const struct bs_op_def bs__op_linear = {
    .name = "linear",
    .min_inputs = 2,
    .max_inputs = 3,
    .infer = infer,
    .reference = reference,
    .flops = flops,
};
