/* A state-space mixer's operators of training: causal convolution, selective scan and rotary embedding, with their gradients.
   The kernels are those of scan.h; what they want packed is packed in the run. */
#include "kernels/cpu/scan.h"
#include "kernels/cpu/training_operators.h"

#include <math.h>

/* Floats of a packed (features, m) array. */
static size_t packed(const struct bs__training_call *c, int64_t features, int64_t m)
{
    return bs__floats((int64_t)bs__scan_packed(c->cpu->simd, (int)features, (int)m));
}

static const float *pack(const struct bs__training_call *c, const struct bs_tensor *t, int64_t features,
                         int64_t m, float **at)
{
    float *to = bs__take(at, packed(c, features, m));
    bs__scan_pack(c->cpu->simd, t->data, (int)features, (int)m, to);
    return to;
}

/* A packed (features, m) array in C order again. */
static void unpack(const struct bs__training_call *c, const float *from, int64_t features, int64_t m,
                   float *to)
{
    const int lanes = c->cpu->simd->lanes;
    for (int64_t f = 0; f < features; f++)
        for (int64_t i = 0; i < m; i++)
            to[f * m + i] = from[(f / lanes * m + i) * lanes + f % lanes];
}

/* ---- causal convolution ---- */

size_t bs__train_conv1d_scratch(const struct bs__training_call *c)
{
    const int64_t features = c->in[0].shape.dim[2], taps = c->in[1].shape.dim[2];
    return (packed(c, features, taps) + packed(c, features, 1)) * sizeof(float);
}

bs_status bs__train_conv1d(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    const int64_t *d = c->in[0].shape.dim;
    struct bs__conv1d k = {.src = bs__dense(&c->in[0]),
                           .n = d[0],
                           .length = d[1],
                           .features = (int)d[2],
                           .kernel = (int)c->in[1].shape.dim[2],
                           .ndirection = 1};
    float *at = c->scratch;
    k.direction[0].weights = pack(c, &c->in[1], d[2], k.kernel, &at);
    k.direction[0].bias = c->step->ninput == 3 ? pack(c, &c->in[2], d[2], 1, &at) : NULL;
    k.direction[0].reverse = c->step->attr.reverse;
    k.direction[0].dst = bs__dense(&c->out[0]);
    bs__conv1d_split(&k);
    bs__parallel(c->cpu->threads, k.n * k.runs, c->cpu->simd->conv1d, &k);
    return BS_OK;
}

static struct bs__conv1d_grad conv1d_grad_of(const struct bs__training_call *c)
{
    const int64_t *d = c->in[0].shape.dim;
    struct bs__conv1d_grad k = {.x = bs__dense(&c->in[0]),
                                .gy = bs__dense(&c->in[1]),
                                .n = d[0],
                                .length = d[1],
                                .features = (int)d[2],
                                .kernel = (int)c->out[0].shape.dim[2],
                                .reverse = c->step->attr.reverse,
                                .run = 64};
    k.runs = bs__tasks(k.length, k.run);
    return k;
}

size_t bs__train_conv1d_grad_scratch(const struct bs__training_call *c)
{
    const struct bs__conv1d_grad k = conv1d_grad_of(c);
    return packed(c, k.features, k.kernel) * (size_t)(k.n * k.runs + 1) * sizeof(float);
}

bs_status bs__train_conv1d_grad(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct bs__conv1d_grad k = conv1d_grad_of(c);
    const int64_t count = (int64_t)bs__scan_packed(c->cpu->simd, k.features, k.kernel);
    float *at = c->scratch, *sum = bs__take(&at, packed(c, k.features, k.kernel));
    k.part = at;
    bs__parallel(c->cpu->threads, k.n * k.runs, c->cpu->simd->conv1d_grad, &k);
    bs__merge_parts(c->cpu, k.part, k.n * k.runs, count, NULL, count, sum);
    unpack(c, sum, k.features, k.kernel, c->out[0].data);
    return BS_OK;
}

/* ---- selective scan ---- */

enum { U, DELTA, A_LOG, B, C, SKIP, DELTA_BIAS, Z }; /* inputs of the forward, and whose gradient */
enum { GY = 7, GRAD_Z };                             /* inputs of the gradient behind the first seven */

static struct bs__scan scan_of(const struct bs__training_call *c)
{
    const int64_t *d = c->in[U].shape.dim;
    struct bs__scan k = {.n = d[0],
                         .length = d[1],
                         .features = (int)d[2],
                         .states = (int)c->in[A_LOG].shape.dim[1],
                         .ndirection = 1,
                         .dst = bs__dense(&c->out[0]),
                         .scale = 1,
                         .softplus = c->step->attr.softplus};
    k.direction[0] = (struct bs__scan_direction){.u = bs__dense(&c->in[U]),
                                                 .delta = bs__dense(&c->in[DELTA]),
                                                 .b = bs__dense(&c->in[B]),
                                                 .c = bs__dense(&c->in[C]),
                                                 .reverse = c->step->attr.reverse};
    if (c->step->ninput > Z)
        k.z = bs__dense(&c->in[Z]);
    bs__scan_split(c->cpu->simd, c->cpu->threads, &k);
    k.scratch_floats = bs__scan_scratch(c->cpu->simd, &k);
    return k;
}

/* Floats of the packed a, skip and delta_bias. */
static size_t packed_scan(const struct bs__training_call *c)
{
    const int64_t features = c->in[U].shape.dim[2];
    return packed(c, features, c->in[A_LOG].shape.dim[1]) + 2 * packed(c, features, 1);
}

static const float *pack_rates(const struct bs__training_call *c, float **at)
{
    const int64_t *d = c->in[A_LOG].shape.dim;
    float *to = bs__take(at, packed(c, d[0], d[1]));
    bs__scan_pack_a(c->cpu->simd, c->in[A_LOG].data, (int)d[0], (int)d[1], to);
    return to;
}

size_t bs__train_scan_scratch(const struct bs__training_call *c)
{
    return (packed_scan(c) + scan_of(c).scratch_floats * (size_t)c->cpu->threads) * sizeof(float);
}

bs_status bs__train_scan(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct bs__scan k = scan_of(c);
    float *at = c->scratch;
    k.direction[0].a = pack_rates(c, &at);
    k.direction[0].skip = pack(c, &c->in[SKIP], k.features, 1, &at);
    k.direction[0].delta_bias = pack(c, &c->in[DELTA_BIAS], k.features, 1, &at);
    k.scratch = at;
    bs__parallel(c->cpu->threads, k.n * k.groups, c->cpu->simd->scan, &k);
    return BS_OK;
}

static struct bs__scan_grad scan_grad_of(const struct bs__training_call *c)
{
    const int64_t *d = c->in[U].shape.dim;
    struct bs__scan_grad k = {.n = d[0],
                              .length = d[1],
                              .features = (int)d[2],
                              .states = (int)c->in[A_LOG].shape.dim[1],
                              .reverse = c->step->attr.reverse,
                              .softplus = c->step->attr.softplus,
                              .u = bs__dense(&c->in[U]),
                              .delta = bs__dense(&c->in[DELTA]),
                              .b = bs__dense(&c->in[B]),
                              .c = bs__dense(&c->in[C]),
                              .gy = bs__dense(&c->in[GY])};
    if (c->step->ninput > GRAD_Z)
        k.z = bs__dense(&c->in[GRAD_Z]);
    k.gu = bs__dense(&c->out[U]);
    k.gdelta = bs__dense(&c->out[DELTA]);
    k.gz = bs__dense(&c->out[Z]);
    bs__scan_grad_split(c->cpu->simd, &k);
    return k;
}

/* Floats of the parts of one result. */
static size_t part_floats(const struct bs__training_call *c, const struct bs__scan_grad *k, int which)
{
    if (!bs__wanted(c, which))
        return 0;
    switch (which) {
    case B:
    case C:
        return bs__floats(k->n * k->groups * k->length * k->states);
    case A_LOG:
        return (size_t)(k->n + 2) * packed(c, k->features, k->states); /* the sum, and the factor a */
    case SKIP:
    case DELTA_BIAS:
        return (size_t)(k->n + 1) * packed(c, k->features, 1);
    default:
        return 0;
    }
}

size_t bs__train_scan_grad_scratch(const struct bs__training_call *c)
{
    const struct bs__scan_grad k = scan_grad_of(c);
    size_t floats = packed_scan(c) + k.scratch_floats * (size_t)c->cpu->threads;
    for (int which = 0; which <= Z; which++)
        floats += part_floats(c, &k, which);
    return floats * sizeof(float);
}

/* Sum over samples of packed (features, m) parts, which begin `parts`; the sum stands behind them. */
static void merge_samples(const struct bs__training_call *c, float *parts, const float *factor, int64_t n,
                          int64_t m, struct bs_tensor *out)
{
    const int64_t features = c->in[U].shape.dim[2];
    const int64_t count = (int64_t)bs__scan_packed(c->cpu->simd, (int)features, (int)m);
    float *sum = parts + n * count;
    bs__merge_parts(c->cpu, parts, n, count, factor, count, sum);
    unpack(c, sum, features, m, out->data);
}

/* ga_log = a ga; the packed rates have the factor log2 e, too. */
static void merge_rates(const struct bs__training_call *c, const struct bs__scan_grad *k)
{
    const size_t count = bs__scan_packed(c->cpu->simd, k->features, k->states);
    float *factor = k->ga + (size_t)(k->n + 1) * count;
    struct bs_tensor out = c->out[A_LOG];
    for (size_t i = 0; i < count; i++)
        factor[i] = (float)((double)k->a[i] * 0.69314718055994531);
    merge_samples(c, k->ga, factor, k->n, k->states, &out);
}

static void merge_states(const struct bs__training_call *c, const struct bs__scan_grad *k, const float *part,
                         int which)
{
    const int64_t count = k->length * k->states;
    for (int64_t n = 0; n < k->n; n++)
        bs__merge_parts(c->cpu, part + n * k->groups * count, k->groups, count, NULL, count,
                        (float *)c->out[which].data + n * count);
}

bs_status bs__train_scan_grad(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    struct bs__scan_grad k = scan_grad_of(c);
    float *at = c->scratch, *part[Z + 1] = {NULL};
    struct bs_tensor skip = c->out[SKIP], bias = c->out[DELTA_BIAS];
    k.a = pack_rates(c, &at);
    k.skip = pack(c, &c->in[SKIP], k.features, 1, &at);
    k.delta_bias = pack(c, &c->in[DELTA_BIAS], k.features, 1, &at);
    for (int which = 0; which <= Z; which++)
        part[which] = part_floats(c, &k, which) ? bs__take(&at, part_floats(c, &k, which)) : NULL;
    k.ga = part[A_LOG];
    k.gb = part[B];
    k.gc = part[C];
    k.gskip = part[SKIP];
    k.gbias = part[DELTA_BIAS];
    k.scratch = at;
    bs__parallel(c->cpu->threads, k.n * k.groups, c->cpu->simd->scan_grad, &k);
    if (k.ga)
        merge_rates(c, &k);
    if (k.gb)
        merge_states(c, &k, k.gb, B);
    if (k.gc)
        merge_states(c, &k, k.gc, C);
    if (k.gskip)
        merge_samples(c, k.gskip, NULL, k.n, 1, &skip);
    if (k.gbias)
        merge_samples(c, k.gbias, NULL, k.n, 1, &bias);
    return BS_OK;
}

/* ---- rotary embedding ---- */

/* The tables are rows for the last tokens, so a sample is a task. */
static void turn_sample(const void *ctx, int64_t sample, int worker)
{
    (void)worker;
    const struct bs__training_call *c = ctx;
    const int64_t tokens = c->in[0].shape.dim[1], features = c->in[0].shape.dim[2];
    struct bs_tensor in[3] = {c->in[0], c->in[1], c->in[2]}, out = c->out[0];
    in[0].shape.dim[0] = out.shape.dim[0] = 1;
    in[0].data = (float *)in[0].data + sample * tokens * features;
    out.data = (float *)out.data + sample * tokens * features;
    bs_op_def(c->step->op)->reference(&c->step->attr, in, 3, &out);
}

bs_status bs__train_rotary(const struct bs__training_call *c, struct bs_err *err)
{
    (void)err;
    bs__parallel(c->cpu->threads, c->in[0].shape.dim[0], turn_sample, c);
    return BS_OK;
}
