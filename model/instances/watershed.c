/* Seeded watershed by flooding (Meyer): 4-neighbourhood, heights quantised to 65,536 levels over the range inside the mask.

   Order, which decides ties, and is the same on every machine and for every number of threads:
     1. Pixels wait in one first-in-first-out queue per level; the lowest level that has any is served first.
     2. Seed pixels enter in row-major order, each at its own level.
     3. A served pixel gives its label to those of its neighbours that are free, in the order up, left, right, down; each
        enters at its own level, or at the level being served when that is higher.
   Nothing else enters into it, and labels never cross the mask, so each connected piece of the mask is flooded as if it
   were alone.

   The queues are lists of small chunks from one pool, so memory follows the front of the flood (about 5.6 bytes a waiting
   pixel), not the image. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include "kernels/base/pages.h"

#include <math.h>
#include <stdlib.h>

#define CHUNK_PIXELS          23
#define SLAB_CHUNKS           8192
#define SERVED_BETWEEN_CHECKS 16384
/* How far ahead in its chunk a pixel's surroundings are asked for; the front is scattered over the whole image. */
#define PREFETCH_AHEAD 6

/* Part of one level's queue: 40-bit pixel numbers, in order. 128 bytes, two cache lines. */
struct chunk {
    struct chunk *next;
    uint32_t low[CHUNK_PIXELS];
    uint8_t high[CHUNK_PIXELS];
    uint8_t count;
};

/* Waiting pixels of one level. */
struct level_queue {
    struct chunk *first, *last; /* NULL when nothing waits */
};

struct slab {
    struct slab *next;
    struct chunk chunk[SLAB_CHUNKS];
};

struct front {
    struct level_queue *level; /* BS__LEVELS */
    uint64_t
        waiting[BS__LEVELS / 64]; /* a bit for every level that has had entries since it was last served */
    struct chunk *spare;          /* chunks to use again */
    struct slab *slabs;
    size_t used; /* chunks handed out of the newest slab */
};

static struct chunk *take_chunk(struct front *f)
{
    struct chunk *c = f->spare;
    if (c) {
        f->spare = c->next;
    } else {
        if (!f->slabs || f->used == SLAB_CHUNKS) {
            struct slab *slab = malloc(sizeof *slab);
            if (!slab)
                return NULL;
            slab->next = f->slabs;
            f->slabs = slab;
            f->used = 0;
        }
        c = &f->slabs->chunk[f->used++];
    }
    c->next = NULL;
    c->count = 0;
    return c;
}

static inline bool enter(struct front *f, size_t level, size_t pixel)
{
    struct level_queue *q = &f->level[level];
    struct chunk *c = q->last;
    if (!c || c->count == CHUNK_PIXELS) {
        struct chunk *fresh = take_chunk(f);
        if (!fresh)
            return false;
        if (c)
            c->next = fresh;
        else {
            q->first = fresh;
            f->waiting[level / 64] |= (uint64_t)1 << level % 64;
        }
        q->last = c = fresh;
    }
    c->low[c->count] = (uint32_t)pixel;
    c->high[c->count] = (uint8_t)(pixel >> 32);
    c->count++;
    return true;
}

static inline size_t chunk_pixel(const struct chunk *c, unsigned i)
{
    return (size_t)c->high[i] << 32 | c->low[i];
}

static void free_front(struct front *f)
{
    while (f->slabs) {
        struct slab *next = f->slabs->next;
        free(f->slabs);
        f->slabs = next;
    }
    free(f->level);
}

/* The image being flooded. */
struct flood {
    const uint16_t *level;
    uint32_t *labels;
    size_t pixels, w;
    struct front front;
};

static inline bool give(struct flood *f, size_t pixel, uint32_t label, size_t served_level)
{
    f->labels[pixel] = label;
    size_t level = f->level[pixel];
    return enter(&f->front, level < served_level ? served_level : level, pixel);
}

/* The division that finds the column is done only where the neighbour is free: most are not. */
static inline bool serve(struct flood *f, size_t p, size_t level)
{
    uint32_t *labels = f->labels, label = labels[p];
    size_t w = f->w;
    if (p >= w && labels[p - w] == 0 && !give(f, p - w, label, level))
        return false;
    if (p > 0 && labels[p - 1] == 0 && p % w != 0 && !give(f, p - 1, label, level))
        return false;
    /* NOLINTNEXTLINE(clang-analyzer-core.DivideZero): a pixel that waits lies in a row of w > 0 */
    if (p + 1 < f->pixels && labels[p + 1] == 0 && (p + 1) % w != 0 && !give(f, p + 1, label, level))
        return false;
    if (f->pixels - p > w && labels[p + w] == 0 && !give(f, p + w, label, level))
        return false;
    return true;
}

static inline void ask_for(const struct flood *f, size_t p)
{
    __builtin_prefetch(&f->labels[p]);
    __builtin_prefetch(&f->level[p]);
    if (p >= f->w) {
        __builtin_prefetch(&f->labels[p - f->w]);
        __builtin_prefetch(&f->level[p - f->w]);
    }
    if (f->pixels - p > f->w) {
        __builtin_prefetch(&f->labels[p + f->w]);
        __builtin_prefetch(&f->level[p + f->w]);
    }
}

/* A seed pixel all of whose neighbours are taken has nothing to give, now or later, and need not wait. */
static bool at_the_front(const struct flood *f, size_t p)
{
    size_t w = f->w;
    const uint32_t *labels = f->labels;
    return (p >= w && labels[p - w] == 0) || (p > 0 && labels[p - 1] == 0) ||
           (p + 1 < f->pixels && labels[p + 1] == 0) || (f->pixels - p > w && labels[p + w] == 0);
}

static bs_status enter_seeds(struct flood *f, const struct bs_cancel *cancel, struct bs_err *err)
{
    for (size_t p = 0; p < f->pixels; p++) {
        if (p % ((size_t)1 << 20) == 0 && bs_cancel_requested(cancel))
            return bs__cancelled(err);
        uint32_t label = f->labels[p];
        if (label == 0 || label == BS__OUTSIDE || !at_the_front(f, p))
            continue;
        if (!enter(&f->front, f->level[p], p))
            return BS_FAIL(err, BS_ENOMEM, "no memory for the front of the watershed");
    }
    return BS_OK;
}

static bs_status serve_level(struct flood *f, size_t level, const struct bs_cancel *cancel,
                             struct bs_err *err, size_t *served)
{
    struct level_queue *q = &f->front.level[level];
    while (q->first) {
        struct chunk *c = q->first;
        /* count may grow while the last chunk is served. */
        for (unsigned i = 0; i < c->count; i++) {
            if (i == 0)
                for (unsigned k = 0; k < PREFETCH_AHEAD && k < c->count; k++)
                    ask_for(f, chunk_pixel(c, k));
            if (i + PREFETCH_AHEAD < c->count)
                ask_for(f, chunk_pixel(c, i + PREFETCH_AHEAD));
            if (!serve(f, chunk_pixel(c, i), level))
                return BS_FAIL(err, BS_ENOMEM, "no memory for the front of the watershed");
            if (++*served % SERVED_BETWEEN_CHECKS == 0 && bs_cancel_requested(cancel))
                return bs__cancelled(err);
        }
        q->first = c->next;
        if (!q->first)
            q->last = NULL;
        c->next = f->front.spare;
        f->front.spare = c;
    }
    return BS_OK;
}

bs_status bs__flood(const uint16_t *level, size_t h, size_t w, uint32_t *labels,
                    const struct bs_cancel *cancel, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct flood f = {.level = level, .labels = labels, .w = w};
    size_t served = 0;

    if ((rc = bs__pixels(h, w, &f.pixels, err)) != BS_OK || f.pixels == 0)
        goto cleanup;
    if (!(f.front.level = calloc(BS__LEVELS, sizeof *f.front.level))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the levels of the watershed");
        goto cleanup;
    }
    if ((rc = enter_seeds(&f, cancel, err)) != BS_OK)
        goto cleanup;
    for (size_t word = 0; word < BS__LEVELS / 64; word++)
        while (f.front.waiting[word]) { /* entries never go below the level being served */
            size_t lowest = word * 64 + (size_t)__builtin_ctzll(f.front.waiting[word]);
            if ((rc = serve_level(&f, lowest, cancel, err, &served)) != BS_OK)
                goto cleanup;
            f.front.waiting[word] &= ~((uint64_t)1 << lowest % 64);
        }
cleanup:
    free_front(&f.front);
    return rc;
}

bs_status bs_watershed(const float *height_map, size_t h, size_t w, const uint8_t *mask, uint32_t *labels,
                       const struct bs_cancel *cancel, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs__range range = {INFINITY, -INFINITY};
    uint16_t *level = NULL;
    size_t pixels;

    if ((rc = bs__pixels(h, w, &pixels, err)) != BS_OK || pixels == 0)
        goto cleanup;
    if (!(level = bs_pages_alloc(pixels * sizeof *level))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the levels of %zu x %zu pixels", h, w);
        goto cleanup;
    }
    for (size_t i = 0; i < pixels; i++) {
        if (labels[i] == BS__OUTSIDE) {
            rc = BS_FAIL(err, BS_EINVAL, "seed id %u: ids may be at most %u", BS__OUTSIDE, BS__OUTSIDE - 1);
            goto cleanup;
        }
        if (!mask || mask[i])
            bs__range_add(&range, height_map[i]);
    }
    struct bs__quantiser quantiser = bs__quantiser_of(&range);
    for (size_t i = 0; i < pixels; i++) {
        if (mask && !mask[i])
            labels[i] = BS__OUTSIDE;
        level[i] = bs__level(&quantiser, height_map[i]);
    }
    rc = bs__flood(level, h, w, labels, cancel, err);
    for (size_t i = 0; i < pixels; i++)
        if (labels[i] == BS__OUTSIDE)
            labels[i] = 0;
cleanup:
    if (level)
        bs_pages_free(level, pixels * sizeof *level);
    return rc;
}
