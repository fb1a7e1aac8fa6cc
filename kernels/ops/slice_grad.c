/* Gradient of a slice along one axis: the slice's gradient at its place, zeros around it:
     gx[..., start + i, ...] = gy[..., i, ...] */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <string.h>

bs_value bs__emit_slice_grad(struct bs_graph *g, bs_value gy, int axis, int64_t start,
                             const struct bs_shape *shape)
{
    return bs_graph_apply(g, BS_OP_SLICE_GRAD, &gy, 1,
                          (struct bs_attr){.axis = axis, .start = start, .shape = *shape});
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    static const char op[] = "slice_grad";
    const struct bs_shape *gy = &in[0], *x = &attr->shape;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    bs_status rc = bs_shape_check("slice_grad: shape", x, err);
    if (rc != BS_OK)
        return rc;
    if (attr->axis < 0 || attr->axis >= x->ndim || gy->ndim != x->ndim)
        return BS_FAIL(err, BS_EINVAL, "%s: gradient %s of axis %d of %s", op, bs_shape_text(gy, a, sizeof a),
                       attr->axis, bs_shape_text(x, b, sizeof b));
    for (int i = 0; i < x->ndim; i++) {
        const int64_t room = i == attr->axis ? x->dim[i] - gy->dim[i] : 0;
        const int64_t start = i == attr->axis ? attr->start : 0;
        if (start < 0 || start > room || (i != attr->axis && gy->dim[i] != x->dim[i]))
            return BS_FAIL(err, BS_EINVAL, "%s: gradient %s from %" PRId64 " of axis %d does not lie in %s",
                           op, bs_shape_text(gy, a, sizeof a), attr->start, attr->axis,
                           bs_shape_text(x, b, sizeof b));
    }
    *out = *x;
    return BS_OK;
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    const struct bs_shape *x = &out->shape;
    size_t blocks = 1, inner = 1;
    for (int i = 0; i < attr->axis; i++)
        blocks *= (size_t)x->dim[i];
    for (int i = attr->axis + 1; i < x->ndim; i++)
        inner *= (size_t)x->dim[i];
    const size_t from = (size_t)in[0].shape.dim[attr->axis] * inner, to = (size_t)x->dim[attr->axis] * inner;
    const float *gy = in[0].data;
    float *gx = out->data;
    memset(gx, 0, blocks * to * sizeof *gx);
    for (size_t b = 0; b < blocks; b++)
        memcpy(gx + b * to + (size_t)attr->start * inner, gy + b * from, from * sizeof *gx);
}

const struct bs_op_def bs__op_slice_grad = {
    .name = "slice_grad",
    .min_inputs = 1,
    .max_inputs = 1,
    .infer = infer,
    .reference = reference,
};
