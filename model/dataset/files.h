/* Pairs of a manifest read from their files: what bs_sample_make cuts its windows from. Decoded pairs are kept as long as there is
   room, so that files are not decoded for every sample; of a file with many planes the planes are kept together.
   Owns what it keeps; borrows manifest and opener. Loading is thread-safe. */
#ifndef BS_MODEL_DATASET_FILES_H
#define BS_MODEL_DATASET_FILES_H

#include "model/dataset/manifest.h"
#include "model/dataset/root.h"
#include "model/dataset/sample.h"

/* How a file of a manifest is opened; called by several threads at once. The caller closes *fd, which reads a regular file. */
struct bs_file_opener {
    void *ctx;
    bs_status (*open)(void *ctx, const struct bs_manifest_file *file, int *fd, struct bs_err *err);
};
/* By name beneath a folder, which is borrowed. */
struct bs_file_opener bs_files_beneath(const struct bs_root *root);

struct bs_pair_files_rule {
    unsigned parts;                       /* pairs of which parts: bits 1 << BS_PART_...; BS_PARTS_ALL */
    size_t cache_bytes;                   /* of decoded pairs and stacks that nobody holds */
    const struct bs_image_limits *limits; /* of one file; NULL: the default ones */
};
#define BS_PART_BIT(part) (1u << (unsigned)(part))
#define BS_PARTS_ALL                                                                                         \
    (BS_PART_BIT(BS_PART_TRAIN) | BS_PART_BIT(BS_PART_VALIDATION) | BS_PART_BIT(BS_PART_TEST))

struct bs_pair_files;

/* BS_EPRECONDITION when no pair is of these parts. No file is opened yet. */
bs_status bs_pair_files_create(const struct bs_manifest *manifest, const struct bs_file_opener *opener,
                               const struct bs_pair_files_rule *rule, struct bs_pair_files **out,
                               struct bs_err *err) BS_NODISCARD;
/* No pair may be held any more. Accepts NULL. */
void bs_pair_files_destroy(struct bs_pair_files *f);

/* The source, in the order of the manifest, with one channel; valid as long as f. Errors name the file. Where the manifest knows a
   file's hash, the file is read through first, once as long as nobody writes to it: BS_EPRECONDITION when it holds something
   else. */
const struct bs_pair_source *bs_pair_files_source(const struct bs_pair_files *f);
/* The pair of the manifest at a source's index. */
const struct bs_manifest_pair *bs_pair_files_pair(const struct bs_pair_files *f, size_t index);

#endif
