/* From operators over tokens to steps; see lower_tokens.h. */
#include "kernels/cpu/lower_tokens.h"

static bool stored_bf16(const struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    switch (n->op) {
    case BS_OP_ADD:
    case BS_OP_ADD_POSITION:
    case BS_OP_INSERT_TOKEN:
    case BS_OP_ROTARY:
        return false;
    case BS_OP_TOKENS_FROM_IMAGE: /* of patches: they go to the residual stream */
        return l->bf16 && !l->value[n->input[0]].deferred;
    case BS_OP_LINEAR:
        return l->bf16 && !bs__makes_steps(l, v);
    default:
        return l->bf16;
    }
}

static struct bs__rows_at *fresh_rows(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    x->rows = bs__rows_of(&bs__node_of(l, v)->shape, stored_bf16(l, v));
    x->made = true;
    return &x->rows;
}

static void make(struct bs__lowering *l, bs_value v);

struct bs__rows_at *bs__lower_rows(struct bs__lowering *l, bs_value v)
{
    struct bs__value *x = &l->value[v];
    const struct bs_node *n = bs__node_of(l, v);
    if (x->made && n->shape.ndim != 4)
        return &x->rows;
    if (n->op == BS_OP_PARAM)
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend takes parameters as weights only", n);
    else if (n->shape.ndim == 4)
        bs__lower_fail(l, BS_EUNSUPPORTED, "to the CPU backend 4 dimensions are an image, not tokens", n);
    else if (l->build.rc == BS_OK)
        make(l, v);
    return &x->rows;
}

/* The rows as the element type of the program; `copy` is where they go if they are not. */
static struct bs__rows_at *rows_of_type(struct bs__lowering *l, bs_value v, struct bs__rows_at *copy)
{
    struct bs__rows_at *from = bs__lower_rows(l, v);
    if (from->bf16 == l->bf16)
        return from;
    *copy = bs__rows_of(&bs__node_of(l, v)->shape, l->bf16);
    const struct bs__row_operands o = {.a = from, .dst = copy};
    bs__add_row_pass(&l->build, &o, (struct bs__row_pass){.factor = 1}, "copy");
    return copy;
}

struct norm_of {
    enum bs__row_norm norm;
    const float *weight, *bias;
    float eps;
};

/* A norm's parameters, padded to whole vectors. */
static struct norm_of norm_of(struct bs__lowering *l, const struct bs_node *n)
{
    const size_t features = (size_t)n->shape.dim[n->shape.ndim - 1];
    const size_t room = (features + BS__MAX_LANES - 1) / BS__MAX_LANES * BS__MAX_LANES;
    const bool layer = n->op == BS_OP_LAYER_NORM;
    struct norm_of k = {.norm = layer ? BS__ROW_LAYER_NORM : BS__ROW_RMS_NORM, .eps = n->attr.eps};
    k.weight = bs__own_param(&l->build, bs__lower_param(l, n->input[1]), features, room);
    if (layer)
        k.bias = bs__own_param(&l->build, bs__lower_param(l, n->input[2]), features, room);
    return k;
}

/* Makes v: act(linear) + residual, v being the last of them; residual BS_NO_VALUE: none. */
static void lower_linear(struct bs__lowering *l, bs_value linear, bs_value v, enum bs__row_act act,
                         bs_value residual)
{
    const struct bs_node *n = bs__node_of(l, linear), *source = bs__node_of(l, n->input[0]);
    const size_t out = (size_t)bs__node_of(l, n->input[1])->shape.dim[0];
    struct bs__linear k = {.act = act};
    struct bs__rows_at *from, *to_add = NULL;
    if (bs__is_row_norm(source->op) && l->value[n->input[0]].deferred && !l->value[n->input[0]].made) {
        from = bs__lower_rows(l, source->input[0]);
        const struct norm_of norm = norm_of(l, source);
        k.norm = norm.norm;
        k.norm_weight = norm.weight;
        k.norm_bias = norm.bias;
        k.eps = norm.eps;
    } else {
        from = bs__lower_rows(l, n->input[0]);
    }
    if (residual != BS_NO_VALUE)
        to_add = bs__lower_rows(l, residual);
    const char *weights = bs__lower_param(l, n->input[1]);
    if (n->ninput > 2)
        k.bias = bs__own_param(&l->build, bs__lower_param(l, n->input[2]), out, out);
    if (l->build.rc == BS_OK)
        bs__add_linear(&l->build, from, weights, k, to_add, fresh_rows(l, v));
}

void bs__lower_pass(struct bs__lowering *l, const struct bs__row_operands *o, bs_value v,
                    struct bs__row_pass k, const char *name)
{
    if (l->build.rc != BS_OK)
        return;
    struct bs__row_operands all = *o;
    all.dst = fresh_rows(l, v);
    bs__add_row_pass(&l->build, &all, k, name);
}

/* A pass over one value. */
static void pass(struct bs__lowering *l, bs_value a, bs_value v, struct bs__row_pass k, const char *name)
{
    const struct bs__row_operands o = {.a = bs__lower_rows(l, a)};
    bs__lower_pass(l, &o, v, k, name);
}

static struct bs__row_pass norm_pass(struct bs__lowering *l, const struct bs_node *n)
{
    const struct norm_of norm = norm_of(l, n);
    return (struct bs__row_pass){
        .norm = norm.norm, .norm_weight = norm.weight, .norm_bias = norm.bias, .eps = norm.eps, .factor = 1};
}

/* The norm that reads a sum first and is not made by a linear. */
static bs_value norm_behind(const struct bs__lowering *l, bs_value add)
{
    for (bs_value v = add + 1; v < bs_graph_node_count(l->g) && l->value[add].uses > 0; v++) {
        const struct bs_node *n = bs__node_of(l, v);
        if (bs__is_row_norm(n->op) && n->input[0] == add && bs_graph_is_live(l->g, v) &&
            !l->value[v].deferred && !l->value[v].made)
            return v;
        if (v == l->value[add].consumer)
            break;
    }
    return BS_NO_VALUE;
}

static void lower_add(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (bs__is_scan_pair(l, v)) {
        bs__lower_scan(l, n->input, 2, v, 1);
        return;
    }
    const int linear = bs__added_linear(l, v);
    if (linear >= 0 && !l->value[n->input[linear]].made) {
        lower_linear(l, n->input[linear], v, BS__ROW_AS_IS, n->input[1 - linear]);
        return;
    }
    const bs_value norm = norm_behind(l, v);
    struct bs__row_operands o = {.a = bs__lower_rows(l, n->input[0]), .b = bs__lower_rows(l, n->input[1])};
    if (norm == BS_NO_VALUE) {
        bs__lower_pass(l, &o, v, (struct bs__row_pass){.factor = 1}, "add");
        return;
    }
    o.sum = fresh_rows(l, v);
    bs__lower_pass(l, &o, norm, norm_pass(l, bs__node_of(l, norm)), "add and norm");
}

static void lower_activation(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v), *source = bs__node_of(l, n->input[0]);
    const bool put_off = l->value[n->input[0]].deferred && !l->value[n->input[0]].made;
    static const char *const name[] = {"", "gelu", "silu", "relu", "sigmoid"};
    const enum bs__row_act act = bs__act_of(n->op);
    if (put_off && source->op == BS_OP_LINEAR)
        lower_linear(l, n->input[0], v, act, BS_NO_VALUE);
    else if (put_off && source->op == BS_OP_CAUSAL_CONV1D)
        bs__lower_conv1d(l, n->input[0], v);
    else
        pass(l, n->input[0], v, (struct bs__row_pass){.act = act, .factor = 1}, name[act]);
}

static int host_index(const struct bs__lowering *l, bs_value input)
{
    int index = 0;
    for (bs_value v = 0; v < input; v++)
        index += bs__node_of(l, v)->op == BS_OP_INPUT;
    return index;
}

static void lower_tokens_from_image(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v), *conv = bs__node_of(l, n->input[0]);
    if (!l->value[n->input[0]].deferred || conv->op != BS_OP_CONV2D) {
        struct bs__image_at *from = bs__lower_image(l, n->input[0]);
        if (l->build.rc == BS_OK)
            bs__add_tokens_from_image(&l->build, from, fresh_rows(l, v));
        return;
    }
    const struct bs_shape *w = &bs__node_of(l, conv->input[1])->shape;
    const struct bs_shape shape =
        BS_SHAPE(n->shape.dim[0], n->shape.dim[1], w->dim[1] * w->dim[2] * w->dim[3]);
    struct bs__rows_at patches = bs__rows_of(&shape, l->bf16);
    const char *weights = bs__lower_param(l, conv->input[1]);
    struct bs__linear k = {.act = BS__ROW_AS_IS};
    if (conv->ninput > 2)
        k.bias = bs__own_param(&l->build, bs__lower_param(l, conv->input[2]), (size_t)w->dim[0],
                               (size_t)w->dim[0]);
    if (l->build.rc != BS_OK)
        return;
    bs__add_patches(&l->build, host_index(l, conv->input[0]), &bs__node_of(l, conv->input[0])->shape,
                    (int)w->dim[2], conv->attr.stride, &patches);
    bs__add_linear(&l->build, &patches, weights, k, NULL, fresh_rows(l, v));
}

static void lower_slice(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    struct bs__value *x = &l->value[v];
    x->rows = *bs__lower_rows(l, n->input[0]);
    x->made = true;
    if (n->op == BS_OP_SLICE_LAST) {
        x->rows.offset += n->attr.start;
        x->rows.features = (int)n->attr.count;
    } else {
        x->rows.offset += n->attr.start * x->rows.row;
        x->rows.tokens = n->attr.count;
    }
}

static void lower_attention(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    struct bs__rows_at copy, *from = rows_of_type(l, n->input[0], &copy);
    struct bs__attention k = {
        .heads = n->attr.heads, .window = n->attr.kernel, .grid_h = n->attr.out_h, .grid_w = n->attr.out_w};
    struct bs__relative relative = {.name = {NULL}};
    const size_t features = (size_t)bs__node_of(l, n->input[0])->shape.dim[2];
    if (n->ninput > 1)
        k.pad = bs__own_param(&l->build, bs__lower_param(l, n->input[1]), features, features);
    for (int i = 2; i < n->ninput; i++) {
        relative.name[i - 2] = bs__lower_param(l, n->input[i]);
        relative.length[i - 2] = bs__node_of(l, n->input[i])->shape.dim[0];
    }
    if (l->build.rc == BS_OK)
        bs__add_attention(&l->build, from, k, &relative, fresh_rows(l, v));
}

static void lower_scale(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    const bs_value sum = n->input[0];
    if (l->value[sum].deferred && !l->value[sum].made)
        bs__lower_scan(l, bs__node_of(l, sum)->input, 2, v, n->attr.factor);
    else
        pass(l, sum, v, (struct bs__row_pass){.factor = n->attr.factor}, "scale");
}

static void lower_mul(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    const struct bs__row_operands o = {.a = bs__lower_rows(l, n->input[0]),
                                       .b = bs__lower_rows(l, n->input[1])};
    bs__lower_pass(l, &o, v, (struct bs__row_pass){.multiply = true, .factor = 1}, "mul");
}

static void make(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    switch (n->op) {
    case BS_OP_TOKENS_FROM_IMAGE:
        lower_tokens_from_image(l, v);
        break;
    case BS_OP_LINEAR:
        lower_linear(l, v, v, BS__ROW_AS_IS, BS_NO_VALUE);
        break;
    case BS_OP_LAYER_NORM:
    case BS_OP_RMS_NORM:
        pass(l, n->input[0], v, norm_pass(l, n), n->op == BS_OP_LAYER_NORM ? "layer norm" : "rms norm");
        break;
    case BS_OP_GELU:
    case BS_OP_SILU:
    case BS_OP_RELU:
    case BS_OP_SIGMOID:
        lower_activation(l, v);
        break;
    case BS_OP_SCALE:
        lower_scale(l, v);
        break;
    case BS_OP_ADD:
        lower_add(l, v);
        break;
    case BS_OP_MUL:
        lower_mul(l, v);
        break;
    case BS_OP_SLICE_LAST:
    case BS_OP_SLICE_TOKENS:
        lower_slice(l, v);
        break;
    case BS_OP_INSERT_TOKEN:
    case BS_OP_ADD_POSITION:
    case BS_OP_ROTARY:
        bs__lower_places(l, v);
        break;
    case BS_OP_ATTENTION:
        lower_attention(l, v);
        break;
    case BS_OP_CAUSAL_CONV1D:
        bs__lower_conv1d(l, v, v);
        break;
    case BS_OP_SELECTIVE_SCAN:
        bs__lower_scan(l, &v, 1, v, 1);
        break;
    default:
        bs__lower_fail(l, BS_EUNSUPPORTED, "the CPU backend has no such operator for tokens; \"ref\" has", n);
    }
}

void bs__lower_token_node(struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    struct bs__value *x = &l->value[v];
    if (x->made || x->deferred)
        return;
    if (n->op != BS_OP_IMAGE_FROM_TOKENS) {
        bs__lower_rows(l, v);
        return;
    }
    struct bs__rows_at *from = bs__lower_rows(l, n->input[0]);
    if (l->build.rc == BS_OK)
        bs__add_image_from_tokens(&l->build, from, &x->image, x->feeds_norm);
    x->made = true;
}

void bs__lower_token_input(struct bs__lowering *l, bs_value v, int host)
{
    struct bs__rows_at from = bs__rows_of(&bs__node_of(l, v)->shape, false);
    bs__host_rows(&from, BS__ROWS_INPUT, host);
    const struct bs__row_operands o = {.a = &from, .dst = fresh_rows(l, v)};
    bs__add_row_pass(&l->build, &o, (struct bs__row_pass){.factor = 1}, "load");
}

void bs__lower_token_output(struct bs__lowering *l, bs_value v, int host)
{
    struct bs__rows_at *from = bs__lower_rows(l, v), to = bs__rows_of(&bs__node_of(l, v)->shape, false);
    bs__host_rows(&to, BS__ROWS_OUTPUT, host);
    const struct bs__row_operands o = {.a = from, .dst = &to};
    if (l->build.rc == BS_OK)
        bs__add_row_pass(&l->build, &o, (struct bs__row_pass){.factor = 1}, "store");
}
