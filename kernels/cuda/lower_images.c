/* Lowers what images are made of besides convolutions: norms with the ReLU behind them, pooling, resizing, concatenations,
   slices, crops; and the operators that work on images and tokens alike, value by value. See lower.h. */
#include "kernels/cuda/pack.h"

static void lower_norm(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = n->shape.dim;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element);
    const bs_value relu = bs__gpu_followed_by(l, v, BS_OP_RELU);
    const bool group = n->op == BS_OP_GROUP_NORM;
    const bs_address w = group ? bs__gpu_pack_plain(l, n->input[1], BS__F32) : 0,
                     b = group ? bs__gpu_pack_plain(l, n->input[2], BS__F32) : 0;
    const struct bs__gpu_place *y = bs__gpu_make(l, relu != BS_NO_VALUE ? relu : v, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, group ? BS__GPU_GROUP_NORM : BS__GPU_INSTANCE_NORM, l->element, "%s norm %lldx%lldx%lldx%lld%s",
        group ? "group" : "instance", (long long)d[0], (long long)d[1], (long long)d[2], (long long)d[3],
        relu != BS_NO_VALUE ? " relu" : "");
    s->a.image_norm = (struct bs__image_norm){.w = w,
                                              .b = b,
                                              .samples = d[0],
                                              .pixels = d[2] * d[3],
                                              .channels = d[1],
                                              .groups = n->attr.groups,
                                              .eps = n->attr.eps,
                                              .relu = relu != BS_NO_VALUE};
    bs__gpu_bind_rows(l, s, &s->a.image_norm.x, x);
    bs__gpu_bind_rows(l, s, &s->a.image_norm.y, y);
    bs__gpu_bind_workspace(l, s, &s->a.image_norm.workspace,
                           bs__cuda_image_norm_workspace(d[0], d[2] * d[3], d[1]));
    if (relu != BS_NO_VALUE)
        l->value[v].made = true;
}

/* In evaluation mode, where no convolution takes it in. */
static void lower_batch_norm(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element);
    const bs_value relu = bs__gpu_followed_by(l, v, BS_OP_RELU);
    bs_address p[4];
    for (int i = 0; i < 4; i++)
        p[i] = bs__gpu_pack_plain(l, n->input[i + 1], BS__F32);
    const struct bs__gpu_place *y = bs__gpu_make(l, relu != BS_NO_VALUE ? relu : v, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_BATCH_NORM, l->element, "batch norm %lldx%lld%s", (long long)bs__gpu_rows(&n->shape),
        (long long)bs__gpu_columns(&n->shape), relu != BS_NO_VALUE ? " relu" : "");
    s->a.batch_norm = (struct bs__batch_norm){.w = p[0],
                                              .b = p[1],
                                              .mean = p[2],
                                              .variance = p[3],
                                              .rows = bs__gpu_rows(&n->shape),
                                              .channels = bs__gpu_columns(&n->shape),
                                              .eps = n->attr.eps,
                                              .relu = relu != BS_NO_VALUE};
    bs__gpu_bind_rows(l, s, &s->a.batch_norm.x, x);
    bs__gpu_bind_rows(l, s, &s->a.batch_norm.y, y);
    if (relu != BS_NO_VALUE)
        l->value[v].made = true;
}

static void lower_pool(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = bs__gpu_node(l, n->input[0])->shape.dim;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element);
    const struct bs__gpu_place *y = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_MAX_POOL, l->element, "max pool %d of %lldx%lldx%lldx%lld",
                         n->attr.kernel, (long long)d[0], (long long)d[1], (long long)d[2], (long long)d[3]);
    s->a.pool =
        (struct bs__max_pool){.samples = d[0], .h = d[2], .w = d[3], .channels = d[1], .k = n->attr.kernel};
    bs__gpu_bind_rows(l, s, &s->a.pool.x, x);
    bs__gpu_bind_rows(l, s, &s->a.pool.y, y);
}

static void lower_resize(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = bs__gpu_node(l, n->input[0])->shape.dim;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element);
    const struct bs__gpu_place *y = bs__gpu_make(l, v, l->element);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_RESIZE, l->element, "resize %lldx%lldx%lldx%lld to %lldx%lld",
                         (long long)d[0], (long long)d[1], (long long)d[2], (long long)d[3],
                         (long long)n->attr.out_h, (long long)n->attr.out_w);
    s->a.resize = (struct bs__resize){.samples = d[0],
                                      .h = d[2],
                                      .w = d[3],
                                      .out_h = n->attr.out_h,
                                      .out_w = n->attr.out_w,
                                      .channels = d[1]};
    bs__gpu_bind_rows(l, s, &s->a.resize.x, x);
    bs__gpu_bind_rows(l, s, &s->a.resize.y, y);
}

/* What of it is not in its place yet goes there. */
static void lower_concat(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    struct bs__gpu_value *whole = &l->value[v];
    if (whole->place.buffer == BS__NO_BUFFER)
        whole->place = bs__gpu_room(l, bs__gpu_rows(&n->shape), bs__gpu_columns(&n->shape), l->element);
    struct bs__gpu_place part = whole->place;
    for (int i = 0; i < 2; i++) {
        const struct bs_shape *s = &bs__gpu_node(l, n->input[i])->shape;
        const struct bs__gpu_place *from = bs__gpu_value_at(l, n->input[i]);
        if (from->buffer != part.buffer || from->offset != part.offset)
            bs__gpu_add_copy(l, "concat", &part, 0, from, 0, 1, bs__gpu_rows(s), bs__gpu_columns(s));
        part.offset += bs__gpu_columns(s);
    }
    whole->made = true;
}

/* The top left corner. */
static void lower_crop(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t *d = bs__gpu_node(l, n->input[0])->shape.dim, h = n->shape.dim[2], w = n->shape.dim[3];
    struct bs__gpu_place from = *bs__gpu_value_at(l, n->input[0]), to = *bs__gpu_make(l, v, from.element);
    for (int64_t i = 0; i < d[0] && l->rc == BS_OK; i++) {
        bs__gpu_add_copy(l, "crop", &to, w * to.stride, &from, d[3] * from.stride, h, w, d[1]);
        to.offset += h * w * to.stride;
        from.offset += d[2] * d[3] * from.stride;
    }
}

static enum bs__pointwise_kind pointwise_of(enum bs_op op)
{
    switch (op) {
    case BS_OP_RELU:
        return BS__POINTWISE_RELU;
    case BS_OP_SIGMOID:
        return BS__POINTWISE_SIGMOID;
    case BS_OP_GELU:
        return BS__POINTWISE_GELU;
    case BS_OP_SILU:
        return BS__POINTWISE_SILU;
    case BS_OP_SCALE:
        return BS__POINTWISE_SCALE;
    case BS_OP_ADD:
        return BS__POINTWISE_ADD;
    case BS_OP_MUL:
        return BS__POINTWISE_MUL;
    default:
        return BS__POINTWISE_COUNT;
    }
}

/* A sum of tokens belongs to the residual stream, which is float32; what one value is made into keeps its element type. */
static enum bs__element element_of(struct bs__gpu_lowering *l, const struct bs_node *n)
{
    if (n->shape.ndim == 4)
        return l->element;
    if (n->op == BS_OP_ADD)
        return BS__F32;
    return n->ninput == 1 ? bs__gpu_value_at(l, n->input[0])->element : l->element;
}

static void lower_pointwise(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const enum bs__element e = element_of(l, n);
    enum bs__pointwise_kind kind = pointwise_of(n->op);
    BS_ASSERT(kind < BS__POINTWISE_COUNT);
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], e);
    const struct bs__gpu_place *z = n->ninput > 1 ? bs__gpu_value_as(l, n->input[1], e) : NULL;
    const bs_value relu = n->op == BS_OP_ADD ? bs__gpu_followed_by(l, v, BS_OP_RELU) : BS_NO_VALUE;
    if (relu != BS_NO_VALUE) {
        kind = BS__POINTWISE_ADD_RELU;
        l->value[v].made = true;
    }
    const struct bs__gpu_place *y = bs__gpu_make(l, relu != BS_NO_VALUE ? relu : v, e);
    static const char *const name[BS__POINTWISE_COUNT] = {
        [BS__POINTWISE_RELU] = "relu",         [BS__POINTWISE_SIGMOID] = "sigmoid",
        [BS__POINTWISE_GELU] = "gelu",         [BS__POINTWISE_SILU] = "silu",
        [BS__POINTWISE_SCALE] = "scale",       [BS__POINTWISE_ADD] = "add",
        [BS__POINTWISE_ADD_RELU] = "add relu", [BS__POINTWISE_MUL] = "mul"};
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_POINTWISE, e, "%s %lldx%lld", name[kind],
                         (long long)bs__gpu_rows(&n->shape), (long long)bs__gpu_columns(&n->shape));
    s->pointwise = kind;
    s->a.pointwise = (struct bs__pointwise){
        .rows = bs__gpu_rows(&n->shape), .columns = bs__gpu_columns(&n->shape), .factor = n->attr.factor};
    bs__gpu_bind_rows(l, s, &s->a.pointwise.x, x);
    bs__gpu_bind_rows(l, s, &s->a.pointwise.y, y);
    if (z)
        bs__gpu_bind_rows(l, s, &s->a.pointwise.z, z);
}

bool bs__gpu_lower_image_node(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const bool image = n->shape.ndim == 4;
    switch (n->op) {
    case BS_OP_INSTANCE_NORM:
    case BS_OP_GROUP_NORM:
        lower_norm(l, v);
        return true;
    case BS_OP_BATCH_NORM:
        lower_batch_norm(l, v);
        return true;
    case BS_OP_MAX_POOL2D:
        lower_pool(l, v);
        return true;
    case BS_OP_RESIZE_BILINEAR:
        lower_resize(l, v);
        return true;
    case BS_OP_CONCAT:
        if (image)
            lower_concat(l, v);
        return image;
    case BS_OP_SLICE_CHANNEL:
        if (image)
            bs__gpu_make_view(l, v, n->input[0], n->attr.start);
        return image;
    case BS_OP_CROP:
        lower_crop(l, v);
        return true;
    case BS_OP_RELU:
    case BS_OP_SIGMOID:
    case BS_OP_GELU:
    case BS_OP_SILU:
    case BS_OP_SCALE:
    case BS_OP_ADD:
    case BS_OP_MUL:
        /* Sums of tokens and of scans have files that know more of them. */
        if (n->op == BS_OP_ADD && !image && bs__gpu_lower_sum(l, v))
            return true;
        lower_pointwise(l, v);
        return true;
    default:
        return false;
    }
}
