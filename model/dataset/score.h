/* Labels that a model made against the truth of a file. Pure function of its inputs; any thread. */
#ifndef BS_MODEL_DATASET_SCORE_H
#define BS_MODEL_DATASET_SCORE_H

#include "model/image/raw.h"

#include <stdint.h>

/* Means over the planes of an image, each scored by itself (model/instances/evaluate.h); objects are added up. */
struct bs_label_score {
    double msa, sa50, sa75;
    uint64_t predicted, expected;
};

/* truth_fd: a file of labels, PNG or TIFF or as raw (NULL or ndim 0: it is none) says. predicted_fd: uint32 (planes, height, width), native order, at its start.
   BS_EINVAL: sizes differ, or the truth holds what is no label. */
bs_status bs_score_labels(int truth_fd, const struct bs_raw_image *raw, int predicted_fd, uint64_t planes,
                          uint64_t height, uint64_t width, struct bs_label_score *out,
                          struct bs_err *err) BS_NODISCARD;

#endif
