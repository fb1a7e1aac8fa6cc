/* Moving along the channel axis of images (N,C,H,W): concat of two, slice of one (the gradient of concat), and the sum
   of everything else per channel (the gradient of a bias). */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <string.h>

static bs_status infer_concat(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    bs_status rc;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if ((rc = bs__need_image("concat", "the first input", &in[0], err)) != BS_OK ||
        (rc = bs__need_image("concat", "the second input", &in[1], err)) != BS_OK)
        return rc;
    for (int i = 0; i < 4; i++)
        if (i != 1 && in[0].dim[i] != in[1].dim[i])
            return BS_FAIL(err, BS_EINVAL, "concat: %s and %s differ in more than their channels",
                           bs_shape_text(&in[0], a, sizeof a), bs_shape_text(&in[1], b, sizeof b));
    *out = in[0];
    out->dim[1] += in[1].dim[1];
    return BS_OK;
}

static void reference_concat(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)attr;
    const struct bs__image y = bs__image(&out->shape);
    float *yp = out->data;
    for (int64_t n = 0; n < y.n; n++)
        for (int i = 0; i < ninput; i++) {
            size_t count = (size_t)(in[i].shape.dim[1] * y.h * y.w);
            memcpy(yp, (const float *)in[i].data + (size_t)n * count, count * sizeof *yp);
            yp += count;
        }
}

static void backward_concat(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    int64_t start = 0;
    for (int i = 0; i < n->ninput; i++) {
        int64_t count = bs_graph_node(g, n->input[i])->shape.dim[1];
        gin[i] =
            bs_graph_apply(g, BS_OP_SLICE_CHANNEL, &gy, 1, (struct bs_attr){.start = start, .count = count});
        start += count;
    }
}

const struct bs_op_def bs__op_concat = {
    .name = "concat",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer_concat,
    .reference = reference_concat,
    .backward = backward_concat,
};

static bs_status infer_slice(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                             struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = bs__need_image("slice_channel", "input", &in[0], err);
    char a[BS_SHAPE_TEXT];
    if (rc != BS_OK)
        return rc;
    if (attr->start < 0 || attr->count < 1 || attr->start > in[0].dim[1] ||
        attr->count > in[0].dim[1] - attr->start)
        return BS_FAIL(err, BS_EINVAL,
                       "slice_channel: %" PRId64 " channels from channel %" PRId64 " of input %s",
                       attr->count, attr->start, bs_shape_text(&in[0], a, sizeof a));
    *out = in[0];
    out->dim[1] = attr->count;
    return BS_OK;
}

static void reference_slice(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                            struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape);
    const float *xp = in[0].data;
    float *yp = out->data;
    size_t plane = (size_t)(x.h * x.w), count = (size_t)attr->count * plane;
    for (int64_t n = 0; n < x.n; n++, yp += count)
        memcpy(yp, xp + (size_t)(n * x.c + attr->start) * plane, count * sizeof *yp);
}

static void backward_slice(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    gin[0] = bs__emit_slice_grad(g, gy, 1, n->attr.start, &bs_graph_node(g, n->input[0])->shape);
}

const struct bs_op_def bs__op_slice_channel = {
    .name = "slice_channel",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_slice,
    .reference = reference_slice,
    .backward = backward_slice,
};

static bs_status infer_sum(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                           struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    bs_status rc = bs__need_image("sum_to_channel", "input", &in[0], err);
    if (rc == BS_OK)
        *out = BS_SHAPE(in[0].dim[1]);
    return rc;
}

static void reference_sum(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                          struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape);
    const float *xp = in[0].data;
    float *y = out->data;
    const int64_t pixels = x.h * x.w;
    for (int64_t c = 0; c < x.c; c++) {
        double sum = 0;
        for (int64_t n = 0; n < x.n; n++)
            for (int64_t i = 0; i < pixels; i++)
                sum += (double)xp[(n * x.c + c) * pixels + i];
        y[c] = (float)sum;
    }
}

const struct bs_op_def bs__op_sum_to_channel = {
    .name = "sum_to_channel",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_sum,
    .reference = reference_sum,
};
