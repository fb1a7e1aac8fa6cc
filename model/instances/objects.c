/* The table of objects of a label image: area, centroid, bounding box, mean intensity, in one pass. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include <math.h>
#include <stdlib.h>

/* Sums of coordinates of up to 2^40 pixels with coordinates up to 2^32 need more than 64 bits. */
__extension__ typedef unsigned __int128 wide;

struct sums {
    wide y, x;
    double intensity;
};

bs_status bs_objects_measure(const uint32_t *labels, size_t height, size_t width, uint32_t count,
                             const float *intensity, struct bs_object *objects, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct sums *sums = NULL;
    size_t pixels;

    if ((rc = bs__pixels(height, width, &pixels, err)) != BS_OK)
        goto cleanup;
    if (height > UINT32_MAX || width > UINT32_MAX) {
        rc = BS_FAIL(err, BS_ELIMIT, "image of %zu x %zu pixels: sides may have at most %u", height, width,
                     UINT32_MAX);
        goto cleanup;
    }
    if (!(sums = calloc((size_t)count + 1, sizeof *sums))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a table of %u objects", count);
        goto cleanup;
    }
    for (uint32_t i = 0; i < count; i++)
        objects[i] = (struct bs_object){.id = i + 1, .top = UINT32_MAX, .left = UINT32_MAX};
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            uint32_t id = labels[y * width + x];
            if (id == 0)
                continue;
            if (id > count) {
                rc = BS_FAIL(err, BS_EINVAL, "label %u at row %zu, column %zu: ids may be 1 to %u", id, y, x,
                             count);
                goto cleanup;
            }
            struct bs_object *o = &objects[id - 1];
            struct sums *s = &sums[id - 1];
            if (o->area++ == 0)
                o->top = (uint32_t)y;
            o->bottom = (uint32_t)(y + 1);
            if (x < o->left)
                o->left = (uint32_t)x;
            if (x + 1 > o->right)
                o->right = (uint32_t)(x + 1);
            s->y += y;
            s->x += x;
            if (intensity)
                s->intensity += intensity[y * width + x];
        }
    for (uint32_t i = 0; i < count; i++) {
        struct bs_object *o = &objects[i];
        double area = (double)o->area; /* an id that does not occur: 0 / 0, NaN */
        o->centroid_y = (double)sums[i].y / area;
        o->centroid_x = (double)sums[i].x / area;
        o->mean_intensity = intensity ? sums[i].intensity / area : NAN;
        if (o->area == 0)
            o->top = o->left = 0;
    }
cleanup:
    free(sums);
    return rc;
}
