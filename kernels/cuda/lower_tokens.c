/* Lowers what tokens are made of: linear layers with the activation or the sum behind them, norms with the sum before them,
   attention, tokens put in, positions, rotary embeddings, slices. Tokens and images are the same rows, so going from one to
   the other costs nothing. See lower.h. */
#include "kernels/cuda/pack.h"

#include <stdio.h>

static bool is_row_norm(enum bs_op op)
{
    return op == BS_OP_LAYER_NORM || op == BS_OP_RMS_NORM;
}

/* A sum that a product can write: of the product and a value that is there already, in float32. In the half precisions the
   residual stream has another element type than the product, and the norm behind adds. */
static bs_value sum_behind(struct bs__gpu_lowering *l, bs_value v, bs_value *residual)
{
    const bs_value add = bs__gpu_followed_by(l, v, BS_OP_ADD);
    if (add == BS_NO_VALUE || l->element != BS__F32)
        return BS_NO_VALUE;
    const struct bs_node *n = bs__gpu_node(l, add);
    *residual = n->input[0] == v ? n->input[1] : n->input[0];
    return l->value[*residual].made ? add : BS_NO_VALUE;
}

static void lower_linear(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs_shape *w = &bs__gpu_node(l, n->input[1])->shape;
    bs_value end = v, residual = BS_NO_VALUE, sum = sum_behind(l, v, &residual);
    struct bs__gpu_product p = {.rows = bs__gpu_rows(&n->shape), .columns = w->dim[0], .depth = w->dim[1]};
    p.x = bs__gpu_value_as(l, n->input[0], l->element);
    if (sum != BS_NO_VALUE) {
        p.residual = bs__gpu_value_at(l, residual);
        end = sum;
    } else if ((sum = bs__gpu_followed_by(l, v, BS_OP_GELU)) != BS_NO_VALUE) {
        p.act = BS__GEMM_GELU;
        end = sum;
    } else if ((sum = bs__gpu_followed_by(l, v, BS_OP_RELU)) != BS_NO_VALUE) {
        p.act = BS__GEMM_RELU;
        end = sum;
    }
    p.w = bs__gpu_pack_plain(l, n->input[1], l->element);
    struct bs__gpu_weight bias = {.form = BS__FORM_PLAIN, .shape = BS_SHAPE(w->dim[0])};
    if (n->ninput > 2) {
        bias.name = bs__gpu_param(l, n->input[2]);
        p.bias = &bias;
    }
    if (l->rc != BS_OK)
        return;
    p.y = bs__gpu_make(l, end, l->element);
    l->value[v].made = true;
    bs__gpu_add_product(l, &p, "linear");
}

/* The norm of x (+ residual, both of one shape), of element type e; sum: where x + residual is kept. */
static void add_row_norm(struct bs__gpu_lowering *l, const struct bs_node *n, enum bs__element e,
                         const struct bs__gpu_place *x, const struct bs__gpu_place *residual,
                         const struct bs__gpu_place *sum, const struct bs__gpu_place *y)
{
    const bool layer = n->op == BS_OP_LAYER_NORM;
    const bs_address w = bs__gpu_pack_plain(l, n->input[1], BS__F32),
                     b = layer ? bs__gpu_pack_plain(l, n->input[2], BS__F32) : 0;
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, layer ? BS__GPU_LAYER_NORM : BS__GPU_RMS_NORM, e, "%s%s norm %lldx%lld", residual ? "add, " : "",
        layer ? "layer" : "rms", (long long)bs__gpu_rows(&n->shape), (long long)bs__gpu_columns(&n->shape));
    s->a.row_norm = (struct bs__row_norm){.w = w,
                                          .b = b,
                                          .rows = bs__gpu_rows(&n->shape),
                                          .columns = bs__gpu_columns(&n->shape),
                                          .eps = n->attr.eps};
    bs__gpu_bind_rows(l, s, &s->a.row_norm.x, x);
    bs__gpu_bind_rows(l, s, &s->a.row_norm.y, y);
    if (residual)
        bs__gpu_bind_rows(l, s, &s->a.row_norm.residual, residual);
    if (sum)
        bs__gpu_bind_rows(l, s, &s->a.row_norm.residual_out, sum);
}

static void lower_row_norm(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs__gpu_place x = *bs__gpu_value_at(l, n->input[0]);
    if (l->rc != BS_OK)
        return;
    if (x.element == l->element) {
        add_row_norm(l, n, l->element, &x, NULL, NULL, bs__gpu_make(l, v, l->element));
        return;
    }
    /* Of the residual stream: its precision goes into the norm, not away before it. */
    const int64_t rows = bs__gpu_rows(&n->shape), columns = bs__gpu_columns(&n->shape);
    const struct bs__gpu_place wide = bs__gpu_room(l, rows, columns, x.element);
    add_row_norm(l, n, x.element, &x, NULL, NULL, &wide);
    bs__gpu_add_copy(l, "convert", bs__gpu_make(l, v, l->element), 0, &wide, 0, 1, rows, columns);
}

bool bs__gpu_lower_sum(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    bs_value norm = BS_NO_VALUE;
    for (bs_value u = v + 1; u < bs_graph_node_count(l->g) && norm == BS_NO_VALUE; u++)
        if (is_row_norm(bs__gpu_node(l, u)->op) && bs__gpu_node(l, u)->input[0] == v &&
            bs_graph_is_live(l->g, u) && !l->value[u].made)
            norm = u;
    if (norm == BS_NO_VALUE)
        return false;
    /* One of the residual stream and one of the program's element type. */
    int stream = -1;
    for (int i = 0; i < 2; i++)
        if (bs__gpu_value_at(l, n->input[i])->element == BS__F32 &&
            (l->element == BS__F32 || bs__gpu_value_at(l, n->input[1 - i])->element == l->element))
            stream = i;
    if (stream < 0 || l->rc != BS_OK)
        return false;
    const struct bs__gpu_place *residual = bs__gpu_value_at(l, n->input[stream]),
                               *x = bs__gpu_value_at(l, n->input[1 - stream]);
    const bool kept = l->value[v].uses > 1 || l->value[v].outputs > 0;
    const struct bs__gpu_place *sum = kept ? bs__gpu_make(l, v, BS__F32) : NULL;
    l->value[v].made = true;
    add_row_norm(l, bs__gpu_node(l, norm), l->element, x, residual, sum, bs__gpu_make(l, norm, l->element));
    return true;
}

static void lower_slice_tokens(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs_shape *s = &bs__gpu_node(l, n->input[0])->shape;
    struct bs__gpu_place from = *bs__gpu_value_at(l, n->input[0]);
    from.offset += n->attr.start * from.stride;
    if (s->dim[0] == 1) { /* rows that follow each other */
        l->value[v].place = from;
        l->value[v].made = true;
        return;
    }
    const struct bs__gpu_place *to = bs__gpu_make(l, v, from.element);
    bs__gpu_add_copy(l, "slice tokens", to, n->attr.count * to->stride, &from, s->dim[1] * from.stride,
                     s->dim[0], n->attr.count, s->dim[2]);
}

static void lower_attention(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const int64_t width = n->shape.dim[2] / n->attr.heads;
    const int64_t side[2] = {n->attr.kernel ? n->attr.kernel : n->attr.out_h,
                             n->attr.kernel ? n->attr.kernel : n->attr.out_w};
    bs_address relative[2] = {0, 0};
    if (width > BS__ATTENTION_FEATURES)
        bs__gpu_fail(l, BS_EUNSUPPORTED, "the CUDA backend has heads of up to 128 features", n);
    const struct bs__gpu_place qkv = bs__gpu_value_packed(l, n->input[0], l->element);
    const bs_address pad = n->ninput > 1 ? bs__gpu_pack_plain(l, n->input[1], l->element) : 0;
    for (int i = 2; i < n->ninput && l->rc == BS_OK; i++) {
        const char *name = bs__gpu_param(l, n->input[i]);
        if (name)
            relative[i - 2] =
                bs__gpu_pack(l, &(struct bs__gpu_weight){.form = BS__FORM_RELATIVE,
                                                         .element = l->element,
                                                         .name = name,
                                                         .shape = bs__gpu_node(l, n->input[i])->shape,
                                                         .side = side[i - 2]});
    }
    if (l->rc != BS_OK)
        return;
    l->value[v].concat = BS_NO_VALUE; /* the kernel writes packed rows */
    const struct bs__gpu_place *y = bs__gpu_make(l, v, l->element);
    const struct bs__cuda_attention c = {.element = l->element,
                                         .samples = n->shape.dim[0],
                                         .grid_h = n->attr.out_h,
                                         .grid_w = n->attr.out_w,
                                         .heads = n->attr.heads,
                                         .features = (int)width,
                                         .window = n->attr.kernel,
                                         .pad = pad,
                                         .rel_h = relative[0],
                                         .rel_w = relative[1]};
    char text[96];
    snprintf(text, sizeof text, "attention %lldx%lldx%lld of %d heads of %lld window %d%s",
             (long long)c.samples, (long long)c.grid_h, (long long)c.grid_w, c.heads, (long long)width,
             c.window, n->ninput > 2 ? " relative" : "");
    struct bs__gpu_step *s;
    if (bs__gpu_add_library_attention(l, &c, &qkv, y, text)) {
        s = &l->self->step[l->program->nstep - 1];
    } else {
        s = bs__gpu_add_step(l, BS__GPU_ATTENTION, l->element, "%s", text);
        s->a.attend.attention = c;
        bs__gpu_bind(l, s, &s->a.attend.attention.qkv, &qkv);
        bs__gpu_bind(l, s, &s->a.attend.attention.y, y);
    }
    s->cost *= (double)(c.window ? c.window : c.grid_w) / 4 + 1;
}

static void lower_insert_token(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs_shape *s = &bs__gpu_node(l, n->input[0])->shape;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], BS__F32);
    const bs_address token = bs__gpu_pack_plain(l, n->input[1], BS__F32);
    const struct bs__gpu_place *y = bs__gpu_make(l, v, BS__F32);
    struct bs__gpu_step *step =
        bs__gpu_add_step(l, BS__GPU_INSERT_TOKEN, BS__F32, "insert token %lldx%lldx%lld",
                         (long long)s->dim[0], (long long)s->dim[1], (long long)s->dim[2]);
    step->a.insert = (struct bs__insert_token){.token = token,
                                               .samples = s->dim[0],
                                               .tokens = s->dim[1],
                                               .features = s->dim[2],
                                               .place = n->attr.start};
    bs__gpu_bind_rows(l, step, &step->a.insert.x, x);
    bs__gpu_bind_rows(l, step, &step->a.insert.y, y);
}

static void lower_positions(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], BS__F32);
    const char *name = bs__gpu_param(l, n->input[1]);
    if (!name)
        return;
    const bs_address table =
        bs__gpu_pack(l, &(struct bs__gpu_weight){.form = BS__FORM_POSITIONS,
                                                 .element = BS__F32,
                                                 .name = name,
                                                 .shape = bs__gpu_node(l, n->input[1])->shape,
                                                 .positions = n});
    const struct bs__gpu_place *y = bs__gpu_make(l, v, BS__F32);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_ADD_POSITION, BS__F32, "positions %lldx%lldx%lld",
                         (long long)n->shape.dim[0], (long long)n->shape.dim[1], (long long)n->shape.dim[2]);
    s->a.position = (struct bs__add_position){
        .table = table, .samples = n->shape.dim[0], .tokens = n->shape.dim[1], .features = n->shape.dim[2]};
    bs__gpu_bind_rows(l, s, &s->a.position.x, x);
    bs__gpu_bind_rows(l, s, &s->a.position.y, y);
}

static void lower_rotary(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const struct bs__gpu_place *x = bs__gpu_value_at(l, n->input[0]);
    const bs_address cosine = bs__gpu_pack_plain(l, n->input[1], BS__F32),
                     sine = bs__gpu_pack_plain(l, n->input[2], BS__F32);
    if (l->rc != BS_OK)
        return;
    const enum bs__element e = x->element;
    const struct bs__gpu_place *y = bs__gpu_make(l, v, e);
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_ROTARY, e, "rotary %lldx%lldx%lld", (long long)n->shape.dim[0],
                         (long long)n->shape.dim[1], (long long)n->shape.dim[2]);
    s->a.rotary = (struct bs__rotary){.cosine = cosine,
                                      .sine = sine,
                                      .samples = n->shape.dim[0],
                                      .tokens = n->shape.dim[1],
                                      .features = n->shape.dim[2],
                                      .turned = bs__gpu_node(l, n->input[1])->shape.dim[0]};
    bs__gpu_bind_rows(l, s, &s->a.rotary.x, x);
    bs__gpu_bind_rows(l, s, &s->a.rotary.y, y);
}

bool bs__gpu_lower_token_node(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const bool along_last = n->op == BS_OP_LINEAR || is_row_norm(n->op) || n->op == BS_OP_SLICE_LAST;
    if (along_last && n->shape.ndim == 4) {
        bs__gpu_fail(l, BS_EUNSUPPORTED, "to the CUDA backend 4 dimensions are an image, not tokens", n);
        return true;
    }
    switch (n->op) {
    case BS_OP_TOKENS_FROM_IMAGE:
    case BS_OP_IMAGE_FROM_TOKENS:
        bs__gpu_make_view(l, v, n->input[0], 0);
        return true;
    case BS_OP_SLICE_LAST:
        bs__gpu_make_view(l, v, n->input[0], n->attr.start);
        return true;
    case BS_OP_SLICE_TOKENS:
        lower_slice_tokens(l, v);
        return true;
    case BS_OP_LINEAR:
        lower_linear(l, v);
        return true;
    case BS_OP_LAYER_NORM:
    case BS_OP_RMS_NORM:
        lower_row_norm(l, v);
        return true;
    case BS_OP_ATTENTION:
        lower_attention(l, v);
        return true;
    case BS_OP_INSERT_TOKEN:
        lower_insert_token(l, v);
        return true;
    case BS_OP_ADD_POSITION:
        lower_positions(l, v);
        return true;
    case BS_OP_ROTARY:
        lower_rotary(l, v);
        return true;
    default:
        return false;
    }
}
