/* Lowers causal convolutions and selective scans: both directions of a mixer are one launch, with the SiLU behind the
   convolutions, and with the gate, the sum of the directions and its scale in the scan. See lower.h. */
#include "kernels/cuda/pack.h"

enum { U, DELTA, A_LOG, B, C, SKIP, DELTA_BIAS, Z }; /* inputs of a scan */

/* The convolution of the other direction: of the same input and taps, before the same activation. */
static bs_value other_direction(struct bs__gpu_lowering *l, bs_value v, bool silu)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    for (bs_value u = v + 1; u < bs_graph_node_count(l->g); u++) {
        const struct bs_node *o = bs__gpu_node(l, u);
        if (o->op == BS_OP_CAUSAL_CONV1D && o->input[0] == n->input[0] && bs_graph_is_live(l->g, u) &&
            !l->value[u].made && (bs__gpu_followed_by(l, u, BS_OP_SILU) != BS_NO_VALUE) == silu &&
            bs__gpu_node(l, o->input[1])->shape.dim[2] == bs__gpu_node(l, n->input[1])->shape.dim[2])
            return u;
    }
    return BS_NO_VALUE;
}

static void lower_conv1d(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const bool silu = bs__gpu_followed_by(l, v, BS_OP_SILU) != BS_NO_VALUE;
    const bs_value of[2] = {v, other_direction(l, v, silu)};
    const int directions = of[1] == BS_NO_VALUE ? 1 : 2;
    const struct bs__gpu_place *x = bs__gpu_value_as(l, n->input[0], l->element);
    bs_address w[2] = {0, 0}, b[2] = {0, 0};
    const struct bs__gpu_place *y[2];
    for (int i = 0; i < directions; i++) {
        const struct bs_node *o = bs__gpu_node(l, of[i]);
        w[i] = bs__gpu_pack_plain(l, o->input[1], BS__F32);
        b[i] = o->ninput > 2 ? bs__gpu_pack_plain(l, o->input[2], BS__F32) : 0;
        y[i] = bs__gpu_make(l, silu ? bs__gpu_only_consumer(l, of[i]) : of[i], l->element);
        l->value[of[i]].made = true;
    }
    struct bs__gpu_step *s =
        bs__gpu_add_step(l, BS__GPU_CONV1D, l->element, "causal conv %lldx%lldx%lld%s%s",
                         (long long)n->shape.dim[0], (long long)n->shape.dim[1], (long long)n->shape.dim[2],
                         silu ? " silu" : "", directions == 2 ? " both directions" : "");
    struct bs__conv1d *c = &s->a.conv1d;
    *c = (struct bs__conv1d){.samples = n->shape.dim[0],
                             .length = n->shape.dim[1],
                             .features = (int32_t)n->shape.dim[2],
                             .taps = (int32_t)bs__gpu_node(l, n->input[1])->shape.dim[2],
                             .directions = directions,
                             .silu = silu};
    bs__gpu_bind_rows(l, s, &c->x, x);
    for (int i = 0; i < directions; i++) {
        c->direction[i].weights = w[i];
        c->direction[i].bias = b[i];
        c->direction[i].reverse = bs__gpu_node(l, of[i])->attr.reverse;
        bs__gpu_bind_rows(l, s, &c->direction[i].y, y[i]);
    }
}

static bs_value gate_of(const struct bs_node *scan)
{
    return scan->ninput > Z ? scan->input[Z] : BS_NO_VALUE;
}

static int64_t states_of(const struct bs__gpu_lowering *l, const struct bs_node *scan)
{
    return bs__gpu_node(l, scan->input[A_LOG])->shape.dim[1];
}

/* The scan whose sum with this one is all that is ever read of the two; BS_NO_VALUE: none. */
static bs_value partner_of(struct bs__gpu_lowering *l, bs_value v)
{
    const bs_value add = bs__gpu_followed_by(l, v, BS_OP_ADD);
    if (add == BS_NO_VALUE)
        return BS_NO_VALUE;
    const struct bs_node *sum = bs__gpu_node(l, add);
    const bs_value other = sum->input[0] == v ? sum->input[1] : sum->input[0];
    const struct bs_node *a = bs__gpu_node(l, v), *b = bs__gpu_node(l, other);
    return b->op == BS_OP_SELECTIVE_SCAN && bs__gpu_only_consumer(l, other) == add && other != v &&
                   gate_of(a) == gate_of(b) && a->attr.softplus == b->attr.softplus &&
                   states_of(l, a) == states_of(l, b)
               ? other
               : BS_NO_VALUE;
}

/* Weights of a scan's direction; its rows are bound by bind_direction. */
static struct bs__scan_direction direction_of(struct bs__gpu_lowering *l, const struct bs_node *n)
{
    for (int i = U; i <= C; i++)
        if (i != A_LOG)
            (void)bs__gpu_value_as(l, n->input[i], l->element); /* converted before the step is there */
    return (struct bs__scan_direction){.a_log = bs__gpu_pack_plain(l, n->input[A_LOG], BS__F32),
                                       .skip = bs__gpu_pack_plain(l, n->input[SKIP], BS__F32),
                                       .delta_bias = bs__gpu_pack_plain(l, n->input[DELTA_BIAS], BS__F32),
                                       .reverse = n->attr.reverse};
}

static void bind_direction(struct bs__gpu_lowering *l, struct bs__gpu_step *s, struct bs__scan_direction *d,
                           const struct bs_node *n)
{
    bs__gpu_bind_rows(l, s, &d->u, bs__gpu_value_as(l, n->input[U], l->element));
    bs__gpu_bind_rows(l, s, &d->delta, bs__gpu_value_as(l, n->input[DELTA], l->element));
    bs__gpu_bind_rows(l, s, &d->b, bs__gpu_value_as(l, n->input[B], l->element));
    bs__gpu_bind_rows(l, s, &d->c, bs__gpu_value_as(l, n->input[C], l->element));
}

static void lower_scan(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    const bs_value other = partner_of(l, v);
    if (other > v)
        return; /* made with the other one, whose inputs are not there yet */
    const int directions = other == BS_NO_VALUE ? 1 : 2;
    const struct bs_node *of[2] = {directions == 2 ? bs__gpu_node(l, other) : n, n};
    bs_value end = v;
    float scale = 1;
    if (directions == 2) {
        end = bs__gpu_only_consumer(l, v);
        l->value[v].made = l->value[other].made = true;
    }
    const bs_value scaled = bs__gpu_followed_by(l, end, BS_OP_SCALE);
    if (scaled != BS_NO_VALUE) {
        l->value[end].made = true;
        end = scaled;
        scale = bs__gpu_node(l, scaled)->attr.factor;
    }
    const bs_value gate = gate_of(n);
    const struct bs__gpu_place *z = gate == BS_NO_VALUE ? NULL : bs__gpu_value_as(l, gate, l->element);
    struct bs__scan_direction d[2];
    for (int i = 0; i < directions; i++)
        d[i] = direction_of(l, of[i]);
    const struct bs__gpu_place *y = bs__gpu_make(l, end, l->element);
    struct bs__gpu_step *s = bs__gpu_add_step(
        l, BS__GPU_SCAN, l->element, "scan %lldx%lldx%lld of %lld states%s%s", (long long)n->shape.dim[0],
        (long long)n->shape.dim[1], (long long)n->shape.dim[2], (long long)states_of(l, n), z ? " gated" : "",
        directions == 2 ? " both directions" : "");
    struct bs__scan *k = &s->a.mixer.scan;
    *k = (struct bs__scan){.samples = n->shape.dim[0],
                           .length = n->shape.dim[1],
                           .features = (int32_t)n->shape.dim[2],
                           .states = (int32_t)states_of(l, n),
                           .directions = directions,
                           .softplus = n->attr.softplus,
                           .scale = scale};
    for (int i = 0; i < directions; i++) {
        k->direction[i] = d[i];
        bind_direction(l, s, &k->direction[i], of[i]);
    }
    if (z)
        bs__gpu_bind_rows(l, s, &k->z, z);
    bs__gpu_bind_rows(l, s, &k->y, y);
    s->cost *= (double)states_of(l, n) / 4 + 1;
    bs__gpu_bind_workspace(l, s, &s->a.mixer.workspace,
                           bs__cuda_scan_workspace(bs__queue_limits(l->gpu->queue), k));
}

bool bs__gpu_lower_mixer_node(struct bs__gpu_lowering *l, bs_value v)
{
    const struct bs_node *n = bs__gpu_node(l, v);
    if (n->op == BS_OP_CAUSAL_CONV1D)
        lower_conv1d(l, v);
    else if (n->op == BS_OP_SELECTIVE_SCAN)
        lower_scan(l, v);
    else
        return false;
    return true;
}
