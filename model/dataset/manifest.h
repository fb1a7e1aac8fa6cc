/* What a data set consists of: pairs of an image and its labels, each a plane of a file, with the group that a pair belongs to, the
   part it is in, and where its labels count. Written as JSON, always the same text for the same manifest; its hash names
   the data by content, so that files may be called and lie as they like.
   A data set's folder, the daemon's jobs and training runs all describe their data by it. A manifest owns what it holds; read-only
   after it is filled, then any thread. */
#ifndef BS_MODEL_DATASET_MANIFEST_H
#define BS_MODEL_DATASET_MANIFEST_H

#include "kernels/base/sha256.h"
#include "model/dataset/split.h"
#include "model/image/plane.h"
#include "model/image/raw.h"

#define BS_MANIFEST_MAX_PAIRS ((size_t)100000)
#define BS_MANIFEST_MAX_BOXES ((size_t)4096) /* of one pair */
#define BS_MANIFEST_MAX_NAME  ((size_t)4096) /* bytes of a name, a volume or a group */
#define BS_MANIFEST_MAX_TEXT  ((size_t)128 << 20)

struct bs_manifest_file {
    char *
        name; /* beneath the data set's folder, or what people call it where files are kept by content; NULL: no file */
    char *volume;                /* HDF5: the data set inside, e.g. "volumes/raw"; else NULL */
    char sha256[BS_SHA256_TEXT]; /* of its bytes, lower-case hexadecimal; "": not known yet */
    struct bs_raw_image raw;     /* samples without a file format; ndim 0: the file says itself what it is */
};

/* Rows [top, bottom) and columns [left, right). */
struct bs_manifest_box {
    int64_t top, left, bottom, right;
};

struct bs_manifest_pair {
    struct bs_manifest_file image, labels;
    int64_t image_plane, labels_plane; /* index of the plane in its file (plane.h), or BS_PLANE_ONLY */
    char *group; /* what must not stand on two sides of a split: a file, a stack, a series */
    enum bs_part part;
    /* Partial annotation: pixels that do not count, neither as objects nor as background. */
    bool has_ignore_label; /* else the manifest's counts, if it has one */
    int64_t ignore_label;
    struct bs_manifest_box *ignore; /* nothing inside counts */
    size_t nignore;
    struct bs_manifest_box *only; /* when there are any: nothing outside of all of them counts */
    size_t nonly;
    /* The labels that a model predicted and a person began to correct, name NULL when there are none. Until the pair is marked done,
       what the person left as it was does not count: a model's untouched predictions are not ground truth. */
    struct bs_manifest_file prediction;
    bool done;
};

struct bs_manifest {
    int channel; /* of every image, BS_PLANE_CHANNEL_ANY: by the rule of plane.h */
    bool has_ignore_label;
    int64_t ignore_label; /* labels equal to it do not count, of pairs without one of their own */
    struct bs_manifest_pair *pair;
    size_t count, room;
};

/* "train", "validation", "test". */
const char *bs_part_name(enum bs_part part);

/* Copies the pair with its texts and boxes. BS_EINVAL says which member is not accepted. A manifest begins as zeros, with channel
   set to BS_PLANE_CHANNEL_ANY. */
bs_status bs_manifest_add(struct bs_manifest *m, const struct bs_manifest_pair *pair,
                          struct bs_err *err) BS_NODISCARD;
/* Frees what it holds; it is as at its beginning afterwards. */
void bs_manifest_clear(struct bs_manifest *m);

/* The manifest as JSON. The caller frees *text. */
bs_status bs_manifest_write(const struct bs_manifest *m, char **text, struct bs_err *err) BS_NODISCARD;
/* Reads it back into *m, of which nothing is read or freed before; empty on failure. Strict: unknown members, wrong types and values
   out of range are BS_EINVAL with the number of the pair, and so are parts that share images (bs_manifest_check_parts). */
bs_status bs_manifest_parse(const char *text, size_t len, struct bs_manifest *m,
                            struct bs_err *err) BS_NODISCARD;

/* The order in which images of the same content (where it is not known: of the same name) and plane stand beside each other; 0:
   they are the same image. */
int bs_manifest_compare_images(const struct bs_manifest_pair *a, const struct bs_manifest_pair *b);
/* What validates must not have been trained on, nor what judges: BS_EINVAL names the first two pairs of different parts with the same
   plane of the same image, by content where it is known, else by name. */
bs_status bs_manifest_check_parts(const struct bs_manifest *m, struct bs_err *err) BS_NODISCARD;

/* SHA-256 over what training sees: the manifest's text without names of files and groups. The order of pairs counts, since it says
   which sample is which. BS_EPRECONDITION when the hash of a file is not known yet. */
bs_status bs_manifest_hash(const struct bs_manifest *m, char hash[BS_SHA256_TEXT],
                           struct bs_err *err) BS_NODISCARD;

#endif
