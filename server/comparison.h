/* What a job of kind "compare" is and what it found, as it is stored. The record's request says which versions, where and how; a blob
   holds the images, at first what they are and which versions learned from them (the job's input), in the end with their scores
   (its objects_blob). Texts outlive the program that wrote them, so everything is checked when it is read back. Functions of
   their arguments; any thread. */
#ifndef BS_SERVER_COMPARISON_H
#define BS_SERVER_COMPARISON_H

#include "model/dataset/score.h"
#include "model/statistics/bootstrap.h"
#include "server/pair_info.h"
#include "server/store/blobs.h"
#include "server/store/datasets.h"

#define BS_COMPARISON_MAX_IMAGES 10000

/* A version of a model. */
struct bs_comparison_version {
    char name[80];
    int64_t version;
    char blob[BS_BLOB_HASH_LEN + 1]; /* "" where it does not matter */
};

struct bs_comparison_request {
    struct bs_comparison_version candidate, baseline;
    char dataset[80];
    int64_t dataset_number; /* the store's */
    enum bs_split split;
    bool forced; /* some images were seen, and the comparison was asked for all the same */
    struct bs_bootstrap_options options;
};
bs_status bs_comparison_request_to_json(const struct bs_comparison_request *r, char **json,
                                        struct bs_err *err) BS_NODISCARD;
bs_status bs_comparison_request_from_json(const char *json, struct bs_comparison_request *r,
                                          struct bs_err *err) BS_NODISCARD;

/* A version that learned from an image, and how. */
struct bs_comparison_use {
    struct bs_comparison_version by;
    enum bs_split split; /* TRAIN or VALIDATION */
};

struct bs_comparison_image {
    char *name;
    char image[BS_BLOB_HASH_LEN + 1], labels[BS_BLOB_HASH_LEN + 1];
    struct bs_pair_info files; /* what image and labels are */
    struct bs_comparison_use *use;
    size_t nuse;
    struct bs_label_score candidate, baseline; /* once scored */
};

/* The metrics, in this order: "msa", "sa50", "sa75". */
#define BS_COMPARISON_METRICS 3
extern const char *const bs_comparison_metric[BS_COMPARISON_METRICS];

/* Zeros are an empty one. */
struct bs_comparison_images {
    struct bs_comparison_image *image;
    size_t count;
    /* Versions whose training images are not known: they, or what they were trained on from, were imported. */
    struct bs_comparison_version *unknown;
    size_t nunknown;
    bool scored; /* the rest counts */
    struct bs_bootstrap_interval difference[BS_COMPARISON_METRICS];
};
void bs_comparison_images_free(struct bs_comparison_images *c);
/* Appends; a use or an unknown version that is there already is not added again. BS_ENOMEM. */
bs_status bs_comparison_add_use(struct bs_comparison_image *image, const struct bs_comparison_use *use,
                                struct bs_err *err) BS_NODISCARD;
bs_status bs_comparison_add_unknown(struct bs_comparison_images *c, const struct bs_comparison_version *v,
                                    struct bs_err *err) BS_NODISCARD;
/* How many images some version learned from. */
size_t bs_comparison_seen(const struct bs_comparison_images *c);
/* From the scores of all images: the differences; then it is scored. */
bs_status bs_comparison_summarise(struct bs_comparison_images *c, const struct bs_bootstrap_options *options,
                                  struct bs_err *err) BS_NODISCARD;

/* As a blob, and back. */
bs_status bs_comparison_images_put(struct bs_blobs *blobs, const struct bs_comparison_images *c,
                                   char hash[BS_BLOB_HASH_LEN + 1], struct bs_err *err) BS_NODISCARD;
bs_status bs_comparison_images_get(struct bs_blobs *blobs, const char *hash, struct bs_comparison_images *c,
                                   struct bs_err *err) BS_NODISCARD;
/* The job's result in short: the differences and what computed them. */
bs_status bs_comparison_result_to_json(const struct bs_comparison_request *r,
                                       const struct bs_comparison_images *c, char **json,
                                       struct bs_err *err) BS_NODISCARD;

#endif
