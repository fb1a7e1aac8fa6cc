/* Writes results. See save.h. */
#include "clients/cli/save.h"

#include "clients/cli/output.h"
#include "kernels/base/checked.h"
#include "model/image/overlay.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Twelve columns of numbers; the longest of a double in %.9g has 15 characters. */
#define MAX_ROW 400

static size_t format_optional(char *out, size_t cap, double v)
{
    return isfinite(v) ? (size_t)snprintf(out, cap, "%.9g,", v) : (size_t)snprintf(out, cap, ",");
}

bs_status bs__table_csv(const struct bs__result *result, char **text, size_t *size, struct bs_err *err)
{
    static const char header[] =
        "id,area_px,area_um2,centroid_y_px,centroid_x_px,centroid_y_um,centroid_x_um,"
        "top,left,bottom,right,mean_intensity\n";
    size_t bytes;
    if (!bs_mul(result->object_count, MAX_ROW, &bytes) || !bs_add(bytes, sizeof header, &bytes))
        return BS_FAIL(err, BS_ELIMIT, "%zu objects are too many for a table", result->object_count);
    char *out = malloc(bytes);
    if (!out)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a table of %zu objects", result->object_count);
    double px = result->info->pixel_size_um > 0 ? result->info->pixel_size_um : NAN;
    size_t n = sizeof header - 1;
    memcpy(out, header, n);
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
    if (image->dim[bs_image_axis(image, 'y')] != r->height ||
        image->dim[bs_image_axis(image, 'x')] != r->width) {
        rc = BS_FAIL(err, BS_ECORRUPT, "the labels (%zux%zu) are not of the image's size", r->height,
                     r->width);
        goto cleanup;
    }
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

/* A description of the labels for the writers: their size and pixel size, without samples. */
static struct bs_image like_of(const struct bs__result *r)
{
    struct bs_image like = {
        .sample = BS_SAMPLE_U32, .ndim = 2, .axes = "yx", .dim = {r->height, r->width}, .refs = 1};
    if (r->info->pixel_size_um > 0) {
        like.pixel_size[0] = like.pixel_size[1] = r->info->pixel_size_um;
        snprintf(like.unit, sizeof like.unit, "um");
    }
    return like;
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
    if ((rc = bs__record_begin(paths, err)) != BS_OK)
        return rc;
    rc = png ? bs_labels_write_png(labels, result->labels, result->height, result->width, err)
             : bs_labels_write_tiff(labels, result->labels, 1, result->height, result->width, &like, err);
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
