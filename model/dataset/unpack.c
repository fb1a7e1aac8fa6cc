/* See unpack.h. */
#include "model/dataset/unpack.h"

#include "model/dataset/hdf5.h"
#include "model/dataset/plane_data.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MAX_PIXELS ((int64_t)1 << 28)

static bs_status make_folder(const char *path, struct bs_err *err)
{
    if (mkdir(path, 0777) == 0)
        return BS_OK;
    return BS_FAIL(err, errno == EEXIST ? BS_EEXIST : BS_EIO, "folder %.300s cannot be made: %s", path,
                   strerror(errno));
}

/* Does anything stand at the path? Then it is said. */
static bs_status check_free(const char *path, struct bs_err *err)
{
    struct stat st;
    if (lstat(path, &st) != 0)
        return BS_OK;
    return BS_FAIL(err, BS_EEXIST, "%.400s is there already", path);
}

static bs_status check_path(int printed, size_t room, struct bs_err *err)
{
    if (printed > 0 && (size_t)printed < room)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "a path of more than %zu bytes", room - 1);
}

static bs_status tell(const struct bs_unpack_progress *progress, const struct bs_cancel *cancel, size_t done,
                      size_t total, struct bs_err *err)
{
    if (bs_cancel_requested(cancel))
        return BS_FAIL(err, BS_ECANCELLED, "cancelled while files were unpacked");
    if (progress)
        progress->file(progress->ctx, done, total);
    return BS_OK;
}

/* Whole numbers stay whole, everything else becomes float. */
static bs_status write_image(const struct bs_image *im, const char *path, struct bs_err *err)
{
    const size_t pixels = im->dim[0] * im->dim[1];
    struct bs_plane plane;
    bs_status rc = bs_plane_find(im, BS_PLANE_ONLY, &plane, err);
    const bool whole =
        im->sample == BS_SAMPLE_U8 || im->sample == BS_SAMPLE_U16 || im->sample == BS_SAMPLE_U32;
    uint32_t *labels = whole ? malloc(pixels * sizeof *labels) : NULL;
    float *values = whole ? NULL : malloc(pixels * sizeof *values);
    if (rc != BS_OK || (!labels && !values))
        rc = rc != BS_OK ? rc : BS_FAIL(err, BS_ENOMEM, "no memory for a plane of %zu pixels", pixels);
    else if (whole && (rc = bs__plane_labels(&plane, NULL, labels, NULL, err)) == BS_OK)
        rc = bs_labels_write_tiff(path, labels, 1, im->dim[0], im->dim[1], NULL, err);
    else if (!whole && (rc = bs__plane_image(&plane, values, err)) == BS_OK)
        rc = bs_maps_write_tiff(path, values, 1, im->dim[0], im->dim[1], NULL, err);
    free(labels);
    free(values);
    return rc;
}

static bs_status write_labels(const struct bs_image *im, const char *path, struct bs_err *err)
{
    const size_t pixels = im->dim[0] * im->dim[1];
    const int64_t mark = -1;
    struct bs_plane plane;
    bs_status rc = bs_plane_find(im, BS_PLANE_ONLY, &plane, err);
    uint32_t *labels = malloc(pixels * sizeof *labels);
    uint8_t *ignored = calloc(pixels, 1);
    if (!labels || !ignored)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a plane of %zu pixels", pixels);
    if (rc == BS_OK && (rc = bs__plane_labels(&plane, &mark, labels, ignored, err)) == BS_OK)
        rc = bs_labels_write_tiff(path, labels, 1, im->dim[0], im->dim[1], NULL, err);
    free(labels);
    free(ignored);
    return rc;
}

/* Where the files of one part go. */
struct place {
    char images[1024], labels[1024];
};

static bs_status make_place(const char *folder, enum bs_part part, struct place *p, struct bs_err *err)
{
    char path[1024];
    const char *name = bs_part_name(part);
    bs_status rc;
    if ((rc = check_path(snprintf(path, sizeof path, "%s/%s", folder, name), sizeof path, err)) != BS_OK ||
        (rc = make_folder(path, err)) != BS_OK ||
        (rc = check_path(snprintf(p->images, sizeof p->images, "%s/%s/images", folder, name),
                         sizeof p->images, err)) != BS_OK ||
        (rc = make_folder(p->images, err)) != BS_OK ||
        (rc = check_path(snprintf(p->labels, sizeof p->labels, "%s/%s/labels", folder, name),
                         sizeof p->labels, err)) != BS_OK)
        return rc;
    return make_folder(p->labels, err);
}

static bs_status write_plane(int fd, const struct bs_collect_volume *v, const char *stem, size_t z,
                             const struct place *p, struct bs_err *err)
{
    struct bs_image *image = NULL, *labels = NULL;
    char path[2048];
    bs_status rc;
    if ((rc = bs_hdf5_read_plane(fd, v->image, (int64_t)z, NULL, &image, err)) != BS_OK ||
        (rc = bs_hdf5_read_plane(fd, v->labels, (int64_t)z, NULL, &labels, err)) != BS_OK)
        goto cleanup;
    if ((rc = check_path(snprintf(path, sizeof path, "%s/%s_z%03zu.tif", p->images, stem, z), sizeof path,
                         err)) != BS_OK ||
        (rc = write_image(image, path, err)) != BS_OK ||
        (rc = check_path(snprintf(path, sizeof path, "%s/%s_z%03zu.tif", p->labels, stem, z), sizeof path,
                         err)) != BS_OK)
        goto cleanup;
    rc = write_labels(labels, path, err);

cleanup:
    bs_image_unref(image);
    bs_image_unref(labels);
    return rc;
}

bs_status bs_unpack_volume(int fd, const struct bs_collect_volume *v, const char *stem, const char *folder,
                           const struct bs_unpack_progress *progress, const struct bs_cancel *cancel,
                           size_t *written, struct bs_err *err)
{
    size_t planes = 0;
    struct place place[BS_PART_TEST + 1];
    bool made[BS_PART_TEST + 1] = {false};
    const size_t total = v->train + v->validation + v->test;
    bs_status rc;
    *written = 0;
    if ((rc = bs_collect_volume_size(fd, v, &planes, err)) != BS_OK ||
        (rc = make_folder(folder, err)) != BS_OK)
        return rc;
    for (size_t z = 0; z < planes && rc == BS_OK; z++) {
        enum bs_part part;
        if (!bs_collect_volume_part(v, planes, z, &part))
            continue;
        if (!made[part] && (rc = make_place(folder, part, &place[part], err)) != BS_OK)
            return rc;
        made[part] = true;
        if ((rc = tell(progress, cancel, *written, total, err)) == BS_OK &&
            (rc = write_plane(fd, v, stem, z, &place[part], err)) == BS_OK)
            (*written)++;
    }
    return rc;
}

/* The last part of a name without its extension, which may not lead anywhere. */
static bs_status stem_of(const char *file_name, char *stem, size_t room, struct bs_err *err)
{
    const char *slash = strrchr(file_name, '/'), *part = slash ? slash + 1 : file_name,
               *backslash = strrchr(part, '\\');
    part = backslash ? backslash + 1 : part;
    const char *dot = strrchr(part, '.');
    const size_t len = dot ? (size_t)(dot - part) : strlen(part);
    if (len == 0 || len >= room || *part == '.')
        return BS_FAIL(err, BS_EINVAL, "\"%.200s\" is no name that a file of labels can be called after",
                       file_name);
    memcpy(stem, part, len);
    stem[len] = '\0';
    return BS_OK;
}

static bs_status draw(const struct bs_coco *c, size_t i, const struct bs_coco_rule *rule, const char *folder,
                      struct bs_err *err)
{
    const struct bs_coco_image *image = bs_coco_image(c, i);
    char stem[256], path[2048];
    uint32_t count, *labels = NULL;
    bs_status rc;
    if ((rc = stem_of(image->file_name, stem, sizeof stem, err)) != BS_OK ||
        (rc = check_path(snprintf(path, sizeof path, "%s/%s.tif", folder, stem), sizeof path, err)) !=
            BS_OK ||
        (rc = check_free(path, err)) != BS_OK)
        return rc;
    if (image->width <= 0 || image->height <= 0 || image->height > MAX_PIXELS / image->width)
        return BS_FAIL(
            err, BS_ELIMIT, "\"%.200s\" is said to have %lld x %lld pixels; up to %lld are accepted",
            image->file_name, (long long)image->width, (long long)image->height, (long long)MAX_PIXELS);
    const size_t height = (size_t)image->height, width = (size_t)image->width;
    if (!(labels = malloc(height * width * sizeof *labels)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for labels of %zu x %zu pixels", width, height);
    if ((rc = bs_coco_labels(c, i, rule, labels, &count, err)) == BS_OK)
        rc = bs_labels_write_tiff(path, labels, 1, height, width, NULL, err);
    free(labels);
    return rc;
}

bs_status bs_unpack_coco(const struct bs_coco *c, const struct bs_coco_rule *rule, const char *folder,
                         const struct bs_unpack_progress *progress, const struct bs_cancel *cancel,
                         size_t *written, struct bs_err *err)
{
    const size_t count = bs_coco_image_count(c);
    bs_status rc = make_folder(folder, err);
    *written = 0;
    for (size_t i = 0; i < count && rc == BS_OK; i++) {
        if ((rc = tell(progress, cancel, i, count, err)) != BS_OK || bs_coco_image(c, i)->annotations == 0)
            continue;
        if ((rc = draw(c, i, rule, folder, err)) == BS_OK)
            (*written)++;
    }
    return rc;
}
