/* Which values of the forward are kept; see recompute.h. */
#include "kernels/recompute.h"

#include "kernels/base/checked.h"
#include "kernels/recompute_internal.h"

#include <stdlib.h>
#include <string.h>

#define MOST_SEGMENTS 96 /* more do not save more: a network has fewer blocks */
#define REFINED       8  /* starts from which values are taken back */
#define DESCENDED     3  /* starts above the bytes that are tried to get below them */
#define ATTEMPTS      8  /* graphs compiled for one budget */

struct priced {
    double price; /* work for a byte */
    bs_value value;
};

/* One search. */
struct search {
    struct bs__schedule *s;
    size_t bytes;      /* wanted */
    bool *keep, *best; /* per node */
    bool found;        /* best is within the bytes; else it is the least so far */
    size_t best_peak;
    double best_work;
    struct priced *back; /* values that may be taken back, the dearest for their bytes first */
    double *work;        /* per node: of making it again from what the backward reads */
    int nback;
    /* Per place of the forward. */
    size_t *crossing; /* bytes that are read behind it in the forward */
    int *until;       /* the last place in the forward that reads what is made there */
    double *made;     /* bytes until there of what the backward reads */
};

static int dearest(const void *a, const void *b)
{
    const struct priced *x = a, *y = b;
    if (x->price < y->price || x->price > y->price)
        return x->price < y->price ? 1 : -1;
    return x->value < y->value ? -1 : x->value > y->value;
}

/* May the forward value be made again? The sums of attention come with it and are small. */
static bool optional(const struct search *q, bs_value v)
{
    const struct bs__remade *r = &q->s->node[v];
    return r->forward && !r->fixed && bs_graph_is_live(q->s->g, v) &&
           bs_graph_node(q->s->g, v)->op != BS_OP_ATTENTION_LSE;
}

/* Prices by the work of making a value again from values that the backward reads, too. */
static void price_all(struct search *q)
{
    struct priced *back = q->back;
    double *work = q->work;
    int n = 0;
    for (bs_value v = 0; v < q->s->count; v++) {
        const struct bs_node *node = bs_graph_node(q->s->g, v);
        if (!optional(q, v))
            continue;
        work[v] = q->s->node[v].work;
        for (int i = 0; i < node->ninput; i++)
            if (!q->s->node[node->input[i]].read_back)
                work[v] += work[node->input[i]];
        if (q->s->node[v].read_back)
            back[n++] = (struct priced){work[v] / (double)q->s->node[v].bytes, v};
    }
    qsort(back, (size_t)n, sizeof *back, dearest);
    q->nback = n;
}

static void run(struct search *q)
{
    bs__schedule_run(q->s, q->keep);
}

/* Is what was run better than the best so far? Within the bytes the least work counts, above them the least bytes. */
static void note(struct search *q)
{
    const bool within = q->s->peak <= q->bytes;
    if (q->found && !within)
        return;
    if (q->found == within && q->best_peak > 0) {
        const bool less = within ? q->s->work < q->best_work : q->s->peak < q->best_peak;
        if (!less)
            return;
    }
    q->found = within;
    q->best_peak = q->s->peak;
    q->best_work = q->s->work;
    memcpy(q->best, q->keep, (size_t)q->s->count * sizeof *q->best);
}

/* Everything that the backward reads is kept. */
static void keep_all(struct search *q)
{
    for (bs_value v = 0; v < q->s->count; v++)
        q->keep[v] = !optional(q, v) || q->s->node[v].read_back;
}

/* What crosses each place of the forward on its way to readers there, and how much of what the backward reads was made until
   there. */
static void measure_forward(struct search *q)
{
    const struct bs__schedule *s = q->s;
    double sum = 0;
    for (bs_value v = 0; v < s->count; v++)
        q->keep[v] = !optional(q, v);
    run(q);
    for (int i = 0; i < s->nforward; i++) {
        const bs_value v = s->order[i];
        q->until[i] = s->last[v];
        if (optional(q, v)) {
            sum += s->node[v].read_back ? (double)s->node[v].bytes : 0;
            for (int k = i; k < q->until[i]; k++)
                q->crossing[k] += s->node[v].bytes;
        }
        q->made[i] = sum;
    }
}

/* The forward in `segments` parts of about equal bytes, and of it only what crosses from one to the next. */
static void keep_crossing(struct search *q, int segments)
{
    const struct bs__schedule *s = q->s;
    for (bs_value v = 0; v < s->count; v++)
        q->keep[v] = !optional(q, v);
    for (int part = 1; part < segments; part++) {
        int cut = -1;
        for (int i = 0; i < s->nforward; i++) {
            const double from_cut = q->made[i] * segments / q->made[s->nforward - 1] - part;
            if (from_cut >= -0.5 && from_cut < 0.5 && (cut < 0 || q->crossing[i] < q->crossing[cut]))
                cut = i;
        }
        for (int i = 0; i <= cut; i++)
            if (q->until[i] > cut)
                q->keep[s->order[i]] = true;
    }
}

/* Takes values back, the dearest first, as long as that is within the bytes. */
static void take_back(struct search *q)
{
    for (int i = 0; i < q->nback; i++) {
        const bs_value v = q->back[i].value;
        if (q->keep[v])
            continue;
        q->keep[v] = true;
        run(q);
        if (q->s->peak > q->bytes)
            q->keep[v] = false;
    }
    run(q);
    note(q);
}

/* Keeps one value more or one less where that lowers the peak, until it is low enough. Is it? */
static bool descend(struct search *q)
{
    run(q);
    for (size_t peak = q->s->peak, before = peak + 1; peak < before && peak > q->bytes;) {
        before = peak;
        for (bs_value v = 0; v < q->s->count && peak > q->bytes; v++) {
            if (!optional(q, v))
                continue;
            q->keep[v] = !q->keep[v];
            run(q);
            if (q->s->peak < peak)
                peak = q->s->peak;
            else
                q->keep[v] = !q->keep[v];
        }
    }
    run(q);
    note(q);
    return q->s->peak <= q->bytes;
}

struct start {
    int segments;
    size_t peak;
    double work;
};

/* Within the bytes first, of those the least work; else the least bytes. */
static bool precedes(const struct search *q, const struct start *a, const struct start *b)
{
    const bool in = a->peak <= q->bytes, other = b->peak <= q->bytes;
    if (in != other)
        return in;
    return in ? a->work < b->work : a->peak < b->peak;
}

/* The best starts, the best one first. */
static int make_starts(struct search *q, struct start *start)
{
    int count = 0;
    for (int segments = 1; segments <= MOST_SEGMENTS; segments++) {
        keep_crossing(q, segments);
        run(q);
        const struct start made = {segments, q->s->peak, q->s->work};
        int at = count < REFINED ? count++ : REFINED;
        for (; at > 0 && precedes(q, &made, &start[at - 1]); at--)
            if (at < REFINED)
                start[at] = start[at - 1];
        if (at < REFINED)
            start[at] = made;
    }
    return count;
}

static void choose(struct search *q)
{
    struct start start[REFINED];
    const int count = make_starts(q, start);
    for (int i = 0; i < count; i++) {
        keep_crossing(q, start[i].segments);
        if (start[i].peak <= q->bytes || (i < DESCENDED && descend(q)))
            take_back(q);
    }
}

static bs_status begin(struct search *q, size_t count, struct bs_err *err)
{
    q->keep = calloc(count, sizeof *q->keep);
    q->best = calloc(count, sizeof *q->best);
    q->back = calloc(count, sizeof *q->back);
    q->work = calloc(count, sizeof *q->work);
    q->crossing = calloc(count, sizeof *q->crossing);
    q->until = calloc(count, sizeof *q->until);
    q->made = calloc(count, sizeof *q->made);
    if (!q->keep || !q->best || !q->back || !q->work || !q->crossing || !q->until || !q->made)
        return BS_FAIL(err, BS_ENOMEM, "no memory to plan a graph of %zu operators", count);
    return BS_OK;
}

static void clear(struct search *q)
{
    bs__schedule_clear(q->s);
    free(q->keep);
    free(q->best);
    free(q->back);
    free(q->work);
    free(q->crossing);
    free(q->until);
    free(q->made);
}

bs_status bs_graph_recompute(const struct bs_graph *g, bs_value seed, enum bs_precision precision,
                             size_t bytes, struct bs_graph **out, struct bs_recompute *did,
                             struct bs_err *err)
{
    struct bs__schedule s;
    struct search q = {.s = &s, .bytes = bytes};
    const size_t count = (size_t)bs_graph_node_count(g);
    *out = NULL;
    bs_status rc = bs__schedule_create(g, seed, precision, &s, err);
    if (rc != BS_OK)
        return rc;
    if ((rc = begin(&q, count, err)) != BS_OK)
        goto cleanup;
    price_all(&q);
    measure_forward(&q);
    keep_all(&q);
    run(&q);
    note(&q);
    if (!q.found)
        choose(&q);
    bs__schedule_run(&s, q.best);
    if (did) {
        *did = (struct bs_recompute){.bytes = s.peak, .values = s.values, .work = s.work};
        for (int i = 0; i < s.nforward; i++)
            did->forward += s.node[s.order[i]].fixed ? 0 : s.node[s.order[i]].work;
    }
    rc = bs__schedule_write(&s, q.best, out, err);

cleanup:
    clear(&q);
    return rc;
}

/* What to ask the model for: it knows neither scratch memory nor gaps, so what was too much is asked for less, and more than that
   from attempt to attempt; the last one is for the least. */
static size_t next_target(size_t target, size_t over, int attempt)
{
    const size_t less = over * (size_t)attempt + target / 64;
    return attempt < ATTEMPTS && less < target ? target - less : 0;
}

bs_status bs_executable_create_within(struct bs_device *dev, const struct bs_graph *g, bs_value seed,
                                      struct bs_params *params, enum bs_precision precision, size_t bytes,
                                      struct bs_executable **out, struct bs_recompute *did,
                                      struct bs_err *err)
{
    struct bs_executable *exe = NULL;
    struct bs_recompute made = {.bytes = 0};
    size_t target = bytes, least = SIZE_MAX;
    bool tried_all = false;
    *out = NULL;
    bs_status rc = bs_executable_create(dev, g, params, precision, &exe, err);
    for (int attempt = 0; rc == BS_OK && bs_executable_arena_bytes(exe) > bytes; attempt++) {
        const size_t arena = bs_executable_arena_bytes(exe);
        struct bs_graph *again = NULL;
        least = arena < least ? arena : least;
        bs_executable_destroy(exe);
        exe = NULL;
        if (tried_all) {
            made = (struct bs_recompute){.bytes = least};
            rc = BS_FAIL(err, BS_ENOMEM,
                         "it needs %zu MiB even when values of the forward are made again for the backward; "
                         "%zu MiB are accepted",
                         (least >> 20) + 1, bytes >> 20);
            break;
        }
        if (attempt > 0)
            target = made.bytes <= target ? next_target(target, arena - bytes, attempt) : 0;
        tried_all = target == 0;
        if ((rc = bs_graph_recompute(g, seed, precision, target, &again, &made, err)) != BS_OK)
            break;
        rc = bs_executable_create(dev, again, params, precision, &exe, err);
        bs_graph_destroy(again);
    }
    if (did)
        *did = made;
    *out = exe;
    return rc;
}
