/* See raw.h. */
#include "model/image/raw.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "samples are taken as they lie");

/* Each of t, z and c at most once, y and x at the end or before c. */
static bool axes_are_known(const char *axes)
{
    const char *y = strchr(axes, 'y');
    if (!y || y[1] != 'x' || (y[2] && strcmp(y + 2, "c") != 0))
        return false;
    for (const char *a = axes; *a; a++)
        if (!strchr("tzcyx", *a) || strchr(a + 1, *a))
            return false;
    return true;
}

bs_status bs_raw_image_check(const struct bs_raw_image *raw, struct bs_err *err)
{
    size_t bytes;
    if (raw->ndim < 1 || raw->ndim > BS_IMAGE_MAX_DIM ||
        strnlen(raw->axes, sizeof raw->axes) != (size_t)raw->ndim || !axes_are_known(raw->axes))
        return BS_FAIL(
            err, BS_EINVAL,
            "samples without a file have axes \"%.5s\"; yx, yxc and cyx are accepted, with t and z "
            "before y if it is a stack, e.g. zyx, tzyxc and tczyx",
            raw->axes);
    if ((unsigned)raw->sample >= BS_SAMPLE_COUNT)
        return BS_FAIL(err, BS_EINVAL, "samples are of type %d, which is not known", (int)raw->sample);
    bytes = bs_sample_size(raw->sample);
    for (int i = 0; i < raw->ndim; i++) {
        if (raw->dim[i] == 0)
            return BS_FAIL(err, BS_EINVAL, "axis %c has size 0; at least 1 is needed", raw->axes[i]);
        if (raw->dim[i] > INT64_MAX || !bs_mul(bytes, (size_t)raw->dim[i], &bytes))
            return BS_FAIL(err, BS_ELIMIT, "the image's size overflows");
    }
    return BS_OK;
}

int bs_raw_image_compare(const struct bs_raw_image *a, const struct bs_raw_image *b)
{
    int order = (a->ndim > b->ndim) - (a->ndim < b->ndim);
    if (order || a->ndim == 0)
        return order;
    if ((order = (a->sample > b->sample) - (a->sample < b->sample)) || (order = strcmp(a->axes, b->axes)))
        return order;
    for (int i = 0; i < a->ndim && !order; i++)
        order = (a->dim[i] > b->dim[i]) - (a->dim[i] < b->dim[i]);
    return order;
}

bs_status bs_raw_image_read(int fd, const struct bs_raw_image *raw, const struct bs_image_limits *limits,
                            struct bs_image **out, struct bs_err *err)
{
    struct bs_image *im = NULL;
    struct stat st;
    size_t dim[BS_IMAGE_MAX_DIM];
    bs_status rc = bs_raw_image_check(raw, err);
    *out = NULL;
    for (int i = 0; rc == BS_OK && i < raw->ndim; i++)
        dim[i] = (size_t)raw->dim[i];
    if (rc != BS_OK || (rc = bs_image_create(raw->sample, raw->axes, dim, limits, &im, err)) != BS_OK)
        return rc;
    if (fstat(fd, &st) != 0)
        rc = BS_FAIL(err, BS_EIO, "it cannot be looked at: %s", strerror(errno));
    else if ((size_t)st.st_size != im->bytes)
        rc = BS_FAIL(err, BS_EINVAL, "it is said to be %zu bytes of samples, and has %zu", im->bytes,
                     (size_t)st.st_size);
    for (size_t at = 0; rc == BS_OK && at < im->bytes;) {
        const ssize_t n = pread(fd, (char *)im->data + at, im->bytes - at, (off_t)at);
        if (n > 0)
            at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            rc = BS_FAIL(err, BS_EIO, "it could be read up to byte %zu of %zu only", at, im->bytes);
    }
    if (rc != BS_OK) {
        bs_image_unref(im);
        return rc;
    }
    *out = im;
    return BS_OK;
}
