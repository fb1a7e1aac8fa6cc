/* PNG in: grey, colour, palette (as RGB) and alpha, 1 to 16 bit, interlaced or not. Ancillary chunks are ignored; so is
   tRNS: samples stay what was measured. Owns nothing beyond a call; any thread. */
#include "kernels/base/checked.h"
#include "model/image/image_internal.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

/* zlib cannot inflate one byte to more than this: a file that promises more samples is cut short or lies, and is
   refused before memory is taken for them. */
#define DEFLATE_MAX_RATIO ((size_t)1032)

/* Everything that must survive a longjmp out of libpng lives here. */
struct reader {
    const struct bs__source *src;
    uint64_t offset;
    png_structp png;
    png_infop info;
    struct bs_image *im;
    bs_status rc;
    char why[160];
};

static void on_error(png_structp png, png_const_charp text)
{
    struct reader *r = png_get_error_ptr(png);
    snprintf(r->why, sizeof r->why, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep dst, size_t n)
{
    struct reader *r = png_get_io_ptr(png);
    if (bs__source_read(r->src, r->offset, dst, n) != n)
        png_error(png, "the file ends too early");
    r->offset += n;
}

static bs_status decode(struct reader *r, const struct bs_image_limits *limits, struct bs_err *err)
{
    if (setjmp(png_jmpbuf(r->png)))
        return BS_FAIL(err, BS_ECORRUPT, "PNG: %s", r->why);
    png_set_read_fn(r->png, r, on_read);
#ifdef BS_FUZZ_IGNORE_CHECKSUMS /* or no mutated chunk would ever be looked into */
    png_set_crc_action(r->png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
#endif
    png_set_chunk_malloc_max(r->png, (png_alloc_size_t)1 << 20);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, (png_const_bytep) "tRNS", 1);
    png_read_info(r->png, r->info);

    size_t width = png_get_image_width(r->png, r->info), height = png_get_image_height(r->png, r->info);
    int depth = png_get_bit_depth(r->png, r->info), colour = png_get_color_type(r->png, r->info);
    size_t packed, most;
    if (!bs_mul(png_get_rowbytes(r->png, r->info), height, &packed) ||
        !bs_mul((size_t)r->src->size, DEFLATE_MAX_RATIO, &most) || packed > most)
        return BS_FAIL(err, BS_ECORRUPT, "PNG: %zu x %zu pixels cannot come from a file of %llu bytes", width,
                       height, (unsigned long long)r->src->size);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_palette_to_rgb(r->png);
    else if (depth < 8)
        png_set_expand_gray_1_2_4_to_8(r->png);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (depth == 16)
        png_set_swap(r->png);
#endif
    int passes = png_set_interlace_handling(r->png);
    png_read_update_info(r->png, r->info);

    size_t channels = png_get_channels(r->png, r->info);
#ifdef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake: forgets that a palette becomes three channels */
    if (colour == PNG_COLOR_TYPE_PALETTE)
        channels = 1;
#endif
    size_t dim[3] = {height, width, channels};
    enum bs_sample sample = depth == 16 ? BS_SAMPLE_U16 : BS_SAMPLE_U8;
    bs_status rc = bs_image_create(sample, channels > 1 ? "yxc" : "yx", dim, limits, &r->im, err);
    if (rc != BS_OK)
        return rc;
    size_t row = width * channels * bs_sample_size(sample);
#ifndef BS_FUZZ_PLANT
    if (png_get_rowbytes(r->png, r->info) != row)
        return BS_FAIL(err, BS_EINTERNAL, "PNG: rows of %zu bytes where %zu were expected",
                       png_get_rowbytes(r->png, r->info), row);
#endif
    for (int pass = 0; pass < passes; pass++)
        for (size_t y = 0; y < height; y++)
            png_read_row(r->png, (png_bytep)r->im->data + y * row, NULL);
    /* What follows the last row (IEND, text) is not read: it cannot change a sample. */
    return BS_OK;
}

bs_status bs__png_decode(const struct bs__source *src, const struct bs_image_limits *limits,
                         struct bs_image **out, struct bs_err *err)
{
    struct reader r = {.src = src};
    *out = NULL;
    r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    r.rc = r.info ? decode(&r, limits, err) : BS_FAIL(err, BS_ENOMEM, "PNG: out of memory");
    if (r.png)
        png_destroy_read_struct(&r.png, &r.info, NULL);
    if (r.rc == BS_OK)
        *out = r.im;
    else
        bs_image_unref(r.im);
    return r.rc;
}
