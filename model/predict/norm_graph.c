/* Cutting a network at its norms; see norm_graph.h. */
#include "model/predict/norm_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NO_NORM (-1)

bool bs__has_spatial_norm(const struct bs_arch_config *arch)
{
    return arch->kind == BS_ARCH_UNET &&
           (arch->unet.norm == BS_NORM_INSTANCE || arch->unet.norm == BS_NORM_GROUP);
}

static bool is_spatial_norm(enum bs_op op)
{
    return op == BS_OP_INSTANCE_NORM || op == BS_OP_GROUP_NORM;
}

static bs_value stat_param(struct bs_graph *g, int k, const char *what, int64_t channels)
{
    char name[64];
    snprintf(name, sizeof name, "fixed.%d.%s", k, what);
    return bs_graph_param(g, name, BS_SHAPE(channels));
}

void bs__norm_plan_close(struct bs__norm_plan *p)
{
    bs_graph_destroy(p->graph);
    free(p->norm_at);
    free(p->tap_at);
    memset(p, 0, sizeof *p);
}

bs_status bs__norm_plan_open(struct bs__norm_plan *p, const struct bs_arch_config *arch, int64_t n, int64_t h,
                             int64_t w, struct bs_err *err)
{
    memset(p, 0, sizeof *p);
    bs_status rc = bs_arch_build(arch, n, h, w, &p->graph, err);
    if (rc != BS_OK)
        return rc;
    p->h = h;
    p->nnode = bs_graph_node_count(p->graph);
    p->norm_at = malloc((size_t)p->nnode * sizeof *p->norm_at);
    p->tap_at = malloc((size_t)p->nnode * sizeof *p->tap_at);
    if (!p->norm_at || !p->tap_at)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the graph");
    for (int v = 0; v < p->nnode; v++)
        p->norm_at[v] = p->tap_at[v] = NO_NORM;
    for (int v = 0; v < p->nnode; v++) {
        const struct bs_node *node = bs_graph_node(p->graph, v);
        if (!is_spatial_norm(node->op))
            continue;
        if (p->nnorm == BS__MAX_NORMS)
            return BS_FAIL(err, BS_EUNSUPPORTED, "a network with more than %d norms cannot be tiled",
                           BS__MAX_NORMS);
        p->norm[p->nnorm] = v;
        p->tap[p->nnorm] = node->input[0];
        p->tap_at[node->input[0]] = p->nnorm;
        p->norm_at[v] = p->nnorm++;
    }
    return BS_OK;
}

/* The image itself is always at hand; the inputs of the other norms from some level on. */
bool bs__norm_is_held(const struct bs__norm_plan *p, int tap, int level)
{
    const struct bs_node *node = bs_graph_node(p->graph, p->tap[tap]);
    return node->op == BS_OP_INPUT || p->h / node->shape.dim[2] >= (int64_t)1 << level;
}

static bs_value copy_value(struct bs__norm_part *c, bs_value v)
{
    const struct bs_node *node = bs_graph_node(c->plan->graph, v);
    int tap = c->plan->tap_at[v], k = c->plan->norm_at[v];
    bs_value in[BS_MAX_INPUTS] = {0};
    if (c->copy[v] != BS_NO_VALUE)
        return c->copy[v];
    if (c->target < c->plan->nnorm && tap != NO_NORM && tap < c->target &&
        bs__norm_is_held(c->plan, tap, c->level)) {
        char name[32];
        snprintf(name, sizeof name, "tap.%d", tap);
        c->input[c->ninput++] = tap;
        return c->copy[v] = bs_graph_input(c->to, name, node->shape);
    }
    if (node->op == BS_OP_INPUT)
        return c->copy[v] = bs_graph_input(c->to, node->name, node->shape);
    if (node->op == BS_OP_PARAM)
        return c->copy[v] = bs_graph_param(c->to, node->name, node->shape);
    for (int i = 0; i < node->ninput; i++)
        in[i] = copy_value(c, node->input[i]);
    if (k == NO_NORM)
        return c->copy[v] = bs_graph_apply(c->to, node->op, in, node->ninput, node->attr);
    int64_t channels = node->shape.dim[1];
    bool affine = node->op == BS_OP_GROUP_NORM;
    bs_value weight = affine ? in[1] : stat_param(c->to, k, "weight", channels);
    bs_value bias = affine ? in[2] : stat_param(c->to, k, "bias", channels);
    return c->copy[v] =
               bs_graph_batch_norm(c->to, in[0], weight, bias, stat_param(c->to, k, "mean", channels),
                                   stat_param(c->to, k, "var", channels), node->attr.eps);
}

/* target < nnorm: the part that ends at this norm's input. Otherwise the whole network with fixed norms. */
bs_status bs__norm_part_build(const struct bs__norm_plan *plan, int target, int level,
                              struct bs__norm_part *c, struct bs_graph **out, struct bs_err *err)
{
    bs_status rc;
    *out = NULL;
    *c = (struct bs__norm_part){.plan = plan, .level = level, .target = target, .to = bs_graph_create()};
    c->copy = malloc((size_t)plan->nnode * sizeof *c->copy);
    if (!c->to || !c->copy) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the graph");
        goto cleanup;
    }
    for (int v = 0; v < plan->nnode; v++)
        c->copy[v] = BS_NO_VALUE;
    if (target < plan->nnorm)
        bs_graph_output(c->to, "tap", copy_value(c, plan->tap[target]));
    for (int i = 0; target == plan->nnorm && i < bs_graph_output_count(plan->graph); i++)
        bs_graph_output(c->to, bs_graph_output_name(plan->graph, i),
                        copy_value(c, bs_graph_output_value(plan->graph, i)));
    if ((rc = bs_graph_finish(c->to, err)) == BS_OK) {
        *out = c->to;
        c->to = NULL;
    }
cleanup:
    bs_graph_destroy(c->to);
    free(c->copy);
    c->copy = NULL;
    return rc;
}
