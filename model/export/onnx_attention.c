/* Attention of Segment Anything's encoder out of ONNX's operators, one batch at a time (N = 1):

       qkv (1, L, 3 a d) -> grid (1, h, w, 3 a d) -> windows (n, s, s, 3 a d), filled up with `pad` on the right and below
       q, k, v (n, a, t, d);  logits = q k' / sqrt d + rows + columns;  softmax;  v;  windows back -> (1, L, a d)

   rows (n a, y, x, y') = q(y, x) . rel_h[y - y' + h - 1], columns likewise; their tables are gathered with constant indices. */
#include "model/export/onnx_graph.h"

#include <math.h>
#include <stdlib.h>

struct attention {
    struct bs__onnx_graph *g;
    int64_t heads, features; /* of one head */
    int64_t h, w;            /* grid */
    int64_t rows, columns;   /* windows; 1 and 1 when attention is global */
    int64_t wh, ww;          /* sides of a window, or of the grid */
};

/* `count` copies of the pad token beside or below the grid. */
static bs__onnx_value fill(const struct attention *a, bs__onnx_value x, bs__onnx_value pad, int64_t axis,
                           int64_t h, int64_t w)
{
    const int64_t all = 3 * a->heads * a->features;
    if (h == 0 || w == 0)
        return x;
    const int64_t shape[] = {1, h, w, all};
    const bs__onnx_value one = pad < 0 ? bs__onnx_constant(a->g, (size_t)all, 0) : pad;
    const bs__onnx_value in[] = {x,
                                 bs__onnx_two(a->g, "Expand", one, bs__onnx_ints(a->g, &BS_SHAPE(4), shape))};
    struct bs__bytes attributes = {0};
    bs__onnx_set_int(&attributes, "axis", axis);
    return bs__onnx_node(a->g, "Concat", in, 2, &attributes);
}

/* (1, L, 3 a d) -> (3, n, a, t, d) */
static bs__onnx_value split(const struct attention *a, bs__onnx_value x, bs__onnx_value pad)
{
    const int64_t all = 3 * a->heads * a->features, ph = a->rows * a->wh, pw = a->columns * a->ww;
    x = bs__onnx_reshape(a->g, x, BS__ONNX_DIMS(1, a->h, a->w, all));
    x = fill(a, x, pad, 2, a->h, pw - a->w);
    x = fill(a, x, pad, 1, ph - a->h, pw);
    if (a->rows * a->columns > 1) {
        x = bs__onnx_reshape(a->g, x, BS__ONNX_DIMS(a->rows, a->wh, a->columns, a->ww, all));
        x = bs__onnx_transpose(a->g, x, BS__ONNX_DIMS(0, 2, 1, 3, 4));
    }
    x = bs__onnx_reshape(a->g, x,
                         BS__ONNX_DIMS(a->rows * a->columns, a->wh * a->ww, 3, a->heads, a->features));
    return bs__onnx_transpose(a->g, x, BS__ONNX_DIMS(2, 0, 3, 1, 4));
}

/* table (2 side - 1, d) -> (side, side, d): row y - y' + side - 1 at (y, y'). */
static bs__onnx_value relative(const struct attention *a, bs__onnx_value table, int64_t side)
{
    int64_t *index = malloc((size_t)(side * side) * sizeof *index);
    if (!index) {
        a->g->failed = true;
        return 0;
    }
    for (int64_t y = 0; y < side; y++)
        for (int64_t to = 0; to < side; to++)
            index[y * side + to] = y - to + side - 1;
    const bs__onnx_value indices = bs__onnx_ints(a->g, &BS_SHAPE(side, side), index);
    free(index);
    return bs__onnx_two(a->g, "Gather", table, indices);
}

static bs__onnx_value einsum(const struct attention *a, const char *equation, bs__onnx_value x,
                             bs__onnx_value y)
{
    struct bs__bytes attributes = {0};
    const bs__onnx_value in[] = {x, y};
    bs__onnx_set_text(&attributes, "equation", equation);
    return bs__onnx_node(a->g, "Einsum", in, 2, &attributes);
}

/* logits (n, a, t, t) with the two terms of relative positions added. */
static bs__onnx_value add_positions(const struct attention *a, bs__onnx_value logits, bs__onnx_value q,
                                    bs__onnx_value rel_h, bs__onnx_value rel_w)
{
    const int64_t n = a->rows * a->columns, na = n * a->heads, t = a->wh * a->ww;
    bs__onnx_value grid = bs__onnx_reshape(a->g, q, BS__ONNX_DIMS(na, a->wh, a->ww, a->features));
    bs__onnx_value rows = einsum(a, "nyxd,ykd->nyxk", grid, relative(a, rel_h, a->wh));
    bs__onnx_value columns = einsum(a, "nyxd,xkd->nyxk", grid, relative(a, rel_w, a->ww));
    rows = bs__onnx_reshape(a->g, rows, BS__ONNX_DIMS(na, t, a->wh, 1));
    columns = bs__onnx_reshape(a->g, columns, BS__ONNX_DIMS(na, t, 1, a->ww));
    logits = bs__onnx_reshape(a->g, logits, BS__ONNX_DIMS(na, t, a->wh, a->ww));
    logits = bs__onnx_two(a->g, "Add", bs__onnx_two(a->g, "Add", logits, rows), columns);
    return bs__onnx_reshape(a->g, logits, BS__ONNX_DIMS(n, a->heads, t, t));
}

/* (n, a, t, d) -> (1, L, a d) */
static bs__onnx_value join(const struct attention *a, bs__onnx_value x)
{
    const int64_t all = a->heads * a->features, ph = a->rows * a->wh, pw = a->columns * a->ww;
    x = bs__onnx_transpose(a->g, x, BS__ONNX_DIMS(0, 2, 1, 3));
    if (a->rows * a->columns > 1) {
        x = bs__onnx_reshape(a->g, x, BS__ONNX_DIMS(a->rows, a->columns, a->wh, a->ww, all));
        x = bs__onnx_transpose(a->g, x, BS__ONNX_DIMS(0, 2, 1, 3, 4));
    }
    x = bs__onnx_reshape(a->g, x, BS__ONNX_DIMS(1, ph, pw, all));
    if (ph > a->h)
        x = bs__onnx_slice(a->g, x, 1, 0, a->h);
    if (pw > a->w)
        x = bs__onnx_slice(a->g, x, 2, 0, a->w);
    return bs__onnx_reshape(a->g, x, BS__ONNX_DIMS(1, a->h * a->w, all));
}

bs__onnx_value bs__onnx_attention(struct bs__onnx_graph *g, const struct bs_node *n, int64_t head_features,
                                  bs__onnx_value qkv, const bs__onnx_value in[3])
{
    const int64_t side = n->attr.kernel, h = n->attr.out_h, w = n->attr.out_w;
    const struct attention a = {.g = g,
                                .heads = n->attr.heads,
                                .features = head_features,
                                .h = h,
                                .w = w,
                                .rows = side ? (h + side - 1) / side : 1,
                                .columns = side ? (w + side - 1) / side : 1,
                                .wh = side ? side : h,
                                .ww = side ? side : w};
    const bs__onnx_value all = split(&a, qkv, in[0]);
    bs__onnx_value part[3];
    for (int64_t i = 0; i < 3; i++)
        part[i] = bs__onnx_two(g, "Gather", all, bs__onnx_ints(g, &(struct bs_shape){.ndim = 0}, &i));
    const bs__onnx_value keys = bs__onnx_transpose(g, part[1], BS__ONNX_DIMS(0, 1, 3, 2));
    const bs__onnx_value scale = bs__onnx_scalar(g, (float)(1 / sqrt((double)head_features)));
    bs__onnx_value logits = bs__onnx_two(g, "MatMul", bs__onnx_two(g, "Mul", part[0], scale), keys);
    if (in[1] >= 0)
        logits = add_positions(&a, logits, part[0], in[1], in[2]);
    struct bs__bytes attributes = {0};
    bs__onnx_set_int(&attributes, "axis", -1);
    logits = bs__onnx_node(g, "Softmax", &logits, 1, &attributes);
    return join(&a, bs__onnx_two(g, "MatMul", logits, part[2]));
}
