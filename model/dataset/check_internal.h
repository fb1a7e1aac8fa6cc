/* What the files of the check share: the report that they write (check_report.c), and what is compared between pairs
   (check_parts.c). */
#ifndef BS_MODEL_DATASET_CHECK_INTERNAL_H
#define BS_MODEL_DATASET_CHECK_INTERNAL_H

#include "model/dataset/check.h"

/* One check while it runs. Running out of memory sticks in rc, so that findings can be written one after the other. */
struct bs__check {
    const struct bs_manifest *m;
    const struct bs_check_rule *rule;
    struct bs_check_report *report;
    bs_status rc;
    struct bs_err *err;
};

void bs__find(struct bs__check *c, enum bs_finding_kind kind, bool warning, size_t pair, const char *fmt, ...)
    BS_PRINTF(5, 6);

/* Same images and groups in two parts, same images in one. */
void bs__check_parts(struct bs__check *c);

#endif
