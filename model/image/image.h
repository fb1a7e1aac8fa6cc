/* Images of the microscopist: samples with named axes, pixel size and unit, as they stand in a file.
   A bs_image is reference-counted and immutable once shared. Readers work on memory, so that files, uploads and
   fuzzers take the same way. Any thread. */
#ifndef BS_MODEL_IMAGE_IMAGE_H
#define BS_MODEL_IMAGE_IMAGE_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_IMAGE_MAX_DIM 5

enum bs_sample {
    BS_SAMPLE_U8,
    BS_SAMPLE_U16,
    BS_SAMPLE_U32,
    BS_SAMPLE_I8,
    BS_SAMPLE_I16,
    BS_SAMPLE_I32,
    BS_SAMPLE_F32,
    BS_SAMPLE_F64,
    BS_SAMPLE_COUNT
};

struct bs_image {
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1]; /* slowest first, of "tzcyx": "yx", "yxc", "zyx", ...; '?' = pages whose
                                               meaning the file does not state */
    size_t dim[BS_IMAGE_MAX_DIM];
    double pixel_size[BS_IMAGE_MAX_DIM]; /* per axis in unit; 0 = unknown */
    char unit[16];                       /* "um", "nm", ... or "" */
    bool white_is_zero;                  /* TIFF MinIsWhite: samples are as stored, not inverted */
    void *data;                          /* C order, native byte order */
    size_t bytes;
    int refs; /* atomic */
};

/* What a reader may spend. */
struct bs_image_limits {
    size_t max_bytes;  /* of decoded samples, all pages together */
    size_t max_pixels; /* per page */
    size_t max_pages;
};
extern const struct bs_image_limits bs_image_default_limits;

size_t bs_sample_size(enum bs_sample s);
const char *bs_sample_name(enum bs_sample s); /* "uint8", "float32", ... */

/* Zeroed image; limits may be NULL (the default ones); the product of sizes is checked against limits first. axes has ndim letters. */
bs_status bs_image_create(enum bs_sample s, const char *axes, const size_t *dim,
                          const struct bs_image_limits *limits, struct bs_image **out,
                          struct bs_err *err) BS_NODISCARD;
struct bs_image *bs_image_ref(struct bs_image *im);
void bs_image_unref(struct bs_image *im); /* accepts NULL */
/* Index of an axis letter, -1 when absent. */
int bs_image_axis(const struct bs_image *im, char axis);

/* Decides by content (PNG or TIFF), not by name. Returns new ref. */
bs_status bs_image_decode(const void *data, size_t size, const struct bs_image_limits *limits,
                          struct bs_image **out, struct bs_err *err) BS_NODISCARD;
/* The same from an open regular file, read with pread: nothing is mapped, the bytes are not held as a whole. */
bs_status bs_image_decode_fd(int fd, const struct bs_image_limits *limits, struct bs_image **out,
                             struct bs_err *err) BS_NODISCARD;
bs_status bs_image_read_file(const char *path, const struct bs_image_limits *limits, struct bs_image **out,
                             struct bs_err *err) BS_NODISCARD;

/* Writers; the file appears complete or not at all (temp file, fsync, rename). Axes and pixel size of `like` (may be
   NULL) are copied where the format can hold them. */
/* Label image (h, w) or (planes, h, w); PNG is 16 bit, one plane, and refuses ids above 65,535 naming TIFF. */
bs_status bs_labels_write_png(const char *path, const uint32_t *labels, size_t height, size_t width,
                              struct bs_err *err) BS_NODISCARD;
bs_status bs_labels_write_tiff(const char *path, const uint32_t *labels, size_t planes, size_t height,
                               size_t width, const struct bs_image *like, struct bs_err *err) BS_NODISCARD;
/* The same for label images that are made row by row and never stand in memory as a whole; BigTIFF where 4 GB could be
   exceeded. Rows come in order, plane by plane. close with finish == false removes the file; it accepts NULL. */
struct bs_labels_tiff;
bs_status bs_labels_tiff_open(const char *path, size_t planes, size_t height, size_t width,
                              const struct bs_image *like, struct bs_labels_tiff **out,
                              struct bs_err *err) BS_NODISCARD;
bs_status bs_labels_tiff_rows(struct bs_labels_tiff *w, const uint32_t *rows, size_t count,
                              struct bs_err *err) BS_NODISCARD;
bs_status bs_labels_tiff_close(struct bs_labels_tiff *w, bool finish, struct bs_err *err) BS_NODISCARD;
/* float32 maps (channels, h, w) as a multi-page TIFF. */
bs_status bs_maps_write_tiff(const char *path, const float *maps, size_t channels, size_t height,
                             size_t width, const struct bs_image *like, struct bs_err *err) BS_NODISCARD;
/* 8-bit RGB (h, w, 3). */
bs_status bs_rgb_write_png(const char *path, const uint8_t *rgb, size_t height, size_t width,
                           struct bs_err *err) BS_NODISCARD;

#endif
