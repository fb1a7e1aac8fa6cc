/* Writes results. See save.h. */
#include "clients/cli/save.h"

#include "clients/cli/output.h"
#include "kernels/base/checked.h"
#include "model/image/overlay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Sixteen columns of numbers; the longest of a double in %.9g has 15 characters. */
#define MAX_ROW 400

static size_t format_optional(char *out, size_t cap, double v)
{
    return isfinite(v) ? (size_t)snprintf(out, cap, "%.9g,", v) : (size_t)snprintf(out, cap, ",");
}

bs_status bs__table_csv(const struct bs__result *result, char **text, size_t *size, struct bs_err *err)
{
    static const char columns[] =
        "id,area_px,area_um2,centroid_y_px,centroid_x_px,centroid_y_um,centroid_x_um,"
        "top,left,bottom,right,mean_intensity",
                      planes[] = ",t,z,z_end,centroid_z";
    const bool stack = result->info->n_plane_axes > 0;
    size_t bytes;
    if (!bs_mul(result->object_count, MAX_ROW, &bytes) ||
        !bs_add(bytes, sizeof columns + sizeof planes, &bytes))
        return BS_FAIL(err, BS_ELIMIT, "%zu objects are too many for a table", result->object_count);
    char *out = malloc(bytes);
    if (!out)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a table of %zu objects", result->object_count);
    double px = result->info->pixel_size_um > 0 ? result->info->pixel_size_um : NAN;
    size_t n = (size_t)snprintf(out, bytes, "%s%s\n", columns, stack ? planes : "");
    for (size_t i = 0; i < result->object_count; i++) {
        const struct bs__object_row *o = &result->objects[i];
        char *row = out + n;
        size_t m = (size_t)snprintf(row, MAX_ROW, "%u,%llu,", o->id, (unsigned long long)o->area_px);
        m += format_optional(row + m, MAX_ROW - m, (double)o->area_px * px * px);
        m += (size_t)snprintf(row + m, MAX_ROW - m, "%.9g,%.9g,", o->centroid_y, o->centroid_x);
        m += format_optional(row + m, MAX_ROW - m, o->centroid_y * px);
        m += format_optional(row + m, MAX_ROW - m, o->centroid_x * px);
        m += (size_t)snprintf(row + m, MAX_ROW - m, "%u,%u,%u,%u,", o->top, o->left, o->bottom, o->right);
        m += format_optional(row + m, MAX_ROW - m, o->mean_intensity);
        if (stack)
            m +=
                (size_t)snprintf(row + m, MAX_ROW - m, "%u,%u,%u,%.9g,", o->t, o->z, o->z_end, o->centroid_z);
        row[m - 1] = '\n'; /* in place of the last comma */
        n += m;
    }
    *text = out;
    *size = n;
    return BS_OK;
}

static double sample_at(const struct bs_image *im, size_t i)
{
    switch (im->sample) {
    case BS_SAMPLE_U8:
        return ((const uint8_t *)im->data)[i];
    case BS_SAMPLE_U16:
        return ((const uint16_t *)im->data)[i];
    case BS_SAMPLE_U32:
        return ((const uint32_t *)im->data)[i];
    case BS_SAMPLE_I8:
        return ((const int8_t *)im->data)[i];
    case BS_SAMPLE_I16:
        return ((const int16_t *)im->data)[i];
    case BS_SAMPLE_I32:
        return ((const int32_t *)im->data)[i];
    case BS_SAMPLE_F32:
        return (double)((const float *)im->data)[i];
    default:
        return ((const double *)im->data)[i];
    }
}

bs_status bs__plane_for_overlay(const struct bs_image *im, int channel, float **plane, struct bs_err *err)
{
    int y = bs_image_axis(im, 'y'), x = bs_image_axis(im, 'x'), c = bs_image_axis(im, 'c');
    size_t stride[BS_IMAGE_MAX_DIM], step = 1, pixels;
    for (int i = im->ndim - 1; i >= 0; i--) {
        stride[i] = step;
        step *= im->dim[i];
        if (i != y && i != x && i != c && im->dim[i] != 1)
            return BS_FAIL(err, BS_EUNSUPPORTED, "an overlay is drawn of one plane; this image has axes %s",
                           im->axes);
    }
    size_t channels = c >= 0 ? im->dim[c] : 1;
    if (y < 0 || x < 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "an overlay is drawn of one plane; this image has axes %s",
                       im->axes);
    if (channel >= 0 && (size_t)channel >= channels)
        return BS_FAIL(err, BS_EINVAL, "channel %d of %zu", channel, channels);
    size_t offset = channel > 0 ? (size_t)channel * stride[c] : 0;
    if (!bs_mul(im->dim[y], im->dim[x], &pixels) || pixels > SIZE_MAX / sizeof **plane)
        return BS_FAIL(err, BS_ELIMIT, "%zux%zu is too large", im->dim[y], im->dim[x]);
    float *out = malloc(pixels * sizeof *out);
    if (!out)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a plane of %zu pixels", pixels);
    double sign =
        im->white_is_zero ? -1 : 1; /* the rendering stretches contrast, so the offset does not matter */
    for (size_t r = 0; r < im->dim[y]; r++)
        for (size_t k = 0; k < im->dim[x]; k++)
            out[r * im->dim[x] + k] = (float)(sign * sample_at(im, offset + r * stride[y] + k * stride[x]));
    *plane = out;
    return BS_OK;
}

/* The region's part of a plane of the whole image, in place. */
static bs_status cut(float *plane, size_t height, size_t width, const struct bs__result *r,
                     struct bs_err *err)
{
    const Bioseg__V1__Region *g = r->info->region;
    const size_t y = g ? (size_t)g->y : 0, x = g ? (size_t)g->x : 0;
    if (y > height || x > width || r->height > height - y || r->width > width - x ||
        (!g && (r->height != height || r->width != width)))
        return BS_FAIL(err, BS_ECORRUPT, "the labels (%zux%zu) are not of the image's size", r->height,
                       r->width);
    for (size_t k = 0; k < r->height; k++)
        memmove(plane + k * r->width, plane + (y + k) * width + x, r->width * sizeof *plane);
    return BS_OK;
}

static bs_status write_overlay(const char *path, const struct bs__input *input, int channel,
                               const struct bs__result *r, struct bs_err *err)
{
    struct bs_image *image = NULL;
    float *plane = NULL;
    uint8_t *rgb = NULL;
    size_t height, width, bytes;
    bs_status rc = bs_image_read_file(input->path, &bs_image_default_limits, &image, err);
    if (rc != BS_OK)
        goto cleanup;
    if ((rc = bs__plane_for_overlay(image, channel, &plane, err)) != BS_OK)
        goto cleanup;
    if ((rc = cut(plane, image->dim[bs_image_axis(image, 'y')], image->dim[bs_image_axis(image, 'x')], r,
                  err)) != BS_OK)
        goto cleanup;
    int zoom = bs_overlay_zoom(r->height, r->width);
    if (!bs_mul(r->height, (size_t)zoom, &height) || !bs_mul(r->width, (size_t)zoom, &width) ||
        !bs_mul(height, width, &bytes) || !bs_mul(bytes, 3, &bytes) || !(rgb = malloc(bytes))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the overlay");
        goto cleanup;
    }
    if ((rc = bs_overlay_render(plane, r->labels, r->height, r->width, zoom, rgb, err)) == BS_OK)
        rc = bs_rgb_write_png(path, rgb, height, width, err);
cleanup:
    free(rgb);
    free(plane);
    bs_image_unref(image);
    return rc;
}

static const Bioseg__V1__Axis *plane_axis(const struct bs__result *r, const char *name)
{
    for (size_t i = 0; i < r->info->n_plane_axes; i++)
        if (strcmp(r->info->plane_axes[i]->name, name) == 0)
            return r->info->plane_axes[i];
    return NULL;
}

/* A description of the labels for the writers: axes, sizes and pixel sizes, without samples. Time before planes, as files
   have them. */
static struct bs_image like_of(const struct bs__result *r)
{
    struct bs_image like = {.sample = BS_SAMPLE_U32, .refs = 1};
    const Bioseg__V1__Axis *t = plane_axis(r, "t"), *z = plane_axis(r, "z");
    const double px = r->info->pixel_size_um, spacing = z && z->pixel_size > 0 ? z->pixel_size : 0;
    const struct {
        bool there;
        char axis;
        size_t size;
        double distance;
    } axes[] = {
        {t != NULL, 't', t ? (size_t)t->size : 0, 0},
        {z != NULL, 'z', z ? (size_t)z->size : 0, spacing},
        {true, 'y', r->height, px > 0 ? px : 0},
        {true, 'x', r->width, px > 0 ? px : 0},
    };
    for (size_t i = 0; i < sizeof axes / sizeof *axes; i++) {
        if (!axes[i].there)
            continue;
        like.axes[like.ndim] = axes[i].axis;
        like.dim[like.ndim] = axes[i].size;
        like.pixel_size[like.ndim++] = axes[i].distance;
    }
    if (px > 0 || spacing > 0)
        snprintf(like.unit, sizeof like.unit, "um");
    return like;
}

/* Planes in the order of like_of, whatever that of the labels. */
static bs_status write_labels(const char *path, const struct bs__result *r, const struct bs_image *like,
                              struct bs_err *err)
{
    const Bioseg__V1__Axis *t = plane_axis(r, "t"), *z = plane_axis(r, "z");
    const size_t nt = t ? (size_t)t->size : 1, nz = z ? (size_t)z->size : 1, plane = r->height * r->width;
    const bool z_outside = t && z && r->info->plane_axes[0] == z;
    struct bs_labels_tiff *out = NULL;
    bs_status rc = bs_labels_tiff_open(path, r->planes, r->height, r->width, like, &out, err);
    if (rc != BS_OK)
        return rc;
    for (size_t k = 0; k < r->planes && rc == BS_OK; k++) {
        size_t at = z_outside ? k % nz * nt + k / nz : k;
        rc = bs_labels_tiff_rows(out, r->labels + at * plane, r->height, err);
    }
    bs_status closed = bs_labels_tiff_close(out, rc == BS_OK, rc == BS_OK ? err : NULL);
    return rc == BS_OK ? closed : rc;
}

/* What files of one plane cannot hold is refused before anything is written. */
static bs_status check_planes(const struct bs__output_paths *paths, bool png, const struct bs__result *r,
                              struct bs_err *err)
{
    if (paths->path[BS__OUTPUT_OVERLAY] && r->info->n_plane_axes > 0)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "an overlay is drawn of images with one plane, not of stacks; leave --overlay out");
    if (r->planes == 1)
        return BS_OK;
    if (png)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the labels have %zu planes and a PNG holds one: write them as TIFF (--format tiff), "
                       "or choose a plane with --region",
                       r->planes);
    if (paths->path[BS__OUTPUT_MAPS])
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "maps are written of one plane, and the labels have %zu: choose one with --region",
                       r->planes);
    return BS_OK;
}

bs_status bs__save_result(const struct bs__output_paths *paths, bool png, const struct bs__input *input,
                          const char *input_sha256, const char *fingerprint, int overlay_channel,
                          const struct bs__result *result, json_t **about, struct bs_err *err)
{
    struct bs_image like = like_of(result);
    char *csv = NULL;
    size_t csv_size = 0;
    json_t *description = NULL;
    const char *labels = paths->path[BS__OUTPUT_LABELS];
    bs_status rc = BS_OK;
    if (!result->labels || (paths->path[BS__OUTPUT_MAPS] && !result->maps) ||
        (paths->path[BS__OUTPUT_TABLE] && result->info->object_count && !result->has_objects))
        return BS_FAIL(err, BS_ECORRUPT, "the server left out a part of the result that was asked for");
    if ((rc = check_planes(paths, png, result, err)) != BS_OK || (rc = bs__record_begin(paths, err)) != BS_OK)
        return rc;
    rc = png ? bs_labels_write_png(labels, result->labels, result->height, result->width, err)
             : write_labels(labels, result, &like, err);
    if (rc == BS_OK && paths->path[BS__OUTPUT_MAPS])
        rc = bs_maps_write_tiff(paths->path[BS__OUTPUT_MAPS], result->maps, result->map_channels,
                                result->height, result->width, &like, err);
    if (rc == BS_OK && paths->path[BS__OUTPUT_TABLE]) {
        rc = bs__table_csv(result, &csv, &csv_size, err);
        if (rc == BS_OK)
            rc = bs__write_text(paths->path[BS__OUTPUT_TABLE], csv, csv_size, err);
    }
    if (rc == BS_OK && paths->path[BS__OUTPUT_OVERLAY] && input)
        rc = write_overlay(paths->path[BS__OUTPUT_OVERLAY], input, overlay_channel, result, err);
    if (rc == BS_OK) {
        description = bs__json_of_message(&result->info->base);
        rc = bs__record_write(paths, input, input_sha256, fingerprint, description, err);
    }
    if (rc == BS_OK && about)
        *about = json_incref(description);
    json_decref(description);
    free(csv);
    return rc;
}
