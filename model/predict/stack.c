/* Planes one after the other; see stack.h. Time outside, z inside, whatever the image's order is, so that ids and links do
   not depend on it. */
#include "model/predict/stack.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"
#include "model/instances/link.h"
#include "model/predict/predict_internal.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A warning of one or more planes. */
struct seen {
    struct bs_warning warning; /* as the first plane said it */
    size_t planes;
    bool alike; /* all said the same */
    size_t t, z;
};

struct run {
    struct bs_model *model;
    const struct bs_image *image;
    const struct bs_segment_params *params;
    const struct bs_stack_output *output;
    struct bs_segment_maps *kept;
    const struct bs_segment_progress *progress;
    const struct bs_cancel *cancel;
    size_t done; /* planes */
    size_t plane_pixels;
    uint32_t last_id; /* given */
    size_t nobject, room;
    struct bs_segment_result r; /* what it comes to */
    int nseen;
    struct seen seen[BS_MAX_WARNINGS];
};

bool bs_image_is_stack(const struct bs_image *image)
{
    return bs_image_axis(image, 't') >= 0 || bs_image_axis(image, 'z') >= 0;
}

static bs_status plan_axis(const struct bs_image *image, char axis, uint64_t first, uint64_t count,
                           size_t *out_first, size_t *out_count, struct bs_err *err)
{
    const char name[] = {axis, 0};
    int i = bs_image_axis(image, axis);
    if (i >= 0)
        return bs__region_range(name, first, count, image->dim[i], out_first, out_count, err);
    *out_first = 0;
    *out_count = 1;
    if (first != 0 || count > 1)
        return BS_FAIL(err, BS_EINVAL, "the region has planes along %c, the image (axes %s) has no such axis",
                       axis, image->axes);
    return BS_OK;
}

bs_status bs_stack_plan(const struct bs_image *image, const struct bs_segment_params *params,
                        size_t max_bytes, struct bs_stack *stack, size_t *height, size_t *width,
                        struct bs_err *err)
{
    const struct bs_region *region = &params->region;
    const int y = bs_image_axis(image, 'y'), x = bs_image_axis(image, 'x'), z = bs_image_axis(image, 'z'),
              pages = bs_image_axis(image, '?');
    struct bs_stack s = {.naxes = 0};
    struct bs__box box;
    size_t bytes;
    bs_status rc;
    if (y < 0 || x < 0)
        return BS_FAIL(err, BS_EINVAL, "an image needs axes y and x; this one has %s", image->axes);
    if ((rc = bs__region_box(region, image->dim[y], image->dim[x], &box, err)) != BS_OK ||
        (rc = plan_axis(image, 't', region->t, region->duration, &s.t, &s.nt, err)) != BS_OK ||
        (rc = plan_axis(image, 'z', region->z, region->depth, &s.z, &s.nz, err)) != BS_OK)
        return rc;
    if (params->planes == BS_PLANES_LINKED && z < 0)
        return BS_FAIL(err, BS_EINVAL,
                       "linked planes need an axis z; the image has axes %s (points of time are not linked)",
                       image->axes);
    if (params->planes == BS_PLANES_LINKED && params->separate_planes)
        return BS_FAIL(err, BS_EINVAL,
                       "planes are to be linked and separate at once; one of the two is accepted");
    if (pages >= 0 && image->dim[pages] > 1)
        return BS_FAIL(err, BS_EINVAL,
                       "the file has %zu pages and does not say what they are: state their axis (z, t or c)",
                       image->dim[pages]);
    for (int i = 0; i < image->ndim; i++)
        if (image->axes[i] == 't' || image->axes[i] == 'z') {
            s.axes[s.naxes] = image->axes[i];
            s.dim[s.naxes++] = image->axes[i] == 't' ? s.nt : s.nz;
        }
    if (z >= 0 && image->pixel_size[z] > 0 && isfinite(image->pixel_size[z]))
        s.spacing = image->pixel_size[z] * bs__unit_um(image->unit);
    if (!bs_mul(s.nt, s.nz, &s.planes) || !bs_mul(s.planes, box.h, &bytes) || !bs_mul(bytes, box.w, &bytes) ||
        !bs_mul(bytes, sizeof(uint32_t), &bytes) || bytes > max_bytes)
        return BS_FAIL(err, BS_ELIMIT,
                       "labels of %zu planes of %zu x %zu pixels take more than %zu MiB, which is the limit; "
                       "segment the stack in parts (region)",
                       s.planes, box.h, box.w, max_bytes >> 20);
    *stack = s;
    *height = box.h;
    *width = box.w;
    return BS_OK;
}

/* ---- progress ---- */

static int as_int(size_t n)
{
    return n < INT_MAX ? (int)n : INT_MAX;
}

static void tile(void *ctx, int done, int total)
{
    const struct run *run = ctx;
    run->progress->tile(run->progress->ctx, as_int(run->done * (size_t)total + (size_t)done),
                        as_int(run->r.stack.planes * (size_t)total));
}

static void core(void *ctx, const struct bs_segment_core *c)
{
    const struct run *run = ctx;
    run->progress->core(run->progress->ctx, c);
}

/* ---- warnings ---- */

static void collect_warnings(struct run *run, const struct bs_segment_result *plane, size_t t, size_t z)
{
    for (int i = 0; i < plane->nwarning; i++) {
        const struct bs_warning *w = &plane->warning[i];
        int k = 0;
        while (k < run->nseen && strcmp(run->seen[k].warning.code, w->code) != 0)
            k++;
        if (k == BS_MAX_WARNINGS)
            continue;
        if (k == run->nseen)
            run->seen[run->nseen++] = (struct seen){.warning = *w, .alike = true, .t = t, .z = z};
        run->seen[k].planes++;
        run->seen[k].alike = run->seen[k].alike && strcmp(run->seen[k].warning.text, w->text) == 0;
    }
}

/* What every plane says alike is said once; the rest with the first plane that says it. */
static void tell_warnings(struct run *run)
{
    struct bs_segment_result *r = &run->r;
    r->nwarning = 0;
    for (int i = 0; i < run->nseen; i++) {
        const struct seen *s = &run->seen[i];
        if (s->alike && s->planes == r->stack.planes)
            bs__warn(r, s->warning.code, "%s", s->warning.text);
        else
            bs__warn(r, s->warning.code, "%zu of %zu planes, first t %zu, z %zu: %.170s", s->planes,
                     r->stack.planes, s->t, s->z, s->warning.text);
    }
}

/* ---- ids and objects ---- */

static bs_status make_room(struct run *run, size_t more, struct bs_err *err)
{
    size_t wanted = run->nobject + more, room = run->room ? run->room : 256;
    if (wanted <= run->room)
        return BS_OK;
    while (room < wanted)
        room *= 2;
    struct bs_object *at = realloc(run->r.objects, room * sizeof *at);
    if (!at)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the table of %zu objects", wanted);
    run->r.objects = at;
    run->room = room;
    return BS_OK;
}

/* b, of the next plane, goes on where a ended. */
static void join(struct bs_object *a, const struct bs_object *b)
{
    double pixels_a = (double)a->area, pixels_b = (double)b->area, all = pixels_a + pixels_b;
    a->centroid_y = (a->centroid_y * pixels_a + b->centroid_y * pixels_b) / all;
    a->centroid_x = (a->centroid_x * pixels_a + b->centroid_x * pixels_b) / all;
    a->centroid_z = (a->centroid_z * pixels_a + b->centroid_z * pixels_b) / all;
    a->mean_intensity = (a->mean_intensity * pixels_a + b->mean_intensity * pixels_b) / all;
    a->area += b->area;
    a->top = b->top < a->top ? b->top : a->top;
    a->left = b->left < a->left ? b->left : a->left;
    a->bottom = b->bottom > a->bottom ? b->bottom : a->bottom;
    a->right = b->right > a->right ? b->right : a->right;
    a->z_end = b->z_end;
}

/* The ids of a plane's objects in the stack: those of the objects of the plane before that they continue, or new ones.
   before NULL: all begin here. name: count + 1. */
static bs_status name_objects(struct run *run, const uint32_t *before, const uint32_t *labels, uint32_t count,
                              uint32_t *name, struct bs_err *err)
{
    bs_status rc;
    memset(name, 0, ((size_t)count + 1) * sizeof *name);
    if (before && (rc = bs_link_planes(before, labels, run->plane_pixels, count, run->params->link_overlap,
                                       name, err)) != BS_OK)
        return rc;
    for (uint32_t i = 1; i <= count; i++) {
        if (name[i])
            continue;
        if (run->last_id == UINT32_MAX - 1)
            return BS_FAIL(err, BS_ELIMIT,
                           "the stack has more than %u objects; segment it in parts (region), or with ids "
                           "that begin at 1 in every plane",
                           UINT32_MAX - 1);
        name[i] = ++run->last_id;
    }
    return BS_OK;
}

/* The plane's objects into the table and its labels to the ids of the stack. */
static bs_status take_plane(struct run *run, const struct bs_segment_result *plane, const uint32_t *before,
                            uint32_t *labels, size_t t, size_t z, struct bs_err *err)
{
    const bool separate = run->params->separate_planes;
    uint32_t *name = malloc(((size_t)plane->count + 1) * sizeof *name);
    bs_status rc = name ? make_room(run, plane->count, err)
                        : BS_FAIL(err, BS_ENOMEM, "no memory for the ids of %u objects", plane->count);
    if (rc == BS_OK)
        rc = name_objects(run, before, labels, plane->count, name, err);
    for (uint32_t i = 0; rc == BS_OK && i < plane->count; i++) {
        struct bs_object o = plane->objects[i];
        o.t = (uint32_t)t;
        o.z = (uint32_t)z;
        o.z_end = (uint32_t)z + 1;
        o.centroid_z = (double)z;
        if (!separate)
            o.id = name[i + 1];
        if (!separate && name[i + 1] <= run->nobject)
            join(&run->r.objects[name[i + 1] - 1], &o);
        else
            run->r.objects[run->nobject++] = o;
    }
    for (size_t i = 0; rc == BS_OK && !separate && i < run->plane_pixels; i++)
        labels[i] = labels[i] ? name[labels[i]] : 0;
    free(name);
    return rc;
}

/* Linked objects that are too small over all their planes go, the ids of the others close up. */
static bs_status drop_small(struct run *run, struct bs_err *err)
{
    const uint64_t least = (uint64_t)run->params->linked_min_size;
    uint32_t *name = calloc(run->nobject + 1, sizeof *name), kept = 0;
    size_t before = run->nobject, pixels = run->r.stack.planes * run->plane_pixels;
    if (!name)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the ids of %zu objects", run->nobject);
    for (size_t i = 0; i < before; i++) {
        struct bs_object *o = &run->r.objects[i];
        if (o->area < least)
            continue;
        name[o->id] = ++kept;
        o->id = kept;
        run->r.objects[kept - 1] = *o;
    }
    for (size_t i = 0; kept != before && i < pixels; i++)
        run->output->labels[i] = name[run->output->labels[i]];
    run->nobject = kept;
    if (kept != before)
        bs__warn(&run->r, "linked_objects_removed",
                 "%zu linked object%s of fewer than %llu pixels over all planes %s removed "
                 "(linked_min_size).",
                 before - kept, before - kept == 1 ? "" : "s", (unsigned long long)least,
                 before - kept == 1 ? "was" : "were");
    free(name);
    return BS_OK;
}

/* ---- planes ---- */

/* Where a plane stands in the arrays of the stack. */
static size_t index_of(const struct bs_stack *s, size_t t, size_t z)
{
    return s->axes[0] == 'z' && s->naxes == 2 ? z * s->nt + t : t * s->nz + z;
}

static bs_status measure_stack(struct run *run, struct bs__statistics *out, struct bs_err *err)
{
    const struct bs_stack *s = &run->r.stack;
    struct bs__sums sums = {0};
    double scale;
    bool not_square;
    bs_status rc = bs__choose_scale(bs_model_info_get(run->model), run->params,
                                    bs__pixel_um(run->image, &not_square), &scale, err);
    for (size_t k = 0; k < s->planes && rc == BS_OK; k++) {
        const struct bs__place at = {.t = s->t + k / s->nz, .z = s->z + k % s->nz};
        struct bs__plane plane;
        if ((rc = bs__plane_open_at(&plane, run->image, run->params, scale, &at, err)) != BS_OK)
            break;
        rc = bs__plane_add(&plane, run->cancel, &sums, err);
        bs__plane_close(&plane);
    }
    *out = bs__sums_statistics(&sums);
    return rc;
}

/* What the stack has of its planes' results. */
static void add_result(struct run *run, const struct bs_segment_result *plane)
{
    struct bs_segment_result *r = &run->r;
    r->channels = plane->channels;
    r->pixel_size = plane->pixel_size;
    r->tiled = plane->tiled;
    r->tile = plane->tile;
    r->halo = plane->halo;
    r->magnification = plane->magnification;
    r->kept_maps = plane->kept_maps;
    r->plan_hash = plane->plan_hash;
    memcpy(r->algorithms, plane->algorithms, sizeof r->algorithms);
    r->seconds_network += plane->seconds_network;
    r->seconds_instances += plane->seconds_instances;
}

static bs_status segment_plane(struct run *run, size_t t, size_t z, const struct bs__statistics *statistics,
                               const uint32_t *before, struct bs_err *err)
{
    const struct bs_stack *s = &run->r.stack;
    const size_t k = index_of(s, t, z);
    const struct bs__place at = {.t = s->t + t, .z = s->z + z};
    const struct bs_segment_progress progress = {.ctx = run,
                                                 .tile = run->progress && run->progress->tile ? tile : NULL,
                                                 .core = run->progress && run->progress->core ? core : NULL};
    uint32_t *labels = run->output->labels + k * run->plane_pixels;
    struct bs_segment_result plane;
    struct bs_segment_maps maps = {.fd = -1};
    if (run->kept) {
        maps = *run->kept;
        maps.plane = k;
        maps.planes = s->planes;
    }
    const struct bs__plane_work work = {.params = run->params,
                                        .at = &at,
                                        .statistics = statistics,
                                        .labels = labels,
                                        .want_maps = run->output->maps != NULL,
                                        .kept = run->kept ? &maps : NULL,
                                        .progress = &progress,
                                        .cancel = run->cancel};
    bs_status rc = bs__segment_plane(run->model, run->image, &work, &plane, err);
    if (rc != BS_OK) {
        if (s->planes > 1)
            (void)!bs_err_prefix(err, "the plane at t %zu, z %zu", at.t, at.z);
        return rc;
    }
    if (run->kept && !run->kept->made) {
        run->kept->network = maps.network;
        run->kept->network.planes = s->planes;
        if (maps.network.map_h == 0)
            run->kept = NULL; /* a warning says why */
    }
    if (plane.maps) {
        size_t samples = run->plane_pixels * (size_t)plane.channels;
        memcpy(run->output->maps + k * samples, plane.maps, samples * sizeof *plane.maps);
    }
    add_result(run, &plane);
    collect_warnings(run, &plane, at.t, at.z);
    rc = take_plane(run, &plane, before, labels, at.t, at.z, err);
    bs_segment_result_free(&plane);
    run->done++;
    return rc;
}

bs_status bs_segment_stack(struct bs_model *model, const struct bs_image *image,
                           const struct bs_segment_params *params, const struct bs_stack_output *output,
                           struct bs_segment_maps *kept, const struct bs_segment_progress *progress,
                           const struct bs_cancel *cancel, struct bs_segment_result *result,
                           struct bs_err *err)
{
    struct run run = {.model = model,
                      .image = image,
                      .params = params,
                      .output = output,
                      .kept = kept && kept->fd >= 0 ? kept : NULL,
                      .progress = progress,
                      .cancel = cancel};
    struct bs_segment_result *r = &run.r;
    struct bs_stack *s = &r->stack;
    struct bs__statistics statistics;
    const bool together = params->statistics == BS_STATISTICS_STACK;
    bs_status rc;
    memset(result, 0, sizeof *result);
    if ((rc = bs_stack_plan(image, params, SIZE_MAX, s, &r->height, &r->width, err)) != BS_OK ||
        (together && (rc = measure_stack(&run, &statistics, err)) != BS_OK))
        goto cleanup;
    r->linked = params->planes == BS_PLANES_LINKED;
    run.plane_pixels = r->height * r->width;
    if (!bs_region_is_all(&params->region))
        r->region = (struct bs_region){.y = params->region.y,
                                       .x = params->region.x,
                                       .height = r->height,
                                       .width = r->width,
                                       .z = s->z,
                                       .depth = s->nz,
                                       .t = s->t,
                                       .duration = s->nt};
    for (size_t t = 0; t < s->nt; t++)
        for (size_t z = 0; z < s->nz; z++) {
            const uint32_t *before =
                r->linked && z > 0 ? output->labels + index_of(s, t, z - 1) * run.plane_pixels : NULL;
            if ((rc = segment_plane(&run, t, z, together ? &statistics : NULL, before, err)) != BS_OK)
                goto cleanup;
        }
    tell_warnings(&run);
    if (r->linked && params->linked_min_size > 0 && (rc = drop_small(&run, err)) != BS_OK)
        goto cleanup;
    if (run.nobject > UINT32_MAX) {
        rc = BS_FAIL(err, BS_ELIMIT, "the stack has %zu objects; at most %u are accepted", run.nobject,
                     UINT32_MAX);
        goto cleanup;
    }
    r->count = (uint32_t)run.nobject;
    *result = *r;
    r->objects = NULL;
cleanup:
    free(r->objects);
    return rc;
}
