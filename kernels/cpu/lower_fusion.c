/* Which values over tokens are made as a part of another; questions about the graph only. See lower_tokens.h. */
#include "kernels/cpu/lower_tokens.h"

bool bs__is_tokens(const struct bs_node *n)
{
    switch (n->op) {
    case BS_OP_INPUT:
    case BS_OP_PARAM:
        return false;
    case BS_OP_TOKENS_FROM_IMAGE:
    case BS_OP_IMAGE_FROM_TOKENS:
    case BS_OP_LINEAR:
    case BS_OP_LAYER_NORM:
    case BS_OP_RMS_NORM:
    case BS_OP_GELU:
    case BS_OP_SILU:
    case BS_OP_SCALE:
    case BS_OP_SLICE_LAST:
        return true;
    default:
        return n->shape.ndim != 4;
    }
}

bs_value bs__only_consumer(const struct bs__lowering *l, bs_value v)
{
    const struct bs__value *x = &l->value[v];
    return x->uses == 1 && x->outputs == 0 ? x->consumer : BS_NO_VALUE;
}

bool bs__is_row_norm(enum bs_op op)
{
    return op == BS_OP_LAYER_NORM || op == BS_OP_RMS_NORM;
}

enum bs__row_act bs__act_of(enum bs_op op)
{
    switch (op) {
    case BS_OP_GELU:
        return BS__ROW_GELU;
    case BS_OP_SILU:
        return BS__ROW_SILU;
    case BS_OP_RELU:
        return BS__ROW_RELU;
    case BS_OP_SIGMOID:
        return BS__ROW_SIGMOID;
    default:
        return BS__ROW_AS_IS;
    }
}

int bs__added_linear(const struct bs__lowering *l, bs_value add)
{
    const struct bs_node *n = bs__node_of(l, add);
    int best = -1;
    for (int i = 0; i < 2; i++)
        if (bs__node_of(l, n->input[i])->op == BS_OP_LINEAR && bs__only_consumer(l, n->input[i]) == add &&
            (best < 0 || n->input[i] > n->input[best]))
            best = i;
    return best;
}

static bool embeds_patches(const struct bs__lowering *l, bs_value v, enum bs_op behind)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (n->op != BS_OP_CONV2D || behind != BS_OP_TOKENS_FROM_IMAGE || n->attr.pad != 0)
        return false;
    const struct bs_shape *w = &bs__node_of(l, n->input[1])->shape;
    return w->dim[2] == w->dim[3] && bs__node_of(l, n->input[0])->op == BS_OP_INPUT;
}

bool bs__tokens_defer(const struct bs__lowering *l, bs_value v)
{
    const bs_value behind = bs__only_consumer(l, v);
    if (behind == BS_NO_VALUE)
        return false;
    const struct bs_node *n = bs__node_of(l, v), *c = bs__node_of(l, behind);
    switch (n->op) {
    case BS_OP_LINEAR:
        if (c->op == BS_OP_ADD)
            return c->input[bs__added_linear(l, behind)] == v;
        return bs__act_of(c->op) != BS__ROW_AS_IS || bs__is_low_rank(l, v);
    case BS_OP_LAYER_NORM:
    case BS_OP_RMS_NORM:
        return c->op == BS_OP_LINEAR;
    case BS_OP_INSERT_TOKEN:
        return c->op == BS_OP_ADD_POSITION;
    case BS_OP_CAUSAL_CONV1D:
        return c->op == BS_OP_SILU;
    case BS_OP_SELECTIVE_SCAN:
        return bs__is_scan_pair(l, behind);
    case BS_OP_ADD:
        return c->op == BS_OP_SCALE && bs__is_scan_pair(l, v);
    default:
        return embeds_patches(l, v, c->op);
    }
}

bool bs__only_patches(const struct bs__lowering *l, bs_value input)
{
    for (bs_value v = input + 1; v < bs_graph_node_count(l->g); v++) {
        const struct bs_node *n = bs__node_of(l, v);
        for (int i = 0; i < n->ninput && bs_graph_is_live(l->g, v); i++)
            if (n->input[i] == input && !(l->value[v].deferred && n->op == BS_OP_CONV2D &&
                                          embeds_patches(l, v, bs__node_of(l, l->value[v].consumer)->op)))
                return false;
    }
    return l->value[input].outputs == 0;
}

bool bs__makes_steps(const struct bs__lowering *l, bs_value v)
{
    for (bs_value u = v + 1; u < bs_graph_node_count(l->g); u++) {
        const struct bs_node *n = bs__node_of(l, u);
        if (n->ninput < 1 || n->input[0] != v || !bs_graph_is_live(l->g, u))
            continue;
        const bs_value reader = n->op == BS_OP_SLICE_LAST ? bs__only_consumer(l, u) : BS_NO_VALUE;
        if (reader == BS_NO_VALUE ||
            !(bs__node_of(l, reader)->op == BS_OP_SELECTIVE_SCAN || bs__is_low_rank(l, reader)))
            return false;
    }
    return l->value[v].outputs == 0;
}
