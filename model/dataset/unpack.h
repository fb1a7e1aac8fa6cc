/* Plain files made of what other formats hold, for programs (and people) that take images and labels file by file: planes of CREMI's
   volumes, labels drawn from COCO annotations. Nothing that is there is overwritten. Any thread. */
#ifndef BS_MODEL_DATASET_UNPACK_H
#define BS_MODEL_DATASET_UNPACK_H

#include "model/dataset/coco.h"
#include "model/dataset/collect.h"

/* Called before every file with its number and how many there will be; may be NULL. */
struct bs_unpack_progress {
    void *ctx;
    void (*file)(void *ctx, size_t done, size_t total);
};

/* Writes FOLDER/PART/images/STEM_z000.tif and FOLDER/PART/labels/STEM_z000.tif for every plane of every part (train, validation, test)
   of the volumes behind fd; stem: how the file is called. Labels of CREMI's mark (-1) become 0: what does not count cannot be
   said in such a file. FOLDER must not be there yet (BS_EEXIST). *written: planes. */
bs_status bs_unpack_volume(int fd, const struct bs_collect_volume *volume, const char *stem,
                           const char *folder, const struct bs_unpack_progress *progress,
                           const struct bs_cancel *cancel, size_t *written, struct bs_err *err) BS_NODISCARD;

/* Draws the labels of every image that has annotations into FOLDER/NAME.tif, NAME the last part of the image's file name without
   extension; two images of one NAME are BS_EEXIST. FOLDER must not be there yet. */
bs_status bs_unpack_coco(const struct bs_coco *c, const struct bs_coco_rule *rule, const char *folder,
                         const struct bs_unpack_progress *progress, const struct bs_cancel *cancel,
                         size_t *written, struct bs_err *err) BS_NODISCARD;

#endif
