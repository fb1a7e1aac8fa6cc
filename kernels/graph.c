/* Building and reading a graph; see graph.h. Shapes come from the operator table (op.h). */
#include "kernels/graph.h"

#include "kernels/base/arena.h"
#include "kernels/op.h"

#include <stdlib.h>
#include <string.h>

/* Nodes are about 250 bytes and names short; reached only by a graph near BS_MAX_NODES. */
#define GRAPH_ARENA_CAP ((size_t)64 << 20)
#define MAX_OUTPUTS     64

struct output {
    const char *name;
    bs_value value;
};

struct bs_graph {
    struct bs_arena *arena; /* nodes, names */
    struct bs_node **node;  /* pointers, so that a node's address survives growth */
    int nnode, capacity;
    struct output output[MAX_OUTPUTS];
    int noutput;
    bool *live; /* per node, made by finish */
    bool finished;
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

bs_value bs_graph_conv2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride, int pad)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CONV2D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.stride = stride, .pad = pad});
}

bs_value bs_graph_conv_transpose2d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int stride)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CONV_TRANSPOSE2D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.stride = stride});
}

bs_value bs_graph_instance_norm(struct bs_graph *g, bs_value x, float eps)
{
    return bs_graph_apply(g, BS_OP_INSTANCE_NORM, &x, 1, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_group_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, int groups, float eps)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_GROUP_NORM, in, 3, (struct bs_attr){.groups = groups, .eps = eps});
}

bs_value bs_graph_batch_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bs_value mean,
                             bs_value var, float eps)
{
    bs_value in[] = {x, w, b, mean, var};
    return bs_graph_apply(g, BS_OP_BATCH_NORM, in, 5, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_relu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_RELU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_sigmoid(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_SIGMOID, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_max_pool2d(struct bs_graph *g, bs_value x, int kernel)
{
    return bs_graph_apply(g, BS_OP_MAX_POOL2D, &x, 1, (struct bs_attr){.kernel = kernel});
}

bs_value bs_graph_resize_bilinear(struct bs_graph *g, bs_value x, int64_t out_h, int64_t out_w)
{
    return bs_graph_apply(g, BS_OP_RESIZE_BILINEAR, &x, 1, (struct bs_attr){.out_h = out_h, .out_w = out_w});
}

bs_value bs_graph_concat(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_CONCAT, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_add(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_ADD, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_mul(struct bs_graph *g, bs_value a, bs_value b)
{
    bs_value in[] = {a, b};
    return bs_graph_apply(g, BS_OP_MUL, in, 2, (struct bs_attr){0});
}

bs_value bs_graph_tokens_from_image(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_TOKENS_FROM_IMAGE, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_image_from_tokens(struct bs_graph *g, bs_value x, int64_t h, int64_t w)
{
    return bs_graph_apply(g, BS_OP_IMAGE_FROM_TOKENS, &x, 1, (struct bs_attr){.out_h = h, .out_w = w});
}

bs_value bs_graph_linear(struct bs_graph *g, bs_value x, bs_value w, bs_value b)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_LINEAR, in, b == BS_NO_VALUE ? 2 : 3, (struct bs_attr){0});
}

bs_value bs_graph_layer_norm(struct bs_graph *g, bs_value x, bs_value w, bs_value b, float eps)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_LAYER_NORM, in, 3, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_rms_norm(struct bs_graph *g, bs_value x, bs_value w, float eps)
{
    bs_value in[] = {x, w};
    return bs_graph_apply(g, BS_OP_RMS_NORM, in, 2, (struct bs_attr){.eps = eps});
}

bs_value bs_graph_gelu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_GELU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_silu(struct bs_graph *g, bs_value x)
{
    return bs_graph_apply(g, BS_OP_SILU, &x, 1, (struct bs_attr){0});
}

bs_value bs_graph_scale(struct bs_graph *g, bs_value x, float factor)
{
    return bs_graph_apply(g, BS_OP_SCALE, &x, 1, (struct bs_attr){.factor = factor});
}

bs_value bs_graph_slice_channel(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_CHANNEL, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_slice_last(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_LAST, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_slice_tokens(struct bs_graph *g, bs_value x, int64_t start, int64_t count)
{
    return bs_graph_apply(g, BS_OP_SLICE_TOKENS, &x, 1, (struct bs_attr){.start = start, .count = count});
}

bs_value bs_graph_insert_token(struct bs_graph *g, bs_value x, bs_value token, int64_t at)
{
    bs_value in[] = {x, token};
    return bs_graph_apply(g, BS_OP_INSERT_TOKEN, in, 2, (struct bs_attr){.start = at});
}

bs_value bs_graph_add_position(struct bs_graph *g, bs_value x, bs_value position, int64_t grid_h,
                               int64_t grid_w, int64_t class_token)
{
    bs_value in[] = {x, position};
    return bs_graph_apply(g, BS_OP_ADD_POSITION, in, 2,
                          (struct bs_attr){.out_h = grid_h, .out_w = grid_w, .start = class_token});
}

bs_value bs_graph_rotary(struct bs_graph *g, bs_value x, bs_value cosine, bs_value sine)
{
    bs_value in[] = {x, cosine, sine};
    return bs_graph_apply(g, BS_OP_ROTARY, in, 3, (struct bs_attr){0});
}

bs_value bs_graph_attention(struct bs_graph *g, bs_value qkv, bs_value pad, bs_value rel_h, bs_value rel_w,
                            int heads, int64_t grid_h, int64_t grid_w, int window)
{
    bs_value in[] = {qkv, pad, rel_h, rel_w};
    const bool relative = rel_h != BS_NO_VALUE || rel_w != BS_NO_VALUE;
    return bs_graph_apply(
        g, BS_OP_ATTENTION, in, relative ? 4 : (pad == BS_NO_VALUE ? 1 : 2),
        (struct bs_attr){.heads = heads, .out_h = grid_h, .out_w = grid_w, .kernel = window});
}

bs_value bs_graph_causal_conv1d(struct bs_graph *g, bs_value x, bs_value w, bs_value b, bool reverse)
{
    bs_value in[] = {x, w, b};
    return bs_graph_apply(g, BS_OP_CAUSAL_CONV1D, in, b == BS_NO_VALUE ? 2 : 3,
                          (struct bs_attr){.reverse = reverse});
}

bs_value bs_graph_selective_scan(struct bs_graph *g, const struct bs_scan_inputs *in, bool reverse)
{
    bs_value value[] = {in->u, in->delta, in->a_log, in->b, in->c, in->skip, in->delta_bias, in->z};
    return bs_graph_apply(g, BS_OP_SELECTIVE_SCAN, value, in->z == BS_NO_VALUE ? 7 : 8,
                          (struct bs_attr){.reverse = reverse, .softplus = true});
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
    if (g->noutput == MAX_OUTPUTS) {
        (void)BS_FAIL(first_error(g), BS_ELIMIT, "the graph has more than %d outputs", MAX_OUTPUTS);
        return;
    }
    for (int i = 0; i < g->noutput; i++)
        if (strcmp(g->output[i].name, name) == 0) {
            (void)BS_FAIL(first_error(g), BS_EINVAL, "output \"%s\" is declared twice", name);
            return;
        }
    const char *copy = bs_arena_strdup(g->arena, name);
    if (!copy) {
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
