/* Masks of COCO annotations drawn into a label image, to the pixel as pycocotools rasterises them (checked against its
   results): polygons, run lengths as a list of numbers, and run lengths as its compressed text. Pure functions, any thread. */
#ifndef BS_MODEL_DATASET_COCO_MASK_H
#define BS_MODEL_DATASET_COCO_MASK_H

#include "kernels/base/status.h"

#include <stdint.h>

/* Where a mask goes: a label image in C order and the id to write. Runs go column by column in COCO, not row by row. */
struct bs__canvas {
    uint32_t *labels;
    int64_t height, width; /* each at most BS_COCO_MAX_SIDE */
    uint32_t id;
};

#define BS_COCO_MAX_SIDE ((int64_t)65536)

/* One closed outline, count corners as x0, y0, x1, y1, ... in pixels (the pixel in row r and column c covers [c, c+1] x
   [r, r+1]). A corner may lie outside by the image's size at most; BS_EINVAL beyond, or with fewer than 3 corners. */
bs_status bs__coco_draw_polygon(const struct bs__canvas *canvas, const double *corners, size_t count,
                                struct bs_err *err) BS_NODISCARD;
/* Lengths of runs, background first, that cover the image exactly. */
bs_status bs__coco_draw_runs(const struct bs__canvas *canvas, const int64_t *runs, size_t count,
                             struct bs_err *err) BS_NODISCARD;
/* The same as text: five bits a character, differences to the run before the last. */
bs_status bs__coco_draw_text(const struct bs__canvas *canvas, const char *text,
                             struct bs_err *err) BS_NODISCARD;

#endif
