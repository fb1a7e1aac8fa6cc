/* Linking of neighbouring planes; see link.h. Pixels are collected as runs of equal pairs of ids, which are sorted and
   added up: memory goes with the outlines of objects, not with their ids. */
#include "model/instances/link.h"

#include <stdlib.h>

__extension__ typedef unsigned __int128 wide;

/* How often a pair of ids was seen. before 0: not kept. */
struct run {
    uint32_t before, now;
    uint64_t pixels;
};

struct runs {
    struct run *at;
    size_t n, cap;
};

/* Objects that may be one. */
struct candidate {
    uint32_t before, now;
    size_t group; /* which object of the plane before, counted */
    uint64_t both, either;
};

static bool push(struct runs *r, uint32_t before, uint32_t now, uint64_t pixels)
{
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 1024;
        struct run *more = realloc(r->at, cap * sizeof *more);
        if (!more)
            return false;
        r->at = more;
        r->cap = cap;
    }
    r->at[r->n++] = (struct run){before, now, pixels};
    return true;
}

static int by_ids(const void *a, const void *b)
{
    const struct run *p = a, *q = b;
    if (p->before != q->before)
        return p->before < q->before ? -1 : 1;
    return p->now < q->now ? -1 : p->now > q->now;
}

/* Runs of equal pairs become one. */
static void add_up(struct runs *r)
{
    size_t n = 0;
    if (r->n == 0)
        return;
    qsort(r->at, r->n, sizeof *r->at, by_ids);
    for (size_t i = 0; i < r->n; i++) {
        if (n > 0 && by_ids(&r->at[n - 1], &r->at[i]) == 0)
            r->at[n - 1].pixels += r->at[i].pixels;
        else
            r->at[n++] = r->at[i];
    }
    r->n = n;
}

static int best_first(const void *a, const void *b)
{
    const struct candidate *p = a, *q = b;
    wide left = (wide)p->both * q->either, right = (wide)q->both * p->either;
    if (left != right)
        return left > right ? -1 : 1;
    if (p->before != q->before)
        return p->before < q->before ? -1 : 1;
    return p->now < q->now ? -1 : p->now > q->now;
}

/* All pairs of ids and their pixels, and the sizes of the objects of this plane. */
static bool collect(const uint32_t *before, const uint32_t *now, size_t pixels, struct runs *runs,
                    uint64_t *size)
{
    for (size_t i = 0; i < pixels;) {
        size_t from = i;
        uint32_t b = before[i], n = now[i];
        while (i < pixels && before[i] == b && now[i] == n)
            i++;
        size[n] += i - from;
        if (b != 0 && !push(runs, b, n, i - from))
            return false;
    }
    add_up(runs);
    return true;
}

/* Pairs that overlap enough; returns how many. Runs of one object of the plane before stand together, its pixels outside
   all objects of this plane among them. *groups: how many such objects there are. */
static size_t choose(const struct runs *runs, const uint64_t *size, double overlap, struct candidate *out,
                     size_t *groups)
{
    size_t n = 0;
    *groups = 0;
    for (size_t first = 0, next; first < runs->n; first = next) {
        uint64_t whole = 0;
        for (next = first; next < runs->n && runs->at[next].before == runs->at[first].before; next++)
            whole += runs->at[next].pixels;
        for (size_t i = first; i < next; i++) {
            const struct run *r = &runs->at[i];
            uint64_t either = whole + (r->now ? size[r->now] : 0) - r->pixels;
            if (r->now != 0 && (double)r->pixels / (double)either >= overlap)
                out[n++] = (struct candidate){r->before, r->now, *groups, r->pixels, either};
        }
        ++*groups;
    }
    return n;
}

bs_status bs_link_planes(const uint32_t *before, const uint32_t *now, size_t pixels, uint32_t count,
                         double overlap, uint32_t *partner, struct bs_err *err)
{
    struct runs runs = {NULL, 0, 0};
    struct candidate *pair = NULL;
    uint64_t *size = calloc((size_t)count + 1, sizeof *size);
    bool *taken = NULL;
    size_t n, groups;
    bs_status rc = BS_OK;

    if (!(overlap >= 0 && overlap <= 1)) {
        rc = BS_FAIL(err, BS_EINVAL, "link_overlap is %g; 0 to 1 is accepted", overlap);
        goto cleanup;
    }
    for (size_t i = 0; i <= count; i++)
        partner[i] = 0;
    for (size_t i = 0; i < pixels; i++) {
        if (now[i] > count) {
            rc = BS_FAIL(err, BS_EINVAL, "label %u at pixel %zu: ids may be 1 to %u", now[i], i, count);
            goto cleanup;
        }
    }
    if (!size || !collect(before, now, pixels, &runs, size) ||
        !(pair = malloc((runs.n + 1) * sizeof *pair)) || !(taken = calloc(runs.n + 1, sizeof *taken))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to link planes of %zu pixels", pixels);
        goto cleanup;
    }
    n = choose(&runs, size, overlap, pair, &groups);
    qsort(pair, n, sizeof *pair, best_first);
    for (size_t i = 0; i < n; i++) {
        if (taken[pair[i].group] || partner[pair[i].now])
            continue;
        taken[pair[i].group] = true;
        partner[pair[i].now] = pair[i].before;
    }
cleanup:
    free(runs.at);
    free(pair);
    free(taken);
    free(size);
    return rc;
}
