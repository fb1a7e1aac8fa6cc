/* Images (N,C,H,W) as sequences (N,H W,C), one token per pixel, row by row, and back:
     tokens[n, y W + x, c] = image[n, c, y, x] */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status infer_tokens(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                              struct bs_shape *out, struct bs_err *err)
{
    (void)attr, (void)ninput;
    bs_status rc = bs__need_image("tokens_from_image", "input", &in[0], err);
    if (rc == BS_OK)
        *out = BS_SHAPE(in[0].dim[0], in[0].dim[2] * in[0].dim[3], in[0].dim[1]);
    return rc;
}

static bs_status infer_image(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                             struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "image_from_tokens";
    bs_status rc;
    if ((rc = bs__need_tokens(op, "input", &in[0], err)) != BS_OK ||
        (rc = bs__need_grid(op, attr, &in[0], err)) != BS_OK)
        return rc;
    *out = BS_SHAPE(in[0].dim[0], in[0].dim[2], attr->out_h, attr->out_w);
    return BS_OK;
}

static void reference_tokens(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                             struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const int64_t samples = out->shape.dim[0], tokens = out->shape.dim[1], channels = out->shape.dim[2];
    const float *x = in[0].data;
    float *y = out->data;
    for (int64_t n = 0; n < samples; n++, x += tokens * channels)
        for (int64_t t = 0; t < tokens; t++)
            for (int64_t c = 0; c < channels; c++)
                *y++ = x[c * tokens + t];
}

static void reference_image(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                            struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const int64_t samples = in[0].shape.dim[0], tokens = in[0].shape.dim[1], channels = in[0].shape.dim[2];
    const float *x = in[0].data;
    float *y = out->data;
    for (int64_t n = 0; n < samples; n++, x += tokens * channels)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t t = 0; t < tokens; t++)
                *y++ = x[t * channels + c];
}

/* Each is the other's gradient. */
static void backward_tokens(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_shape *x = &bs_graph_node(g, bs_graph_node(g, node)->input[0])->shape;
    gin[0] = bs_graph_image_from_tokens(g, gy, x->dim[2], x->dim[3]);
}

static void backward_image(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    (void)node;
    gin[0] = bs_graph_tokens_from_image(g, gy);
}

const struct bs_op_def bs__op_tokens_from_image = {
    .name = "tokens_from_image",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_tokens,
    .reference = reference_tokens,
    .backward = backward_tokens,
};

const struct bs_op_def bs__op_image_from_tokens = {
    .name = "image_from_tokens",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer_image,
    .reference = reference_image,
    .backward = backward_image,
};
