/* Manifests made from what lies in a folder: images and labels paired by name, stacks taken apart into planes, volumes of CREMI's
   layout, split by group. One thread at a time for a manifest. */
#ifndef BS_MODEL_DATASET_COLLECT_H
#define BS_MODEL_DATASET_COLLECT_H

#include "kernels/base/cancel.h"
#include "model/dataset/files.h"

struct bs_collect_rule {
    const char *images, *labels; /* folders beneath the root, with all beneath them; not the same */
    const char *group; /* pattern (names.h) of which the first '*' names the group; NULL: every file is one */
    uint64_t seed;     /* of the split */
    double validation, test;              /* shares (split.h) */
    const struct bs_image_limits *limits; /* of one file; NULL: the default ones */
};

/* Adds the pairs to m; a file with several planes becomes a pair for each of them, all of one group. What cannot be paired is one
   sentence each in problems, and is not added. Begins no manifest: channel and label to ignore stay as they are. */
bs_status bs_collect_folders(const struct bs_root *root, const struct bs_collect_rule *rule,
                             const struct bs_cancel *cancel, struct bs_manifest *m, struct bs_names *problems,
                             struct bs_err *err) BS_NODISCARD;

/* Planes of a volume: the first `train` of them are trained on, the next `validation` validate, the last `test` test; what is
   between is left out. */
struct bs_collect_volume {
    const char *file;           /* beneath the root */
    const char *image, *labels; /* volumes in it */
    size_t train, validation, test;
};
/* CREMI's: volumes/raw and volumes/labels/neuron_ids; 75, 25 and 25 planes. */
struct bs_collect_volume bs_collect_cremi(const char *file);
/* How many planes there are. BS_EINVAL when sizes of image and labels differ or there are fewer than are split. */
bs_status bs_collect_volume_size(int fd, const struct bs_collect_volume *volume, size_t *planes,
                                 struct bs_err *err) BS_NODISCARD;
/* The part of plane z of so many; false: it is left out. */
bool bs_collect_volume_part(const struct bs_collect_volume *volume, size_t planes, size_t z,
                            enum bs_part *part);
/* Adds a pair for each of these planes, all of one group, which is so torn on purpose (check.h: groups_may_be_torn). BS_EINVAL when
   sizes differ or there are fewer planes. */
bs_status bs_collect_volume(const struct bs_root *root, const struct bs_collect_volume *volume,
                            struct bs_manifest *m, struct bs_err *err) BS_NODISCARD;

/* Fills in the hashes of all files that have none yet; each file is read once. */
bs_status bs_collect_hashes(struct bs_manifest *m, const struct bs_file_opener *opener,
                            const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

#endif
