/* Whether an image and its labels can be trained on: both are decoded whole, and what is wrong is said in words. Runs in a
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

/* Size along an axis, 1 where there is none. */
static uint64_t along(const struct bs_file_info *f, char axis)
{
    const char *at = strchr(f->axes, axis);
    return at ? f->dim[at - f->axes] : 1;
}

/* Planes of height times width, channels not counted. */
static uint64_t planes(const struct bs_file_info *f)
{
    uint64_t n = 1;
    for (int i = 0; i < f->ndim; i++)
        if (!strchr("cyx", f->axes[i]))
            n *= f->dim[i]; /* what is in memory cannot overflow */
    return n;
}

static bs_status compare(const struct bs_file_info *image, const struct bs_file_info *labels,
                         struct bs_err *err)
{
    if (labels->sample == BS_SAMPLE_F32 || labels->sample == BS_SAMPLE_F64)
        return BS_FAIL(err, BS_EINVAL,
                       "the labels have samples of type %s; whole numbers (uint8, uint16, uint32, int32) are "
                       "accepted",
                       bs_sample_name(labels->sample));
    if (along(labels, 'c') != 1)
        return BS_FAIL(err, BS_EINVAL,
                       "the labels have %" PRIu64 " channels; one is accepted, with an object's number in "
                       "each pixel",
                       along(labels, 'c'));
    if (along(image, 'y') != along(labels, 'y') || along(image, 'x') != along(labels, 'x'))
        return BS_FAIL(err, BS_EINVAL,
                       "the image is %" PRIu64 " x %" PRIu64 " pixels high and wide, its labels %" PRIu64
                       " x %" PRIu64,
                       along(image, 'y'), along(image, 'x'), along(labels, 'y'), along(labels, 'x'));
    if (planes(image) != planes(labels))
        return BS_FAIL(err, BS_EINVAL, "the image has %" PRIu64 " planes, its labels %" PRIu64, planes(image),
                       planes(labels));
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

static int64_t label_at(const struct bs_image *im, size_t i)
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
    default:
        return -1;
    }
}

static int ascending(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Distinct values other than 0 of each plane, summed. */
static bs_status count_objects(const struct bs_image *im, size_t plane, uint64_t *objects, struct bs_err *err)
{
    size_t n = im->bytes / bs_sample_size(im->sample), room = 0;
    uint32_t *seen = NULL;
    bs_status rc = BS_OK;
    *objects = 0;
    for (size_t start = 0; start < n && rc == BS_OK; start += plane) {
        size_t count = 0;
        int64_t before = 0;
        for (size_t i = start; i < start + plane && rc == BS_OK; i++) {
            int64_t v = label_at(im, i);
            if (v < 0) {
                rc =
                    BS_FAIL(err, BS_EINVAL,
                            "the labels have the value %" PRId64 "; 0 (background) and above is accepted", v);
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

static bs_status look(int image_fd, int labels_fd, struct bs_pair_info *info, struct bs_err *err)
{
    struct bs_image *im = NULL;
    if (bs_image_decode_fd(image_fd, &bs_image_default_limits, &im, err) != BS_OK)
        return bs_err_prefix(err, "the image");
    describe(im, &info->image);
    bs_status rc = check_numbers(im, err);
    bs_image_unref(im); /* never both in memory */
    im = NULL;
    if (rc != BS_OK)
        return rc;
    if (bs_image_decode_fd(labels_fd, &bs_image_default_limits, &im, err) != BS_OK)
        return bs_err_prefix(err, "the labels");
    describe(im, &info->labels);
    rc = compare(&info->image, &info->labels, err);
    if (rc == BS_OK)
        rc = count_objects(
            im, im->dim[strchr(im->axes, 'y') - im->axes] * im->dim[strchr(im->axes, 'x') - im->axes],
            &info->objects, err);
    bs_image_unref(im);
    return rc;
}

void bs__inspect_pair(int image_fd, int labels_fd, struct bs_worker_pair_checked *answer)
{
    struct bs_err err = {.msg = ""};
    bs_status rc = look(image_fd, labels_fd, &answer->info, &err);
    bs__set_failure(&answer->failure, rc, &err);
}
