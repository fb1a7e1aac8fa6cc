/* See training_fusion.h. */
#include "kernels/cpu/training_fusion.h"

#include "kernels/cpu/training_winograd.h"

#include <stdlib.h>

bs_status bs__training_readers_create(const struct bs_graph *g, struct bs__training_readers *r,
                                      struct bs_err *err)
{
    const int count = bs_graph_node_count(g);
    *r = (struct bs__training_readers){.count = calloc((size_t)count, sizeof *r->count),
                                       .last = calloc((size_t)count, sizeof *r->last),
                                       .sum = calloc((size_t)count, sizeof *r->sum)};
    if (!r->count || !r->last || !r->sum)
        return BS_FAIL(err, BS_ENOMEM, "no memory to lower a graph of %d operators", count);
    for (bs_value v = 0; v < count; v++)
        r->last[v] = r->sum[v] = BS_NO_VALUE;
    for (bs_value v = 0; v < count; v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        for (int i = 0; bs_graph_is_live(g, v) && i < n->ninput; i++) {
            r->count[n->input[i]]++;
            r->last[n->input[i]] = v;
            if (n->op == BS_OP_SUM_TO_CHANNEL)
                r->sum[n->input[i]] = v;
        }
    }
    for (int i = 0; i < bs_graph_output_count(g); i++)
        r->count[bs_graph_output_value(g, i)] += 2; /* never the only reader */
    return BS_OK;
}

void bs__training_readers_destroy(struct bs__training_readers *r)
{
    free(r->count);
    free(r->last);
    free(r->sum);
}

bs_value bs__training_only_reader(const struct bs_graph *g, const struct bs__training_readers *r, bs_value v,
                                  enum bs_op op, int i)
{
    if (r->count[v] != 1)
        return BS_NO_VALUE;
    const struct bs_node *n = bs_graph_node(g, r->last[v]);
    return n->op == op && n->input[i] == v ? r->last[v] : BS_NO_VALUE;
}

bool bs__training_is_winograd(const struct bs__cpu *cpu, const struct bs_graph *g, bs_value v)
{
    const struct bs_node *n = bs_graph_node(g, v);
    const struct bs__training_step s = {.op = n->op, .attr = n->attr, .ninput = n->ninput};
    struct bs__training_call c = {.cpu = cpu, .step = &s};
    for (int i = 0; i < n->ninput; i++)
        c.in[i].shape = bs_graph_node(g, n->input[i])->shape;
    c.out[0].shape = n->shape;
    return bs__training_winograd_fits(&c);
}

bool bs__training_only_packed(const struct bs__cpu *cpu, const struct bs_graph *g,
                              const struct bs__training_readers *r, bs_value v)
{
    int read = 0;
    for (bs_value w = v + 1; w < bs_graph_node_count(g); w++) {
        const struct bs_node *n = bs_graph_node(g, w);
        if (bs_graph_is_live(g, w) && (n->op == BS_OP_CONV2D || n->op == BS_OP_CONV2D_GRAD_X) &&
            n->input[0] != v && n->input[1] == v && bs__training_is_winograd(cpu, g, w))
            read++;
    }
    return read > 0 && read == r->count[v]; /* an output counts as more than a reader */
}

bool bs__training_only_convolved(const struct bs__cpu *cpu, const struct bs_graph *g, bs_value v)
{
    for (int i = 0; i < bs_graph_output_count(g); i++)
        if (bs_graph_output_value(g, i) == v)
            return false;
    for (bs_value w = v + 1; w < bs_graph_node_count(g); w++) {
        const struct bs_node *n = bs_graph_node(g, w);
        for (int i = 0; bs_graph_is_live(g, w) && i < n->ninput; i++) {
            if (n->input[i] != v)
                continue;
            if (i != 0 || (n->op != BS_OP_CONV2D && n->op != BS_OP_CONV2D_GRAD_W) ||
                !bs__training_is_winograd(cpu, g, w))
                return false;
        }
    }
    return true;
}
