/* Datasets and their pairs of image and labels in the store. A dataset belongs to its owner, for others it does not exist; a
   file counts as there only where a dataset of the same owner holds it. Files are blobs; a pair names them by their hashes.
   Thread-safe, as all of the store. */
#ifndef BS_SERVER_STORE_DATASETS_H
#define BS_SERVER_STORE_DATASETS_H

#include "server/store/store.h"

enum bs_split { BS_SPLIT_TRAIN, BS_SPLIT_VALIDATION, BS_SPLIT_TEST, BS_SPLITS };
const char *bs_split_name(enum bs_split split); /* "train", ... */

struct bs_dataset_record {
    int64_t number; /* the store's own name of it; never used again for another */
    char *name;     /* as a model's; one of its owner's */
    char *owner, *project;
    char *labels; /* JSON object of strings; NULL is written as none */
    char *description, *licence;
    int64_t created_ms, expires_ms; /* expires_ms 0: never */
    uint64_t pairs[BS_SPLITS];      /* how many are in each split */
    uint64_t bytes;                 /* of all pairs' files */
};
/* number and created_ms are set. BS_EEXIST when the owner has one of that name. */
bs_status bs_store_dataset_add(struct bs_store *s, struct bs_dataset_record *d,
                               struct bs_err *err) BS_NODISCARD;
bs_status bs_store_dataset_get(struct bs_store *s, const char *owner, const char *name,
                               struct bs_dataset_record *out, struct bs_err *err) BS_NODISCARD;
struct bs_dataset_filter {
    const char *owner;
    const char *project; /* NULL: any */
    const char *labels;  /* JSON object: datasets that have all of these; NULL: any */
};
/* By name, after the name `after` (NULL: from the start). The caller frees the records and the array. */
bs_status bs_store_dataset_list(struct bs_store *s, const struct bs_dataset_filter *filter, const char *after,
                                int limit, struct bs_dataset_record **out, int *count,
                                struct bs_err *err) BS_NODISCARD;
/* With its pairs; their files go with the next sweep. BS_EPRECONDITION while a job that has not finished needs it. */
bs_status bs_store_dataset_delete(struct bs_store *s, const char *owner, const char *name,
                                  struct bs_err *err) BS_NODISCARD;
/* Deletes the datasets past their expiry that no unfinished job needs. */
bs_status bs_store_dataset_expire(struct bs_store *s, int64_t now_ms, int *count,
                                  struct bs_err *err) BS_NODISCARD;
void bs_dataset_record_free(struct bs_dataset_record *d);

#define BS_SHARED_GROUPS_MAX 100
/* Groups with pairs in more than one split, by name, at most BS_SHARED_GROUPS_MAX. The caller frees names and array. */
bs_status bs_store_dataset_shared_groups(struct bs_store *s, int64_t number, char ***out, int *count,
                                         struct bs_err *err) BS_NODISCARD;

struct bs_pair_record {
    char id[40]; /* made by the store */
    char *name;  /* once in a dataset */
    char *group; /* "": stands alone */
    enum bs_split split;
    char *image_blob, *labels_blob; /* sha256 */
    uint64_t image_bytes, labels_bytes;
    char *info_json;       /* what the files are; bs_pair_info_to_json */
    char *annotation;      /* where the labels count; bs_annotation_to_json; NULL is written as "{}" */
    char *prediction_blob; /* what the labels were made from; NULL: nothing */
    uint64_t prediction_bytes;
    int64_t created_ms;
};
struct bs_pair_addition {
    const char *owner, *dataset;
    bool image_held, labels_held, prediction_held; /* not sent: a dataset of the owner must hold the file */
    bool group_across_splits;                      /* the group may stand in several splits */
};
/* Takes the strings of *p and gives back the record as stored. The same pair again is the first one, with *existing. BS_EEXIST:
   another pair has the name; BS_EPRECONDITION: the image, or the group, is in another split; BS_ENOTFOUND: no such dataset, or
   a file that was said to be held is not. */
bs_status bs_store_pair_add(struct bs_store *s, const struct bs_pair_addition *how, struct bs_pair_record *p,
                            bool *existing, struct bs_err *err) BS_NODISCARD;
/* In the order in which they were added, after the id `after` (NULL: from the start). split below 0: any. */
bs_status bs_store_pair_list(struct bs_store *s, int64_t dataset, int split, const char *after, int limit,
                             struct bs_pair_record **out, int *count, struct bs_err *err) BS_NODISCARD;
/* The pair that holds this file in a dataset of this owner (any one); BS_ENOTFOUND when there is none. */
bs_status bs_store_file_of_owner(struct bs_store *s, const char *owner, const char *sha256, uint64_t *bytes,
                                 struct bs_err *err) BS_NODISCARD;
bs_status bs_store_pair_get(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                            struct bs_pair_record *out, struct bs_err *err) BS_NODISCARD;
/* Another annotation, with the description that goes with it. BS_ENOTFOUND: no such pair. */
bs_status bs_store_pair_annotate(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                                 const char *annotation, const char *info_json,
                                 struct bs_err *err) BS_NODISCARD;
/* BS_EPRECONDITION while a job that has not finished needs the dataset. */
bs_status bs_store_pair_delete(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                               struct bs_err *err) BS_NODISCARD;
void bs_pair_record_free(struct bs_pair_record *p);

#endif
