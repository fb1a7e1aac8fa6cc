/* Mean segmentation accuracy as elf.evaluation defines it. From the table of overlaps: IoU of every pair of objects that
   touch (background counts in the unions, never as an object); at each threshold the largest set of disjoint pairs with
   IoU >= threshold are the true positives TP, and the accuracy is TP / (TP + FP + FN).

   At thresholds of one half and more an object that fits two others fits them with exactly one half each and is their
   union, so the pairs form stars, and taking any pair whose two objects are still free finds the largest set.
   Pure; any thread. */
#include "model/instances/evaluate.h"
#include "model/instances/instances_internal.h"

#include <stdlib.h>
#include <string.h>

/* Pixels that the two labels have in common. */
struct pair {
    uint32_t predicted, expected;
    uint64_t pixels; /* 0: an empty slot of the table */
};

/* Open addressing; at most half full. */
struct table {
    struct pair *slot;
    size_t room, used; /* room is a power of two */
};

static size_t place(const struct table *t, uint32_t predicted, uint32_t expected)
{
    uint64_t key = ((uint64_t)predicted << 32 | expected) * 0x9E3779B97F4A7C15u;
    size_t i = (size_t)(key ^ key >> 32) & (t->room - 1);
    while (t->slot[i].pixels && (t->slot[i].predicted != predicted || t->slot[i].expected != expected))
        i = (i + 1) & (t->room - 1);
    return i;
}

static bool grow(struct table *t)
{
    struct table bigger = {.room = t->room ? 2 * t->room : 1024, .used = t->used};
    if (!(bigger.slot = calloc(bigger.room, sizeof *bigger.slot)))
        return false;
    for (size_t i = 0; i < t->room; i++)
        if (t->slot[i].pixels)
            bigger.slot[place(&bigger, t->slot[i].predicted, t->slot[i].expected)] = t->slot[i];
    free(t->slot);
    *t = bigger;
    return true;
}

static bool add(struct table *t, uint32_t predicted, uint32_t expected, uint64_t pixels)
{
    if (2 * (t->used + 1) > t->room && !grow(t))
        return false;
    struct pair *p = &t->slot[place(t, predicted, expected)];
    if (!p->pixels) {
        p->predicted = predicted;
        p->expected = expected;
        t->used++;
    }
    p->pixels += pixels;
    return true;
}

/* Neighbours mostly have the same pair: runs are counted before they are looked up. */
static bool count_overlaps(const uint32_t *predicted, const uint32_t *expected, size_t pixels,
                           struct table *t)
{
    size_t start = 0;
    for (size_t i = 1; i <= pixels; i++)
        if (i == pixels || predicted[i] != predicted[start] || expected[i] != expected[start]) {
            if (!add(t, predicted[start], expected[start], i - start))
                return false;
            start = i;
        }
    return true;
}

static int by_predicted(const void *a, const void *b)
{
    const struct pair *p = a, *q = b;
    if (p->predicted != q->predicted)
        return p->predicted < q->predicted ? -1 : 1;
    return p->expected < q->expected ? -1 : p->expected > q->expected;
}

static int by_expected(const void *a, const void *b)
{
    const struct pair *p = a, *q = b;
    if (p->expected != q->expected)
        return p->expected < q->expected ? -1 : 1;
    return p->predicted < q->predicted ? -1 : p->predicted > q->predicted;
}

/* One label of one image. */
struct side {
    uint32_t id;
    bool taken;
    uint64_t area;
};

/* Sides in increasing order of id, from pairs sorted by that id. */
static size_t collect(const struct pair *pair, size_t n, bool predicted, struct side *side)
{
    size_t sides = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t id = predicted ? pair[i].predicted : pair[i].expected;
        if (sides == 0 || side[sides - 1].id != id)
            side[sides++] = (struct side){.id = id};
        side[sides - 1].area += pair[i].pixels;
    }
    return sides;
}

static struct side *side_of(struct side *side, size_t n, uint32_t id)
{
    size_t low = 0, high = n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (side[middle].id <= id)
            low = middle;
        else
            high = middle;
    }
    return &side[low];
}

/* A pair of objects whose IoU is at least one half. */
struct match {
    struct side *predicted, *expected;
    double iou;
};

static uint32_t true_positives(struct match *match, size_t n, double threshold)
{
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++)
        match[i].predicted->taken = match[i].expected->taken = false;
    for (size_t i = 0; i < n; i++)
        if (match[i].iou >= threshold && !match[i].predicted->taken && !match[i].expected->taken) {
            match[i].predicted->taken = match[i].expected->taken = true;
            found++;
        }
    return found;
}

static double ratio(double part, double whole)
{
    return part > 0 ? part / whole : 0;
}

/* The mean, added up in the order in which NumPy adds ten numbers, so that figures agree to the last digit. */
static double mean_of_ten(const double *a)
{
    double sum = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]));
    return (sum + a[8] + a[9]) / BS_IOU_THRESHOLDS;
}

static void score(struct match *match, size_t matches, struct bs_accuracy *out)
{
    for (int i = 0; i < BS_IOU_THRESHOLDS; i++) {
        /* numpy.arange's figures: 0.6000000000000001 and so on; they decide IoUs like 3 / 5. */
        double tp = true_positives(match, matches, 0.5 + i * (0.55 - 0.5));
        out->at[i] = ratio(tp, out->predicted + (double)out->expected - tp);
        if (i == 0) {
            out->precision50 = ratio(tp, out->predicted);
            out->recall50 = ratio(tp, out->expected);
            out->f1_50 = ratio(2 * tp, out->predicted + (double)out->expected);
        }
    }
    out->msa = mean_of_ten(out->at);
}

/* Expected objects without those below min_size, against themselves: nothing false, the small ones missed. */
static void ceiling(const struct side *expected, size_t n, int64_t min_size, struct bs_accuracy *out)
{
    out->size_ceiling = 1;
    if (min_size == 0)
        return;
    for (size_t i = 0; i < n; i++)
        out->expected_below_min_size += expected[i].id != 0 && expected[i].area < (uint64_t)min_size;
    out->size_ceiling = ratio(out->expected - (double)out->expected_below_min_size, out->expected);
}

bs_status bs_evaluate(const uint32_t *predicted, const uint32_t *expected, size_t height, size_t width,
                      int64_t min_size, struct bs_accuracy *out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct table table = {0};
    struct pair *pair = NULL;
    struct side *side_p = NULL, *side_e = NULL;
    struct match *match = NULL;
    size_t pixels, n = 0, sides_p, sides_e, matches = 0;

    *out = (struct bs_accuracy){0};
    if ((rc = bs__pixels(height, width, &pixels, err)) != BS_OK)
        goto cleanup;
    if (min_size < 0) {
        rc = BS_FAIL(err, BS_EINVAL, "min_size %lld is negative: 0 or more pixels are accepted",
                     (long long)min_size);
        goto cleanup;
    }
    if (pixels && !count_overlaps(predicted, expected, pixels, &table)) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the overlaps of %zu x %zu pixels", height, width);
        goto cleanup;
    }
    pair = malloc((table.used + 1) * sizeof *pair);
    side_p = malloc((table.used + 1) * sizeof *side_p);
    side_e = malloc((table.used + 1) * sizeof *side_e);
    match = malloc((table.used + 1) * sizeof *match);
    if (!pair || !side_p || !side_e || !match) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu overlaps", table.used);
        goto cleanup;
    }
    for (size_t i = 0; i < table.room; i++)
        if (table.slot[i].pixels)
            pair[n++] = table.slot[i];
    qsort(pair, n, sizeof *pair, by_predicted);
    sides_p = collect(pair, n, true, side_p);
    qsort(pair, n, sizeof *pair, by_expected);
    sides_e = collect(pair, n, false, side_e);
    out->predicted = (uint32_t)sides_p - (sides_p > 0 && side_p[0].id == 0);
    out->expected = (uint32_t)sides_e - (sides_e > 0 && side_e[0].id == 0);
    out->both_empty = out->predicted == 0 && out->expected == 0;
    for (size_t i = 0; i < n; i++) {
        if (pair[i].predicted == 0 || pair[i].expected == 0)
            continue;
        struct match m = {side_of(side_p, sides_p, pair[i].predicted),
                          side_of(side_e, sides_e, pair[i].expected), 0};
        m.iou = (double)pair[i].pixels / (double)(m.predicted->area + m.expected->area - pair[i].pixels);
        if (m.iou >= 0.5)
            match[matches++] = m;
    }
    score(match, matches, out);
    ceiling(side_e, sides_e, min_size, out);
cleanup:
    free(table.slot);
    free(pair);
    free(side_p);
    free(side_e);
    free(match);
    return rc;
}
