/* What a viewer is shown of the foreground map while the rest is computed: 8 bits a sample, reduced by a whole factor to a
   side that was asked for. For the eye only; labels are made from the full maps. Pure functions; any thread, one at a
   time per preview. */
#ifndef BS_MODEL_PREDICT_PREVIEW_H
#define BS_MODEL_PREDICT_PREVIEW_H

#include "model/predict/segment.h"

#define BS_PREVIEW_MIN_SIDE 16
#define BS_PREVIEW_MAX_SIDE 1024

/* A part of a preview and where it lies. */
struct bs_preview_part {
    uint32_t height, width;            /* of the whole preview; 0: there is none yet */
    uint32_t top, left, bottom, right; /* of the part, half open; empty: nothing is new */
    double pixel_height, pixel_width;  /* rows and columns of the image that one of the preview stands for */
    uint32_t t, z;                     /* the plane, in the image */
};

struct bs_preview {
    uint32_t max_side;          /* BS_PREVIEW_MIN_SIDE to BS_PREVIEW_MAX_SIDE */
    uint8_t *pixels;            /* (height, width), borrowed; room for max_side * max_side, zeros at first */
    size_t factor;              /* samples of the map per pixel, along each axis */
    struct bs_preview_part now; /* what is new since it was taken last */
};

/* Paints what is finished: each pixel is the sample in its middle, so that it belongs to one tile only. Another plane than
   before begins on zeros. */
void bs_preview_add(struct bs_preview *p, const struct bs_segment_core *core);
/* What is new since the last call; the size and position of the whole in any case. */
struct bs_preview_part bs_preview_take(struct bs_preview *p);
/* Whether a part lies within its preview and the preview within max_side: for parts that come from elsewhere. */
bool bs_preview_part_valid(const struct bs_preview_part *part, uint32_t max_side);
/* sum becomes the smallest part that holds both; of another plane or size of preview (or of none yet): part alone. */
void bs_preview_join(struct bs_preview_part *sum, const struct bs_preview_part *part);
bool bs_preview_empty(const struct bs_preview_part *part);

#endif
