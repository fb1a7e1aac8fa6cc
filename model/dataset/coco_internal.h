/* What an open file of COCO annotations holds, shared by coco.c (opening) and coco_labels.c (drawing). */
#ifndef BS_MODEL_DATASET_COCO_INTERNAL_H
#define BS_MODEL_DATASET_COCO_INTERNAL_H

#include "model/dataset/coco.h"
#include "model/dataset/coco_mask.h"
#include "model/dataset/json_scan.h"
#include "model/weights/json.h"

struct bs__annotation {
    int64_t id, image_id, category;
    size_t image; /* index */
    double area;
    bool crowd;
    struct bs__json_range place;
};

struct bs_coco {
    int fd;
    struct bs_coco_image *image;
    size_t *first; /* of each image's annotations */
    size_t images, image_room;
    struct bs__annotation *annotation; /* by image, then id */
    size_t annotations, annotation_room;
    int64_t category; /* the one that is wanted */
    bool any_category, category_found;
};

/* One element of the file in memory, reused. */
struct bs__coco_element {
    char *text;
    size_t room;
    struct bs_json *json;
};

void bs__coco_element_clear(struct bs__coco_element *e);
/* Reads and parses one element; what e held before is gone. */
bs_status bs__coco_element_read(int fd, struct bs__coco_element *e, const struct bs__json_range *at,
                                struct bs_err *err) BS_NODISCARD;

#endif
