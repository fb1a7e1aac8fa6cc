/* The image object: creation with checked sizes, reference counting, and the choice of decoder by content.
   Any thread; the count is atomic. */
#include "kernels/base/atomic_file.h"
#include "kernels/base/checked.h"
#include "kernels/base/pages.h"
#include "model/image/image_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 20,000 x 20,000 pixels of 16 bit (a slide scan) and its neighbours fit with room to spare. */
const struct bs_image_limits bs_image_default_limits = {
    .max_bytes = (size_t)4 << 30, .max_pixels = (size_t)1 << 30, .max_pages = 65536};

static const struct {
    const char *name;
    size_t size;
} samples[BS_SAMPLE_COUNT] = {
    [BS_SAMPLE_U8] = {"uint8", 1},    [BS_SAMPLE_U16] = {"uint16", 2},  [BS_SAMPLE_U32] = {"uint32", 4},
    [BS_SAMPLE_I8] = {"int8", 1},     [BS_SAMPLE_I16] = {"int16", 2},   [BS_SAMPLE_I32] = {"int32", 4},
    [BS_SAMPLE_F32] = {"float32", 4}, [BS_SAMPLE_F64] = {"float64", 8},
};

size_t bs_sample_size(enum bs_sample s)
{
    BS_ASSERT((unsigned)s < BS_SAMPLE_COUNT);
    return samples[s].size;
}

const char *bs_sample_name(enum bs_sample s)
{
    return (unsigned)s < BS_SAMPLE_COUNT ? samples[s].name : "unknown";
}

/* Small images come from malloc, where the sanitizers see a write past the end; large ones want huge pages. */
#define SMALL_IMAGE ((size_t)2 << 20)

static void *samples_alloc(size_t bytes)
{
    return bytes < SMALL_IMAGE ? calloc(1, bytes) : bs_pages_alloc(bytes);
}

static void samples_free(void *p, size_t bytes)
{
    if (bytes < SMALL_IMAGE)
        free(p);
    else
        bs_pages_free(p, bytes);
}

bs_status bs_image_create(enum bs_sample s, const char *axes, const size_t *dim,
                          const struct bs_image_limits *limits, struct bs_image **out, struct bs_err *err)
{
    *out = NULL;
    if (!limits)
        limits = &bs_image_default_limits;
    if ((unsigned)s >= BS_SAMPLE_COUNT)
        return BS_FAIL(err, BS_EINVAL, "sample type %d is unknown", (int)s);
    size_t ndim = strlen(axes);
    if (ndim < 2 || ndim > BS_IMAGE_MAX_DIM)
        return BS_FAIL(err, BS_EINVAL, "axes \"%.16s\": 2 to %d letters of tzcyx are accepted", axes,
                       BS_IMAGE_MAX_DIM);
    for (size_t i = 0; i < ndim; i++) {
        if (!strchr("tzcyx?", axes[i]) || memchr(axes + i + 1, axes[i], ndim - i - 1))
            return BS_FAIL(err, BS_EINVAL, "axes \"%.16s\": each of the letters tzcyx is accepted once",
                           axes);
        if (dim[i] == 0)
            return BS_FAIL(err, BS_EINVAL, "the image has size 0 along its axis %c; at least 1 is needed",
                           axes[i]);
    }
    if (!strchr(axes, 'y') || !strchr(axes, 'x'))
        return BS_FAIL(err, BS_EINVAL, "axes \"%.16s\": y and x must be among them", axes);
    size_t bytes = samples[s].size, pixels = 1, pages = 1;
    for (size_t i = 0; i < ndim; i++) {
        bool plane = axes[i] == 'y' || axes[i] == 'x';
        size_t *side = plane ? &pixels : &pages;
        if (!bs_mul(bytes, dim[i], &bytes) || !bs_mul(*side, dim[i], side) || bytes > limits->max_bytes)
            return BS_FAIL(err, BS_ELIMIT, "the image needs more than %zu bytes, which is the limit",
                           limits->max_bytes);
    }
    if (pixels > limits->max_pixels)
        return BS_FAIL(err, BS_ELIMIT, "a plane of %zu pixels is more than the limit of %zu", pixels,
                       limits->max_pixels);
    struct bs_image *im = calloc(1, sizeof *im);
    if (im)
        im->data = samples_alloc(bytes);
    if (!im || !im->data) {
        free(im);
        return BS_FAIL(err, BS_ENOMEM, "no memory for an image of %zu bytes", bytes);
    }
    im->sample = s;
    im->ndim = (int)ndim;
    memcpy(im->axes, axes, ndim + 1);
    memcpy(im->dim, dim, ndim * sizeof *dim);
    im->bytes = bytes;
    im->refs = 1;
    *out = im;
    return BS_OK;
}

struct bs_image *bs_image_ref(struct bs_image *im)
{
    __atomic_add_fetch(&im->refs, 1, __ATOMIC_RELAXED);
    return im;
}

void bs_image_unref(struct bs_image *im)
{
    if (!im || __atomic_sub_fetch(&im->refs, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    samples_free(im->data, im->bytes);
    free(im);
}

int bs_image_axis(const struct bs_image *im, char axis)
{
    const char *at = axis ? strchr(im->axes, axis) : NULL;
    return at ? (int)(at - im->axes) : -1;
}

static bs_status decode(const struct bs__source *src, const struct bs_image_limits *limits,
                        struct bs_image **out, struct bs_err *err)
{
    static const unsigned char png[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
    unsigned char head[8] = {0};
    *out = NULL;
    if (!limits)
        limits = &bs_image_default_limits;
    if (src->size == 0)
        return BS_FAIL(err, BS_ECORRUPT, "the image file is empty");
    size_t got = bs__source_read(src, 0, head, sizeof head);
    if (got == sizeof head && memcmp(head, png, sizeof png) == 0) {
#if defined(BS_WITH_PNG)
        return bs__png_decode(src, limits, out, err);
#else
        return BS_FAIL(err, BS_EUNSUPPORTED, "PNG image: this build has no PNG support");
#endif
    }
    bool little =
        got >= 4 && head[0] == 'I' && head[1] == 'I' && (head[2] == 42 || head[2] == 43) && head[3] == 0;
    bool big =
        got >= 4 && head[0] == 'M' && head[1] == 'M' && head[2] == 0 && (head[3] == 42 || head[3] == 43);
    if (little || big) {
#if defined(BS_WITH_TIFF)
        return bs__tiff_decode(src, limits, out, err);
#else
        return BS_FAIL(err, BS_EUNSUPPORTED, "TIFF image: this build has no TIFF support");
#endif
    }
    return BS_FAIL(err, BS_ECORRUPT,
                   "the file is neither PNG nor TIFF (it begins with bytes %02x %02x %02x %02x)", head[0],
                   head[1], head[2], head[3]);
}

bs_status bs_image_decode(const void *data, size_t size, const struct bs_image_limits *limits,
                          struct bs_image **out, struct bs_err *err)
{
    static const unsigned char nothing;
    struct bs__source src = {.data = data ? data : &nothing, .fd = -1, .size = size};
    return decode(&src, limits, out, err);
}

bs_status bs_image_decode_fd(int fd, const struct bs_image_limits *limits, struct bs_image **out,
                             struct bs_err *err)
{
    struct stat st;
    *out = NULL;
    if (fstat(fd, &st) != 0)
        return BS_FAIL(err, BS_EIO, "cannot look at the image file: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return BS_FAIL(err, BS_EINVAL, "the image is not a regular file");
    struct bs__source src = {.fd = fd, .size = (uint64_t)st.st_size};
    return decode(&src, limits, out, err);
}

bs_status bs_image_read_file(const char *path, const struct bs_image_limits *limits, struct bs_image **out,
                             struct bs_err *err)
{
    *out = NULL;
    /* O_NONBLOCK: a named pipe must not hold us up before we find out that it is none of ours. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bs_status code = errno == ENOENT || errno == ENOTDIR ? BS_ENOTFOUND
                         : errno == EACCES                   ? BS_EPERMISSION
                                                             : BS_EIO;
        return BS_FAIL(err, code, "cannot open %s: %s", bs_base_name(path), strerror(errno));
    }
    bs_status rc = bs_image_decode_fd(fd, limits, out, err);
    close(fd);
    if (rc != BS_OK)
        bs_err_prefix(err, "%s", bs_base_name(path));
    return rc;
}
