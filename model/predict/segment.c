/* One plane of an image in, labels out; the order of the work is that of predict_internal.h. Runs on the device's
   executor thread; the result belongs to the caller. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"
#include "model/instances/blockwise.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Maps beyond this go to a file: a 4,000 x 4,000 image of three maps stays in memory, a slide does not. */
#define MAPS_IN_MEMORY ((size_t)256 << 20)
/* Beyond this many pixels the network's arena is given back before the watershed, so that their peaks do not add up. */
#define LARGE_IMAGE ((size_t)64 << 20)
/* Pixel sizes that differ by more than this factor from training are worth a warning. */
#define SCALE_TOLERANCE 1.5

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Where the instance recipe reads maps and mask. */
struct source {
    struct bs__maps *maps;
    struct bs__plane *plane;
    const struct bs__box *box; /* of the plane: what the maps are of */
    float *row;                /* box->w */
};

static bs_status source_rows(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err)
{
    struct source *s = ctx;
    return bs__maps_read(s->maps, channel, top, rows, out, err);
}

static bs_status source_mask(void *ctx, size_t top, size_t rows, uint8_t *out, struct bs_err *err)
{
    struct source *s = ctx;
    (void)err;
    for (size_t y = 0; y < rows; y++) {
        bs__plane_row(s->plane, s->box->top + top + y, s->box->left, s->box->w, s->row);
        for (size_t x = 0; x < s->box->w; x++)
            out[y * s->box->w + x] = !isnan(s->row[x]);
    }
    return BS_OK;
}

bs_status bs__choose_scale(const struct bs_model_info *info, const struct bs_segment_params *params,
                           double pixel_um, double *scale, struct bs_err *err)
{
    *scale = params->scale;
    if (params->scale > 0)
        return BS_OK;
    if (pixel_um <= 0)
        return BS_FAIL(
            err, BS_EINVAL,
            "scale 0 takes the scale from pixel sizes, but that of the image is unknown or not square");
    if (info->pixel_size_um <= 0)
        return BS_FAIL(
            err, BS_EINVAL,
            "scale 0 takes the scale from pixel sizes, but that of the model's training is unknown");
    *scale = pixel_um / info->pixel_size_um;
    if (*scale < 0.05 || *scale > 16)
        return BS_FAIL(
            err, BS_EINVAL,
            "pixels of %g um in the image and %g um in training make a scale of %g; 0.05 to 16 is accepted",
            pixel_um, info->pixel_size_um, *scale);
    return BS_OK;
}

/* SAM's statistics mean samples from 0 to 255; the reference refuses others too, and images that were brought to 0 to 1. */
static bs_status check_range(const struct bs_model_info *info, const struct bs__statistics *s,
                             struct bs_err *err)
{
    if (info->arch.kind != BS_ARCH_UNETR || !info->arch.unetr.sam_statistics ||
        info->normalisation != BS_NORMALISE_NONE)
        return BS_OK;
    if (s->count && (s->min < 0 || s->max > 255 || s->max <= 1))
        return BS_FAIL(
            err, BS_EINVAL,
            "samples go from %g to %g; this model takes samples from 0 to 255 as they are, with the "
            "largest above 1",
            (double)s->min, (double)s->max);
    return BS_OK;
}

/* Smallest object in pixels of the network's scale. */
static bs_status choose_min_size(const struct bs_segment_params *params, double pixel_um, double scale,
                                 int64_t *out, struct bs_err *err)
{
    double pixels = (double)params->instances.min_size;
    if (params->min_size_um2 > 0) {
        if (pixel_um <= 0)
            return BS_FAIL(err, BS_EINVAL,
                           "min_size_um2 is %g, but the pixel size of the image is unknown or not square",
                           params->min_size_um2);
        pixels = ceil(params->min_size_um2 / (pixel_um * pixel_um));
    }
    pixels = round(pixels * scale * scale);
    *out = pixels < 9e18 ? (int64_t)pixels : INT64_MAX;
    return BS_OK;
}

/* The network saw another size of image at a time than in training. */
static void warn_tile(struct bs_segment_result *r, const struct bs_model_info *info,
                      const struct bs__layout *l)
{
    const int64_t longest = l->window_h > l->window_w ? l->window_h : l->window_w;
    if (!l->encoder || !info->training_patch ||
        (longest == info->training_patch && fabs(l->magnification - 1) < 1e-6))
        return;
    bs__warn(
        r, "tile_not_training_patch",
        "The network saw %lld x %lld pixels at a time, in training %d x %d: objects appeared to it at %.3g "
        "times their size in training.",
        (long long)l->window_h, (long long)l->window_w, info->training_patch, info->training_patch,
        l->magnification);
}

static void add_warnings(struct bs_segment_result *r, const struct bs_model_info *info,
                         const struct bs_segment_params *params, const struct bs__layout *l,
                         const struct bs__plane *plane, const struct bs__statistics *stats,
                         const struct bs__contrast *c, uint32_t removed, int64_t min_size, double scale,
                         bool not_square)
{
    if (!info->trained)
        bs__warn(r, "untrained_model", "The model is UNTRAINED: its labels mean nothing.");
    if (removed)
        bs__warn(r, "objects_removed", "%u object%s of fewer than %lld pixels %s removed (min_size).",
                 removed, removed == 1 ? "" : "s", (long long)min_size, removed == 1 ? "was" : "were");
    if (l->tiled)
        bs__warn(
            r, "tiled",
            "The image went through the network in %lld tiles of %lld x %lld pixels with a halo of %lld%s.",
            (long long)bs__layout_tiles(l), (long long)r->tile, (long long)l->window_w - 2 * l->halo_w,
            (long long)l->halo_h, l->blocks ? ", each normalised on its own" : "");
    warn_tile(r, info, l);
    double effective =
        r->pixel_size > 0 && info->pixel_size_um > 0 ? r->pixel_size / scale / info->pixel_size_um : 1;
    if (effective > SCALE_TOLERANCE || effective < 1 / SCALE_TOLERANCE)
        bs__warn(r, "scale_mismatch",
                 "Pixels of %g um meet a model trained on %g um; scale %.3g would match.",
                 r->pixel_size / scale, info->pixel_size_um, r->pixel_size / info->pixel_size_um);
    if (plane->view.image->white_is_zero)
        bs__warn(r, "white_is_zero",
                 "The file stores white as zero; the network saw the image as it is displayed.");
    else if (c->object_pixels && c->background_pixels && stats->std > 0 &&
             info->recipe == BS_RECIPE_DISTANCES && c->background - c->objects > 0.5 * stats->std)
        bs__warn(r, "contrast_inverted",
                 "The objects found are darker than their surroundings; if the model was trained on bright "
                 "objects, the contrast of "
                 "the image may be inverted.");
    if (not_square && params->min_size_um2 <= 0)
        bs__warn(r, "pixels_not_square",
                 "The pixels of the image are not square; sizes are given in pixels only.");
    if (info->assumed[0])
        bs__warn(r, "assumed", "The model file did not say everything; assumed: %s.", info->assumed);
}

static size_t map_bytes(int channels, size_t h, size_t w)
{
    size_t bytes;
    return bs_mul(h, w, &bytes) && bs_mul(bytes, (size_t)channels * sizeof(float), &bytes) ? bytes : SIZE_MAX;
}

/* The region's maps at the image's scale, of maps that reach further and were made at the network's. */
static bs_status keep_maps(struct bs__maps *maps, const struct bs__plane *plane, const struct bs__crop *crop,
                           struct bs_segment_result *r, struct bs_err *err)
{
    bs_status rc = BS_OK;
    if (maps->h == r->height && maps->w == r->width) {
        r->maps = maps->data;
        maps->data = NULL;
        return BS_OK;
    }
    const struct bs_segment_params plain = {.channel = -1};
    const double step_y = (double)plane->h / (double)plane->source_h,
                 step_x = (double)plane->w / (double)plane->source_w;
    size_t pixels = r->height * r->width;
    r->maps = bs_pages_alloc(pixels * (size_t)maps->channels * sizeof(float));
    if (!r->maps)
        return BS_FAIL(err, BS_ENOMEM, "no memory for maps of %zu x %zu pixels", r->height, r->width);
    for (int c = 0; c < maps->channels && rc == BS_OK; c++) {
        struct bs_image view = {.sample = BS_SAMPLE_F32,
                                .ndim = 2,
                                .axes = "yx",
                                .dim = {maps->h, maps->w},
                                .data = maps->data + (size_t)c * maps->h * maps->w};
        struct bs__plane p;
        if ((rc = bs__plane_open(&p, &view, &plain, 1, err)) != BS_OK)
            return rc;
        p.h = r->height;
        p.w = r->width;
        if ((rc = bs__resampler_open_part(&p.along_y, maps->h, crop->maps.top, p.h, crop->region.top, step_y,
                                          err)) == BS_OK &&
            (rc = bs__resampler_open_part(&p.along_x, maps->w, crop->maps.left, p.w, crop->region.left,
                                          step_x, err)) == BS_OK)
            for (size_t y = 0; y < p.h; y++)
                bs__plane_row(&p, y, 0, p.w, r->maps + ((size_t)c * p.h + y) * p.w);
        bs__plane_close(&p);
    }
    return rc;
}

static bs_status find_instances(struct bs__plane *plane, struct bs__maps *maps, const struct bs__crop *crop,
                                const struct bs_instance_params *params, struct bs_segment_result *r,
                                uint32_t *removed, const struct bs_cancel *cancel, struct bs_err *err)
{
    struct source source = {maps, plane, &crop->maps, NULL};
    struct bs_map_source rows = {&source, source_rows, plane->has_no_data ? source_mask : NULL};
    struct bs_instance_result found = {0};
    bool cut = maps->h != r->height || maps->w != r->width; /* or at another scale */
    size_t cut_bytes = maps->h * maps->w * sizeof(uint32_t);
    uint32_t *labels = cut ? bs_pages_alloc(cut_bytes) : r->labels;
    bs_status rc = BS_OK;
    source.row = malloc(maps->w * sizeof *source.row);
    if (!labels || !source.row) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for labels of %zu x %zu pixels", maps->h, maps->w);
        goto cleanup;
    }
    if ((rc = bs_instances_from_source(&rows, maps->channels, maps->h, maps->w, params, labels, &found,
                                       cancel, err)) != BS_OK)
        goto cleanup;
    r->count = found.count;
    *removed = found.removed_by_size;
    if (cut)
        rc = bs__labels_crop(labels, crop, plane, r->labels, &r->count, err);
cleanup:
    free(source.row);
    if (cut)
        bs_pages_free(labels, cut_bytes);
    return rc;
}

/* The maps of the image: from the network, or as they were kept. */
struct prediction {
    struct bs_model *model;
    const struct bs_segment_params *params;
    struct bs_segment_maps *kept; /* NULL: none */
    const struct bs__crop *crop;
    bool in_memory;
    const struct bs_segment_progress *progress;
    const struct bs_cancel *cancel;
};

/* Keeping is a favour: what stands against it is a warning. */
static void not_kept(struct bs_segment_result *r, const struct bs_err *why)
{
    bs__warn(r, "maps_not_kept", "The network's maps are not kept: %.150s.", why->msg);
}

static bs_status predict(const struct prediction *p, struct bs__plane *plane,
                         const struct bs__statistics *stats, struct bs__layout *layout,
                         struct bs__network_run *run, struct bs__maps *maps, struct bs_segment_result *r,
                         struct bs_err *err)
{
    struct bs_segment_maps *kept = p->kept;
    const struct bs__box *box = &p->crop->maps;
    struct bs_err why;
    bs_status rc;
    *maps = (struct bs__maps){.channels = r->channels, .h = box->h, .w = box->w, .fd = -1};
    if (kept && kept->made) {
        bs__kept_layout(&kept->network, layout, run);
        r->kept_maps = true;
        return bs__kept_read(kept, maps, p->in_memory, err);
    }
    if ((rc = bs__layout_choose(p->model, plane->h, plane->w, p->params, layout, err)) != BS_OK)
        return rc;
    if (box->h != plane->h || box->w != plane->w || p->crop->shown.h != box->h || p->crop->shown.w != box->w)
        bs__layout_crop(layout, p->crop);
    bool stored = kept && !p->in_memory && bs__kept_begin(kept, maps, &why) == BS_OK;
    if (!stored && (rc = bs__maps_create(maps, r->channels, box->h, box->w, p->in_memory, err)) != BS_OK)
        return rc;
    if ((rc = bs__network_run(p->model, plane, layout, p->params->precision, stats, maps, p->progress,
                              p->cancel, run, err)) != BS_OK)
        return rc;
    if (kept && p->in_memory)
        stored = bs__kept_write(kept, maps, &why) == BS_OK;
    if (stored)
        bs__kept_network(layout, run, maps, &kept->network);
    else if (kept)
        not_kept(r, &why);
    return BS_OK;
}

bs_status bs_segment(struct bs_model *model, const struct bs_image *image,
                     const struct bs_segment_params *params, bool want_maps,
                     const struct bs_segment_progress *progress, const struct bs_cancel *cancel,
                     struct bs_segment_result *result, struct bs_err *err)
{
    return bs_segment_keeping(model, image, params, want_maps, NULL, progress, cancel, result, err);
}

bs_status bs_segment_keeping(struct bs_model *model, const struct bs_image *image,
                             const struct bs_segment_params *params, bool want_maps,
                             struct bs_segment_maps *kept, const struct bs_segment_progress *progress,
                             const struct bs_cancel *cancel, struct bs_segment_result *result,
                             struct bs_err *err)
{
    const struct bs__plane_work work = {
        .params = params, .want_maps = want_maps, .kept = kept, .progress = progress, .cancel = cancel};
    return bs__segment_plane(model, image, &work, result, err);
}

static bool is_one_plane(const struct bs_image *image)
{
    for (int i = 0; i < image->ndim; i++)
        if ((image->axes[i] == 't' || image->axes[i] == 'z') && image->dim[i] > 1)
            return false;
    return true;
}

/* The part of the image that is looked at, as a plane at the network's scale, and the region in it. */
static bs_status open_region(struct bs__plane *plane, const struct bs_image *image,
                             const struct bs__plane_work *work, double scale, struct bs__crop *crop,
                             struct bs_segment_result *r, struct bs_err *err)
{
    const struct bs_segment_params *params = work->params;
    const int y = bs_image_axis(image, 'y'), x = bs_image_axis(image, 'x');
    struct bs__place place = work->at ? *work->at : (struct bs__place){0};
    struct bs__box region;
    bs_status rc;
    if (y < 0 || x < 0)
        return BS_FAIL(err, BS_EINVAL, "an image needs axes y and x; this one has %s", image->axes);
    if ((rc = bs__region_box(&params->region, image->dim[y], image->dim[x], &region, err)) != BS_OK)
        return rc;
    place.box = bs__region_view(params, region, image->dim[y], image->dim[x], scale);
    rc = bs__plane_open_at(plane, image, params, scale, work->at || is_one_plane(image) ? &place : NULL, err);
    if (rc != BS_OK)
        return rc;
    r->height = region.h;
    r->width = region.w;
    if (!bs_region_is_all(&params->region))
        r->region =
            (struct bs_region){.y = region.top, .x = region.left, .height = region.h, .width = region.w};
    region.top -= place.box.top;
    region.left -= place.box.left;
    *crop = bs__region_crop(region, plane->source_h, plane->source_w, plane->h, plane->w);
    return BS_OK;
}

bs_status bs__segment_plane(struct bs_model *model, const struct bs_image *image,
                            const struct bs__plane_work *work, struct bs_segment_result *result,
                            struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    const struct bs_segment_params *params = work->params;
    struct bs_instance_params instances = params->instances;
    struct bs_segment_result r = {.stack.planes = 1};
    struct bs__plane plane = {0};
    struct bs__crop crop;
    struct bs__maps maps = {.fd = -1};
    struct bs__layout layout;
    struct bs__statistics stats = {0};
    struct bs__network_run run;
    struct bs__contrast contrast;
    uint32_t removed = 0;
    double scale;
    bool not_square;
    bs_status rc;

    memset(result, 0, sizeof *result);
    r.pixel_size = bs__pixel_um(image, &not_square);
    r.channels = bs_arch_out_channels(&info->arch);
    if ((rc = bs__params_validate(info, params, err)) != BS_OK ||
        (rc = bs__choose_scale(info, params, r.pixel_size, &scale, err)) != BS_OK ||
        (rc = choose_min_size(params, r.pixel_size, scale, &instances.min_size, err)) != BS_OK ||
        (rc = open_region(&plane, image, work, scale, &crop, &r, err)) != BS_OK)
        goto cleanup;

    double start = now();
    const struct prediction prediction = {
        .model = model,
        .params = params,
        .kept = work->kept && work->kept->fd >= 0 ? work->kept : NULL,
        .crop = &crop,
        .in_memory = work->want_maps || map_bytes(r.channels, crop.maps.h, crop.maps.w) <= MAPS_IN_MEMORY,
        .progress = work->progress,
        .cancel = work->cancel,
    };
    /* Each plane is looked through for what no network can use, also where the statistics are the stack's. */
    if ((rc = bs__plane_statistics(&plane, work->cancel, &stats, err)) != BS_OK)
        goto cleanup;
    if (work->statistics)
        stats = *work->statistics;
    if ((rc = check_range(info, &stats, err)) != BS_OK ||
        (rc = predict(&prediction, &plane, &stats, &layout, &run, &maps, &r, err)) != BS_OK)
        goto cleanup;
    r.tiled = layout.tiled;
    r.tile = layout.tiled ? layout.window_h - 2 * layout.halo_h : 0;
    r.halo = layout.tiled ? layout.halo_h : 0;
    r.magnification = layout.magnification;
    r.plan_hash = run.plan_hash;
    memcpy(r.algorithms, run.algorithms, sizeof r.algorithms);
    if (plane.h * plane.w > LARGE_IMAGE && !r.kept_maps)
        bs_model_trim(model);
    r.seconds_network = r.kept_maps ? 0 : now() - start;

    start = now();
    r.labels = work->labels ? work->labels : bs_pages_alloc(r.height * r.width * sizeof *r.labels);
    if (!r.labels) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for labels of %zu x %zu pixels", r.height, r.width);
        goto cleanup;
    }
    if ((rc = find_instances(&plane, &maps, &crop, &instances, &r, &removed, work->cancel, err)) != BS_OK ||
        (rc = bs__measure(&plane, &crop.region, &r, &contrast, err)) != BS_OK ||
        (work->want_maps && (rc = keep_maps(&maps, &plane, &crop, &r, err)) != BS_OK))
        goto cleanup;
    r.seconds_instances = now() - start;
    add_warnings(&r, info, params, &layout, &plane, &stats, &contrast, removed, instances.min_size, scale,
                 not_square);
    if (work->labels)
        r.labels = NULL;
    *result = r;
    memset(&r, 0, sizeof r);
cleanup:
    if (work->labels)
        r.labels = NULL;
    bs_segment_result_free(&r);
    bs__maps_destroy(&maps);
    bs__plane_close(&plane);
    return rc;
}

void bs_segment_result_free(struct bs_segment_result *r)
{
    if (!r)
        return;
    if (r->maps)
        bs_pages_free(r->maps, map_bytes(r->channels, r->height, r->width));
    if (r->labels)
        bs_pages_free(r->labels, r->height * r->width * sizeof *r->labels);
    free(r->objects);
    memset(r, 0, sizeof *r);
}

bs_status bs_segment_planned_bytes(struct bs_model *model, size_t height, size_t width,
                                   const struct bs_segment_params *params, size_t *bytes, struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    struct bs__layout l;
    const size_t in_channels = (size_t)bs_arch_in_channels(&info->arch),
                 out_channels = (size_t)bs_arch_out_channels(&info->arch);
    double scale = params->scale > 0 ? params->scale : 1;
    struct bs__box region, view;
    size_t labels, windows;
    bs_status rc;
    if (height == 0 || width == 0)
        return BS_FAIL(err, BS_EINVAL, "an image of %zu x %zu pixels cannot be segmented", height, width);
    if ((rc = bs__region_box(&params->region, height, width, &region, err)) != BS_OK)
        return rc;
    view = bs__region_view(params, region, height, width, scale);
    height = view.h;
    width = view.w;
    size_t h = (size_t)round((double)height * scale), w = (size_t)round((double)width * scale);
    if (h == 0 || w == 0 || h > INT32_MAX / 2 || w > INT32_MAX / 2)
        return BS_FAIL(err, BS_EINVAL, "an image of %zu x %zu pixels at scale %g cannot be segmented", height,
                       width, scale);
    if ((rc = bs__params_validate(info, params, err)) != BS_OK ||
        (rc = bs__layout_choose(model, h, w, params, &l, err)) != BS_OK)
        return rc;
    if (!bs_mul(height, width, &labels) || !bs_mul(labels, sizeof(uint32_t), &labels) ||
        !bs_mul((size_t)(l.net_h * l.net_w), (size_t)l.batch * sizeof(float), &windows) ||
        !bs_mul(windows, in_channels + 2 * out_channels, &windows))
        return BS_FAIL(err, BS_ELIMIT, "an image of %zu x %zu pixels is too large", height, width);
    if (l.encoder) /* a window and its maps at their own size, and doubles while they are resized */
        windows += (size_t)(l.window_h * l.window_w) * (1 + out_channels) * sizeof(float) +
                   (size_t)(l.net_h > l.window_h ? l.net_h : l.window_h) *
                       (size_t)(l.net_w > l.window_w ? l.net_w : l.window_w) * sizeof(double);
    region.top -= view.top;
    region.left -= view.left;
    const struct bs__crop crop = bs__region_crop(region, height, width, h, w);
    const bool large = h * w > LARGE_IMAGE, part = crop.maps.h != region.h || crop.maps.w != region.w;
    size_t maps = map_bytes((int)out_channels, crop.maps.h, crop.maps.w);
    if (maps > MAPS_IN_MEMORY)
        maps = 0; /* in a file */
    size_t network = l.arena_bytes + windows;
    /* To measure the norms of the network, tiles first take up to the budget (norm_statistics.c). */
    if (l.tiled && !l.blocks && bs__has_spatial_norm(&info->arch) && network < l.budget)
        network = l.budget;
    labels = region.h * region.w * sizeof(uint32_t);
    size_t watershed =
        labels + bs_instances_planned_bytes(crop.maps.h, crop.maps.w, &params->instances, 0.05);
    if (part)
        watershed += crop.maps.h * crop.maps.w * sizeof(uint32_t);
    /* Large images give the arena back before the watershed. */
    *bytes = maps + (large ? (network > watershed ? network : watershed) : network + watershed);
    return BS_OK;
}
