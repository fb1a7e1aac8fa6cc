/* Connected components with the 8-neighbourhood: one scan that gives provisional ids and joins them, one that writes the
   final ids. A provisional id is born at the first pixel of something not seen before, and joined ids keep the smaller,
   so roots in increasing order are components in row-major order of their first pixel. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include "kernels/base/checked.h"

#include <stdlib.h>
#include <string.h>

/* Union-find over provisional ids; parent[id] <= id always. */
struct forest {
    uint32_t *parent;
    size_t count, room; /* ids 0..count-1 exist; 0 is background */
};

static uint32_t find(uint32_t *parent, uint32_t id)
{
    while (parent[id] != id) {
        parent[id] = parent[parent[id]];
        id = parent[id];
    }
    return id;
}

static void join(struct forest *f, uint32_t a, uint32_t b)
{
    a = find(f->parent, a);
    b = find(f->parent, b);
    if (a < b)
        f->parent[b] = a;
    else
        f->parent[a] = b;
}

static bs_status new_id(struct forest *f, uint32_t *id, struct bs_err *err)
{
    if (f->count >= BS__OUTSIDE)
        return BS_FAIL(err, BS_ELIMIT, "more than %u pieces of components in one image", BS__OUTSIDE - 1);
    if (f->count == f->room) {
        size_t room = f->room ? f->room + f->room / 2 : 4096;
        uint32_t *grown = realloc(f->parent, room * sizeof *grown);
        if (!grown)
            return BS_FAIL(err, BS_ENOMEM, "no memory for %zu pieces of components", room);
        f->parent = grown;
        f->room = room;
    }
    *id = (uint32_t)f->count;
    f->parent[f->count] = *id;
    f->count++;
    return BS_OK;
}

/* Whether pixel q, already numbered, belongs with pixel p: both foreground, and of equal value when values are given. */
static inline bool together(const uint32_t *values, const uint32_t *ids, size_t q, size_t p)
{
    return values ? values[q] == values[p] : ids[q] != 0;
}

/* Numbers row y. Of the four neighbours seen before, those that touch one another are joined already, so at most one
   join is needed: the upper one speaks for all; without it, the left or upper left one and the upper right one may meet
   here for the first time. */
static inline bs_status scan_row(struct forest *f, const uint32_t *values, uint32_t *ids, size_t y, size_t w,
                                 struct bs_err *err)
{
    bs_status rc;
    for (size_t x = 0; x < w; x++) {
        size_t p = y * w + x;
        if ((values ? values[p] : ids[p]) == 0) {
            ids[p] = 0;
            continue;
        }
        if (y > 0 && together(values, ids, p - w, p)) {
            ids[p] = ids[p - w];
            continue;
        }
        uint32_t id = 0;
        if (x > 0 && together(values, ids, p - 1, p))
            id = ids[p - 1];
        else if (y > 0 && x > 0 && together(values, ids, p - w - 1, p))
            id = ids[p - w - 1];
        if (y > 0 && x + 1 < w && together(values, ids, p - w + 1, p)) {
            if (!id)
                id = ids[p - w + 1];
            else if (id != ids[p - w + 1])
                join(f, id, ids[p - w + 1]);
        }
        if (!id && (rc = new_id(f, &id, err)) != BS_OK)
            return rc;
        ids[p] = id;
    }
    return BS_OK;
}

/* values NULL: ids holds flags on entry. */
static bs_status number_components(const uint32_t *values, uint32_t *ids, size_t h, size_t w, uint32_t *count,
                                   const struct bs_cancel *cancel, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct forest f = {0};
    size_t pixels;
    uint32_t background, next = 0;

    *count = 0;
    if ((rc = bs__pixels(h, w, &pixels, err)) != BS_OK || (rc = new_id(&f, &background, err)) != BS_OK)
        goto cleanup;
    for (size_t y = 0; y < h; y++) {
        if (bs_cancel_requested(cancel)) {
            rc = bs__cancelled(err);
            goto cleanup;
        }
        rc = values ? scan_row(&f, values, ids, y, w, err) : scan_row(&f, NULL, ids, y, w, err);
        if (rc != BS_OK)
            goto cleanup;
    }
    /* Parents are smaller than their children, so one pass in increasing order meets every parent in its final form. */
    for (size_t id = 1; id < f.count; id++)
        f.parent[id] = f.parent[id] == id ? ++next : f.parent[f.parent[id]];
    for (size_t y = 0; y < h; y++) {
        if (bs_cancel_requested(cancel)) {
            rc = bs__cancelled(err);
            goto cleanup;
        }
        for (size_t x = 0; x < w; x++)
            ids[y * w + x] = f.parent[ids[y * w + x]];
    }
    *count = next;
cleanup:
    free(f.parent);
    return rc;
}

bs_status bs__components_in_place(uint32_t *labels, size_t h, size_t w, uint32_t *count,
                                  const struct bs_cancel *cancel, struct bs_err *err)
{
    return number_components(NULL, labels, h, w, count, cancel, err);
}

bs_status bs_components_binary(const uint8_t *in, size_t h, size_t w, uint32_t *out, uint32_t *count,
                               struct bs_err *err)
{
    size_t pixels;
    bs_status rc = bs__pixels(h, w, &pixels, err);
    if (rc != BS_OK)
        return rc;
    for (size_t i = 0; i < pixels; i++)
        out[i] = in[i] != 0;
    return number_components(NULL, out, h, w, count, NULL, err);
}

bs_status bs_components_labels(const uint32_t *in, size_t h, size_t w, uint32_t *out, uint32_t *count,
                               struct bs_err *err)
{
    return number_components(in, out, h, w, count, NULL, err);
}
