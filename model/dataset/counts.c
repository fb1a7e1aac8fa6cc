/* See counts.h. */
#include "model/dataset/counts.h"

#include "model/dataset/label_ids.h"
#include "model/instances/instances.h"

#include <stdlib.h>
#include <string.h>

static size_t clipped(int64_t at, size_t size)
{
    return (uint64_t)at < size ? (size_t)at : size;
}

static void fill(const struct bs_manifest_box *box, size_t height, size_t width, uint8_t *mask, int value)
{
    const size_t bottom = clipped(box->bottom, height), left = clipped(box->left, width),
                 right = clipped(box->right, width);
    for (size_t y = clipped(box->top, height); y < bottom; y++)
        memset(mask + y * width + left, value, right - left);
}

/* A pixel within a box of `only` is 2 until it is known to be in one. */
void bs__counts_boxes(const struct bs_manifest_pair *pair, size_t height, size_t width, uint8_t *ignored)
{
    for (size_t b = 0; b < pair->nonly; b++) {
        const struct bs_manifest_box *box = &pair->only[b];
        const size_t bottom = clipped(box->bottom, height), left = clipped(box->left, width),
                     right = clipped(box->right, width);
        for (size_t y = clipped(box->top, height); y < bottom; y++)
            for (size_t x = left; x < right; x++)
                ignored[y * width + x] |= 2;
    }
    for (size_t i = 0; i < height * width; i++)
        ignored[i] = pair->nonly && !(ignored[i] & 2) ? 1 : ignored[i] & 1;
    for (size_t b = 0; b < pair->nignore; b++)
        fill(&pair->ignore[b], height, width, ignored, 1);
}

/* Objects of both label images, numbered from 1. */
struct objects {
    uint32_t *labels, *prediction; /* numbers, per pixel */
    uint32_t nlabels, nprediction;
    uint32_t *partner; /* per number of labels: the predicted object it has its first pixel in common with */
    size_t *area, *predicted_area;
    bool *same; /* per number of labels: exactly the pixels of its partner */
};

static void free_objects(struct objects *o)
{
    free(o->labels);
    free(o->prediction);
    free(o->partner);
    free(o->area);
    free(o->predicted_area);
    free(o->same);
}

static bs_status number_objects(const uint32_t *labels, const uint32_t *prediction, size_t pixels,
                                struct objects *o, struct bs_err *err)
{
    bs_status rc = BS_OK;
    o->labels = malloc(pixels * sizeof *o->labels);
    o->prediction = malloc(pixels * sizeof *o->prediction);
    if (o->labels && o->prediction) {
        if ((rc = bs__label_ids_number(labels, pixels, o->labels, &o->nlabels, err)) != BS_OK ||
            (rc = bs__label_ids_number(prediction, pixels, o->prediction, &o->nprediction, err)) != BS_OK)
            return rc;
        o->partner = calloc((size_t)o->nlabels + 1, sizeof *o->partner);
        o->area = calloc((size_t)o->nlabels + 1, sizeof *o->area);
        o->predicted_area = calloc((size_t)o->nprediction + 1, sizeof *o->predicted_area);
        o->same = calloc((size_t)o->nlabels + 1, sizeof *o->same);
    }
    if (!o->partner || !o->area || !o->predicted_area || !o->same)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to compare labels of %zu pixels with a prediction", pixels);
    return rc;
}

static void find_same(struct objects *o, size_t pixels)
{
    for (size_t i = 0; i < pixels; i++) {
        if (o->area[o->labels[i]]++ == 0)
            o->partner[o->labels[i]] = o->prediction[i];
        o->predicted_area[o->prediction[i]]++;
    }
    for (size_t k = 0; k <= o->nlabels; k++)
        o->same[k] = o->partner[k] != 0 && o->area[k] == o->predicted_area[o->partner[k]];
    for (size_t i = 0; i < pixels; i++)
        if (o->prediction[i] != o->partner[o->labels[i]])
            o->same[o->labels[i]] = false;
}

bs_status bs__counts_untouched(const uint32_t *labels, const uint32_t *prediction, size_t height,
                               size_t width, uint8_t *ignored, struct bs_err *err)
{
    const size_t pixels = height * width;
    struct objects o = {0};
    uint8_t *unchanged = malloc(pixels); /* 0 where something was changed */
    float *distance = malloc(pixels * sizeof *distance);
    bool any = false;
    bs_status rc = BS_OK;
    if (!unchanged || !distance) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to compare labels of %zu pixels with a prediction", pixels);
        goto cleanup;
    }
    if ((rc = number_objects(labels, prediction, pixels, &o, err)) != BS_OK)
        goto cleanup;
    find_same(&o, pixels);
    for (size_t i = 0; i < pixels; i++) {
        unchanged[i] = o.labels[i] ? o.same[o.labels[i]] : o.prediction[i] == 0;
        any = any || !unchanged[i];
    }
    if (any && (rc = bs_distance_transform(unchanged, height, width, distance, err)) != BS_OK)
        goto cleanup;
    for (size_t i = 0; i < pixels; i++)
        if (unchanged[i] && (!any || o.labels[i] || distance[i] > (float)BS_TOUCHED_MARGIN))
            ignored[i] = 1;

cleanup:
    free_objects(&o);
    free(unchanged);
    free(distance);
    return rc;
}
