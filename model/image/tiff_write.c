/* TIFF out: label images and float maps, strip by strip, deflate-compressed, with axes and pixel size in ImageJ's way
   (an own reader, ImageJ, Fiji and tifffile understand it). BigTIFF where 4 GB could be exceeded.
   A struct writer owns its file until it is closed; one thread at a time. */
#include "kernels/base/atomic_file.h"
#include "kernels/base/checked.h"
#include "model/image/image_internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>
#include <unistd.h>

#define STRIP_BYTES ((size_t)1 << 20)

struct bs_labels_tiff {
    struct bs_atomic_file file;
    TIFF *tif;
    bool is_float;
    size_t pages, height, width; /* all in 4-byte samples */
    size_t page, row;            /* the next row to come */
    size_t strip_rows;
    unsigned char *strip; /* rows of the strip that is being filled */
    char description[512];
    double pixel_x, pixel_y; /* in the unit of the description; 0 unknown */
    char why[160];
};

static int on_error(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
    struct bs_labels_tiff *w = user;
    (void)tif;
    (void)module;
    if (!w->why[0])
        vsnprintf(w->why, sizeof w->why, fmt, ap);
    return 1;
}

static int on_warning(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
    (void)tif;
    (void)user;
    (void)module;
    (void)fmt;
    (void)ap;
    return 1;
}

static double pixel_size(const struct bs_image *like, char axis)
{
    int i = like ? bs_image_axis(like, axis) : -1;
    return i >= 0 ? like->pixel_size[i] : 0;
}

static size_t axis_size(const struct bs_image *like, char axis)
{
    int i = like ? bs_image_axis(like, axis) : -1;
    return i >= 0 ? like->dim[i] : 1;
}

/* ImageJ's description: what the pages are, and the unit of the resolution tags. Pages whose meaning `like` does not
   tell get no axes, so that whoever reads the file asks too. */
static void describe(struct bs_labels_tiff *w, const struct bs_image *like, bool pages_are_channels)
{
    size_t n = 0, cap = sizeof w->description;
    size_t slices = axis_size(like, 'z'), frames = axis_size(like, 't'), product;
    double spacing = pixel_size(like, 'z');
    bool known = w->pages == 1 || (bs_mul(slices, frames, &product) && product == w->pages);
    w->pixel_x = pixel_size(like, 'x');
    w->pixel_y = pixel_size(like, 'y');
    if (!(known || pages_are_channels) && w->pixel_x <= 0)
        return;
    n += (size_t)snprintf(w->description + n, cap - n, "ImageJ=1.54f\nimages=%zu\n", w->pages);
    if (pages_are_channels && w->pages > 1)
        n += (size_t)snprintf(w->description + n, cap - n, "channels=%zu\nhyperstack=true\nmode=grayscale\n",
                              w->pages);
    else if (known && w->pages > 1) {
        if (slices > 1)
            n += (size_t)snprintf(w->description + n, cap - n, "slices=%zu\n", slices);
        if (frames > 1)
            n += (size_t)snprintf(w->description + n, cap - n, "frames=%zu\n", frames);
        if (slices > 1 && frames > 1)
            n += (size_t)snprintf(w->description + n, cap - n, "hyperstack=true\n");
    }
    if (w->pixel_x > 0 && like->unit[0])
        n += (size_t)snprintf(w->description + n, cap - n, "unit=%s\n",
                              strcmp(like->unit, "um") ? like->unit : "micron");
    else
        w->pixel_x = w->pixel_y = 0;
    if (spacing > 0 && w->pages > 1 && known) {
        /* With a point whatever the locale. */
        char text[40];
        snprintf(text, sizeof text, "%.9g", spacing);
        for (char *c = text; *c; c++)
            if (*c == ',')
                *c = '.';
        snprintf(w->description + n, cap - n, "spacing=%s\n", text);
    }
}

static bs_status begin_page(struct bs_labels_tiff *w, struct bs_err *err)
{
    TIFF *t = w->tif;
    bool ok =
        TIFFSetField(t, TIFFTAG_IMAGEWIDTH, (uint32_t)w->width) &&
        TIFFSetField(t, TIFFTAG_IMAGELENGTH, (uint32_t)w->height) &&
        TIFFSetField(t, TIFFTAG_BITSPERSAMPLE, 32) && TIFFSetField(t, TIFFTAG_SAMPLESPERPIXEL, 1) &&
        TIFFSetField(t, TIFFTAG_SAMPLEFORMAT, w->is_float ? SAMPLEFORMAT_IEEEFP : SAMPLEFORMAT_UINT) &&
        TIFFSetField(t, TIFFTAG_PHOTOMETRIC, PHOTOMETRIC_MINISBLACK) &&
        TIFFSetField(t, TIFFTAG_PLANARCONFIG, PLANARCONFIG_CONTIG) &&
        TIFFSetField(t, TIFFTAG_COMPRESSION, COMPRESSION_ADOBE_DEFLATE) &&
        TIFFSetField(t, TIFFTAG_PREDICTOR, w->is_float ? PREDICTOR_FLOATINGPOINT : PREDICTOR_HORIZONTAL) &&
        TIFFSetField(t, TIFFTAG_ZIPQUALITY, 4) && /* faster than the default, hardly larger */
        TIFFSetField(t, TIFFTAG_ROWSPERSTRIP, (uint32_t)w->strip_rows) &&
        TIFFSetField(t, TIFFTAG_SOFTWARE, "bioseg");
    if (ok && w->pixel_x > 0 && w->pixel_y > 0)
        ok = TIFFSetField(t, TIFFTAG_XRESOLUTION, 1 / w->pixel_x) &&
             TIFFSetField(t, TIFFTAG_YRESOLUTION, 1 / w->pixel_y) &&
             TIFFSetField(t, TIFFTAG_RESOLUTIONUNIT, RESUNIT_NONE);
    if (ok && w->page == 0 && w->description[0])
        ok = TIFFSetField(t, TIFFTAG_IMAGEDESCRIPTION, w->description);
    return ok ? BS_OK : BS_FAIL(err, BS_EINTERNAL, "TIFF: %s", w->why);
}

/* Frees everything; a file that was not committed is removed. */
static void discard(struct bs_labels_tiff *w)
{
    if (!w)
        return;
    if (w->tif)
        TIFFClose(w->tif);
    bs_atomic_abort(&w->file);
    free(w->strip);
    free(w);
}

static bs_status open_writer(const char *path, bool is_float, size_t pages, size_t height, size_t width,
                             const struct bs_image *like, struct bs_labels_tiff **out, struct bs_err *err)
{
    size_t bytes;
    struct bs_labels_tiff *w = NULL;
    TIFFOpenOptions *options = NULL;
    bs_status rc = BS_OK;
    int fd = -1;
    *out = NULL;
    if (pages == 0 || height == 0 || width == 0 || pages > 65535 || height > INT32_MAX ||
        width > INT32_MAX / 4 || !bs_mul(height, width, &bytes) || !bs_mul(bytes, 4 * pages, &bytes))
        return BS_FAIL(err, BS_EINVAL, "a TIFF of %zu pages with %zu x %zu pixels cannot be written", pages,
                       height, width);
    if (!(w = calloc(1, sizeof *w)) || !(options = TIFFOpenOptionsAlloc())) {
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while writing %s", bs_base_name(path));
        goto cleanup;
    }
    *w = (struct bs_labels_tiff){
        .file.fd = -1, .is_float = is_float, .pages = pages, .height = height, .width = width};
    w->strip_rows = STRIP_BYTES / (4 * width);
    w->strip_rows = w->strip_rows < 1 ? 1 : w->strip_rows > height ? height : w->strip_rows;
    describe(w, like, is_float);
    if (!(w->strip = malloc(w->strip_rows * width * 4))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a strip of %zu bytes", w->strip_rows * width * 4);
        goto cleanup;
    }
    if ((rc = bs_atomic_open(&w->file, path, err)) != BS_OK)
        goto cleanup;
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, w);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, w);
    /* libtiff closes the descriptor it gets, and ours must live on for fsync. Random noise deflates to slightly more
       than itself, so BigTIFF starts well below 4 GB. */
    if ((fd = dup(w->file.fd)) < 0 ||
        !(w->tif = TIFFFdOpenExt(fd, bs_base_name(path), bytes > 4000000000u ? "w8" : "w", options))) {
        rc = BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(path),
                     w->why[0] ? w->why : strerror(errno));
        goto cleanup;
    }
    fd = -1;
    if ((rc = begin_page(w, err)) != BS_OK)
        goto cleanup;
    *out = w;
    w = NULL;
cleanup:
    if (options)
        TIFFOpenOptionsFree(options);
    if (fd >= 0)
        close(fd);
    discard(w);
    return rc;
}

/* rows: count rows of 4-byte samples. */
static bs_status put_rows(struct bs_labels_tiff *w, const void *rows, size_t count, struct bs_err *err)
{
    const unsigned char *from = rows;
    size_t row_bytes = 4 * w->width;
    while (count > 0) {
        if (w->page == w->pages)
            return BS_FAIL(err, BS_EINTERNAL, "TIFF: more rows than %zu pages of %zu hold", w->pages,
                           w->height);
        size_t filled = w->row % w->strip_rows, start = w->row - filled;
        size_t rows_here = w->height - start < w->strip_rows ? w->height - start : w->strip_rows;
        size_t take = rows_here - filled < count ? rows_here - filled : count;
        memcpy(w->strip + filled * row_bytes, from, take * row_bytes);
        from += take * row_bytes;
        count -= take;
        w->row += take;
        if (filled + take < rows_here)
            return BS_OK;
        tmsize_t bytes = (tmsize_t)(rows_here * row_bytes);
        w->why[0] = 0;
        if (TIFFWriteEncodedStrip(w->tif, (uint32_t)(start / w->strip_rows), w->strip, bytes) != bytes)
            return BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(w->file.path), w->why);
        if (w->row == w->height) {
            if (!TIFFWriteDirectory(w->tif))
                return BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(w->file.path), w->why);
            w->row = 0;
            bs_status rc = ++w->page < w->pages ? begin_page(w, err) : BS_OK;
            if (rc != BS_OK)
                return rc;
        }
    }
    return BS_OK;
}

bs_status bs_labels_tiff_open(const char *path, size_t planes, size_t height, size_t width,
                              const struct bs_image *like, struct bs_labels_tiff **out, struct bs_err *err)
{
    return open_writer(path, false, planes, height, width, like, out, err);
}

bs_status bs_labels_tiff_rows(struct bs_labels_tiff *w, const uint32_t *rows, size_t count,
                              struct bs_err *err)
{
    return put_rows(w, rows, count, err);
}

bs_status bs_labels_tiff_close(struct bs_labels_tiff *w, bool finish, struct bs_err *err)
{
    bs_status rc = BS_OK;
    if (!w || !finish) {
        discard(w);
        return BS_OK;
    }
    if (w->page != w->pages)
        rc = BS_FAIL(err, BS_EINTERNAL, "TIFF: closed after %zu of %zu pages", w->page, w->pages);
    w->why[0] = 0;
    TIFFClose(w->tif);
    w->tif = NULL;
    if (rc == BS_OK && w->why[0])
        rc = BS_FAIL(err, BS_EIO, "cannot write %s: %s", bs_base_name(w->file.path), w->why);
    if (rc == BS_OK)
        rc = bs_atomic_commit(&w->file, err);
    discard(w);
    return rc;
}

static bs_status write_whole(const char *path, bool is_float, const void *samples, size_t pages,
                             size_t height, size_t width, const struct bs_image *like, struct bs_err *err)
{
    struct bs_labels_tiff *w = NULL;
    bs_status rc = open_writer(path, is_float, pages, height, width, like, &w, err);
    if (rc != BS_OK)
        return rc;
    rc = put_rows(w, samples, pages * height, err);
    if (rc == BS_OK)
        return bs_labels_tiff_close(w, true, err);
    discard(w);
    return rc;
}

bs_status bs_labels_write_tiff(const char *path, const uint32_t *labels, size_t planes, size_t height,
                               size_t width, const struct bs_image *like, struct bs_err *err)
{
    return write_whole(path, false, labels, planes, height, width, like, err);
}

bs_status bs_maps_write_tiff(const char *path, const float *maps, size_t channels, size_t height,
                             size_t width, const struct bs_image *like, struct bs_err *err)
{
    return write_whole(path, true, maps, channels, height, width, like, err);
}
