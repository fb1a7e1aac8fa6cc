/* The table of objects of one plane: where they lie in the image, how large and how bright they are. Pure but for the
   plane's scratch; one thread at a time per plane. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

static bs_status measure_intensity(const struct bs__plane *p, const struct bs__box *region,
                                   struct bs_segment_result *r, struct bs__contrast *c, struct bs_err *err)
{
    double *sum = calloc((size_t)r->count + 1, sizeof *sum), *row = malloc(r->width * sizeof *row);
    bool inverted = p->view.image->white_is_zero;
    bs_status rc = BS_OK;
    *c = (struct bs__contrast){0};
    if (!sum || !row) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the intensities of %u objects", r->count);
        goto cleanup;
    }
    for (size_t y = 0; y < r->height; y++) {
        const uint32_t *labels = r->labels + y * r->width;
        bs__plane_raw_row(p, region->top + y, region->left, r->width, row);
        for (size_t x = 0; x < r->width; x++) {
            if (isnan(row[x]) || (p->has_no_data && row[x] == p->no_data))
                continue;
            sum[labels[x]] += row[x];
            c->background_pixels += labels[x] == 0;
            c->object_pixels += labels[x] != 0;
        }
    }
    for (uint32_t i = 0; i < r->count; i++) {
        c->objects += sum[i + 1];
        r->objects[i].mean_intensity = r->objects[i].area ? sum[i + 1] / (double)r->objects[i].area : NAN;
    }
    c->objects = c->object_pixels ? c->objects / (double)c->object_pixels : 0;
    c->background = c->background_pixels ? sum[0] / (double)c->background_pixels : 0;
    if (inverted) {
        double v = c->objects;
        c->objects = c->background;
        c->background = v;
    }
cleanup:
    free(sum);
    free(row);
    return rc;
}

/* From the region to the image. */
static void move(struct bs_object *o, size_t y, size_t x)
{
    o->top += (uint32_t)y;
    o->bottom += (uint32_t)y;
    o->left += (uint32_t)x;
    o->right += (uint32_t)x;
    o->centroid_y += (double)y;
    o->centroid_x += (double)x;
}

bs_status bs__measure(const struct bs__plane *p, const struct bs__box *region, struct bs_segment_result *r,
                      struct bs__contrast *contrast, struct bs_err *err)
{
    bs_status rc;
    if (!(r->objects = calloc((size_t)r->count + 1, sizeof *r->objects)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the table of %u objects", r->count);
    if ((rc = bs_objects_measure(r->labels, r->height, r->width, r->count, NULL, r->objects, err)) != BS_OK ||
        (rc = measure_intensity(p, region, r, contrast, err)) != BS_OK)
        return rc;
    for (uint32_t i = 0; i < r->count; i++)
        move(&r->objects[i], p->place.box.top + region->top, p->place.box.left + region->left);
    return BS_OK;
}
