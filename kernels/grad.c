/* Reverse-mode differentiation: walks the graph backwards from y and lets each operator's rule (ops/) emit the gradients
   of its inputs; where a value is used more than once its gradients are added. See bs_graph_backward in graph.h. */
#include "kernels/graph.h"
#include "kernels/op.h"

#include <stdlib.h>

struct walk {
    struct bs_graph *g;
    bool *wanted;   /* per value: does it depend on one of wrt? Only those get a gradient */
    bs_value *grad; /* per value: its gradient so far */
};

static void add_gradient(struct walk *w, bs_value v, bs_value gradient)
{
    w->grad[v] = w->grad[v] == BS_NO_VALUE ? gradient : bs_graph_add(w->g, w->grad[v], gradient);
}

/* Hands the gradient of one value on to its inputs. */
static bs_status pass_back(struct walk *w, bs_value v, struct bs_err *err)
{
    const struct bs_node *n = bs_graph_node(w->g, v);
    const struct bs_op_def *def = bs_op_def(n->op);
    bool any = false;
    for (int i = 0; i < n->ninput; i++)
        any = any || w->wanted[n->input[i]];
    if (!any)
        return BS_OK;
    if (!def->backward)
        return BS_FAIL(err, BS_EUNSUPPORTED, "%s has no backward rule", def->name);
    bs_value gin[BS_MAX_INPUTS];
    for (int i = 0; i < BS_MAX_INPUTS; i++)
        gin[i] = BS_NO_VALUE;
    bs_graph_full(w->g, n->full);
    def->backward(w->g, v, w->grad[v], gin);
    if (bs_graph_failed(w->g))
        return bs_graph_error(w->g, err);
    for (int i = 0; i < n->ninput; i++) {
        if (!w->wanted[n->input[i]])
            continue;
        if (gin[i] == BS_NO_VALUE)
            return BS_FAIL(err, BS_EUNSUPPORTED, "%s has no backward rule for its input %d", def->name, i);
        add_gradient(w, n->input[i], gin[i]);
    }
    bs_graph_full(w->g, false);
    return BS_OK;
}

bs_status bs_graph_backward(struct bs_graph *g, bs_value y, bs_value gy, const bs_value *wrt, int nwrt,
                            bs_value *grads, struct bs_err *err)
{
    bs_status rc = bs_graph_error(g, err);
    if (rc != BS_OK)
        return rc;
    int count = bs_graph_node_count(g);
    if (y < 0 || y >= count || gy < 0 || gy >= count)
        return BS_FAIL(err, BS_EINVAL, "value %d or its gradient %d does not exist", (int)y, (int)gy);
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    const struct bs_shape *sy = &bs_graph_node(g, y)->shape, *sg = &bs_graph_node(g, gy)->shape;
    if (!bs_shape_equal(sy, sg))
        return BS_FAIL(err, BS_EINVAL, "the gradient seed is %s but the value is %s",
                       bs_shape_text(sg, a, sizeof a), bs_shape_text(sy, b, sizeof b));

    struct walk w = {.g = g};
    w.wanted = calloc((size_t)count, sizeof *w.wanted);
    w.grad = calloc((size_t)count, sizeof *w.grad);
    if (!w.wanted || !w.grad) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the backward of %d operators", count);
        goto cleanup;
    }
    for (int i = 0; i < nwrt; i++) {
        if (wrt[i] < 0 || wrt[i] >= count) {
            rc = BS_FAIL(err, BS_EINVAL, "value %d does not exist", (int)wrt[i]);
            goto cleanup;
        }
        w.wanted[wrt[i]] = true;
    }
    for (int v = 0; v < count; v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        for (int i = 0; i < n->ninput; i++)
            w.wanted[v] = w.wanted[v] || w.wanted[n->input[i]];
        w.grad[v] = BS_NO_VALUE;
    }
    w.grad[y] = gy;
    for (int v = y; v >= 0; v--)
        if (w.grad[v] != BS_NO_VALUE && (rc = pass_back(&w, v, err)) != BS_OK)
            goto cleanup;
    rc = bs_graph_error(g, err);
    for (int i = 0; i < nwrt && rc == BS_OK; i++)
        grads[i] = w.grad[wrt[i]];

cleanup:
    free(w.wanted);
    free(w.grad);
    return rc;
}
