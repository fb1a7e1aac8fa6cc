/* The top left corner of images (N,C,H,W):
     y[n,c,i,j] = x[n,c,i,j]     for i < out_h, j < out_w */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <string.h>

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    char a[BS_SHAPE_TEXT];
    bs_status rc = bs__need_image("crop", "input", &in[0], err);
    if (rc != BS_OK)
        return rc;
    if (attr->out_h < 1 || attr->out_w < 1 || attr->out_h > in[0].dim[2] || attr->out_w > in[0].dim[3])
        return BS_FAIL(err, BS_EINVAL, "crop: %" PRId64 " x %" PRId64 " pixels of input %s", attr->out_h,
                       attr->out_w, bs_shape_text(&in[0], a, sizeof a));
    *out = BS_SHAPE(in[0].dim[0], in[0].dim[1], attr->out_h, attr->out_w);
    return BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)attr, (void)ninput;
    const struct bs__image x = bs__image(&in[0].shape), y = bs__image(&out->shape);
    const float *xp = in[0].data;
    float *yp = out->data;
    for (int64_t plane = 0; plane < y.n * y.c; plane++)
        for (int64_t i = 0; i < y.h; i++, yp += y.w)
            memcpy(yp, xp + (plane * x.h + i) * x.w, (size_t)y.w * sizeof *yp);
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    struct bs_shape shape = bs_graph_node(g, n->input[0])->shape, rows = shape;
    rows.dim[2] = n->attr.out_h;
    gin[0] = bs__emit_slice_grad(g, bs__emit_slice_grad(g, gy, 3, 0, &rows), 2, 0, &shape);
}

const struct bs_op_def bs__op_crop = {
    .name = "crop",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};
