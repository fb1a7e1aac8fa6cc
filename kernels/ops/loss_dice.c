/* Dice loss of a prediction p and a target t (N,C,H,W), channels split into groups of neighbours; over the samples, channels
   and pixels of a group, with D = max(sum(p^2) + sum(t^2), eps):
     loss = sum over groups of 1 - 2 sum(p t) / D
     gp   = gy (-2 t / D + 4 p sum(p t) / D^2), the second part only where D is not eps
   As torch_em defines it: an empty target with an empty prediction has loss 1. Prediction and target play the same
   role. */
#include "kernels/ops/ops_internal.h"

#include <inttypes.h>

static bs_status check(const char *op, const struct bs_attr *attr, const struct bs_shape *p,
                       const struct bs_shape *t, struct bs_err *err)
{
    bs_status rc;
    char a[BS_SHAPE_TEXT];
    if ((rc = bs__need_image(op, "prediction", p, err)) != BS_OK ||
        (rc = bs__need_equal(op, "target", t, "the prediction", p, err)) != BS_OK ||
        (rc = bs__need_eps(op, attr->eps, err)) != BS_OK)
        return rc;
    if (attr->groups < 1 || p->dim[1] % attr->groups)
        return BS_FAIL(err, BS_EINVAL, "%s: %d groups do not divide the %" PRId64 " channels of %s", op,
                       attr->groups, p->dim[1], bs_shape_text(p, a, sizeof a));
    return BS_OK;
}

struct sums {
    double product, squares;
};
/* Over one group of channels of every sample. */
static struct sums sums(const struct bs_attr *attr, const struct bs_tensor *in, int64_t group)
{
    const struct bs__image s = bs__image(&in[0].shape);
    const int64_t count = s.c / attr->groups * s.h * s.w;
    struct sums of = {0, 0};
    for (int64_t n = 0; n < s.n; n++) {
        const float *p = (const float *)in[0].data + (n * attr->groups + group) * count;
        const float *t = (const float *)in[1].data + (n * attr->groups + group) * count;
        for (int64_t i = 0; i < count; i++) {
            of.product += (double)p[i] * (double)t[i];
            of.squares += (double)p[i] * (double)p[i] + (double)t[i] * (double)t[i];
        }
    }
    return of;
}

static bs_status infer(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    *out = BS_SHAPE(1);
    return check("dice_loss", attr, &in[0], &in[1], err);
}

static void reference(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out)
{
    (void)ninput;
    double loss = 0;
    for (int64_t group = 0; group < attr->groups; group++) {
        const struct sums of = sums(attr, in, group);
        const double eps = (double)attr->eps;
        loss += 1 - 2 * of.product / (of.squares > eps ? of.squares : eps);
    }
    *(float *)out->data = (float)loss;
}

static void backward(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin)
{
    const struct bs_node *n = bs_graph_node(g, node);
    const bs_value p = n->input[0], t = n->input[1];
    gin[0] = bs_graph_apply(g, BS_OP_DICE_LOSS_GRAD, (bs_value[]){p, t, gy}, 3, n->attr);
    gin[1] = bs_graph_apply(g, BS_OP_DICE_LOSS_GRAD, (bs_value[]){t, p, gy}, 3, n->attr);
}

const struct bs_op_def bs__op_dice_loss = {
    .name = "dice_loss",
    .min_inputs = 2,
    .max_inputs = 2,
    .infer = infer,
    .reference = reference,
    .backward = backward,
};

static bs_status infer_grad(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                            struct bs_shape *out, struct bs_err *err)
{
    (void)ninput;
    bs_status rc = check("dice_loss_grad", attr, &in[0], &in[1], err);
    *out = in[0];
    return rc == BS_OK ? bs__need_equal("dice_loss_grad", "gradient", &in[2], "a loss", &BS_SHAPE(1), err)
                       : rc;
}

static void reference_grad(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                           struct bs_tensor *out)
{
    (void)ninput;
    const struct bs__image s = bs__image(&in[0].shape);
    const int64_t count = s.c / attr->groups * s.h * s.w;
    const double gy = (double)*(const float *)in[2].data, eps = (double)attr->eps;
    for (int64_t group = 0; group < attr->groups; group++) {
        const struct sums of = sums(attr, in, group);
        const double d = of.squares > eps ? of.squares : eps,
                     slope = of.squares > eps ? 4 * of.product / (d * d) : 0;
        for (int64_t n = 0; n < s.n; n++) {
            const int64_t at = (n * attr->groups + group) * count;
            const float *p = (const float *)in[0].data + at, *t = (const float *)in[1].data + at;
            float *gp = (float *)out->data + at;
            for (int64_t i = 0; i < count; i++)
                gp[i] = (float)(gy * (slope * (double)p[i] - 2 * (double)t[i] / d));
        }
    }
}

const struct bs_op_def bs__op_dice_loss_grad = {
    .name = "dice_loss_grad",
    .min_inputs = 3,
    .max_inputs = 3,
    .infer = infer_grad,
    .reference = reference_grad,
};
