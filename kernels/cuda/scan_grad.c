/* Queues the backward of selective scans; see scan_grad.h. */
#include "kernels/cuda/scan_grad.h"

#define GROUP      4 /* states that a thread takes at a time */
#define RUN_FLOATS (BS__SCAN_GRAD_TOKENS * GROUP * 2 + GROUP)
#define PAIRS      (BS__SCAN_FEATURES * GROUP)

/* Where things lie in the workspace, and what the walk is cut into. */
struct plan {
    struct bs__scan_cut cut; /* of the forward pass; its blocks have a thread for each token of a chunk */
    int threads;             /* of the walk's blocks */
    int64_t chunks;
    size_t ends, starts, weights, rates, sums, all; /* bytes; each the place of what follows the one before */
};

static int groups_of(const struct bs__scan *s)
{
    return (s->states + GROUP - 1) / GROUP;
}

/* scan_grad_parts.cuh: scan_grad_carve. */
static size_t shared_bytes(const struct bs__scan *s, int threads)
{
    const size_t warps = (size_t)threads / 32, groups = (size_t)groups_of(s);
    return (groups * PAIRS * (3 + warps) + 6 * warps * PAIRS +
            3 * warps * (32 / BS__SCAN_FEATURES) * RUN_FLOATS) *
           sizeof(float);
}

static size_t floats(int64_t count)
{
    return ((size_t)count * sizeof(float) + 15) / 16 * 16;
}

/* Two opposite directions go by turns, as the first pass of both is then two times as many blocks. Chunks are as long as shared
   memory and the sequence allow. */
static bs_status plan_of(const struct bs__cuda_limits *device, const struct bs__scan *s, int threads,
                         struct plan *p, struct bs_err *err)
{
    static const int choices[] = {BS__SCAN_GRAD_THREADS, BS__SCAN_GRAD_THREADS / 2, 64};
    const bool turns = s->directions == 2 && !s->direction[0].reverse != !s->direction[1].reverse;
    for (size_t i = 0; threads == 0 && i < sizeof choices / sizeof *choices; i++)
        if (shared_bytes(s, choices[i]) <= device->shared_block &&
            (choices[i] == 64 || s->length >= choices[i] / 2))
            threads = choices[i];
    if (threads == 0 || shared_bytes(s, threads) > device->shared_block)
        return BS_FAIL(
            err, BS_ELIMIT,
            "selective_scan: no block for the gradients of %d states fits the %zu bytes of shared memory of "
            "this device",
            s->states, device->shared_block);
    *p = (struct plan){.cut = {.segments = turns ? 2 : 1, .threads = threads / 2, .turns = turns},
                       .threads = threads};
    const bs_status rc = bs__cuda_scan_cut(device, s, &p->cut, err);
    if (rc != BS_OK)
        return rc;
    const int64_t lanes = s->samples * s->directions, rates = (int64_t)s->features * s->states;
    p->chunks = p->cut.segments * bs__pieces(bs__pieces(s->length, p->cut.segments), p->cut.threads);
    p->starts = p->ends + (bs__scan_cut_workspace(s, &p->cut) + 15) / 16 * 16;
    p->weights = p->starts + floats(lanes * p->chunks * rates);
    p->rates = p->weights + floats(2 * lanes * s->length * bs__pieces(s->features, BS__SCAN_FEATURES) *
                                   groups_of(s) * GROUP);
    p->sums = p->rates + floats(lanes * rates);
    p->all = p->sums + floats(lanes * 2 * s->features);
    return BS_OK;
}

size_t bs__scan_grad_cut_workspace(const struct bs__cuda_limits *device, const struct bs__scan_grad *g,
                                   int threads)
{
    struct plan p;
    return plan_of(device, &g->forward, threads, &p, NULL) == BS_OK ? p.all : 0;
}

size_t bs__cuda_scan_grad_workspace(const struct bs__cuda_limits *device, const struct bs__scan_grad *g)
{
    return bs__scan_grad_cut_workspace(device, g, 0);
}

static bs_status need_rows(const struct bs__scan_grad *g, struct bs_err *err)
{
    static const char kernel[] = "scan_grad";
    const struct bs__scan *s = &g->forward;
    bs_status rc = bs__need_rows(kernel, "gy", &g->gy, s->features, err);
    if (rc == BS_OK)
        rc = bs__need_rows_if(kernel, "gz", &g->gz, s->features, err);
    for (int i = 0; rc == BS_OK && i < s->directions; i++) {
        const struct bs__scan_grad_direction *d = &g->direction[i];
        if ((rc = bs__need_rows_if(kernel, "gu", &d->gu, s->features, err)) != BS_OK ||
            (rc = bs__need_rows_if(kernel, "gdelta", &d->gdelta, s->features, err)) != BS_OK ||
            (rc = bs__need_rows_if(kernel, "gB", &d->gb, s->states, err)) != BS_OK ||
            (rc = bs__need_rows_if(kernel, "gC", &d->gc, s->states, err)) != BS_OK)
            return rc;
    }
    if (rc == BS_OK && g->gz.at && !s->z.at)
        rc = BS_FAIL(err, BS_EINTERNAL, "scan_grad: the gradient of z is wanted, but there is no z");
    return rc;
}

static bs_status queue_sums(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *a,
                            struct bs_err *err)
{
    const struct bs__scan *s = &a->forward;
    bool weights = false;
    for (int i = 0; i < s->directions; i++)
        weights = weights || a->direction[i].gb.at || a->direction[i].gc.at;
    const int64_t items = s->samples * s->length * groups_of(s);
    struct bs__launch launch = {
        .kernel = "scan_grad_weights",
        .element = e,
        .grid = {(unsigned)bs__pieces(items, BS__SCAN_GRAD_SUM_THREADS), 2 * (unsigned)s->directions, 1},
        .threads = BS__SCAN_GRAD_SUM_THREADS,
    };
    bs_status rc = weights ? bs__queue_launch(q, &launch, a, sizeof *a, err) : BS_OK;
    if (rc != BS_OK)
        return rc;
    launch.kernel = "scan_grad_params";
    launch.element = BS__F32;
    launch.grid[0] = (unsigned)bs__pieces((int64_t)s->features * (s->states + 2), BS__SCAN_GRAD_SUM_THREADS);
    launch.grid[1] = (unsigned)s->directions;
    return bs__queue_launch(q, &launch, a, sizeof *a, err);
}

bs_status bs__cuda_scan_grad_cut(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *g,
                                 int threads, struct bs_err *err)
{
    struct bs__scan_grad a = *g;
    struct bs__scan *s = &a.forward;
    struct plan p;
    bs_status rc;
    if ((rc = bs__need_scan(s, err)) != BS_OK || (rc = need_rows(g, err)) != BS_OK ||
        (rc = bs__need_address("scan_grad", "workspace", g->workspace, 16, err)) != BS_OK ||
        (rc = plan_of(bs__queue_limits(q), s, threads, &p, err)) != BS_OK)
        return rc;
    s->starts = g->workspace + p.starts;
    s->y = g->gz;
    s->gy = g->gz.at ? g->gy : (struct bs__rows){0, 0};
    if ((rc = bs__cuda_scan(q, e, s, &p.cut, g->workspace, err)) != BS_OK)
        return rc;
    bs__scan_set_in_fours(s, e);
    s->segments = p.cut.segments;
    s->segment = bs__pieces(s->length, s->segments);
    a.chunks = p.chunks;
    a.weights = g->workspace + p.weights;
    a.rates = g->workspace + p.rates;
    a.sums = g->workspace + p.sums;
    const struct bs__launch launch = {
        .kernel = "scan_grad",
        .element = e,
        .grid = {(unsigned)(s->samples * bs__pieces(s->features, BS__SCAN_FEATURES)), (unsigned)s->directions,
                 1},
        .threads = (unsigned)p.threads,
        .shared = shared_bytes(s, p.threads),
    };
    if ((rc = bs__queue_launch(q, &launch, &a, sizeof a, err)) != BS_OK)
        return rc;
    return queue_sums(q, e, &a, err);
}

bs_status bs__cuda_scan_grad(struct bs__queue *q, enum bs__element e, const struct bs__scan_grad *g,
                             struct bs_err *err)
{
    return bs__cuda_scan_grad_cut(q, e, g, 0, err);
}
