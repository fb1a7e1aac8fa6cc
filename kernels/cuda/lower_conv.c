/* Lowers convolutions, each with the batch norm (evaluation mode: into its weights) and the ReLU that only it is followed by:
   1x1 and transposed ones and those that cut an image into patches are products of matrices, the others convolutions. See
   lower.h. */
#include "kernels/cuda/pack.h"

/* Columns of a product below which own convolutions are faster: they read the image once. */
#define FEWEST_COLUMNS 8

struct conv {
    const struct bs_node *n;
    const int64_t *x, *y, *w; /* dimensions: input, output, weight */
    bs_value end;             /* what is made: the convolution, or what follows it */
    bool relu;
    struct bs__gpu_fold fold;
    struct bs__gpu_weight weight, bias;
    bool has_bias;
};

static struct conv conv_of(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v), *w = bs__gpu_node(l, n->input[1]);
    struct conv c = {.n = n,
                     .x = bs__gpu_node(l, n->input[0])->shape.dim,
                     .y = n->shape.dim,
                     .w = w->shape.dim,
                     .end = v,
                     .weight = {.name = bs__gpu_param(l, n->input[1]), .shape = w->shape},
                     .bias = {.form = BS__FORM_BIAS, .element = BS__F32, .shape = BS_SHAPE(n->shape.dim[1])},
                     .has_bias = n->ninput > 2};
    if (c.has_bias)
        c.bias.name = bs__gpu_param(l, n->input[2]);
    return c;
}

/* Takes in what follows; c stays where it is from now on. */
static void look_ahead(struct bs__gpu_lowering *l, struct conv *c)
{
    const bs_value norm = bs__gpu_followed_by(l, c->end, BS_OP_BATCH_NORM);
    if (norm != BS_NO_VALUE) {
        const struct bs_node *n = bs__gpu_node(l, norm);
        c->fold = (struct bs__gpu_fold){.weight = bs__gpu_param(l, n->input[1]),
                                        .bias = bs__gpu_param(l, n->input[2]),
                                        .mean = bs__gpu_param(l, n->input[3]),
                                        .variance = bs__gpu_param(l, n->input[4]),
                                        .eps = n->attr.eps};
        c->weight.fold = c->bias.fold = &c->fold;
        c->has_bias = true;
        l->value[c->end].made = true;
        c->end = norm;
    }
    const bs_value relu = bs__gpu_followed_by(l, c->end, BS_OP_RELU);
    if (relu != BS_NO_VALUE) {
        l->value[c->end].made = true;
        c->end = relu;
        c->relu = true;
    }
}

static bs_address weight_as(struct bs__gpu_lowering *l, struct conv *c, enum bs__gpu_form form,
                            enum bs__element e)
{
    c->weight.form = form;
    c->weight.element = e;
    return bs__gpu_pack(l, &c->weight);
}

static void lower_pointwise_conv(struct bs__gpu_lowering *l, struct conv *c)
{
    const struct bs__gpu_place *x = bs__gpu_value_as(l, c->n->input[0], l->element);
    struct bs__gpu_product p = {.x = x,
                                .rows = c->x[0] * c->x[2] * c->x[3],
                                .columns = c->w[0],
                                .depth = c->w[1],
                                .act = c->relu ? BS__GEMM_RELU : BS__GEMM_NONE};
    p.w = weight_as(l, c, BS__FORM_TAPS, l->element);
    p.bias = c->has_bias ? &c->bias : NULL;
    p.y = bs__gpu_make(l, c->end, l->element);
    bs__gpu_add_product(l, &p, "1x1");
}

/* Stride = kernel, no padding: patches side by side, and a product of them. Row p of all patches of a row of patches is one copy:
   (N grid_h) batches of grid_w rows of k channels. */
static void lower_patches(struct bs__gpu_lowering *l, struct conv *c)
{
    const int64_t k = c->w[2], channels = c->x[1], grid_h = c->y[2], grid_w = c->y[3];
    const int64_t patch = k * k * channels, row = k * channels;
    struct bs__gpu_place from = bs__gpu_value_packed(l, c->n->input[0], l->element);
    struct bs__gpu_place patches = bs__gpu_room(l, c->x[0] * grid_h * grid_w, patch, l->element);
    struct bs__gpu_place to = patches, part = from;
    to.stride = patch;
    part.stride = row; /* a patch's row, and the next patch's beside it */
    for (int64_t i = 0; i < k; i++) {
        bs__gpu_add_copy(l, "patches", &to, grid_w * patch, &part, k * c->x[3] * channels, c->x[0] * grid_h,
                         grid_w, row);
        to.offset += row;
        part.offset += c->x[3] * channels;
    }
    struct bs__gpu_product p = {.x = &patches,
                                .rows = c->x[0] * grid_h * grid_w,
                                .columns = c->w[0],
                                .depth = patch,
                                .act = c->relu ? BS__GEMM_RELU : BS__GEMM_NONE};
    p.w = weight_as(l, c, BS__FORM_TAPS, l->element);
    p.bias = c->has_bias ? &c->bias : NULL;
    p.y = bs__gpu_make(l, c->end, l->element);
    bs__gpu_add_product(l, &p, "patches");
}

/* By cuDNN; false: by the own kernel, which is the faster one for few channels. */
static bool lower_by_library(struct bs__gpu_lowering *l, struct conv *c)
{
    if (!l->gpu->libraries.cudnn || c->x[1] < FEWEST_COLUMNS || c->w[0] < FEWEST_COLUMNS)
        return false;
    const struct bs__gpu_place x = bs__gpu_value_packed(l, c->n->input[0], l->element);
    struct bs__gpu_convolution k = {.of = {.element = l->element,
                                           .samples = c->x[0],
                                           .h = c->x[2],
                                           .w = c->x[3],
                                           .in = c->x[1],
                                           .out = c->w[0],
                                           .out_h = c->y[2],
                                           .out_w = c->y[3],
                                           .kernel_h = (int)c->w[2],
                                           .kernel_w = (int)c->w[3],
                                           .stride = c->n->attr.stride,
                                           .pad = c->n->attr.pad,
                                           .relu = c->relu,
                                           .tf32 = l->gpu->allow_tf32,
                                           .winograd = l->gpu->allow_winograd},
                                    .x = &x,
                                    .v = c->end,
                                    .weight = &c->weight,
                                    .bias = &c->bias};
    return bs__gpu_add_library_convolution(l, &k);
}

static void lower_direct(struct bs__gpu_lowering *l, struct conv *c)
{
    const struct bs__gpu_place *x = bs__gpu_value_as(l, c->n->input[0], l->element);
    c->bias.element = BS__F32;
    const bs_address w = weight_as(l, c, BS__FORM_DIRECT, BS__F32),
                     b = c->has_bias ? bs__gpu_pack(l, &c->bias) : 0;
    const struct bs__gpu_place *y = bs__gpu_make(l, c->end, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_CONV_DIRECT, l->element, "conv %lldx%lld stride %d %lldx%lldx%lldx%lld to %lld%s%s",
        (long long)c->w[2], (long long)c->w[3], c->n->attr.stride, (long long)c->x[0], (long long)c->x[1],
        (long long)c->x[2], (long long)c->x[3], (long long)c->w[0], c->weight.fold ? " norm" : "",
        c->relu ? " relu" : "");
    s->a.conv = (struct bs__conv_direct){.w = w,
                                         .b = b,
                                         .samples = c->x[0],
                                         .h = c->x[2],
                                         .w_pixels = c->x[3],
                                         .in = c->x[1],
                                         .out = c->w[0],
                                         .kernel_h = (int32_t)c->w[2],
                                         .kernel_w = (int32_t)c->w[3],
                                         .stride = c->n->attr.stride,
                                         .pad = c->n->attr.pad,
                                         .activation = c->relu ? BS__RELU : BS__PLAIN};
    bs__gpu_bind_rows(l, s, &s->a.conv.x, x);
    bs__gpu_bind_rows(l, s, &s->a.conv.y, y);
    s->cost *= (double)(c->w[2] * c->w[3]); /* multiplies more than it moves */
}

static void lower_transposed(struct bs__gpu_lowering *l, struct conv *c)
{
    const int64_t k = c->w[2], out = c->w[1], rows = c->x[0] * c->x[2] * c->x[3];
    const struct bs__gpu_place *x = bs__gpu_value_as(l, c->n->input[0], l->element);
    const struct bs__gpu_place blocks = bs__gpu_room(l, rows, k * k * out, l->element);
    struct bs__gpu_product p = {.x = x, .y = &blocks, .rows = rows, .columns = k * k * out, .depth = c->w[0]};
    p.w = weight_as(l, c, BS__FORM_SHUFFLE, l->element);
    bs__gpu_add_product(l, &p, "transposed conv");
    const bs_address bias = c->has_bias ? bs__gpu_pack(l, &c->bias) : 0;
    const struct bs__gpu_place *y = bs__gpu_make(l, c->end, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_SHUFFLE, l->element, "shuffle %lldx%lldx%lldx%lld by %lld%s", (long long)c->y[0],
        (long long)c->y[1], (long long)c->y[2], (long long)c->y[3], (long long)k, c->relu ? " relu" : "");
    s->a.shuffle = (struct bs__pixel_shuffle){.bias = bias,
                                              .samples = c->x[0],
                                              .h = c->x[2],
                                              .w = c->x[3],
                                              .channels = out,
                                              .k = (int32_t)k,
                                              .activation = c->relu ? BS__RELU : BS__PLAIN};
    bs__gpu_bind_rows(l, s, &s->a.shuffle.x, &blocks);
    bs__gpu_bind_rows(l, s, &s->a.shuffle.y, y);
}

bool bs__gpu_lower_conv_node(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    if (n->op != BS_OP_CONV2D && n->op != BS_OP_CONV_TRANSPOSE2D)
        return false;
    struct conv c = conv_of(l, v);
    look_ahead(l, &c);
    if (l->rc != BS_OK)
        return true;
    const int64_t kernel = c.w[2];
    const bool square = c.w[2] == c.w[3], plain = n->attr.pad == 0 && n->attr.stride == kernel && square;
    const bool whole = plain && c.x[2] % kernel == 0 && c.x[3] % kernel == 0;
    if (n->op == BS_OP_CONV_TRANSPOSE2D)
        lower_transposed(l, &c);
    else if (plain && kernel == 1 && c.w[0] >= FEWEST_COLUMNS)
        lower_pointwise_conv(l, &c);
    else if (whole && kernel > 1 && c.w[0] >= FEWEST_COLUMNS)
        lower_patches(l, &c);
    else if (!lower_by_library(l, &c))
        lower_direct(l, &c);
    return true;
}
