/* Building and reading a graph; see graph.h. Shapes come from the operator table (op.h). */
#include "kernels/graph.h"

#include "kernels/base/arena.h"
#include "kernels/op.h"

#include <stdlib.h>
#include <string.h>

/* Nodes are about 250 bytes and names short; reached only by a graph near BS_MAX_NODES. */
#define GRAPH_ARENA_CAP ((size_t)64 << 20)

struct output {
    const char *name;
    bs_value value;
};

struct bs_graph {
    struct bs_arena *arena; /* nodes, names */
    struct bs_node **node;  /* pointers, so that a node's address survives growth */
    int nnode, capacity;
    struct output *output;
    int noutput, output_capacity;
    bool *live; /* per node, made by finish */
    bool finished;
    bool full;         /* nodes to come */
    struct bs_err err; /* the first error */
};

struct bs_graph *bs_graph_create(void)
{
    struct bs_graph *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->arena = bs_arena_create(GRAPH_ARENA_CAP);
    if (!g->arena) {
        free(g);
        return NULL;
    }
    return g;
}

void bs_graph_destroy(struct bs_graph *g)
{
    if (!g)
        return;
    bs_arena_destroy(g->arena);
    free(g->node);
    free(g->output);
    free(g->live);
    free(g);
}

/* Where an error goes: the graph's record while it is empty, nowhere afterwards. */
static struct bs_err *first_error(struct bs_graph *g)
{
    return g->err.code == BS_OK ? &g->err : NULL;
}

static bs_value append(struct bs_graph *g, const struct bs_node *proto)
{
    if (g->nnode == BS_MAX_NODES) {
        (void)BS_FAIL(first_error(g), BS_ELIMIT, "the graph has more than %d operators", BS_MAX_NODES);
        return BS_NO_VALUE;
    }
    if (g->nnode == g->capacity) {
        int capacity = g->capacity ? 2 * g->capacity : 64;
        struct bs_node **grown = realloc(g->node, (size_t)capacity * sizeof(void *));
        if (!grown)
            goto no_memory;
        g->node = grown;
        g->capacity = capacity;
    }
    struct bs_node *n = bs_arena_alloc(g->arena, sizeof *n);
    if (!n)
        goto no_memory;
    *n = *proto;
    n->full = g->full;
    if (proto->name && !(n->name = bs_arena_strdup(g->arena, proto->name)))
        goto no_memory;
    g->node[g->nnode] = n;
    return g->nnode++;

no_memory:
    (void)BS_FAIL(first_error(g), BS_ENOMEM, "no memory for a graph of %d operators", g->nnode + 1);
    return BS_NO_VALUE;
}

/* The value bound to a name, or BS_NO_VALUE. */
static bs_value find_binding(const struct bs_graph *g, enum bs_op op, const char *name)
{
    for (int i = 0; i < g->nnode; i++)
        if (g->node[i]->op == op && strcmp(g->node[i]->name, name) == 0)
            return i;
    return BS_NO_VALUE;
}

static bs_value bind(struct bs_graph *g, enum bs_op op, const char *name, const struct bs_shape *shape)
{
    BS_ASSERT(!g->finished && name);
    if (g->err.code != BS_OK)
        return BS_NO_VALUE;
    struct bs_node n = {.op = op, .name = name, .attr = {.shape = *shape}};
    if (bs_op_def(op)->infer(&n.attr, NULL, 0, &n.shape, &g->err) != BS_OK) {
        bs_err_prefix(&g->err, "\"%s\"", name);
        return BS_NO_VALUE;
    }
    return append(g, &n);
}

bs_value bs_graph_input(struct bs_graph *g, const char *name, struct bs_shape shape)
{
    if (g->err.code == BS_OK && find_binding(g, BS_OP_INPUT, name) != BS_NO_VALUE)
        (void)BS_FAIL(first_error(g), BS_EINVAL, "input \"%s\" is declared twice", name);
    return bind(g, BS_OP_INPUT, name, &shape);
}

bs_value bs_graph_param(struct bs_graph *g, const char *name, struct bs_shape shape)
{
    bs_value known = find_binding(g, BS_OP_PARAM, name);
    if (known == BS_NO_VALUE || g->err.code != BS_OK)
        return bind(g, BS_OP_PARAM, name, &shape);
    const struct bs_shape *have = &g->node[known]->shape;
    if (bs_shape_equal(have, &shape))
        return known;
    char a[BS_SHAPE_TEXT], b[BS_SHAPE_TEXT];
    (void)BS_FAIL(first_error(g), BS_EINVAL, "parameter \"%s\" is used as %s and as %s", name,
                  bs_shape_text(have, a, sizeof a), bs_shape_text(&shape, b, sizeof b));
    return BS_NO_VALUE;
}

/* Says in an error which layer it is about: the first parameter among the inputs names it. */
static void name_the_layer(struct bs_graph *g, const bs_value *inputs, int ninput)
{
    for (int i = 0; i < ninput; i++) {
        const struct bs_node *n = g->node[inputs[i]];
        if (n->op == BS_OP_PARAM) {
            bs_err_prefix(&g->err, "at \"%s\"", n->name);
            return;
        }
    }
}

bs_value bs_graph_apply(struct bs_graph *g, enum bs_op op, const bs_value *inputs, int ninput,
                        struct bs_attr attr)
{
    BS_ASSERT(!g->finished);
    if (g->err.code != BS_OK)
        return BS_NO_VALUE;
    const struct bs_op_def *def = bs_op_def(op);
    BS_ASSERT(op != BS_OP_INPUT && op != BS_OP_PARAM);
    if (ninput < def->min_inputs || ninput > def->max_inputs) {
        (void)BS_FAIL(first_error(g), BS_EINVAL, "%s takes %d to %d inputs, not %d", def->name,
                      def->min_inputs, def->max_inputs, ninput);
        return BS_NO_VALUE;
    }
    struct bs_node n = {.op = op, .ninput = ninput, .attr = attr};
    struct bs_shape in[BS_MAX_INPUTS];
    for (int i = 0; i < ninput; i++) {
        if (inputs[i] < 0 || inputs[i] >= g->nnode) {
            (void)BS_FAIL(first_error(g), BS_EINVAL, "input %d of %s is value %d, which does not exist", i,
                          def->name, (int)inputs[i]);
            return BS_NO_VALUE;
        }
        n.input[i] = inputs[i];
        in[i] = g->node[inputs[i]]->shape;
    }
    bs_status rc = def->infer(&attr, in, ninput, &n.shape, &g->err);
    if (rc == BS_OK)
        rc = bs_shape_check(def->name, &n.shape, &g->err);
    if (rc != BS_OK) {
        name_the_layer(g, inputs, ninput);
        return BS_NO_VALUE;
    }
    return append(g, &n);
}

void bs_graph_full(struct bs_graph *g, bool full)
{
    g->full = full;
}

static bool room_for_output(struct bs_graph *g)
{
    if (g->noutput < g->output_capacity)
        return true;
    int capacity = g->output_capacity ? 2 * g->output_capacity : 8;
    struct output *grown = realloc(g->output, (size_t)capacity * sizeof *grown);
    if (!grown)
        return false;
    g->output = grown;
    g->output_capacity = capacity;
    return true;
}

void bs_graph_output(struct bs_graph *g, const char *name, bs_value v)
{
    BS_ASSERT(!g->finished && name);
    if (g->err.code != BS_OK)
        return;
    if (v < 0 || v >= g->nnode) {
        (void)BS_FAIL(first_error(g), BS_EINVAL, "output \"%s\" is value %d, which does not exist", name,
                      (int)v);
        return;
    }
    if (g->noutput == BS_MAX_OUTPUTS) {
        (void)BS_FAIL(first_error(g), BS_ELIMIT, "the graph has more than %d outputs", BS_MAX_OUTPUTS);
        return;
    }
    for (int i = 0; i < g->noutput; i++)
        if (strcmp(g->output[i].name, name) == 0) {
            (void)BS_FAIL(first_error(g), BS_EINVAL, "output \"%s\" is declared twice", name);
            return;
        }
    const char *copy = bs_arena_strdup(g->arena, name);
    if (!copy || !room_for_output(g)) {
        (void)BS_FAIL(first_error(g), BS_ENOMEM, "no memory for output \"%s\"", name);
        return;
    }
    g->output[g->noutput++] = (struct output){.name = copy, .value = v};
}

bool bs_graph_failed(const struct bs_graph *g)
{
    return g->err.code != BS_OK;
}

bs_status bs_graph_error(const struct bs_graph *g, struct bs_err *err)
{
    if (g->err.code != BS_OK && err)
        *err = g->err;
    return g->err.code;
}

bs_status bs_graph_finish(struct bs_graph *g, struct bs_err *err)
{
    BS_ASSERT(!g->finished);
    if (g->err.code == BS_OK && g->noutput == 0)
        (void)BS_FAIL(first_error(g), BS_EINVAL, "the graph has no output");
    if (g->err.code == BS_OK && !(g->live = calloc((size_t)g->nnode, sizeof *g->live)))
        (void)BS_FAIL(first_error(g), BS_ENOMEM, "no memory for a graph of %d operators", g->nnode);
    if (g->err.code != BS_OK)
        return bs_graph_error(g, err);
    for (int i = 0; i < g->noutput; i++)
        g->live[g->output[i].value] = true;
    for (int v = g->nnode - 1; v >= 0; v--)
        for (int i = 0; g->live[v] && i < g->node[v]->ninput; i++)
            g->live[g->node[v]->input[i]] = true;
    g->finished = true;
    return BS_OK;
}

int bs_graph_node_count(const struct bs_graph *g)
{
    return g->nnode;
}

const struct bs_node *bs_graph_node(const struct bs_graph *g, bs_value v)
{
    BS_ASSERT(v >= 0 && v < g->nnode);
    return g->node[v];
}

int bs_graph_output_count(const struct bs_graph *g)
{
    return g->noutput;
}

bs_value bs_graph_output_value(const struct bs_graph *g, int i)
{
    BS_ASSERT(i >= 0 && i < g->noutput);
    return g->output[i].value;
}

const char *bs_graph_output_name(const struct bs_graph *g, int i)
{
    BS_ASSERT(i >= 0 && i < g->noutput);
    return g->output[i].name;
}

bool bs_graph_is_live(const struct bs_graph *g, bs_value v)
{
    BS_ASSERT(g->finished && v >= 0 && v < g->nnode);
    return g->live[v];
}

double bs_graph_flops(const struct bs_graph *g)
{
    double sum = 0;
    for (int v = 0; v < g->nnode; v++) {
        const struct bs_node *n = g->node[v];
        const struct bs_op_def *def = bs_op_def(n->op);
        if (!def->flops || (g->live && !g->live[v]))
            continue;
        struct bs_shape in[BS_MAX_INPUTS];
        for (int i = 0; i < n->ninput; i++)
            in[i] = g->node[n->input[i]]->shape;
        sum += def->flops(&n->attr, in, &n->shape);
    }
    return sum;
}
