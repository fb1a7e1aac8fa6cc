/* Label images from COCO annotations (LIVECell's form: polygons and run lengths). The file may be hundreds of megabytes: it is
   gone through once, what stays in memory is where each annotation stands; outlines are read when they are drawn.
   Owns the open file. Read-only after opening, then any thread. */
#ifndef BS_MODEL_DATASET_COCO_H
#define BS_MODEL_DATASET_COCO_H

#include "kernels/base/status.h"

#include <stdint.h>

struct bs_coco;

struct bs_coco_image {
    int64_t id;
    int64_t width, height;
    char *file_name; /* as it stands in the file: not trusted, may point anywhere */
    size_t annotations;
};

/* In which order objects get their ids and later ones cover earlier ones. */
enum bs_coco_order {
    BS_COCO_BY_ID, /* ascending annotation ids */
    BS_COCO_BY_AREA /* crowds first, then small before large: how torch_em draws LIVECell (equal areas: by id) */
};

struct bs_coco_rule {
    enum bs_coco_order order;
    int64_t
        min_size; /* pixels left after all are drawn; smaller objects go and ids become consecutive. 0: nothing is
                         removed, ids are positions in the order. torch_em: 50 */
};

/* BS_ECORRUPT names the byte where the text stops being what it should be. category: only annotations of the category with
   this name (NULL: all). */
bs_status bs_coco_open(const char *path, const char *category, struct bs_coco **out,
                       struct bs_err *err) BS_NODISCARD;
/* The same from an open regular file, which is taken, also on failure. */
bs_status bs_coco_open_fd(int fd, const char *category, struct bs_coco **out,
                          struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_coco_close(struct bs_coco *c);

/* Images in the order of the file. */
size_t bs_coco_image_count(const struct bs_coco *c);
const struct bs_coco_image *bs_coco_image(const struct bs_coco *c, size_t i);

/* Fills height * width labels of image i in C order, 0 = background. *count: largest id. */
bs_status bs_coco_labels(const struct bs_coco *c, size_t i, const struct bs_coco_rule *rule, uint32_t *labels,
                         uint32_t *count, struct bs_err *err) BS_NODISCARD;

#endif
