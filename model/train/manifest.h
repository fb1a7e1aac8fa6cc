/* The list of a dataset's pairs as a training run reads it: names for people, contents by hash. JSON, written by the daemon, read by
   the worker. A manifest owns its texts; immutable once made, then any thread.

     {"format": 1, "hash": "HEX", "channels": 1,
      "pairs": [{"name": "cell_01.tif", "part": "train", "image": "HEX64", "labels": "HEX64", "plane": 0}, ...]}

   part is "train", "validation" or "test"; plane, when it is there, is the page of image and labels that is meant. */
#ifndef BS_MODEL_TRAIN_MANIFEST_H
#define BS_MODEL_TRAIN_MANIFEST_H

#include "model/dataset/split.h"

#define BS_MANIFEST_MAX_PAIRS ((size_t)1 << 20)
#define BS_MANIFEST_HASH_LEN  64 /* hex digits of SHA-256 */

struct bs_manifest_pair {
    char *name;
    char image[BS_MANIFEST_HASH_LEN + 1],
        labels[BS_MANIFEST_HASH_LEN + 1]; /* names of files beneath the folder of blobs */
    enum bs_part part;
    int64_t plane; /* -1: the file has one */
};

struct bs_manifest {
    char hash[BS_MANIFEST_HASH_LEN + 1]; /* of the dataset */
    int channels;                        /* of every image */
    struct bs_manifest_pair *pair;
    size_t count;
};

/* free() the text. */
bs_status bs_manifest_to_json(const struct bs_manifest *m, char **json, struct bs_err *err) BS_NODISCARD;
/* Strict: what is unknown, missing or no hash is refused by name; names must differ within a part, and no image may be in two
   parts. bs_manifest_clear releases what it got; empty on failure. */
bs_status bs_manifest_from_json(const char *json, size_t len, struct bs_manifest *out,
                                struct bs_err *err) BS_NODISCARD;
void bs_manifest_clear(struct bs_manifest *m); /* accepts an empty one */

#endif
