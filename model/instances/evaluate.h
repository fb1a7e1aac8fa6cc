/* Agreement of two label images: mean segmentation accuracy (mSA) over IoU thresholds 0.50:0.05:0.95, SA50, SA75, as
   elf.evaluation defines them. Pure; any thread. */
#ifndef BS_MODEL_INSTANCES_EVALUATE_H
#define BS_MODEL_INSTANCES_EVALUATE_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_IOU_THRESHOLDS 10

struct bs_accuracy {
    double msa; /* mean of at[] */
    double
        at[BS_IOU_THRESHOLDS]; /* TP / (TP + FP + FN) at 0.50, 0.55, ... 0.95; SA50 = at[0], SA75 = at[5] */
    double precision50, recall50, f1_50;
    uint32_t predicted, expected; /* objects */
    bool both_empty;              /* the reference scores it 0; callers count such images apart */
    double size_ceiling;          /* mSA of the expected labels themselves without objects below min_size */
    uint32_t expected_below_min_size;
};

/* min_size 0: no ceiling (1.0). Ids need not be consecutive. */
bs_status bs_evaluate(const uint32_t *predicted, const uint32_t *expected, size_t height, size_t width,
                      int64_t min_size, struct bs_accuracy *out, struct bs_err *err) BS_NODISCARD;

#endif
