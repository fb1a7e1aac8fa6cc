/* Which values of a graph a precision of 16 bits stores with 16 bits; see bs_graph_narrow in graph.h. */
#include "kernels/graph.h"

/* Is the node the gradient of weights, or one of the few numbers that many others are made from? */
static bool is_sum(const struct bs_node *n)
{
    switch (n->op) {
    case BS_OP_CONV2D_GRAD_W:
    case BS_OP_LINEAR_GRAD_W:
    case BS_OP_CAUSAL_CONV1D_GRAD_W:
    case BS_OP_ADD_POSITION_GRAD:
    case BS_OP_BATCH_STATISTICS:
    case BS_OP_ATTENTION_LSE:
        return true;
    case BS_OP_INSERT_TOKEN_GRAD:
    case BS_OP_ATTENTION_GRAD:
        return n->attr.which > 0;
    case BS_OP_SELECTIVE_SCAN_GRAD:
        return n->attr.which == 2;
    default:
        return false;
    }
}

void bs_graph_narrow(const struct bs_graph *g, bool *narrow)
{
    const int count = bs_graph_node_count(g);
    bool mixed = false;
    for (bs_value v = 0; v < count; v++)
        mixed = mixed || bs_graph_node(g, v)->full;
    for (bs_value v = 0; v < count; v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        narrow[v] = !mixed || (!n->full && n->shape.ndim > 1 && !is_sum(n));
        if (mixed && n->op == BS_OP_ADD) /* of the gradients of weights that are used twice */
            narrow[v] = narrow[v] && (narrow[n->input[0]] || narrow[n->input[1]]);
        if (mixed && n->op == BS_OP_SELECTIVE_SCAN) /* the exponents of decays */
            narrow[n->input[2]] = false;
    }
    for (int i = 0; mixed && i < bs_graph_output_count(g); i++)
        narrow[bs_graph_output_value(g, i)] = false;
}
