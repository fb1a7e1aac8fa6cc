/* The recipes, strip by strip. What the whole image needs is held as one label and one level for every pixel:

       pass 1, strips   maps -> seed flags in labels, mask flags in levels, range of heights inside the mask
       whole image      components of the seeds
       pass 2, strips   height map -> levels; labels outside the mask become walls
       whole image      flooding, size filter

   Two passes over the maps because levels need the range first. Calls its source on the caller's thread. */
#include "model/instances/blockwise.h"
#include "model/instances/instances_internal.h"

#include "kernels/base/pages.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A strip has about this many pixels, so that its maps stay at some tens of megabytes. */
#define STRIP_PIXELS ((size_t)1 << 20)

enum { FOREGROUND, BOUNDARY, CENTRE_DISTANCE = 1, BOUNDARY_DISTANCE = 2 };

/* One run over one image. */
struct run {
    const struct bs_map_source *source;
    const struct bs_instance_params *params;
    const struct bs_cancel *cancel;
    size_t h, w, pixels;
    size_t strip; /* rows */
    uint32_t *labels;
    uint16_t *level;          /* mask flags until pass 2 */
    struct bs__kernel kernel; /* radius 0: no smoothing */
    struct bs__range range;
    float *in;  /* strip with the rows that smoothing needs around it */
    float *row; /* scratch of the smoothing */
    float *foreground, *first,
        *second;   /* strips: foreground; boundary | centre distance; boundary distance */
    uint8_t *data; /* strip of the source's mask */
};

static void close_run(struct run *r)
{
    bs_pages_free(r->level, r->pixels * sizeof *r->level);
    free(r->kernel.tap);
    free(r->in);
    free(r->row);
    free(r->foreground);
    free(r->first);
    free(r->second);
    free(r->data);
}

/* Rows of a strip, and of a strip with the smoothing's surroundings. */
static void strip_rows(size_t h, size_t w, size_t radius, size_t *strip, size_t *around)
{
    *strip = STRIP_PIXELS / w + 1;
    if (*strip < 4 * radius)
        *strip = 4 * radius;
    if (*strip > h)
        *strip = h;
    *around = h - *strip < 2 * radius ? h : *strip + 2 * radius;
}

static bs_status open_run(struct run *r, struct bs_err *err)
{
    bs_status rc;
    bool distances = r->params->recipe != BS_RECIPE_BOUNDARIES;
    if (distances && r->params->distance_smoothing > 0 &&
        (rc = bs__gaussian_kernel(r->params->distance_smoothing, &r->kernel, err)) != BS_OK)
        return rc;
    size_t around;
    strip_rows(r->h, r->w, (size_t)r->kernel.radius, &r->strip, &around);
    size_t strip = r->strip * r->w;
    r->level = bs_pages_alloc(r->pixels * sizeof *r->level);
    r->foreground = malloc(strip * sizeof(float));
    r->first = malloc(strip * sizeof(float));
    r->second = distances ? malloc(strip * sizeof(float)) : NULL;
    r->in = r->kernel.radius ? malloc(around * r->w * sizeof(float)) : NULL;
    r->row = r->kernel.radius ? malloc(r->w * sizeof(float)) : NULL;
    r->data = r->source->mask ? malloc(strip) : NULL;
    if (!r->level || !r->foreground || !r->first || (distances && !r->second) ||
        (r->kernel.radius && (!r->in || !r->row)) || (r->source->mask && !r->data))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the instances of %zu x %zu pixels", r->h, r->w);
    return BS_OK;
}

/* Rows [top, top + rows) of a channel, smoothed when the recipe wants it. */
static bs_status read_rows(struct run *r, int channel, bool smooth, size_t top, size_t rows, float *out,
                           struct bs_err *err)
{
    bs_status rc;
    if (bs_cancel_requested(r->cancel))
        return bs__cancelled(err);
    if (!smooth || r->kernel.radius == 0)
        return r->source->rows(r->source->ctx, channel, top, rows, out, err);
    size_t radius = (size_t)r->kernel.radius;
    size_t from = top > radius ? top - radius : 0;
    size_t to = r->h - top - rows > radius ? top + rows + radius : r->h;
    if ((rc = r->source->rows(r->source->ctx, channel, from, to - from, r->in, err)) != BS_OK)
        return rc;
    return bs__gaussian_rows(&r->kernel, r->in, from, r->h, r->w, top, top + rows, r->row, out, r->cancel,
                             err);
}

/* Seeds, mask and heights of the boundary recipe, one strip. */
static void mark_boundaries(struct run *r, size_t first_pixel, size_t n)
{
    float threshold1 = (float)r->params->threshold1, threshold2 = (float)r->params->threshold2;
    for (size_t i = 0; i < n; i++) {
        bool data = !r->data || r->data[i];
        bool inside = data && r->foreground[i] > threshold2;
        r->labels[first_pixel + i] = data && r->foreground[i] - r->first[i] > threshold1;
        r->level[first_pixel + i] = inside;
        if (inside)
            bs__range_add(&r->range, r->first[i]);
    }
}

/* The same of the distance recipe. */
static void mark_distances(struct run *r, size_t first_pixel, size_t n)
{
    float centre = (float)r->params->center_distance_threshold,
          boundary = (float)r->params->boundary_distance_threshold;
    float foreground = (float)r->params->foreground_threshold;
    for (size_t i = 0; i < n; i++) {
        bool inside = (!r->data || r->data[i]) && r->foreground[i] > foreground;
        r->labels[first_pixel + i] = inside && r->first[i] < centre && r->second[i] < boundary;
        r->level[first_pixel + i] = inside;
        if (inside)
            bs__range_add(&r->range, r->second[i]);
    }
}

static bs_status mark_strip(struct run *r, size_t top, size_t rows, struct bs_err *err)
{
    bs_status rc;
    if (r->data && (rc = r->source->mask(r->source->ctx, top, rows, r->data, err)) != BS_OK)
        return rc;
    if ((rc = read_rows(r, FOREGROUND, false, top, rows, r->foreground, err)) != BS_OK)
        return rc;
    if (r->params->recipe == BS_RECIPE_BOUNDARIES) {
        if ((rc = read_rows(r, BOUNDARY, false, top, rows, r->first, err)) != BS_OK)
            return rc;
        mark_boundaries(r, top * r->w, rows * r->w);
        return BS_OK;
    }
    if ((rc = read_rows(r, CENTRE_DISTANCE, true, top, rows, r->first, err)) != BS_OK ||
        (rc = read_rows(r, BOUNDARY_DISTANCE, true, top, rows, r->second, err)) != BS_OK)
        return rc;
    mark_distances(r, top * r->w, rows * r->w);
    return BS_OK;
}

/* A seed may reach beyond the mask (threshold1 below threshold2) and join others there; only now is it cut. */
static bs_status level_strip(struct run *r, size_t top, size_t rows, struct bs_err *err)
{
    int channel = r->params->recipe == BS_RECIPE_BOUNDARIES ? BOUNDARY : BOUNDARY_DISTANCE;
    bs_status rc = read_rows(r, channel, r->params->recipe == BS_RECIPE_DISTANCES, top, rows, r->first, err);
    if (rc != BS_OK)
        return rc;
    size_t first_pixel = top * r->w;
    struct bs__quantiser quantiser = bs__quantiser_of(&r->range);
    for (size_t i = 0; i < rows * r->w; i++) {
        if (!r->level[first_pixel + i])
            r->labels[first_pixel + i] = BS__OUTSIDE;
        r->level[first_pixel + i] = bs__level(&quantiser, r->first[i]);
    }
    return BS_OK;
}

static bs_status each_strip(struct run *r, bs_status (*strip)(struct run *, size_t, size_t, struct bs_err *),
                            struct bs_err *err)
{
    for (size_t top = 0; top < r->h;) {
        size_t rows = r->h - top < r->strip ? r->h - top : r->strip;
        bs_status rc = strip(r, top, rows, err);
        if (rc != BS_OK)
            return rc;
        top += rows;
    }
    return BS_OK;
}

bs_status bs_instances_from_source(const struct bs_map_source *source, int channels, size_t height,
                                   size_t width, const struct bs_instance_params *params, uint32_t *labels,
                                   struct bs_instance_result *result, const struct bs_cancel *cancel,
                                   struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct run r = {.source = source,
                    .params = params,
                    .cancel = cancel,
                    .h = height,
                    .w = width,
                    .labels = labels,
                    .range = {INFINITY, -INFINITY}};
    uint32_t seeds;

    *result = (struct bs_instance_result){0};
    if ((rc = bs__params_check(params, err)) != BS_OK ||
        (rc = bs__pixels(height, width, &r.pixels, err)) != BS_OK)
        goto cleanup;
    int expected = params->recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    if (channels != expected) {
        rc = BS_FAIL(err, BS_EINVAL, "%d maps: the recipe \"%s\" needs %d", channels,
                     params->recipe == BS_RECIPE_BOUNDARIES ? "boundaries" : "distances", expected);
        goto cleanup;
    }
    if (r.pixels == 0)
        goto cleanup;
    if ((rc = open_run(&r, err)) != BS_OK || (rc = each_strip(&r, mark_strip, err)) != BS_OK ||
        (rc = bs__components_in_place(labels, height, width, &seeds, cancel, err)) != BS_OK ||
        (rc = each_strip(&r, level_strip, err)) != BS_OK)
        goto cleanup;
    /* Strips are done; the flooding front may need the room. */
    free(r.in);
    free(r.foreground);
    free(r.first);
    free(r.second);
    r.in = r.foreground = r.first = r.second = NULL;
    if ((rc = bs__flood(r.level, height, width, labels, cancel, err)) != BS_OK)
        goto cleanup;
    bs_pages_free(r.level, r.pixels * sizeof *r.level);
    r.level = NULL;
    rc = bs__size_filter(labels, r.pixels, seeds, params->min_size, &result->count, &result->removed_by_size,
                         cancel, err);
cleanup:
    close_run(&r);
    return rc;
}

size_t bs_instances_planned_bytes(size_t height, size_t width, const struct bs_instance_params *params,
                                  double front_fraction)
{
    size_t pixels, strip, around;
    if (bs__pixels(height, width, &pixels, NULL) != BS_OK)
        return SIZE_MAX;
    if (pixels == 0)
        return 0;
    bool smooth = params->recipe == BS_RECIPE_DISTANCES && params->distance_smoothing > 0;
    strip_rows(height, width, smooth ? (size_t)ceil(3 * params->distance_smoothing) : 0, &strip, &around);
    double strips = (double)width * sizeof(float) * (3.0 * (double)strip + (smooth ? (double)around : 0));
    double front = (double)pixels * front_fraction * 128 / 23 + 16e6;
    return (size_t)((double)pixels * sizeof(uint16_t) + (strips > front ? strips : front));
}
