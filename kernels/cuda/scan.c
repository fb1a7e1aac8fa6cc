/* Cuts and queues selective scans; see scan.h. The cut decides how many blocks there are, and it is chosen by what the slowest
   multiprocessor would have to do, from sizes and the number of multiprocessors alone. */
#include "kernels/cuda/scan.h"

#include <inttypes.h>

#define GROUP 4 /* states that a thread takes at a time */
#define RUN_FLOATS                                                                                           \
    (BS__SCAN_TOKENS * GROUP * 2 + GROUP) /* staged B and C of a run, in other banks than the next one's */
#define PAIRS (BS__SCAN_FEATURES * GROUP)

/* The model. A unit is 32 tokens of 8 features in 16 states, walked by one warp with nothing in its way: about 1,600
   instructions, 400 clocks of a multiprocessor. */
#define UNIT_STATES 16
#define FILL        16.0 /* warps that keep a multiprocessor busy */
#define BARRIER     0.4  /* what a block waits in a group of states, where no other block fills in */
#define ENDS                                                                                                 \
    0.65 /* a unit of summing up: one exponential, 3 multiplications and multiply-adds instead of 7 */
#define LAUNCH   10.0 /* beginning, filling and ending of a launch */
#define SHORTEST 32   /* tokens of a segment, where the cut is chosen here */

static int groups_of(const struct bs__scan *s)
{
    return (s->states + GROUP - 1) / GROUP;
}

static int64_t blocks_of(const struct bs__scan *s)
{
    return s->samples * bs__pieces(s->features, BS__SCAN_FEATURES);
}

/* scan.cu: scan_carve. */
static size_t shared_bytes(const struct bs__scan *s, int threads)
{
    const size_t warps = (size_t)threads / 32, groups = (size_t)groups_of(s);
    return (3 * groups * PAIRS + 4 * warps * PAIRS + 2 * warps * (32 / BS__SCAN_FEATURES) * RUN_FLOATS) *
           sizeof(float);
}

static bool opposite(const struct bs__scan *s)
{
    return s->directions == 2 && !s->direction[0].reverse != !s->direction[1].reverse;
}

/* Time of a launch of so many blocks: each has `units` of work for its warps and `waits` barriers. */
static double launch_time(const struct bs__cuda_limits *device, int64_t blocks, int threads, double units,
                          double waits)
{
    const double each =
        (double)bs__pieces(blocks, device->multiprocessors); /* of the fullest multiprocessor */
    const int fit = BS__SCAN_THREADS / threads;              /* blocks that a multiprocessor holds */
    const double together = each < fit ? each : fit;
    const double warps = together * threads / 32;
    const double work = each * units * (warps < FILL ? FILL / warps : 1);
    return LAUNCH + work + each / together * waits * BARRIER * threads / 32 / FILL;
}

static double time_of(const struct bs__cuda_limits *device, const struct bs__scan *s,
                      const struct bs__scan_cut *cut)
{
    const int64_t blocks = blocks_of(s), tokens = bs__pieces(s->length, cut->segments);
    const double size = (double)groups_of(s) * GROUP / UNIT_STATES;
    const double units = (double)bs__pieces(tokens, 32) * size;
    const double waits = (double)bs__pieces(tokens, cut->threads) * groups_of(s);
    if (cut->turns)
        return 2 * launch_time(device, 2 * blocks, cut->threads, units, waits);
    const double all = launch_time(device, blocks * cut->segments, cut->threads, s->directions * units,
                                   s->directions * waits);
    if (cut->segments == 1)
        return all;
    return all +
           launch_time(device, blocks * s->directions * (cut->segments - 1), cut->threads, ENDS * units, 0);
}

bs_status bs__cuda_scan_cut(const struct bs__cuda_limits *device, const struct bs__scan *s,
                            struct bs__scan_cut *cut, struct bs_err *err)
{
    const int first_threads = cut->threads ? cut->threads : 128, first = cut->segments ? cut->segments : 1;
    double least = 0;
    struct bs__scan_cut best = {0};
    for (int threads = first_threads; threads <= BS__SCAN_THREADS; threads *= 2) {
        if (shared_bytes(s, threads) > device->shared_block || (cut->threads && cut->threads != threads))
            continue;
        for (int k = first; k <= BS__SCAN_SEGMENTS; k++) {
            if (k > first && (cut->segments || bs__pieces(s->length, k) < SHORTEST))
                break;
            for (int turns = 0; turns <= (k == 2 && opposite(s)); turns++) {
                const struct bs__scan_cut one = {.segments = k, .threads = threads, .turns = turns};
                const double time = time_of(device, s, &one);
                if ((cut->segments && cut->turns != one.turns) || (best.threads && time >= least))
                    continue;
                least = time;
                best = one;
            }
        }
    }
    if (!best.threads)
        return BS_FAIL(
            err, BS_ELIMIT,
            "selective_scan: no block for %d states fits the %zu bytes of shared memory of this device",
            s->states, device->shared_block);
    /* Segments are of one length but the last, and none is empty. */
    best.segments = (int)bs__pieces(s->length, bs__pieces(s->length, best.segments));
    best.turns = best.turns && best.segments == 2;
    *cut = best;
    return BS_OK;
}

static size_t ends_bytes(const struct bs__scan *s, const struct bs__scan_cut *cut)
{
    const size_t count = (size_t)(s->samples * s->directions * cut->segments * s->features);
    return (count * (size_t)s->states * sizeof(float) + 15) / 16 * 16;
}

size_t bs__scan_cut_workspace(const struct bs__scan *s, const struct bs__scan_cut *cut)
{
    if (cut->segments == 1)
        return 0;
    return ends_bytes(s, cut) +
           (size_t)(s->samples * s->directions * cut->segments * s->features) * sizeof(float);
}

size_t bs__cuda_scan_workspace(const struct bs__cuda_limits *device, const struct bs__scan *s)
{
    struct bs__scan_cut cut = {0};
    return bs__cuda_scan_cut(device, s, &cut, NULL) == BS_OK ? bs__scan_cut_workspace(s, &cut) : 0;
}

static bs_status need_direction(const struct bs__scan_direction *d, const struct bs__scan *s,
                                struct bs_err *err)
{
    static const char kernel[] = "scan";
    bs_status rc;
    if ((rc = bs__need_rows(kernel, "u", &d->u, s->features, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "delta", &d->delta, s->features, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "B", &d->b, s->states, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "C", &d->c, s->states, err)) != BS_OK)
        return rc;
    return bs__need_address(kernel, "a_log", d->a_log, sizeof(float), err);
}

bs_status bs__need_scan(const struct bs__scan *s, struct bs_err *err)
{
    static const char kernel[] = "scan";
    bs_status rc;
    if ((rc = bs__need_size(kernel, "samples", s->samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "tokens", s->length, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "features", s->features, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "states", s->states, 1, err)) != BS_OK)
        return rc;
    if (s->directions < 1 || s->directions > 2 || s->states > BS__SCAN_STATES)
        return BS_FAIL(err, BS_EINTERNAL, "scan: %d directions of %d states", s->directions, s->states);
    if (s->length > INT32_MAX / 2 || blocks_of(s) > INT32_MAX)
        return BS_FAIL(err, BS_ELIMIT,
                       "scan: %" PRId64 " samples of %" PRId64 " tokens, %d features are too many",
                       s->samples, s->length, s->features);
    for (int i = 0; i < s->directions; i++)
        if ((rc = need_direction(&s->direction[i], s, err)) != BS_OK)
            return rc;
    return bs__need_rows_if(kernel, "z", &s->z, s->features, err);
}

void bs__scan_set_in_fours(struct bs__scan *s, enum bs__element e)
{
    for (int i = 0; i < s->directions; i++) {
        struct bs__scan_direction *d = &s->direction[i];
        d->in_fours = bs__in_fours(&d->b, s->states, bs__element_bytes(e)) &&
                      bs__in_fours(&d->c, s->states, bs__element_bytes(e));
    }
}

bs_status bs__cuda_scan(struct bs__queue *q, enum bs__element e, const struct bs__scan *s,
                        const struct bs__scan_cut *cut, bs_address workspace, struct bs_err *err)
{
    struct bs__scan a = *s;
    struct bs__scan_cut how = cut ? *cut : (struct bs__scan_cut){0};
    bs_status rc;
    if ((rc = bs__need_scan(s, err)) != BS_OK ||
        (rc = bs__need_rows_if("scan", "y", &s->y, s->features, err)) != BS_OK ||
        (rc = bs__need_rows_if("scan", "gy", &s->gy, s->features, err)) != BS_OK ||
        (rc = bs__cuda_scan_cut(bs__queue_limits(q), s, &how, err)) != BS_OK)
        return rc;
    if (how.segments > 1 && (rc = bs__need_address("scan", "workspace", workspace, 16, err)) != BS_OK)
        return rc;
    bs__scan_set_in_fours(&a, e);
    a.segments = how.segments;
    a.segment = bs__pieces(s->length, how.segments);
    a.ends = workspace;
    a.steps = workspace + ends_bytes(s, &how);
    a.turn = how.turns ? 0 : -1;
    struct bs__launch launch = {.kernel = "scan_ends",
                                .element = e,
                                .grid = {(unsigned)blocks_of(s), 1, 1},
                                .threads = (unsigned)how.threads};
    if (how.segments > 1 && !how.turns) {
        launch.grid[1] = (unsigned)(s->directions * (how.segments - 1));
        if ((rc = bs__queue_launch(q, &launch, &a, sizeof a, err)) != BS_OK)
            return rc;
    }
    launch.kernel = "scan";
    launch.grid[1] = (unsigned)(how.turns ? s->directions : how.segments);
    launch.shared = shared_bytes(s, how.threads);
    for (int turn = 0; turn <= how.turns; turn++) {
        if ((rc = bs__queue_launch(q, &launch, &a, sizeof a, err)) != BS_OK)
            return rc;
        a.turn++;
    }
    return BS_OK;
}
