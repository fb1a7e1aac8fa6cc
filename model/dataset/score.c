/* Labels against the truth, plane by plane. See score.h. */
#include "model/dataset/score.h"

#include "kernels/base/checked.h"
#include "model/dataset/plane_data.h"
#include "model/instances/evaluate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bs_status read_all(int fd, void *data, size_t n, uint64_t at, struct bs_err *err)
{
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (char *)data + done, n - done, (off_t)(at + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return BS_FAIL(err, BS_EIO, "the labels that were found end after %" PRIu64 " bytes", at + done);
        done += (size_t)got;
    }
    return BS_OK;
}

/* One plane of both. */
static bs_status score_plane(const struct bs_image *truth, size_t index, int predicted_fd, uint32_t *expected,
                             uint32_t *predicted, uint8_t *ignored, struct bs_label_score *sum,
                             struct bs_err *err)
{
    struct bs_accuracy a;
    struct bs_plane plane;
    bs_status rc = bs_plane_find(truth, (int64_t)index, &plane, err);
    if (rc != BS_OK || (rc = bs__plane_labels(&plane, NULL, expected, ignored, err)) != BS_OK)
        return rc;
    const size_t pixels = plane.height * plane.width; /* of an image in memory: does not overflow */
    if ((rc = read_all(predicted_fd, predicted, pixels * sizeof *predicted,
                       (uint64_t)index * pixels * sizeof *predicted, err)) != BS_OK ||
        (rc = bs_evaluate(predicted, expected, plane.height, plane.width, 0, &a, err)) != BS_OK)
        return rc;
    sum->msa += a.msa;
    sum->sa50 += a.at[0];
    sum->sa75 += a.at[5];
    sum->predicted += a.predicted;
    sum->expected += a.expected;
    return BS_OK;
}

bs_status bs_score_labels(int truth_fd, const struct bs_raw_image *raw, int predicted_fd, uint64_t planes,
                          uint64_t height, uint64_t width, struct bs_label_score *out, struct bs_err *err)
{
    struct bs_image *truth = NULL;
    struct bs_plane first;
    uint32_t *expected = NULL, *predicted = NULL;
    uint8_t *ignored = NULL;
    *out = (struct bs_label_score){0};
    bs_status rc = raw && raw->ndim ? bs_raw_image_read(truth_fd, raw, &bs_image_default_limits, &truth, err)
                                    : bs_image_decode_fd(truth_fd, &bs_image_default_limits, &truth, err);
    if (rc != BS_OK || (rc = bs_plane_find(truth, 0, &first, err)) != BS_OK)
        goto cleanup;
    const size_t count = bs_plane_count(truth), pixels = first.height * first.width;
    if (count != planes || first.height != height || first.width != width || first.channels != 1) {
        rc = BS_FAIL(err, BS_EINVAL,
                     "the labels have %zu planes of %zu x %zu pixels and %zu channels, the image has %" PRIu64
                     " of %" PRIu64 " x %" PRIu64,
                     count, first.height, first.width, first.channels, planes, height, width);
        goto cleanup;
    }
    expected = calloc(pixels, sizeof *expected);
    predicted = calloc(pixels, sizeof *predicted);
    ignored = calloc(pixels, 1);
    if (!expected || !predicted || !ignored) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for labels of %zu pixels", pixels);
        goto cleanup;
    }
    for (size_t i = 0; i < count && rc == BS_OK; i++)
        rc = score_plane(truth, i, predicted_fd, expected, predicted, ignored, out, err);
    out->msa /= (double)count;
    out->sa50 /= (double)count;
    out->sa75 /= (double)count;
cleanup:
    free(expected);
    free(predicted);
    free(ignored);
    bs_image_unref(truth);
    return rc;
}
