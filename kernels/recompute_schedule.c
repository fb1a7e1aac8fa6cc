/* See recompute_internal.h. The forward comes first, as it stood, with what the backward's rules added of it (the sums of
   attention) behind the last reader of its inputs; then the backward, each node behind what has to be made again for it. */
#include "kernels/base/checked.h"
#include "kernels/op.h"
#include "kernels/plan.h"
#include "kernels/recompute_internal.h"

#include <stdlib.h>
#include <string.h>

#define ELEMENT_WORK 8 /* of reading or writing one number, in multiply-adds times two */

static bool is_binding(const struct bs_node *n)
{
    return n->op == BS_OP_INPUT || n->op == BS_OP_PARAM;
}

static void weigh(const struct bs_graph *g, const struct bs_node *n, size_t element, struct bs__remade *r)
{
    const struct bs_op_def *def = bs_op_def(n->op);
    struct bs_shape in[BS_MAX_INPUTS];
    double elements = (double)bs_shape_count(&n->shape);
    size_t bytes = 0;
    for (int i = 0; i < n->ninput; i++) {
        in[i] = bs_graph_node(g, n->input[i])->shape;
        elements += (double)bs_shape_count(&in[i]);
    }
    r->work = ELEMENT_WORK * elements + (def->flops ? def->flops(&n->attr, in, &n->shape) : 0);
    if (n->op != BS_OP_PARAM && bs_round_up(bs_shape_count(&n->shape) * element, BS_PLAN_ALIGN, &bytes))
        r->bytes = bytes;
}

static void survey(struct bs__schedule *s, bs_value seed)
{
    for (bs_value v = 0; v < s->count; v++) {
        const struct bs_node *n = bs_graph_node(s->g, v);
        struct bs__remade *r = &s->node[v];
        r->forward = v != seed;
        r->fixed = is_binding(n);
        for (int i = 0; i < n->ninput; i++)
            r->forward = r->forward && s->node[n->input[i]].forward;
        weigh(s->g, n, s->narrow[v] ? sizeof(uint16_t) : sizeof(float), r);
        for (int i = 0; i < n->ninput && bs_graph_is_live(s->g, v) && !r->forward; i++)
            s->node[n->input[i]].read_back = true;
    }
}

/* Forward nodes behind the loss stand behind the last of those before it that read what they read: there, in the forward, their
   inputs would die. `behind` gets that node for each of them. */
static void place_late(const struct bs__schedule *s, int first_backward, int *behind)
{
    for (bs_value v = first_backward; v < s->count; v++) {
        const struct bs_node *n = bs_graph_node(s->g, v);
        behind[v] = BS_NO_VALUE;
        for (int i = 0; i < n->ninput && s->node[v].forward; i++) {
            const bs_value x = n->input[i];
            if (s->node[x].fixed)
                continue;
            const bs_value made = x < first_backward ? x : behind[x];
            behind[v] = made > behind[v] ? made : behind[v];
            for (bs_value w = x + 1; w < first_backward; w++)
                for (int k = 0; k < bs_graph_node(s->g, w)->ninput; k++)
                    if (bs_graph_node(s->g, w)->input[k] == x && bs_graph_is_live(s->g, w) && w > behind[v])
                        behind[v] = w;
        }
    }
}

static void add(struct bs__schedule *s, bs_value v)
{
    if (!bs_graph_is_live(s->g, v) && bs_graph_node(s->g, v)->op != BS_OP_INPUT)
        return;
    s->node[v].place = s->norder;
    s->order[s->norder++] = v;
}

static void make_order(struct bs__schedule *s, bs_value seed)
{
    bs_value first_backward = s->count;
    for (bs_value v = s->count - 1; v > seed; v--)
        if (!s->node[v].forward)
            first_backward = v;
    int *behind = s->stack;
    place_late(s, first_backward, behind);
    for (bs_value v = 0; v < first_backward; v++) {
        add(s, v);
        for (bs_value w = first_backward; w < s->count; w++)
            if (s->node[w].forward && behind[w] == v)
                add(s, w);
    }
    for (bs_value w = first_backward; w < s->count; w++) /* of parameters alone */
        if (s->node[w].forward && behind[w] == BS_NO_VALUE)
            add(s, w);
    s->nforward = s->norder;
    for (bs_value v = first_backward; v < s->count; v++)
        if (!s->node[v].forward)
            add(s, v);
}

bs_status bs__schedule_create(const struct bs_graph *g, bs_value seed, enum bs_precision precision,
                              struct bs__schedule *s, struct bs_err *err)
{
    const size_t count = (size_t)bs_graph_node_count(g);
    *s = (struct bs__schedule){.g = g, .count = (int)count};
    BS_ASSERT(seed >= 0 && (size_t)seed < count && bs_graph_node(g, seed)->op == BS_OP_INPUT);
    s->node = calloc(count, sizeof *s->node);
    s->narrow = calloc(count, sizeof *s->narrow);
    s->order = calloc(count, sizeof *s->order);
    s->making = calloc(2 * count, sizeof *s->making);
    s->first = calloc(2 * count, sizeof *s->first);
    s->last = calloc(2 * count, sizeof *s->last);
    s->stack = calloc(count, sizeof *s->stack);
    s->change = calloc(2 * count + 1, sizeof *s->change);
    if (!s->node || !s->narrow || !s->order || !s->making || !s->first || !s->last || !s->stack ||
        !s->change) {
        bs__schedule_clear(s);
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan a graph of %zu operators", count);
    }
    if (precision != BS_PRECISION_F32)
        bs_graph_narrow(g, s->narrow);
    survey(s, seed);
    make_order(s, seed);
    return BS_OK;
}

void bs__schedule_clear(struct bs__schedule *s)
{
    free(s->node);
    free(s->narrow);
    free(s->order);
    free(s->making);
    free(s->first);
    free(s->last);
    free(s->stack);
    free(s->change);
    *s = (struct bs__schedule){.g = NULL};
}

/* Is that value made again for a reader behind the forward? */
static bool remade(const struct bs__schedule *s, const bool *keep, bs_value v)
{
    return s->node[v].forward && !s->node[v].fixed && !keep[v];
}

static void make(struct bs__schedule *s, bs_value v, bool again)
{
    const int instance = again ? s->count + v : v;
    s->making[s->nmaking] = (struct bs__making){v, again};
    s->first[instance] = s->last[instance] = s->nmaking++;
}

static int by_number(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;
    return x < y ? -1 : x > y;
}

/* Everything that node v of the backward needs and that is not there: found from reader to read, made in the forward's order. */
static void make_needed(struct bs__schedule *s, const bool *keep, bs_value v)
{
    int found = 0;
    for (int at = -1; at < found; at++) {
        const bs_value reader = at < 0 ? v : s->order[s->stack[at]];
        const struct bs_node *n = bs_graph_node(s->g, reader);
        for (int i = 0; i < n->ninput; i++) {
            const bs_value x = n->input[i];
            if (!remade(s, keep, x) || s->first[s->count + x] >= 0)
                continue;
            s->first[s->count + x] = 0; /* found */
            s->stack[found++] = s->node[x].place;
        }
    }
    qsort(s->stack, (size_t)found, sizeof *s->stack, by_number);
    for (int i = 0; i < found; i++) {
        const bs_value x = s->order[s->stack[i]];
        make(s, x, true);
        s->work += s->node[x].work;
        s->values++;
    }
}

static void measure(struct bs__schedule *s, const bool *keep)
{
    for (int t = 0; t < s->nmaking; t++) {
        const struct bs_node *n = bs_graph_node(s->g, s->making[t].value);
        const bool late = s->making[t].again || !s->node[s->making[t].value].forward;
        for (int i = 0; i < n->ninput; i++)
            s->last[n->input[i] + (late && remade(s, keep, n->input[i]) ? s->count : 0)] = t;
    }
    memset(s->change, 0, ((size_t)s->nmaking + 1) * sizeof *s->change);
    for (int instance = 0; instance < 2 * s->count; instance++) {
        if (s->first[instance] < 0)
            continue;
        const int64_t bytes = (int64_t)s->node[instance % s->count].bytes;
        s->change[s->first[instance]] += bytes;
        s->change[s->last[instance] + 1] -= bytes;
    }
    int64_t live = 0;
    for (int t = 0; t < s->nmaking; t++) {
        live += s->change[t];
        s->peak = live > (int64_t)s->peak ? (size_t)live : s->peak;
    }
}

void bs__schedule_run(struct bs__schedule *s, const bool *keep)
{
    s->nmaking = s->values = 0;
    s->peak = 0;
    s->work = 0;
    for (int i = 0; i < 2 * s->count; i++)
        s->first[i] = s->last[i] = -1;
    for (int i = 0; i < s->norder; i++) {
        if (i >= s->nforward)
            make_needed(s, keep, s->order[i]);
        make(s, s->order[i], false);
    }
    measure(s, keep);
}

static bs_value write_node(struct bs_graph *to, const struct bs__schedule *s, const bool *keep,
                           const struct bs__making *m, const bs_value *value)
{
    const struct bs_node *n = bs_graph_node(s->g, m->value);
    const bool late = m->again || !s->node[m->value].forward;
    bs_graph_full(to, n->full);
    bs_value in[BS_MAX_INPUTS] = {0};
    if (n->op == BS_OP_INPUT)
        return bs_graph_input(to, n->name, n->shape);
    if (n->op == BS_OP_PARAM)
        return bs_graph_param(to, n->name, n->shape);
    for (int i = 0; i < n->ninput; i++)
        in[i] = value[n->input[i] + (late && remade(s, keep, n->input[i]) ? s->count : 0)];
    return bs_graph_apply(to, n->op, in, n->ninput, n->attr);
}

bs_status bs__schedule_write(const struct bs__schedule *s, const bool *keep, struct bs_graph **out,
                             struct bs_err *err)
{
    bs_status rc;
    bs_value *value = calloc(2 * (size_t)s->count, sizeof *value);
    struct bs_graph *to = bs_graph_create();
    *out = NULL;
    if (!value || !to) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a graph of %d operators", s->nmaking);
        goto cleanup;
    }
    for (int t = 0; t < s->nmaking; t++) {
        const struct bs__making *m = &s->making[t];
        value[m->value + (m->again ? s->count : 0)] = write_node(to, s, keep, m, value);
    }
    for (int i = 0; i < bs_graph_output_count(s->g); i++)
        bs_graph_output(to, bs_graph_output_name(s->g, i), value[bs_graph_output_value(s->g, i)]);
    if ((rc = bs_graph_finish(to, err)) != BS_OK)
        goto cleanup;
    *out = to;
    to = NULL;

cleanup:
    free(value);
    bs_graph_destroy(to);
    return rc;
}
