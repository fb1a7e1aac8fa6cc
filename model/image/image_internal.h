/* What the files of model/image share: bytes with bounded reads, the two decoders, what a TIFF description says, and
   files that appear whole. */
#ifndef BS_MODEL_IMAGE_INTERNAL_H
#define BS_MODEL_IMAGE_INTERNAL_H

#include "model/image/image.h"

/* The bytes of a file: in memory, or behind a descriptor that is read with pread. Borrows both. */
struct bs__source {
    const unsigned char *data; /* NULL: use fd */
    int fd;
    uint64_t size;
};
/* Copies up to n bytes from offset; returns how many there were (0 beyond the end, on errors too). */
size_t bs__source_read(const struct bs__source *src, uint64_t offset, void *dst, size_t n);

bs_status bs__png_decode(const struct bs__source *src, const struct bs_image_limits *limits,
                         struct bs_image **out, struct bs_err *err) BS_NODISCARD;
bs_status bs__tiff_decode(const struct bs__source *src, const struct bs_image_limits *limits,
                          struct bs_image **out, struct bs_err *err) BS_NODISCARD;

/* What the pages of a TIFF mean, as its description states. */
struct bs__pages {
    int ndim;     /* leading axes, slowest first; sizes multiply to the number of pages */
    char axes[4]; /* of "tzc", or "?" when the file does not say */
    size_t dim[3];
    double pixel_x, pixel_y, pixel_z; /* in unit; 0 unknown */
    char unit[16];
    bool stated_unit; /* the description names a unit (its resolution tags are then in that unit) */
    size_t promised;  /* images that an ImageJ description promises behind one directory; 0: none */
};
/* description may be NULL. samples: per pixel of one page (OME counts them as channels). */
void bs__pages_describe(const char *description, size_t pages, size_t samples, struct bs__pages *out);
/* Spells a unit the way we keep it: micrometres in any spelling become "um". */
void bs__unit_spell(const char *text, size_t len, char out[16]);

#endif
