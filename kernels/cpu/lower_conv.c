/* Lowering of convolutions and of what is done inside them:
   - ReLU goes into the convolution before it;
   - a batch norm (evaluation mode) right after a convolution goes into its weights and bias: both are linear, and nothing
     is padded in between;
   - a 1x1 convolution after a bilinear resize is done before it: the weights of an interpolation add up to one, so both
     orders are the same in exact arithmetic, and this one multiplies a quarter of the pixels;
   - a 3x3 convolution of an image doubled bilinearly is done on the small one (body_doubled.h);
   - a last 1x1 convolution to few channels writes the host's tensor.
   A norm before a convolution cannot go into its bias: the padding is zero after the norm, not before. */
#include "kernels/cpu/lower.h"

#include <math.h>

#define HEAD_CHANNELS 8 /* up to here a row of sums beats the blocked product */

static bool is_conv(const struct bs_node *n)
{
    return n->op == BS_OP_CONV2D || n->op == BS_OP_CONV_TRANSPOSE2D;
}

static bool is_pointwise(const struct bs__lowering *l, const struct bs_node *n)
{
    if (n->op != BS_OP_CONV2D)
        return false;
    const struct bs_shape *w = &bs__node_of(l, n->input[1])->shape;
    return w->dim[2] == 1 && w->dim[3] == 1 && n->attr.stride == 1 && n->attr.pad == 0;
}

/* With few input channels Winograd's products are mostly padding, so there is nothing to gain; its rounding would remain,
   and the norms behind such a layer magnify it most. bf16 rounds more than that by itself and stays with Winograd: direct
   bf16 convolutions need a newer CPU. */
#define FEWEST_WINOGRAD_CHANNELS 16

static bool winograd_pays(const struct bs__lowering *l, const struct bs_node *n)
{
    return l->bf16 || bs__node_of(l, n->input[1])->shape.dim[1] >= FEWEST_WINOGRAD_CHANNELS;
}

static bool is_winograd(const struct bs__lowering *l, const struct bs_node *n)
{
    const struct bs_shape *w = &bs__node_of(l, n->input[1])->shape;
    return l->build.cpu->allow_winograd && n->op == BS_OP_CONV2D && w->dim[2] == 3 && w->dim[3] == 3 &&
           n->attr.stride == 1 && n->attr.pad == 1 && winograd_pays(l, n);
}

/* The batch norm that goes into the weights of convolution v: its only use. NULL: none. */
static const struct bs_node *batch_norm_of(const struct bs__lowering *l, bs_value v)
{
    return bs__only_use_is(l, v, BS_OP_BATCH_NORM) ? bs__node_of(l, l->value[v].consumer) : NULL;
}

bs_value bs__conv_behind(const struct bs__lowering *l, bs_value v)
{
    const enum bs_op after[] = {BS_OP_RELU, BS_OP_BATCH_NORM};
    for (int i = 0; i < 2; i++)
        if (bs__node_of(l, v)->op == after[i]) {
            v = bs__node_of(l, v)->input[0];
            if (!l->value[v].deferred)
                return BS_NO_VALUE;
        }
    return is_conv(bs__node_of(l, v)) ? v : BS_NO_VALUE;
}

/* Is v read by a 3x3 convolution alone that takes the doubling in? */
static bool only_use_doubles(const struct bs__lowering *l, bs_value v)
{
    return bs__only_use_is(l, v, BS_OP_CONV2D) && is_winograd(l, bs__node_of(l, l->value[v].consumer));
}

static bool is_doubling(const struct bs__lowering *l, const struct bs_node *n)
{
    if (n->op != BS_OP_RESIZE_BILINEAR)
        return false;
    const struct bs_shape *from = &bs__node_of(l, n->input[0])->shape;
    return n->attr.out_h == 2 * from->dim[2] && n->attr.out_w == 2 * from->dim[3] &&
           bs__doubled_pays(from->dim[2], from->dim[3]);
}

/* Is v, a convolution's input, an image doubled just for it, directly or by a resize before a 1x1 convolution? */
static bool is_doubled(const struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (!l->value[v].deferred || !only_use_doubles(l, v))
        return false;
    return is_doubling(l, n) || (is_pointwise(l, n) && l->value[n->input[0]].deferred &&
                                 is_doubling(l, bs__node_of(l, n->input[0])));
}

bool bs__conv_defers(const struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    const struct bs__value *x = &l->value[v];
    if (n->op == BS_OP_RESIZE_BILINEAR && bs__only_use_is(l, v, BS_OP_CONV2D) &&
        is_pointwise(l, bs__node_of(l, x->consumer))) {
        const struct bs_shape *from = &bs__node_of(l, n->input[0])->shape;
        return n->attr.out_h * n->attr.out_w >= from->dim[2] * from->dim[3];
    }
    if (is_doubling(l, n) && only_use_doubles(l, v))
        return true;
    if (is_pointwise(l, n) && only_use_doubles(l, v) && l->value[n->input[0]].deferred &&
        is_doubling(l, bs__node_of(l, n->input[0])))
        return true;
    if (n->op == BS_OP_BATCH_NORM)
        return bs__only_use_is(l, v, BS_OP_RELU);
    if (!is_conv(n))
        return false;
    if (bs__only_use_is(l, v, BS_OP_RELU) || batch_norm_of(l, v))
        return true;
    if (is_pointwise(l, n) && n->shape.dim[1] <= HEAD_CHANNELS && !l->value[n->input[0]].deferred) {
        bool last = x->uses == 0 || (x->uses == 1 && bs__is_last_sigmoid(l, x->consumer));
        return last && x->outputs <= 1;
    }
    return false;
}

/* The numbers of a batch norm, per output channel: y = (x - mean) scale + shift. */
static void fold(struct bs__lowering *l, const struct bs_node *norm, struct bs__conv *c, float *bias)
{
    struct bs__build *b = &l->build;
    const size_t out = (size_t)c->out;
    const float *p[4];
    for (int i = 0; i < 4; i++)
        p[i] = bs__own_param(b, bs__lower_param(l, norm->input[i + 1]), out, out);
    double *scale = bs__own(b, out * sizeof *scale);
    if (b->rc != BS_OK)
        return;
    for (size_t i = 0; i < out; i++) {
        scale[i] = (double)p[0][i] / sqrt((double)p[3][i] + (double)norm->attr.eps);
        bias[i] = (float)(((double)bias[i] - (double)p[2][i]) * scale[i] + (double)p[1][i]);
    }
    c->scale = scale;
    c->norm = bs__node_of(l, norm->input[4])->name;
    c->eps = norm->attr.eps;
}

/* Convolution `at` with what follows it up to value v. */
static struct bs__conv conv_of(struct bs__lowering *l, bs_value at, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, at), *norm = batch_norm_of(l, at);
    const bool transposed = n->op == BS_OP_CONV_TRANSPOSE2D;
    const struct bs_shape *w = &bs__node_of(l, n->input[1])->shape;
    const size_t out = (size_t)n->shape.dim[1], lanes = (size_t)l->build.cpu->simd->lanes;
    const char *name = n->ninput > 2 ? bs__lower_param(l, n->input[2]) : NULL;
    float *bias = bs__own_param(&l->build, name, out, (out + lanes - 1) / lanes * lanes);
    struct bs__conv c = {
        .weights = bs__lower_param(l, n->input[1]),
        .bias = bias,
        .out = (int)out,
        .kernel_h = (int)w->dim[2],
        .kernel_w = (int)w->dim[3],
        .stride = transposed ? (int)w->dim[2] : n->attr.stride,
        .pad = n->attr.pad,
        .out_h = n->shape.dim[2],
        .out_w = n->shape.dim[3],
        .relu = bs__node_of(l, v)->op == BS_OP_RELU,
        .want_stats = l->value[v].feeds_norm,
    };
    if (norm && l->build.rc == BS_OK)
        fold(l, norm, &c, bias);
    return c;
}

/* A 1x1 convolution of a resized image, done on the small one. */
static void lower_small_product(struct bs__lowering *l, bs_value resize, struct bs__conv c, bs_value v)
{
    struct bs__build *b = &l->build;
    struct bs__value *x = &l->value[v];
    struct bs__image_at *small = bs__lower_image(l, bs__node_of(l, resize)->input[0]);
    struct bs__image_at product = *small, large = x->image;
    const bool relu = c.relu, want_stats = c.want_stats;
    product.channels = c.out;
    c.relu = c.want_stats = false;
    bs__add_pointwise(b, small, &c, &product);
    bs__add_resize(b, &product, relu ? &large : &x->image, want_stats && !relu);
    if (relu) {
        struct bs__operand from = {.count = 1, .image = {&large}, .norm = BS__NO_BUFFER};
        bs__add_apply(b, &from, BS__RELU, NULL, &x->image, want_stats);
    }
}

/* A 3x3 convolution of a doubled image; a 1x1 convolution in between is done on the small one. */
static void lower_doubled(struct bs__lowering *l, bs_value input, const struct bs__conv *c, bs_value v)
{
    struct bs__build *b = &l->build;
    const struct bs_node *n = bs__node_of(l, input);
    if (n->op == BS_OP_RESIZE_BILINEAR) {
        bs__add_doubled(b, bs__lower_image(l, n->input[0]), c, &l->value[v].image);
        return;
    }
    const struct bs__conv first = conv_of(l, input, input);
    struct bs__image_at *small = bs__lower_image(l, bs__node_of(l, n->input[0])->input[0]);
    struct bs__image_at product = *small;
    product.channels = first.out;
    bs__add_pointwise(b, small, &first, &product);
    if (b->rc == BS_OK)
        bs__add_doubled(b, &product, c, &l->value[v].image);
}

void bs__lower_conv(struct bs__lowering *l, bs_value at, bs_value v)
{
    struct bs__build *b = &l->build;
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, at);
    const struct bs__conv c = conv_of(l, at, v);
    if (b->rc != BS_OK)
        return;
    bs_value input = n->input[0];
    if (n->op == BS_OP_CONV_TRANSPOSE2D) {
        bs__add_transposed(b, bs__lower_image(l, input), &c, &x->image);
    } else if (is_winograd(l, n) && is_doubled(l, input)) {
        lower_doubled(l, input, &c, v);
    } else if (is_winograd(l, n)) {
        struct bs__operand from = bs__lower_operand(l, input);
        bs__add_winograd(b, &from, &c, &x->image);
    } else if (is_pointwise(l, n) && l->value[input].deferred &&
               bs__node_of(l, input)->op == BS_OP_RESIZE_BILINEAR) {
        lower_small_product(l, input, c, v);
    } else if (is_pointwise(l, n)) {
        bs__add_pointwise(b, bs__lower_image(l, input), &c, &x->image);
    } else {
        bs__add_direct(b, bs__lower_image(l, input), &c, &x->image);
        if (c.want_stats && b->rc == BS_OK)
            bs__add_moments(b, &x->image);
    }
    x->made = true;
}

/* Index of a value among the graph's outputs, or -1. */
static int output_index(const struct bs__lowering *l, bs_value v)
{
    for (int i = 0; i < bs_graph_output_count(l->g); i++)
        if (bs_graph_output_value(l->g, i) == v)
            return i;
    return -1;
}

void bs__lower_head(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    if (x->made)
        return;
    x->made = true;
    struct bs__conv c = conv_of(l, v, v);
    struct bs__image_at *from = bs__lower_image(l, bs__node_of(l, v)->input[0]);
    if (l->build.rc == BS_OK)
        bs__add_head(&l->build, from, &c, output_index(l, v), x->uses ? output_index(l, x->consumer) : -1);
}
