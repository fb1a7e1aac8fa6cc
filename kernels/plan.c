/* Placement of buffers by liveness; see plan.h. */
#include "kernels/plan.h"

#include "kernels/base/checked.h"

#include <stdint.h>
#include <stdlib.h>

static bool used(const struct bs_plan_buffer *b)
{
    return b->last >= b->first;
}

static bool live_together(const struct bs_plan_buffer *a, const struct bs_plan_buffer *b)
{
    return used(a) && used(b) && a->first <= b->last && b->first <= a->last;
}

/* Is every parent real, free of cycles, and large enough for its children? */
static bs_status check_parents(const struct bs_plan_buffer *b, int count, struct bs_err *err)
{
    for (int i = 0; i < count; i++) {
        int p = b[i].parent;
        if (p == BS_NO_PARENT)
            continue;
        if (p < 0 || p >= count)
            return BS_FAIL(err, BS_EINTERNAL, "buffer %d lies in buffer %d of %d", i, p, count);
        size_t end = 0;
        if (!bs_add(b[i].parent_offset, b[i].bytes, &end) || end > b[p].bytes)
            return BS_FAIL(err, BS_EINTERNAL,
                           "buffer %d (%zu bytes at %zu) does not fit in buffer %d of %zu bytes", i,
                           b[i].bytes, b[i].parent_offset, p, b[p].bytes);
        int depth = 0;
        for (int up = p; up != BS_NO_PARENT && up >= 0 && up < count; up = b[up].parent)
            if (++depth > count)
                return BS_FAIL(err, BS_EINTERNAL, "buffer %d lies inside itself", i);
    }
    return BS_OK;
}

/* Two children that live at the same time must not share bytes: whoever planned it would overwrite a live value. */
static bs_status check_siblings(const struct bs_plan_buffer *b, int count, struct bs_err *err)
{
    for (int i = 0; i < count; i++) {
        if (b[i].parent == BS_NO_PARENT || !b[i].bytes)
            continue;
        for (int j = i + 1; j < count; j++) {
            if (b[j].parent != b[i].parent || !b[j].bytes || !live_together(&b[i], &b[j]))
                continue;
            if (b[i].parent_offset < b[j].parent_offset + b[j].bytes &&
                b[j].parent_offset < b[i].parent_offset + b[i].bytes)
                return BS_FAIL(err, BS_EINTERNAL,
                               "buffers %d and %d share bytes of buffer %d while both are live", i, j,
                               b[i].parent);
        }
    }
    return BS_OK;
}

/* A parent lives as long as its children; repeated until nothing changes, for parents of parents. */
static void extend_parents(struct bs_plan_buffer *b, int count)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < count; i++) {
            if (b[i].parent == BS_NO_PARENT || !used(&b[i]))
                continue;
            struct bs_plan_buffer *p = &b[b[i].parent];
            if (!used(p)) {
                p->first = b[i].first;
                p->last = b[i].last;
                changed = true;
            }
            if (b[i].first < p->first) {
                p->first = b[i].first;
                changed = true;
            }
            if (b[i].last > p->last) {
                p->last = b[i].last;
                changed = true;
            }
        }
    }
}

/* The lowest free offset for b among the placed ones, which are sorted by offset. */
static bs_status lowest_free(const struct bs_plan_buffer *all, const int *placed, int nplaced,
                             const struct bs_plan_buffer *b, size_t *offset, size_t *end, struct bs_err *err)
{
    size_t at = 0, stop = 0;
    for (int i = 0; i < nplaced; i++) {
        const struct bs_plan_buffer *p = &all[placed[i]];
        if (!live_together(p, b))
            continue;
        if (bs_add(at, b->bytes, &stop) && stop <= p->offset)
            break;
        size_t behind;
        if (!bs_add(p->offset, p->bytes, &behind) || !bs_round_up(behind, BS_PLAN_ALIGN, &behind))
            return BS_FAIL(err, BS_ELIMIT, "the buffers of the plan need more than %zu bytes", SIZE_MAX);
        if (behind > at)
            at = behind;
    }
    if (!bs_add(at, b->bytes, &stop))
        return BS_FAIL(err, BS_ELIMIT, "the buffers of the plan need more than %zu bytes", SIZE_MAX);
    *offset = at;
    *end = stop;
    return BS_OK;
}

struct order {
    size_t bytes;
    int first, index;
};

/* Largest first; equal sizes in order of birth, then of number, so that a plan is the same on every machine. */
static int by_size(const void *a, const void *b)
{
    const struct order *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    if (x->first != y->first)
        return x->first < y->first ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

bs_status bs_plan_place(struct bs_plan_buffer *buffers, int count, size_t *arena_bytes, struct bs_err *err)
{
    BS_ASSERT(count >= 0);
    bs_status rc;
    struct order *order = NULL;
    int *placed = NULL;
    size_t peak = 0;
    *arena_bytes = 0;
    if ((rc = check_parents(buffers, count, err)) != BS_OK)
        goto cleanup;
    extend_parents(buffers, count);
    if ((rc = check_siblings(buffers, count, err)) != BS_OK)
        goto cleanup;

    order = calloc((size_t)count + 1, sizeof *order);
    placed = calloc((size_t)count + 1, sizeof *placed);
    if (!order || !placed) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to plan %d buffers", count);
        goto cleanup;
    }
    int nroot = 0, nplaced = 0;
    for (int i = 0; i < count; i++) {
        buffers[i].offset = 0;
        if (buffers[i].parent == BS_NO_PARENT && used(&buffers[i]) && buffers[i].bytes)
            order[nroot++] = (struct order){buffers[i].bytes, buffers[i].first, i};
    }
    qsort(order, (size_t)nroot, sizeof *order, by_size);
    for (int i = 0; i < nroot; i++) {
        struct bs_plan_buffer *b = &buffers[order[i].index];
        size_t end = 0;
        if ((rc = lowest_free(buffers, placed, nplaced, b, &b->offset, &end, err)) != BS_OK)
            goto cleanup;
        if (end > peak)
            peak = end;
        int k = nplaced++;
        for (; k > 0 && buffers[placed[k - 1]].offset > b->offset; k--)
            placed[k] = placed[k - 1];
        placed[k] = order[i].index;
    }
    for (int i = 0; i < count; i++) {
        size_t offset = 0;
        int at = i;
        for (; buffers[at].parent != BS_NO_PARENT; at = buffers[at].parent)
            offset += buffers[at].parent_offset;
        if (at != i)
            buffers[i].offset = buffers[at].offset + offset;
    }
    if (!bs_round_up(peak, BS_PLAN_ALIGN, arena_bytes))
        rc = BS_FAIL(err, BS_ELIMIT, "the buffers of the plan need more than %zu bytes", SIZE_MAX);

cleanup:
    free(order);
    free(placed);
    return rc;
}
