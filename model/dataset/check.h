/* Whether a data set can be trained on: everything is read once, and all that is wrong with it is listed at once, with the names of
   files. Problems keep a data set from being used, warnings are for a person to judge. One thread at a time for a report. */
#ifndef BS_MODEL_DATASET_CHECK_H
#define BS_MODEL_DATASET_CHECK_H

#include "kernels/base/cancel.h"
#include "model/dataset/files.h"

enum bs_finding_kind {
    /* Problems. */
    BS_FINDING_UNREADABLE, /* no such file, not what its hash says, broken, too large */
    BS_FINDING_PLANE,      /* several planes and none was named, no such plane, or no rule for its channels */
    BS_FINDING_SIZES,      /* image and labels (or prediction) differ in size */
    BS_FINDING_SAMPLES,    /* the image holds NaN or infinity */
    BS_FINDING_CONSTANT,   /* all samples of the image are equal */
    BS_FINDING_LABELS,     /* labels that are negative or no whole numbers */
    BS_FINDING_NOTHING_COUNTS, /* every pixel is left out */
    BS_FINDING_SHARED_IMAGE,   /* the same image in two parts */
    BS_FINDING_TORN_GROUP,     /* a group in two parts; a warning where that was asked for */
    BS_FINDING_NO_OBJECTS,     /* no image for training has an object */
    /* Warnings. */
    BS_FINDING_EMPTY,     /* labels without an object where they count */
    BS_FINDING_SMALL,     /* smaller than the training patch: filled up with zeros */
    BS_FINDING_SEMANTIC,  /* few ids in many pieces: a mask of classes, not of objects? */
    BS_FINDING_DUPLICATE, /* the same image twice in one part */
};
/* For programs: "unreadable", "plane", ... Never NULL. */
const char *bs_finding_name(enum bs_finding_kind kind);

#define BS_FINDING_NO_PAIR SIZE_MAX

struct bs_finding {
    enum bs_finding_kind kind;
    bool warning;
    size_t pair; /* of the manifest, or BS_FINDING_NO_PAIR */
    char *text;  /* one sentence */
};

struct bs_check_rule {
    size_t patch_height, patch_width; /* what training will cut; 0: not known */
    bool groups_may_be_torn; /* slices of one stack on both sides, as CREMI has it; reported all the same */
    size_t max_findings;     /* more are counted, not listed; 0: 1000 */
    const struct bs_image_limits *limits; /* of one file; NULL: the default ones */
};

struct bs_check_report {
    struct bs_finding *finding; /* in the order of pairs, then those of the whole */
    size_t count, room;
    size_t problems, warnings; /* all of them, listed or not */
    /* Of the pairs that could be read. */
    size_t pairs;
    size_t min_height, min_width, max_height, max_width;
    uint64_t objects;        /* ids that count, added up over pairs */
    uint64_t counted_pixels; /* of labels */
};

/* Begins a report, which the caller releases by bs_check_report_free in any case. BS_OK: everything was looked at, whatever the
   report says; else BS_ENOMEM, or BS_ECANCELLED between two pairs. */
bs_status bs_dataset_check(const struct bs_manifest *m, const struct bs_file_opener *opener,
                           const struct bs_check_rule *rule, const struct bs_cancel *cancel,
                           struct bs_check_report *report, struct bs_err *err) BS_NODISCARD;
void bs_check_report_free(struct bs_check_report *report);

#endif
