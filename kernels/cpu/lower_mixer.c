/* Lowers causal convolutions and selective scans; see lower_tokens.h. */
#include "kernels/cpu/lower_tokens.h"

enum { U, DELTA, A_LOG, B, C, SKIP, DELTA_BIAS, Z }; /* inputs of a scan */

bool bs__is_low_rank(const struct bs__lowering *l, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, v);
    if (n->op != BS_OP_LINEAR || n->ninput > 2)
        return false;
    const bs_value scan = bs__only_consumer(l, v);
    const struct bs_node *s = scan == BS_NO_VALUE ? NULL : bs__node_of(l, scan);
    return s && s->op == BS_OP_SELECTIVE_SCAN && s->input[DELTA] == v;
}

static int rank_of(const struct bs__lowering *l, const struct bs_node *scan)
{
    const bs_value delta = scan->input[DELTA];
    if (!bs__is_low_rank(l, delta))
        return 0;
    return (int)bs__node_of(l, bs__node_of(l, delta)->input[1])->shape.dim[1];
}

static bs_value gate_of(const struct bs_node *scan)
{
    return scan->ninput > Z ? scan->input[Z] : BS_NO_VALUE;
}

static int states_of(const struct bs__lowering *l, const struct bs_node *scan)
{
    return (int)bs__node_of(l, scan->input[A_LOG])->shape.dim[1];
}

bool bs__is_scan_pair(const struct bs__lowering *l, bs_value add)
{
    const struct bs_node *n = bs__node_of(l, add);
    if (n->op != BS_OP_ADD)
        return false;
    const struct bs_node *scan[2];
    for (int i = 0; i < 2; i++) {
        scan[i] = bs__node_of(l, n->input[i]);
        if (scan[i]->op != BS_OP_SELECTIVE_SCAN || bs__only_consumer(l, n->input[i]) != add)
            return false;
    }
    return gate_of(scan[0]) == gate_of(scan[1]) && scan[0]->attr.softplus == scan[1]->attr.softplus &&
           states_of(l, scan[0]) == states_of(l, scan[1]) && rank_of(l, scan[0]) == rank_of(l, scan[1]);
}

/* The value that a convolution makes: itself or the SiLU it was put off to. */
static bs_value made_by(const struct bs__lowering *l, bs_value conv)
{
    return l->value[conv].deferred ? bs__only_consumer(l, conv) : conv;
}

static struct bs__conv1d_of direction_of(struct bs__lowering *l, bs_value conv, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, conv);
    struct bs__value *x = &l->value[v];
    x->rows = bs__rows_of(&n->shape, l->bf16);
    x->made = true;
    return (struct bs__conv1d_of){
        .weights = bs__lower_param(l, n->input[1]),
        .bias = n->ninput > 2 ? bs__lower_param(l, n->input[2]) : NULL,
        .reverse = n->attr.reverse,
        .to = &x->rows,
    };
}

void bs__lower_conv1d(struct bs__lowering *l, bs_value conv, bs_value v)
{
    const struct bs_node *n = bs__node_of(l, conv);
    const int64_t kernel = bs__node_of(l, n->input[1])->shape.dim[2];
    struct bs__rows_at *from = bs__lower_rows(l, n->input[0]);
    struct bs__conv1d_of direction[2] = {direction_of(l, conv, v)};
    int count = 1;
    for (bs_value u = conv + 1; u < bs_graph_node_count(l->g) && count < 2; u++) {
        const struct bs_node *other = bs__node_of(l, u);
        if (other->op != BS_OP_CAUSAL_CONV1D || other->input[0] != n->input[0] ||
            !bs_graph_is_live(l->g, u) || l->value[u].deferred != l->value[conv].deferred)
            continue;
        const bs_value made = made_by(l, u);
        if (l->value[made].made || bs__node_of(l, other->input[1])->shape.dim[2] != kernel)
            continue;
        direction[count++] = direction_of(l, u, made);
    }
    if (l->build.rc == BS_OK)
        bs__add_conv1d(&l->build, from, (int)kernel, v != conv, direction, count);
}

void bs__lower_scan(struct bs__lowering *l, const bs_value *scan, int count, bs_value v, float scale)
{
    const struct bs_node *first = bs__node_of(l, scan[0]);
    struct bs__scan_of direction[2] = {{NULL}};
    for (int i = 0; i < count; i++) {
        const struct bs_node *n = bs__node_of(l, scan[i]);
        struct bs__scan_of *d = &direction[i];
        d->u = bs__lower_rows(l, n->input[U]);
        if (rank_of(l, n) && !l->value[n->input[DELTA]].made) {
            const struct bs_node *delta = bs__node_of(l, n->input[DELTA]);
            d->low = bs__lower_rows(l, delta->input[0]);
            d->delta_weights = bs__lower_param(l, delta->input[1]);
        } else {
            d->delta = bs__lower_rows(l, n->input[DELTA]);
        }
        d->b = bs__lower_rows(l, n->input[B]);
        d->c = bs__lower_rows(l, n->input[C]);
        d->a_log = bs__lower_param(l, n->input[A_LOG]);
        d->skip = bs__lower_param(l, n->input[SKIP]);
        d->delta_bias = bs__lower_param(l, n->input[DELTA_BIAS]);
        d->reverse = n->attr.reverse;
    }
    const bs_value gate = gate_of(first);
    struct bs__rows_at *z = gate == BS_NO_VALUE ? NULL : bs__lower_rows(l, gate);
    struct bs__value *x = &l->value[v];
    x->rows = bs__rows_of(&first->shape, l->bf16);
    x->made = true;
    if (l->build.rc == BS_OK)
        bs__add_scan(&l->build, direction, count, states_of(l, first), first->attr.softplus, scale, z,
                     &x->rows);
}
