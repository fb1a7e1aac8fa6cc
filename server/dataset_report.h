/* What was found wrong with a dataset that somebody wants to train on: plain values, so that they can come from another process. Any
   thread. */
#ifndef BS_SERVER_DATASET_REPORT_H
#define BS_SERVER_DATASET_REPORT_H

#include "model/dataset/check.h"

#define BS_REPORT_MAX_FINDINGS 1000

struct bs_report_finding {
    uint32_t kind; /* enum bs_finding_kind */
    uint32_t warning;
    uint64_t pair; /* of the manifest, or UINT64_MAX: it concerns the whole */
    char text[496];
};

struct bs_report_question {
    uint64_t manifest_bytes;
    uint64_t patch_height, patch_width; /* what training will cut */
};

struct bs_dataset_report {
    struct bs_report_finding *finding; /* problems first, then in the order of the manifest */
    size_t count;
    uint64_t problems, warnings; /* all of them, listed or not */
};
void bs_dataset_report_free(struct bs_dataset_report *r);

#endif
