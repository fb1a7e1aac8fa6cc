/* What operators share: checks of shapes and attributes that word their errors alike; backward operators of several
   inputs. See ops_internal.h. */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>
#include <math.h>

bs_status bs__need_rank(const char *op, const char *what, const struct bs_shape *s, int rank,
                        const char *axes, struct bs_err *err)
{
    char text[BS_SHAPE_TEXT];
    if (s->ndim == rank)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: %s is %s; %d dimensions (%s) are accepted", op, what,
                   bs_shape_text(s, text, sizeof text), rank, axes);
}

bs_status bs__need_image(const char *op, const char *what, const struct bs_shape *s, struct bs_err *err)
{
    return bs__need_rank(op, what, s, 4, "N,C,H,W", err);
}

bs_status bs__need_per_channel(const char *op, const char *what, const struct bs_shape *s,
                               const struct bs_shape *x, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if (s->ndim == 1 && s->dim[0] == x->dim[1])
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL,
                   "%s: %s is %s; input %s needs one value for each of its %" PRId64 " channels", op, what,
                   bs_shape_text(s, a, sizeof a), bs_shape_text(x, b, sizeof b), x->dim[1]);
}

bs_status bs__need_per_feature(const char *op, const char *what, const struct bs_shape *s,
                               const struct bs_shape *x, struct bs_err *err)
{
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    if (x->ndim > 0 && s->ndim == 1 && s->dim[0] == x->dim[x->ndim - 1])
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: %s is %s; input %s needs one value for each feature of its last axis",
                   op, what, bs_shape_text(s, a, sizeof a), bs_shape_text(x, b, sizeof b));
}

bs_status bs__need_tokens(const char *op, const char *what, const struct bs_shape *s, struct bs_err *err)
{
    return bs__need_rank(op, what, s, 3, "N,L,D", err);
}

bs_status bs__need_grid(const char *op, const struct bs_attr *attr, const struct bs_shape *x,
                        struct bs_err *err)
{
    char a[BS_SHAPE_TEXT];
    if (attr->out_h >= 1 && attr->out_w >= 1 && x->dim[1] % attr->out_h == 0 &&
        x->dim[1] / attr->out_h == attr->out_w)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL,
                   "%s: a grid of %" PRId64 " x %" PRId64 " does not hold the %" PRId64 " tokens of input %s",
                   op, attr->out_h, attr->out_w, x->dim[1], bs_shape_text(x, a, sizeof a));
}

bs_status bs__need_equal(const char *op, const char *what_a, const struct bs_shape *a, const char *what_b,
                         const struct bs_shape *b, struct bs_err *err)
{
    char ta[BS_SHAPE_TEXT], tb[BS_SHAPE_TEXT];
    if (bs_shape_equal(a, b))
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: %s is %s but %s is %s; equal shapes are accepted", op, what_a,
                   bs_shape_text(a, ta, sizeof ta), what_b, bs_shape_text(b, tb, sizeof tb));
}

bs_status bs__need_attribute(const char *op, const char *what, int value, int lo, struct bs_err *err)
{
    if (value >= lo && value <= BS_MAX_ATTRIBUTE)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: %s is %d; %d to %d are accepted", op, what, value, lo,
                   BS_MAX_ATTRIBUTE);
}

bs_status bs__need_which(const char *op, const struct bs_attr *attr, int last, struct bs_err *err)
{
    if (attr->which >= 0 && attr->which <= last)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: gradient of input %d; 0 to %d are accepted", op, attr->which, last);
}

void bs__emit_siblings(struct bs_graph *g, enum bs_op op, const bs_value *in, int ninput, struct bs_attr attr,
                       int count, bs_value *gin)
{
    for (attr.which = 0; attr.which < count; attr.which++)
        gin[attr.which] = bs_graph_apply(g, op, in, ninput, attr);
}

bs_status bs__need_eps(const char *op, float eps, struct bs_err *err)
{
    if (isfinite(eps) && eps > 0)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s: eps is %g; a finite value above 0 is accepted", op, (double)eps);
}

bs_status bs__infer_row_norm_grad(const char *op, const struct bs_attr *attr, const struct bs_shape *in,
                                  struct bs_shape *out, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_per_feature(op, "weight", &in[1], &in[0], err)) != BS_OK ||
        (rc = bs__need_equal(op, "gradient", &in[2], "input", &in[0], err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK || (rc = bs__need_which(op, attr, 1, err)) != BS_OK)
        return rc;
    *out = in[attr->which];
    return BS_OK;
}
