/* PNG out: 16-bit label images and 8-bit RGB overlays. Owns nothing beyond a call; any thread. */
#include "model/image/image_internal.h"

#include "kernels/base/atomic_file.h"

#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct writer {
    struct bs_atomic_file file;
    png_structp png;
    png_infop info;
    png_bytep row; /* one row as the file wants it; NULL when the caller's rows are already so */
    char why[160];
};

static void on_error(png_structp png, png_const_charp text)
{
    struct writer *w = png_get_error_ptr(png);
    snprintf(w->why, sizeof w->why, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_write(png_structp png, png_bytep data, size_t n)
{
    struct writer *w = png_get_io_ptr(png);
    while (n > 0) {
        ssize_t put = write(w->file.fd, data, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            png_error(png, strerror(errno));
        data += put;
        n -= (size_t)put;
    }
}

static void on_flush(png_structp png)
{
    (void)png;
}

/* labels or rgb: the other one is NULL. */
static bs_status encode(struct writer *w, const uint32_t *labels, const uint8_t *rgb, size_t height,
                        size_t width, struct bs_err *err)
{
    if (setjmp(png_jmpbuf(w->png)))
        return BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(w->file.path), w->why);
    png_set_write_fn(w->png, w, on_write, on_flush);
    png_set_user_limits(w->png, 0x7fffffff, 0x7fffffff);
    /* Level 3: labels and overlays compress well at any level, and the caller waits. */
    png_set_compression_level(w->png, 3);
    png_set_IHDR(w->png, w->info, (png_uint_32)width, (png_uint_32)height, labels ? 16 : 8,
                 labels ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(w->png, w->info);
    for (size_t y = 0; y < height; y++) {
        if (labels) {
            for (size_t x = 0; x < width; x++) {
                w->row[2 * x] = (png_byte)(labels[y * width + x] >> 8);
                w->row[2 * x + 1] = (png_byte)labels[y * width + x];
            }
            png_write_row(w->png, w->row);
        } else {
            png_write_row(w->png, rgb + 3 * y * width);
        }
    }
    png_write_end(w->png, NULL);
    return BS_OK;
}

static bs_status write_png(const char *path, const uint32_t *labels, const uint8_t *rgb, size_t height,
                           size_t width, struct bs_err *err)
{
    if (height == 0 || width == 0 || height > 0x7fffffff || width > 0x7fffffff)
        return BS_FAIL(err, BS_EINVAL, "an image of %zu x %zu pixels cannot be a PNG", height, width);
    struct writer w = {.file.fd = -1};
    bs_status rc = bs_atomic_open(&w.file, path, err);
    if (rc != BS_OK)
        return rc;
    w.row = labels ? malloc(2 * width) : NULL;
    w.png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &w, on_error, on_warning);
    w.info = w.png ? png_create_info_struct(w.png) : NULL;
    if (!w.info || (labels && !w.row)) {
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while writing %s", bs_base_name(path));
        goto cleanup;
    }
    if ((rc = encode(&w, labels, rgb, height, width, err)) != BS_OK)
        goto cleanup;
    rc = bs_atomic_commit(&w.file, err);
cleanup:
    if (w.png)
        png_destroy_write_struct(&w.png, &w.info);
    free(w.row);
    bs_atomic_abort(&w.file);
    return rc;
}

bs_status bs_labels_write_png(const char *path, const uint32_t *labels, size_t height, size_t width,
                              struct bs_err *err)
{
    for (size_t i = 0; i < height * width; i++)
        if (labels[i] > 65535)
            return BS_FAIL(err, BS_EINVAL,
                           "label %u does not fit a 16-bit PNG, which ends at 65535; write TIFF instead",
                           (unsigned)labels[i]);
    return write_png(path, labels, NULL, height, width, err);
}

bs_status bs_rgb_write_png(const char *path, const uint8_t *rgb, size_t height, size_t width,
                           struct bs_err *err)
{
    return write_png(path, NULL, rgb, height, width, err);
}
