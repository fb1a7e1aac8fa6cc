/* See decode.h. */
#include "model/dataset/decode.h"

#include "kernels/base/checked.h"
#include "model/dataset/counts.h"
#include "model/dataset/hdf5.h"
#include "model/dataset/plane_data.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static bs_status verify(int fd, const struct bs_manifest_file *file, struct bs__verified *verified,
                        struct bs_err *err)
{
    struct stat st;
    char found[BS_SHA256_TEXT];
    bs_status rc;
    if (fstat(fd, &st) != 0)
        return BS_FAIL(err, BS_EIO, "it cannot be looked at: %s", strerror(errno));
    if (verified->valid && same_file(&st, &verified->seen))
        return BS_OK;
    verified->valid = false;
    if ((rc = bs_sha256_file(fd, found, err)) != BS_OK)
        return rc;
    if (strcmp(found, file->sha256) != 0)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "it was changed since the data set was made: its SHA-256 is %.12s..., not %.12s...",
                       found, file->sha256);
    *verified = (struct bs__verified){.seen = st, .valid = true};
    return BS_OK;
}

bs_status bs__decode_open(const struct bs_file_opener *opener, const struct bs_manifest_file *file,
                          struct bs__verified *verified, int *fd, struct bs_err *err)
{
    bs_status rc = opener->open(opener->ctx, file, fd, err);
    if (rc != BS_OK || !*file->sha256 || (rc = verify(*fd, file, verified, err)) == BS_OK)
        return rc;
    close(*fd);
    *fd = -1;
    return rc;
}

bs_status bs__decode_file(int fd, const struct bs_manifest_file *file, int64_t plane,
                          const struct bs_image_limits *limits, struct bs_image **out, struct bs_err *err)
{
    if (file->volume)
        return bs_hdf5_read_plane(fd, file->volume, plane, limits, out, err);
    if (file->raw.ndim)
        return bs_raw_image_read(fd, &file->raw, limits, out, err);
    return bs_image_decode_fd(fd, limits, out, err);
}

/* Where a pair's plane is in what was decoded. */
static int64_t decoded_plane(const struct bs_manifest_file *file, int64_t plane)
{
    return file->volume ? BS_PLANE_ONLY : plane;
}

void bs__pair_data_free(struct bs__pair_data *d)
{
    free(d->image);
    free(d->labels);
    free(d->ignored);
    *d = (struct bs__pair_data){0};
}

bool bs__pair_needs_prediction(const struct bs_manifest_pair *pair)
{
    return pair->prediction.name && !pair->done;
}

/* NULL: there is none. */
static const int64_t *ignore_label_of(const struct bs_manifest *m, const struct bs_manifest_pair *pair)
{
    return pair->has_ignore_label ? &pair->ignore_label : m->has_ignore_label ? &m->ignore_label : NULL;
}

bool bs__pair_is_partial(const struct bs_manifest *m, const struct bs_manifest_pair *pair)
{
    return ignore_label_of(m, pair) || pair->nignore || pair->nonly || bs__pair_needs_prediction(pair);
}

/* The plane of one file, of which the size must be that of the pair (0: it decides). */
static bs_status find_plane(const struct bs_image *image, int64_t index, int channel, struct bs__pair_data *d,
                            struct bs_plane *out, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs_plane_find(image, index, out, err)) != BS_OK ||
        (rc = bs_plane_choose_channel(out, channel, err)) != BS_OK)
        return rc;
    if (d->height == 0) {
        d->height = out->height;
        d->width = out->width;
    }
    if (out->height != d->height || out->width != d->width)
        return BS_FAIL(err, BS_EINVAL, "it has %zu x %zu pixels, its image has %zu x %zu (width x height)",
                       out->width, out->height, d->width, d->height);
    return BS_OK;
}

static bs_status no_memory(const struct bs__pair_data *d, struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "no memory for an image of %zu x %zu pixels", d->width, d->height);
}

bs_status bs__pair_data_image(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                              const struct bs_image *from, struct bs__pair_data *d, struct bs_err *err)
{
    struct bs_plane plane;
    bs_status rc =
        find_plane(from, decoded_plane(&pair->image, pair->image_plane), m->channel, d, &plane, err);
    if (rc != BS_OK)
        return rc;
    size_t bytes;
    if (!bs_mul(d->height, d->width, &bytes) || !bs_mul(bytes, sizeof *d->image, &bytes) ||
        !(d->image = malloc(bytes)))
        return no_memory(d, err);
    return bs__plane_image(&plane, d->image, err);
}

bs_status bs__pair_data_labels(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                               const struct bs_image *from, struct bs__pair_data *d, struct bs_err *err)
{
    struct bs_plane plane;
    const bool partial = bs__pair_is_partial(m, pair);
    bs_status rc = find_plane(from, decoded_plane(&pair->labels, pair->labels_plane), BS_PLANE_CHANNEL_ANY, d,
                              &plane, err);
    if (rc != BS_OK)
        return rc;
    const size_t pixels = d->height * d->width;
    BS_ASSERT(pixels > 0); /* no image is empty */
    d->labels = malloc(pixels * sizeof *d->labels);
    d->ignored = partial ? calloc(pixels, 1) : NULL;
    if (!d->labels || (partial && !d->ignored))
        return no_memory(d, err);
    if ((rc = bs__plane_labels(&plane, ignore_label_of(m, pair), d->labels, d->ignored, err)) == BS_OK &&
        partial)
        bs__counts_boxes(pair, d->height, d->width, d->ignored);
    return rc;
}

bs_status bs__pair_data_untouched(const struct bs_manifest_pair *pair, const struct bs_image *from,
                                  struct bs__pair_data *d, struct bs_err *err)
{
    struct bs_plane plane;
    uint32_t *prediction = NULL;
    bs_status rc = find_plane(from, decoded_plane(&pair->prediction, pair->labels_plane),
                              BS_PLANE_CHANNEL_ANY, d, &plane, err);
    if (rc != BS_OK)
        return rc;
    if (!(prediction = malloc(d->height * d->width * sizeof *prediction)))
        return no_memory(d, err);
    if ((rc = bs__plane_labels(&plane, NULL, prediction, NULL, err)) == BS_OK)
        rc = bs__counts_untouched(d->labels, prediction, d->height, d->width, d->ignored, err);
    free(prediction);
    return rc;
}

bs_status bs__pair_data_make(const struct bs_manifest *m, const struct bs_manifest_pair *pair,
                             const struct bs__pair_images *from, struct bs__pair_data *out,
                             struct bs_err *err)
{
    const char *name = pair->image.name;
    bs_status rc;
    *out = (struct bs__pair_data){0};
    if ((rc = bs__pair_data_image(m, pair, from->image, out, err)) != BS_OK)
        goto cleanup;
    name = pair->labels.name;
    if ((rc = bs__pair_data_labels(m, pair, from->labels, out, err)) != BS_OK)
        goto cleanup;
    name = pair->prediction.name;
    if (from->prediction)
        rc = bs__pair_data_untouched(pair, from->prediction, out, err);

cleanup:
    if (rc != BS_OK) {
        (void)bs_err_prefix(err, "\"%.200s\"", name);
        bs__pair_data_free(out);
    }
    return rc;
}
