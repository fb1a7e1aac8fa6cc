/* TIFF in: classic and BigTIFF, strips and tiles, 8 to 64 bit, integers and floats, chunky or planar colour, many pages,
   ImageJ and OME descriptions. Every size is checked before memory is taken for it, and pages that promise more samples
   than their compression can make of the file are refused. libtiff reads through bounded callbacks and says nothing on
   stderr. Palette images give their indices: in microscopy a palette is a display colour, not the measurement.
   Owns nothing beyond a call; any thread. */
#include "kernels/base/checked.h"
#include "model/image/image_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tiffio.h>

#define MAX_SAMPLES 64
/* A light microscope's pixel is at most tens of micrometres; coarser resolution tags (72, 96, 300 dpi) are a printing
   size that some program put there, and say nothing of the specimen. */
#define COARSEST_PIXEL_UM 25.0

struct reader {
    const struct bs__source *src;
    const struct bs_image_limits *limits;
    uint64_t offset;
    TIFF *tif;
    uint64_t *page; /* directory offsets of the pages that count */
    size_t pages;
    unsigned char *scratch;
    char why[200]; /* libtiff's first complaint since it was last cleared */
};

/* What must be equal on all pages. */
struct layout {
    uint32_t width, height;
    uint16_t bits, samples, format, planar, photometric, compression;
    bool tiled;
    uint32_t tile_width, tile_height, rows_per_strip;
};

static tmsize_t on_read(thandle_t handle, void *dst, tmsize_t n)
{
    struct reader *r = handle;
    if (n <= 0)
        return 0;
    size_t got = bs__source_read(r->src, r->offset, dst, (size_t)n);
    r->offset += got;
    return (tmsize_t)got;
}

static tmsize_t on_write(thandle_t handle, void *src, tmsize_t n)
{
    (void)handle;
    (void)src;
    (void)n;
    return 0;
}

static toff_t on_seek(thandle_t handle, toff_t offset, int whence)
{
    struct reader *r = handle;
    uint64_t base = whence == SEEK_CUR ? r->offset : whence == SEEK_END ? r->src->size : 0;
    r->offset = base + offset; /* may wrap or lie beyond the end: reads there yield nothing */
    return r->offset;
}

static int on_close(thandle_t handle)
{
    (void)handle;
    return 0;
}

static toff_t on_size(thandle_t handle)
{
    struct reader *r = handle;
    return r->src->size;
}

static int on_error(TIFF *tif, void *user, const char *module, const char *fmt, va_list ap)
{
    struct reader *r = user;
    (void)tif;
    (void)module;
    if (!r->why[0])
        vsnprintf(r->why, sizeof r->why, fmt, ap);
    return 1; /* handled: nothing goes to stderr */
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

static const char *why(const struct reader *r, const char *otherwise)
{
    return r->why[0] ? r->why : otherwise;
}

static bs_status sample_type(const struct layout *l, enum bs_sample *out, struct bs_err *err)
{
    bool whole = l->format == SAMPLEFORMAT_UINT || l->format == SAMPLEFORMAT_VOID;
    if (whole && l->bits == 8)
        *out = BS_SAMPLE_U8;
    else if (whole && l->bits == 16)
        *out = BS_SAMPLE_U16;
    else if (whole && l->bits == 32)
        *out = BS_SAMPLE_U32;
    else if (l->format == SAMPLEFORMAT_INT && l->bits == 8)
        *out = BS_SAMPLE_I8;
    else if (l->format == SAMPLEFORMAT_INT && l->bits == 16)
        *out = BS_SAMPLE_I16;
    else if (l->format == SAMPLEFORMAT_INT && l->bits == 32)
        *out = BS_SAMPLE_I32;
    else if (l->format == SAMPLEFORMAT_IEEEFP && l->bits == 32)
        *out = BS_SAMPLE_F32;
    else if (l->format == SAMPLEFORMAT_IEEEFP && l->bits == 64)
        *out = BS_SAMPLE_F64;
    else
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "TIFF: samples of %u bit in format %u; integers of 8, 16, 32 bit and floats of 32, 64 "
                       "bit are read",
                       (unsigned)l->bits, (unsigned)l->format);
    return BS_OK;
}

/* How many bytes of samples one byte of the file can become; 0: this compression is not read. */
static size_t expansion(uint16_t compression)
{
    switch (compression) {
    case COMPRESSION_NONE:
        return 1;
    case COMPRESSION_PACKBITS:
        return 64; /* two bytes make at most 128 */
    case COMPRESSION_LZW:
        return 4096; /* a code of at least nine bits makes at most 4,096 */
    case COMPRESSION_DEFLATE:
    case COMPRESSION_ADOBE_DEFLATE:
        return 1032;
    default:
        return 0;
    }
}

static bs_status read_layout(struct reader *r, struct layout *l, struct bs_err *err)
{
    TIFF *tif = r->tif;
    memset(l, 0, sizeof *l);
    if (!TIFFGetField(tif, TIFFTAG_IMAGEWIDTH, &l->width) ||
        !TIFFGetField(tif, TIFFTAG_IMAGELENGTH, &l->height))
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: the width or height is missing");
    if (l->width == 0 || l->height == 0)
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: an image of %u x %u pixels", (unsigned)l->width,
                       (unsigned)l->height);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_BITSPERSAMPLE, &l->bits);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLESPERPIXEL, &l->samples);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_SAMPLEFORMAT, &l->format);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_PLANARCONFIG, &l->planar);
    (void)TIFFGetFieldDefaulted(tif, TIFFTAG_COMPRESSION, &l->compression);
    if (!TIFFGetField(tif, TIFFTAG_PHOTOMETRIC, &l->photometric))
        l->photometric = PHOTOMETRIC_MINISBLACK;
    if (l->samples == 0 || l->samples > MAX_SAMPLES)
        return BS_FAIL(err, BS_EUNSUPPORTED, "TIFF: %u samples per pixel; 1 to %d are read",
                       (unsigned)l->samples, MAX_SAMPLES);
    if (l->photometric != PHOTOMETRIC_MINISBLACK && l->photometric != PHOTOMETRIC_MINISWHITE &&
        l->photometric != PHOTOMETRIC_RGB && l->photometric != PHOTOMETRIC_PALETTE)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "TIFF: photometric interpretation %u; grey, RGB and palette are read",
                       (unsigned)l->photometric);
    if (expansion(l->compression) == 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "TIFF: compression %u; none, LZW, deflate and PackBits are read",
                       (unsigned)l->compression);
    if (!TIFFIsCODECConfigured(l->compression))
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "TIFF: the libtiff of this machine was built without compression %u",
                       (unsigned)l->compression);
    l->tiled = TIFFIsTiled(tif) != 0;
    if (l->tiled) {
        if (!TIFFGetField(tif, TIFFTAG_TILEWIDTH, &l->tile_width) ||
            !TIFFGetField(tif, TIFFTAG_TILELENGTH, &l->tile_height) || l->tile_width == 0 ||
            l->tile_height == 0)
            return BS_FAIL(err, BS_ECORRUPT, "TIFF: tiles of size 0");
    } else {
        (void)TIFFGetFieldDefaulted(tif, TIFFTAG_ROWSPERSTRIP, &l->rows_per_strip);
        if (l->rows_per_strip == 0)
            return BS_FAIL(err, BS_ECORRUPT, "TIFF: strips of 0 rows");
        if (l->rows_per_strip > l->height)
            l->rows_per_strip = l->height;
    }
    return BS_OK;
}

static bool same_pages(const struct layout *a, const struct layout *b)
{
    return a->width == b->width && a->height == b->height && a->bits == b->bits && a->samples == b->samples &&
           a->format == b->format && a->photometric == b->photometric;
}

/* Could this page come from a file of this size? Asked before memory is taken. */
static bs_status check_plausible(const struct reader *r, const struct layout *l, size_t page_bytes,
                                 struct bs_err *err)
{
    size_t most;
    if (!bs_mul((size_t)r->src->size, expansion(l->compression), &most))
        most = SIZE_MAX;
    if (page_bytes > most)
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: %u x %u pixels cannot come from a file of %llu bytes",
                       (unsigned)l->width, (unsigned)l->height, (unsigned long long)r->src->size);
    return BS_OK;
}

static bs_status page_bytes(const struct reader *r, const struct layout *l, size_t *out, struct bs_err *err)
{
    size_t pixels, bytes;
    if (!bs_mul(l->width, l->height, &pixels) || pixels > r->limits->max_pixels)
        return BS_FAIL(err, BS_ELIMIT, "TIFF: a page of %u x %u pixels is more than the limit of %zu pixels",
                       (unsigned)l->width, (unsigned)l->height, r->limits->max_pixels);
    if (!bs_mul(pixels, (size_t)l->samples * (l->bits / 8u), &bytes) || bytes > r->limits->max_bytes)
        return BS_FAIL(err, BS_ELIMIT, "TIFF: a page needs more than %zu bytes, which is the limit",
                       r->limits->max_bytes);
    *out = bytes;
    return check_plausible(r, l, bytes, err);
}

/* Walks the directories once: remembers where each page is, and that all are alike. Thumbnails and pyramid levels
   (reduced copies) do not count. */
static bs_status list_pages(struct reader *r, struct layout *first, struct bs_err *err)
{
    size_t room = 0;
    for (size_t directory = 0;; directory++) {
        struct layout l = {0};
        uint32_t kind = 0;
        if (directory >= r->limits->max_pages)
            return BS_FAIL(err, BS_ELIMIT, "TIFF: more than %zu pages, which is the limit",
                           r->limits->max_pages);
        (void)TIFFGetFieldDefaulted(r->tif, TIFFTAG_SUBFILETYPE, &kind);
        if (directory == 0 || !(kind & (FILETYPE_REDUCEDIMAGE | FILETYPE_MASK))) {
            bs_status rc = read_layout(r, &l, err);
            if (rc != BS_OK)
                return directory ? bs_err_prefix(err, "page %zu", directory + 1) : rc;
            if (r->pages == 0)
                *first = l;
            else if (!same_pages(first, &l))
                return BS_FAIL(err, BS_EUNSUPPORTED,
                               "TIFF: page %zu (%u x %u, %u bit) differs from the first (%u x %u, %u bit); "
                               "all pages must be alike",
                               directory + 1, (unsigned)l.width, (unsigned)l.height, (unsigned)l.bits,
                               (unsigned)first->width, (unsigned)first->height, (unsigned)first->bits);
            uint64_t at = TIFFCurrentDirOffset(r->tif);
            if (r->pages == room) {
                room = room ? 2 * room : 16;
                uint64_t *grown = realloc(r->page, room * sizeof *grown);
                if (!grown)
                    return BS_FAIL(err, BS_ENOMEM, "TIFF: no memory for the list of pages");
                r->page = grown;
            }
            r->page[r->pages++] = at;
        }
        if (TIFFLastDirectory(r->tif))
            return BS_OK;
        r->why[0] = 0;
        if (!TIFFReadDirectory(r->tif))
            return BS_FAIL(err, BS_ECORRUPT, "TIFF: page %zu: %s", directory + 2,
                           why(r, "its directory cannot be read"));
    }
}

static bs_status decode_strips(struct reader *r, const struct layout *l, size_t sample, unsigned char *dst,
                               struct bs_err *err)
{
    size_t planes = l->planar == PLANARCONFIG_SEPARATE ? l->samples : 1;
    size_t pixel = sample * l->samples, in_strip = planes > 1 ? sample : pixel;
    size_t row = (size_t)l->width * in_strip;
    uint32_t strips = (l->height + l->rows_per_strip - 1) / l->rows_per_strip;
    if ((uint64_t)strips * planes != TIFFNumberOfStrips(r->tif) || (tmsize_t)row != TIFFScanlineSize(r->tif))
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: the strips do not make up the image");
    if (planes > 1 && !(r->scratch = malloc(row * l->rows_per_strip)))
        return BS_FAIL(err, BS_ENOMEM, "TIFF: no memory for a strip");
    for (uint32_t plane = 0; plane < planes; plane++)
        for (uint32_t s = 0; s < strips; s++) {
            size_t y = (size_t)s * l->rows_per_strip;
            size_t rows = l->height - y < l->rows_per_strip ? l->height - y : l->rows_per_strip;
            unsigned char *to = planes > 1 ? r->scratch : dst + y * row;
            r->why[0] = 0;
            if (TIFFReadEncodedStrip(r->tif, plane * strips + s, to, (tmsize_t)(rows * row)) !=
                (tmsize_t)(rows * row))
                return BS_FAIL(err, BS_ECORRUPT, "TIFF: strip %u: %s", (unsigned)(plane * strips + s),
                               why(r, "it holds too few samples"));
            for (size_t i = 0; planes > 1 && i < rows * l->width; i++)
                memcpy(dst + (y * l->width + i) * pixel + plane * sample, to + i * sample, sample);
        }
    return BS_OK;
}

static bs_status decode_tiles(struct reader *r, const struct layout *l, size_t sample, unsigned char *dst,
                              struct bs_err *err)
{
    size_t planes = l->planar == PLANARCONFIG_SEPARATE ? l->samples : 1;
    size_t pixel = sample * l->samples, in_tile = planes > 1 ? sample : pixel, bytes;
    if (!bs_mul(l->tile_width, l->tile_height, &bytes) || !bs_mul(bytes, in_tile, &bytes) ||
        bytes > r->limits->max_bytes)
        return BS_FAIL(err, BS_ELIMIT, "TIFF: tiles of %u x %u pixels are over the limit of %zu bytes",
                       (unsigned)l->tile_width, (unsigned)l->tile_height, r->limits->max_bytes);
    bs_status rc = check_plausible(r, l, bytes, err);
    if (rc != BS_OK)
        return rc;
    if ((tmsize_t)bytes != TIFFTileSize(r->tif))
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: tiles of an impossible size");
    if (!(r->scratch = malloc(bytes)))
        return BS_FAIL(err, BS_ENOMEM, "TIFF: no memory for a tile of %zu bytes", bytes);
    for (uint32_t plane = 0; plane < planes; plane++)
        for (size_t y0 = 0; y0 < l->height; y0 += l->tile_height)
            for (size_t x0 = 0; x0 < l->width; x0 += l->tile_width) {
                uint32_t tile = TIFFComputeTile(r->tif, (uint32_t)x0, (uint32_t)y0, 0, (uint16_t)plane);
                r->why[0] = 0;
                if (TIFFReadEncodedTile(r->tif, tile, r->scratch, (tmsize_t)bytes) != (tmsize_t)bytes)
                    return BS_FAIL(err, BS_ECORRUPT, "TIFF: tile %u: %s", (unsigned)tile,
                                   why(r, "it holds too few samples"));
                size_t rows = l->height - y0 < l->tile_height ? l->height - y0 : l->tile_height;
#ifdef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
                rows = l->tile_height;
#endif
                size_t columns = l->width - x0 < l->tile_width ? l->width - x0 : l->tile_width;
                for (size_t y = 0; y < rows; y++) {
                    const unsigned char *from = r->scratch + y * l->tile_width * in_tile;
                    unsigned char *to = dst + ((y0 + y) * l->width + x0) * pixel + plane * sample;
                    if (planes == 1) {
                        memcpy(to, from, columns * pixel);
                        continue;
                    }
                    for (size_t x = 0; x < columns; x++)
                        memcpy(to + x * pixel, from + x * sample, sample);
                }
            }
    return BS_OK;
}

/* Pixel size: ImageJ's unit with its resolution tags, OME's attributes, or plain tags where they are believable. */
static void set_calibration(TIFF *tif, const struct bs__pages *pages, struct bs_image *im)
{
    double px = pages->pixel_x, py = pages->pixel_y;
    float xres = 0, yres = 0;
    uint16_t per = RESUNIT_INCH;
    memcpy(im->unit, pages->unit, sizeof im->unit);
    if (px <= 0 && TIFFGetField(tif, TIFFTAG_XRESOLUTION, &xres) &&
        TIFFGetField(tif, TIFFTAG_YRESOLUTION, &yres) && xres > 0 && yres > 0 && isfinite(xres) &&
        isfinite(yres)) {
        (void)TIFFGetFieldDefaulted(tif, TIFFTAG_RESOLUTIONUNIT, &per);
        if (pages->stated_unit) {
            px = 1.0 / xres;
            py = 1.0 / yres;
        } else if (!pages->unit[0] && (per == RESUNIT_CENTIMETER || per == RESUNIT_INCH)) {
            double um = per == RESUNIT_CENTIMETER ? 1e4 : 25400;
            if (um / xres <= COARSEST_PIXEL_UM && um / yres <= COARSEST_PIXEL_UM) {
                px = um / xres;
                py = um / yres;
                memcpy(im->unit, "um", 3);
            }
        }
    }
    if (!isfinite(px) || !isfinite(py))
        px = py = 0;
    for (int i = 0; i < im->ndim; i++) {
        double v = im->axes[i] == 'x'   ? px
                   : im->axes[i] == 'y' ? py
                   : im->axes[i] == 'z' ? pages->pixel_z
                                        : 0;
        im->pixel_size[i] = v > 0 && im->unit[0] ? v : 0;
    }
}

static bs_status decode_pages(struct reader *r, struct bs_image **out, struct bs_err *err)
{
    struct layout first = {0};
    struct bs__pages meaning;
    enum bs_sample sample = BS_SAMPLE_U8;
    size_t bytes = 0;
    const char *description = NULL;
    struct bs_image *im = NULL;
    bs_status rc;
    if ((rc = list_pages(r, &first, err)) != BS_OK || (rc = sample_type(&first, &sample, err)) != BS_OK ||
        (rc = page_bytes(r, &first, &bytes, err)) != BS_OK)
        return rc;
    r->why[0] = 0;
    if (r->pages > 1 && !TIFFSetSubDirectory(r->tif, r->page[0]))
        return BS_FAIL(err, BS_ECORRUPT, "TIFF: the first page: %s", why(r, "its directory cannot be read"));
    (void)TIFFGetField(r->tif, TIFFTAG_IMAGEDESCRIPTION, &description);
    bs__pages_describe(description, r->pages, first.samples, &meaning);
    if (meaning.promised)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "TIFF: ImageJ announces %zu images behind a single directory; save the stack as "
                       "OME-TIFF or BigTIFF",
                       meaning.promised);
    char axes[BS_IMAGE_MAX_DIM + 2] = "";
    size_t dim[BS_IMAGE_MAX_DIM + 1], n = 0;
    for (int i = 0; i < meaning.ndim; i++) {
        axes[n] = meaning.axes[i];
        dim[n++] = meaning.dim[i];
    }
    axes[n] = 'y';
    dim[n++] = first.height;
    axes[n] = 'x';
    dim[n++] = first.width;
    if (first.samples > 1) {
        axes[n] = 'c';
        dim[n++] = first.samples;
    }
    if ((rc = bs_image_create(sample, axes, dim, r->limits, &im, err)) != BS_OK)
        return rc;
    im->white_is_zero = first.photometric == PHOTOMETRIC_MINISWHITE;
    set_calibration(r->tif, &meaning, im);
    for (size_t p = 0; p < r->pages && rc == BS_OK; p++) {
        struct layout l = first;
        r->why[0] = 0;
        if (p > 0 && !TIFFSetSubDirectory(r->tif, r->page[p])) {
            rc = BS_FAIL(err, BS_ECORRUPT, "TIFF: page %zu: %s", p + 1,
                         why(r, "its directory cannot be read"));
            break;
        }
        if (p > 0 &&
            ((rc = read_layout(r, &l, err)) != BS_OK || (rc = check_plausible(r, &l, bytes, err)) != BS_OK))
            break;
        if (!same_pages(&first, &l)) {
            rc = BS_FAIL(err, BS_ECORRUPT, "TIFF: page %zu changed while it was read", p + 1);
            break;
        }
        unsigned char *dst = (unsigned char *)im->data + p * bytes;
        rc = l.tiled ? decode_tiles(r, &l, bs_sample_size(sample), dst, err)
                     : decode_strips(r, &l, bs_sample_size(sample), dst, err);
        free(r->scratch);
        r->scratch = NULL;
        if (rc != BS_OK && r->pages > 1)
            bs_err_prefix(err, "page %zu", p + 1);
    }
    if (rc == BS_OK)
        *out = im;
    else
        bs_image_unref(im);
    return rc;
}

bs_status bs__tiff_decode(const struct bs__source *src, const struct bs_image_limits *limits,
                          struct bs_image **out, struct bs_err *err)
{
    struct reader r = {.src = src, .limits = limits};
    bs_status rc;
    *out = NULL;
    TIFFOpenOptions *options = TIFFOpenOptionsAlloc();
    if (!options)
        return BS_FAIL(err, BS_ENOMEM, "TIFF: out of memory");
    /* libtiff's own allocations (tag arrays, one compressed strip) never need more than the file holds, plus tables. */
    uint64_t single = src->size + ((uint64_t)64 << 20);
    if (single > limits->max_bytes)
        single = limits->max_bytes;
    TIFFOpenOptionsSetMaxSingleMemAlloc(options, (tmsize_t)single);
    TIFFOpenOptionsSetErrorHandlerExtR(options, on_error, &r);
    TIFFOpenOptionsSetWarningHandlerExtR(options, on_warning, &r);
    r.tif = TIFFClientOpenExt("image", "rm", &r, on_read, on_write, on_seek, on_close, on_size, NULL, NULL,
                              options);
    TIFFOpenOptionsFree(options);
    rc = r.tif ? decode_pages(&r, out, err)
               : BS_FAIL(err, BS_ECORRUPT, "TIFF: %s", why(&r, "the first directory cannot be read"));
    if (r.tif)
        TIFFClose(r.tif);
    free(r.page);
    return rc;
}
