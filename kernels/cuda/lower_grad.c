/* Lowers losses, and the backward operators that need no weight: of activations, max pooling, resizing and losses. See lower.h. */
#include "kernels/cuda/lower.h"
#include "kernels/op.h"

/* Gradients of activations: from x or y, whichever comes first, and gy. */
static void lower_activation_grad(struct bs__gpu_lowering *l, bs_value v, enum bs__pointwise_kind kind)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t rows = bs__gpu_rows(&n->shape), columns = bs__gpu_columns(&n->shape);
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element),
                               *gy = bs__gpu_value_as(l, n->input[1], l->element),
                               *gx = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(l, BS__GPU_POINTWISE, l->element, "%s %lldx%lld",
                                              bs_op_def(n->op)->name, (long long)rows, (long long)columns);
    s->pointwise = kind;
    s->a.pointwise = (struct bs__pointwise){.rows = rows, .columns = columns};
    bs__gpu_bind_rows(l, s, &s->a.pointwise.x, x);
    bs__gpu_bind_rows(l, s, &s->a.pointwise.z, gy);
    bs__gpu_bind_rows(l, s, &s->a.pointwise.y, gx);
}

static void lower_pool_grad(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = n->shape.dim;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element),
                               *gy = bs__gpu_value_as(l, n->input[1], l->element),
                               *gx = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_MAX_POOL_GRAD, l->element, "max pool grad %d of %lldx%lldx%lldx%lld",
                         n->attr.kernel, (long long)d[0], (long long)d[1], (long long)d[2], (long long)d[3]);
    s->a.pool_grad = (struct bs__max_pool_grad){
        .samples = d[0], .h = d[2], .w = d[3], .channels = d[1], .k = n->attr.kernel};
    bs__gpu_bind_rows(l, s, &s->a.pool_grad.x, x);
    bs__gpu_bind_rows(l, s, &s->a.pool_grad.gy, gy);
    bs__gpu_bind_rows(l, s, &s->a.pool_grad.gx, gx);
}

static void lower_resize_grad(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = n->shape.dim, *out = bs__gpu_node(l, n->input[0])->shape.dim;
    const struct bs__gpu_place *gy = bs__gpu_value_as(l, n->input[0], l->element),
                               *gx = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_RESIZE_GRAD, l->element, "resize grad %lldx%lldx%lldx%lld from %lldx%lld", (long long)d[0],
        (long long)d[1], (long long)d[2], (long long)d[3], (long long)out[2], (long long)out[3]);
    s->a.resize = (struct bs__resize){
        .samples = d[0], .h = d[2], .w = d[3], .out_h = out[2], .out_w = out[3], .channels = d[1]};
    bs__gpu_bind_rows(l, s, &s->a.resize.y, gy);
    bs__gpu_bind_rows(l, s, &s->a.resize.x, gx);
}

/* The loss of two images, a float; or, with a third input, its gradient. */
static void lower_loss(struct bs__gpu_lowering *l, bs_value v, enum bs__loss_kind kind)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs_shape *shape = &bs__gpu_node(l, n->input[0])->shape;
    const bool grad = n->ninput == 3;
    const int64_t rows = bs__gpu_rows(shape), channels = bs__gpu_columns(shape);
    const struct bs__gpu_place *p = bs__gpu_value_as(l, n->input[0], l->element),
                               *t = bs__gpu_value_as(l, n->input[1], l->element),
                               *gy = grad ? bs__gpu_value_as(l, n->input[2], BS__F32) : NULL,
                               *out = bs__gpu_make(l, v, grad ? l->element : BS__F32);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, grad ? BS__GPU_LOSS_GRAD : BS__GPU_LOSS, l->element, "%s %lldx%lld",
                         bs_op_def(n->op)->name, (long long)rows, (long long)channels);
    s->a.loss.kind = kind;
    s->a.loss.of =
        (struct bs__loss){.rows = rows, .channels = channels, .groups = n->attr.groups, .eps = n->attr.eps};
    bs__gpu_bind_rows(l, s, &s->a.loss.of.p, p);
    bs__gpu_bind_rows(l, s, &s->a.loss.of.t, t);
    bs__gpu_bind(l, s, &s->a.loss.of.loss, grad ? gy : out);
    if (grad)
        bs__gpu_bind_rows(l, s, &s->a.loss.of.gp, out);
    bs__gpu_bind_workspace(l, s, &s->a.loss.of.workspace, bs__cuda_loss_workspace(rows, channels));
}

bool bs__gpu_lower_grad_node(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    switch (n->op) {
    case BS_OP_RELU_GRAD:
        lower_activation_grad(l, v, BS__POINTWISE_RELU_GRAD_Y);
        return true;
    case BS_OP_SIGMOID_GRAD:
        lower_activation_grad(l, v, BS__POINTWISE_SIGMOID_GRAD_Y);
        return true;
    case BS_OP_GELU_GRAD:
        lower_activation_grad(l, v, BS__POINTWISE_GELU_GRAD_X);
        return true;
    case BS_OP_SILU_GRAD:
        lower_activation_grad(l, v, BS__POINTWISE_SILU_GRAD_X);
        return true;
    case BS_OP_MAX_POOL2D_GRAD:
        lower_pool_grad(l, v);
        return true;
    case BS_OP_RESIZE_BILINEAR_GRAD:
        lower_resize_grad(l, v);
        return true;
    case BS_OP_DICE_LOSS:
    case BS_OP_DICE_LOSS_GRAD:
        lower_loss(l, v, BS__LOSS_DICE);
        return true;
    case BS_OP_BCE_LOSS:
    case BS_OP_BCE_LOSS_GRAD:
        lower_loss(l, v, BS__LOSS_BCE);
        return true;
    case BS_OP_MSE_LOSS:
    case BS_OP_MSE_LOSS_GRAD:
        lower_loss(l, v, BS__LOSS_MSE);
        return true;
    default:
        return false;
    }
}
