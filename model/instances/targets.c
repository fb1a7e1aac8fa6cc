/* Training targets of the two recipes from a label image (torch_em.transform.label: BoundaryTransform and
   PerObjectDistanceTransform).

   Distances, object by object after relabelling by connected components and dropping what is below min_size:
       centre    |p - c| / max,       c the rounded centroid, or the pixel farthest from the boundary when the centroid
                                      lies outside the object
       boundary  (max d - d(p)) / max, d the distance to the inner boundaries within the object's bounding box
   each divided by its maximum in the object + 1e-7; 1 outside of objects. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include "kernels/base/checked.h"

#include <math.h>
#include <stdlib.h>

#define EPSILON 1e-7f

bs_status bs_target_boundaries(const uint32_t *labels, size_t h, size_t w, uint8_t *out, struct bs_err *err)
{
    size_t pixels;
    bs_status rc = bs__pixels(h, w, &pixels, err);
    if (rc != BS_OK)
        return rc;
    for (size_t i = 0; i < pixels; i++)
        out[i] = labels[i] != 0;
    return bs_find_boundaries(labels, h, w, BS_BOUNDARY_THICK, out + pixels, err);
}

/* What all objects of one image share. */
struct target {
    const uint32_t *components;
    const uint8_t *boundaries;
    size_t h, w;
    float *centre, *boundary; /* planes of the result */
    uint8_t *inside;          /* scratch: bounding box, 1 off the boundaries */
    float *distance;          /* scratch: bounding box */
    size_t room;              /* pixels of either */
};

static bs_status make_room(struct target *t, size_t pixels, struct bs_err *err)
{
    if (t->inside && t->distance && pixels <= t->room)
        return BS_OK;
    free(t->inside);
    free(t->distance);
    t->room = 0;
    t->inside = malloc(pixels);
    t->distance = malloc(pixels * sizeof *t->distance);
    if (!t->inside || !t->distance)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an object of %zu pixels", pixels);
    t->room = pixels;
    return BS_OK;
}

/* Distance to the boundaries into t->distance (0 outside the object); *farthest is the first pixel with the largest. */
static bs_status boundary_distance(struct target *t, const struct bs_object *o, size_t bh, size_t bw,
                                   size_t *farthest, struct bs_err *err)
{
    bs_status rc;
    for (size_t y = 0; y < bh; y++)
        for (size_t x = 0; x < bw; x++)
            t->inside[y * bw + x] = t->boundaries[(o->top + y) * t->w + o->left + x] == 0;
    if ((rc = bs__distance_transform(t->inside, bh, bw, t->distance, NULL, err)) != BS_OK)
        return rc;
    *farthest = 0;
    for (size_t y = 0; y < bh; y++)
        for (size_t x = 0; x < bw; x++) {
            if (t->components[(o->top + y) * t->w + o->left + x] != o->id)
                t->distance[y * bw + x] = 0;
            if (t->distance[y * bw + x] > t->distance[*farthest])
                *farthest = y * bw + x;
        }
    return BS_OK;
}

static float centre_distance(size_t y, size_t x, size_t cy, size_t cx)
{
    float dy = (float)cy - (float)y, dx = (float)cx - (float)x;
    return sqrtf(dy * dy + dx * dx);
}

static bs_status object_distances(struct target *t, const struct bs_object *o, struct bs_err *err)
{
    bs_status rc;
    size_t bh = o->bottom - o->top, bw = o->right - o->left, farthest;
    if ((rc = make_room(t, bh * bw, err)) != BS_OK ||
        (rc = boundary_distance(t, o, bh, bw, &farthest, err)) != BS_OK)
        return rc;
    size_t cy = (size_t)rint(o->centroid_y), cx = (size_t)rint(o->centroid_x); /* halves to even */
    if (t->components[cy * t->w + cx] != o->id) {
        cy = o->top + farthest / bw;
        cx = o->left + farthest % bw;
    }
    float deepest = t->distance[farthest], centre_max = 0, boundary_max = 0;
    for (int writing = 0; writing < 2; writing++)
        for (size_t y = o->top; y < o->bottom; y++)
            for (size_t x = o->left; x < o->right; x++) {
                size_t p = y * t->w + x;
                if (t->components[p] != o->id)
                    continue;
                float centre = centre_distance(y, x, cy, cx);
                float boundary = deepest - t->distance[(y - o->top) * bw + x - o->left];
                if (writing) {
                    t->centre[p] = centre / (centre_max + EPSILON);
                    t->boundary[p] = boundary / (boundary_max + EPSILON);
                } else {
                    centre_max = fmaxf(centre_max, centre);
                    boundary_max = fmaxf(boundary_max, boundary);
                }
            }
    return BS_OK;
}

bs_status bs_target_distances(const uint32_t *labels, size_t h, size_t w, int64_t min_size, float *out,
                              struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint32_t *components = NULL, count, removed;
    uint8_t *boundaries = NULL;
    struct bs_object *objects = NULL;
    struct target t = {.h = h, .w = w};
    size_t pixels;

    if ((rc = bs__pixels(h, w, &pixels, err)) != BS_OK || pixels == 0)
        goto cleanup;
    if (min_size < 0) {
        rc = BS_FAIL(err, BS_EINVAL, "min_size %lld is negative: 0 or more pixels are accepted",
                     (long long)min_size);
        goto cleanup;
    }
    components = malloc(pixels * sizeof *components);
    boundaries = malloc(pixels);
    if (!components || !boundaries) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the target of %zu x %zu pixels", h, w);
        goto cleanup;
    }
    if ((rc = bs_components_labels(labels, h, w, components, &count, err)) != BS_OK ||
        (rc = bs__size_filter(components, pixels, count, min_size, &count, &removed, NULL, err)) != BS_OK ||
        (rc = bs_find_boundaries(components, h, w, BS_BOUNDARY_INNER, boundaries, err)) != BS_OK)
        goto cleanup;
    if (!(objects = malloc(((size_t)count + 1) * sizeof *objects))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for %u objects", count);
        goto cleanup;
    }
    if ((rc = bs_objects_measure(components, h, w, count, NULL, objects, err)) != BS_OK)
        goto cleanup;
    for (size_t i = 0; i < pixels; i++) {
        out[i] = components[i] != 0;
        out[pixels + i] = out[2 * pixels + i] = 1;
    }
    t.components = components;
    t.boundaries = boundaries;
    t.centre = out + pixels;
    t.boundary = out + 2 * pixels;
    for (uint32_t i = 0; i < count; i++)
        if ((rc = object_distances(&t, &objects[i], err)) != BS_OK)
            goto cleanup;
cleanup:
    free(components);
    free(boundaries);
    free(objects);
    free(t.inside);
    free(t.distance);
    return rc;
}
