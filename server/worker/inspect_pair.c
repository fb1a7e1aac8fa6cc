/* Whether an image and its labels (and the prediction that they were made from) can be trained on: all are decoded whole, and what is wrong is said in words. Runs in a
   process of its own. */
#include "server/worker/worker.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void describe(const struct bs_image *im, struct bs_file_info *f)
{
    f->sample = im->sample;
    f->ndim = im->ndim;
    memcpy(f->axes, im->axes, sizeof f->axes);
    for (int i = 0; i < im->ndim; i++) {
        f->dim[i] = im->dim[i];
        f->pixel_size[i] = im->pixel_size[i] > 0 && isfinite(im->pixel_size[i]) ? im->pixel_size[i] : 0;
    }
    memcpy(f->unit, im->unit, sizeof f->unit);
}

static bs_status compare(const struct bs_file_info *image, const struct bs_file_info *labels,
                         struct bs_err *err)
{
    if (bs_file_info_along(labels, 'c') != 1)
        return BS_FAIL(err, BS_EINVAL,
                       "the labels have %" PRIu64 " channels; one is accepted, with an object's number in "
                       "each pixel",
                       bs_file_info_along(labels, 'c'));
    if (bs_file_info_along(image, 'y') != bs_file_info_along(labels, 'y') ||
        bs_file_info_along(image, 'x') != bs_file_info_along(labels, 'x'))
        return BS_FAIL(err, BS_EINVAL,
                       "the image is %" PRIu64 " x %" PRIu64 " pixels high and wide, its labels %" PRIu64
                       " x %" PRIu64,
                       bs_file_info_along(image, 'y'), bs_file_info_along(image, 'x'),
                       bs_file_info_along(labels, 'y'), bs_file_info_along(labels, 'x'));
    if (bs_file_info_planes(image) != bs_file_info_planes(labels))
        return BS_FAIL(err, BS_EINVAL, "the image has %" PRIu64 " planes, its labels %" PRIu64,
                       bs_file_info_planes(image), bs_file_info_planes(labels));
    return BS_OK;
}

static bs_status check_numbers(const struct bs_image *im, struct bs_err *err)
{
    size_t n = im->bytes / bs_sample_size(im->sample);
    if (im->sample != BS_SAMPLE_F32 && im->sample != BS_SAMPLE_F64)
        return BS_OK;
    for (size_t i = 0; i < n; i++) {
        double v = im->sample == BS_SAMPLE_F32 ? (double)((const float *)im->data)[i]
                                               : ((const double *)im->data)[i];
        if (!isfinite(v))
            return BS_FAIL(err, BS_EINVAL,
                           "sample %zu of the image is not a number (%g); numbers are accepted", i, v);
    }
    return BS_OK;
}

/* NaN of a type that there is not. */
static double label_at(const struct bs_image *im, size_t i)
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
    case BS_SAMPLE_F64:
        return ((const double *)im->data)[i];
    default:
        return NAN;
    }
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Whole numbers of 32 bits, in samples of any type. */
static bool is_label(double v)
{
    return v >= 0 && v <= (double)UINT32_MAX && v == floor(v);
}

static bs_status no_label(const char *what, double v, struct bs_err *err)
{
    return BS_FAIL(err, BS_EINVAL,
                   "the %s the value %.9g; whole numbers from 0 (background) to %u are accepted", what, v,
                   UINT32_MAX);
}

/* Distinct values other than 0 and `ignore` (NaN: none) of each plane, summed. */
static bs_status count_objects(const struct bs_image *im, size_t plane, double ignore, uint64_t *objects,
                               struct bs_err *err)
{
    size_t n = im->bytes / bs_sample_size(im->sample), room = 0;
    uint32_t *seen = NULL;
    bs_status rc = BS_OK;
    *objects = 0;
    for (size_t start = 0; start < n && rc == BS_OK; start += plane) {
        size_t count = 0;
        double before = 0;
        for (size_t i = start; i < start + plane && rc == BS_OK; i++) {
            double v = label_at(im, i);
            if (v == ignore) {
                v = 0;
            } else if (!is_label(v)) {
                rc = no_label("labels have", v, err);
            } else if (v != 0 && v != before) { /* the first pixel of a run of equal ones */
                if (count == room) {
                    room = room ? 2 * room : 4096;
                    uint32_t *more = realloc(seen, room * sizeof *seen);
                    if (!more) {
                        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while counting objects");
                        break;
                    }
                    seen = more;
                }
                seen[count++] = (uint32_t)v;
            }
            before = v;
        }
        if (count)
            qsort(seen, count, sizeof *seen, ascending);
        for (size_t i = 0; i < count && rc == BS_OK; i++)
            *objects += i == 0 || seen[i] != seen[i - 1];
    }
    free(seen);
    return rc;
}

static bs_status open_file(int fd, const struct bs_raw_image *raw, struct bs_file_info *info,
                           struct bs_image **im, struct bs_err *err)
{
    bs_status rc = raw->ndim ? bs_raw_image_read(fd, raw, &bs_image_default_limits, im, err)
                             : bs_image_decode_fd(fd, &bs_image_default_limits, im, err);
    if (rc != BS_OK)
        return rc;
    describe(*im, info);
    info->raw = raw->ndim != 0;
    return BS_OK;
}

static bs_status look_at_image(int fd, const struct bs_pair_question *q, struct bs_pair_info *info,
                               struct bs_err *err)
{
    struct bs_image *im = NULL;
    if (open_file(fd, &q->image, &info->image, &im, err) != BS_OK)
        return bs_err_prefix(err, "the image");
    bs_status rc = check_numbers(im, err);
    bs_image_unref(im);
    return rc;
}

static bs_status look_at_labels(int fd, const struct bs_pair_question *q, struct bs_pair_info *info,
                                struct bs_err *err)
{
    const double ignore = q->has_ignore_label ? (double)q->ignore_label : NAN;
    struct bs_image *im = NULL;
    if (open_file(fd, &q->labels, &info->labels, &im, err) != BS_OK)
        return bs_err_prefix(err, "the labels");
    bs_status rc = compare(&info->image, &info->labels, err);
    if (rc == BS_OK)
        rc = count_objects(
            im, (size_t)(bs_file_info_along(&info->labels, 'y') * bs_file_info_along(&info->labels, 'x')),
            ignore, &info->objects, err);
    bs_image_unref(im);
    return rc;
}

/* Labels of a model, of the size of those that were made from them. */
static bs_status look_at_prediction(int fd, const struct bs_pair_question *q, struct bs_pair_info *info,
                                    struct bs_err *err)
{
    struct bs_image *im = NULL;
    bs_status rc = open_file(fd, &q->prediction, &info->prediction, &im, err);
    if (rc == BS_OK)
        rc = compare(&info->image, &info->prediction, err);
    for (size_t i = 0; rc == BS_OK && i < im->bytes / bs_sample_size(im->sample); i++)
        if (!is_label(label_at(im, i)))
            rc = no_label("file has", label_at(im, i), err);
    bs_image_unref(im);
    return rc == BS_OK ? rc : bs_err_prefix(err, "the prediction");
}

void bs__inspect_pair(const struct bs_worker_message *m, struct bs_worker_pair_checked *answer)
{
    const struct bs_pair_question *q = &m->body.question;
    struct bs_err err = {.msg = ""};
    /* One after the other: never two images in memory. */
    bs_status rc = look_at_image(m->fd[0], q, &answer->info, &err);
    if (rc == BS_OK)
        rc = look_at_labels(m->fd[1], q, &answer->info, &err);
    if (rc == BS_OK && m->nfd > 2)
        rc = look_at_prediction(m->fd[2], q, &answer->info, &err);
    answer->info.has_prediction = m->nfd > 2;
    bs__set_failure(&answer->failure, rc, &err);
}
