/* What a training job is, what it yielded, and where its model came from, as JSON for the store: texts that outlive the program
   that wrote them, so everything is checked when it is read back. Pure functions; any thread. */
#ifndef BS_SERVER_TRAINING_JSON_H
#define BS_SERVER_TRAINING_JSON_H

#include "model/train/run.h"
#include "server/store/blobs.h"

/* Stored as bs_job_record.request of kind "train"; input_blob is the manifest of the dataset as it was then. */
struct bs_training_request {
    char model_name[80];    /* under which the weights will be recorded */
    char parent[80];        /* model that the run begins with; "": random weights */
    int64_t parent_version; /* 0 without a parent */
    char parent_blob[BS_BLOB_HASH_LEN + 1];
    char dataset[80];
    int64_t dataset_number;                  /* the store's */
    char dataset_hash[BS_BLOB_HASH_LEN + 1]; /* of its content (model/dataset/manifest.h) */
    char *config;                            /* JSON (model/train/config.h); owned */
};
void bs_training_request_free(struct bs_training_request *r);
bs_status bs_training_request_to_json(const struct bs_training_request *r, char **json,
                                      struct bs_err *err) BS_NODISCARD;
bs_status bs_training_request_from_json(const char *json, struct bs_training_request *r,
                                        struct bs_err *err) BS_NODISCARD;

/* How a run ended. */
struct bs_training_outcome {
    const char *job;
    int64_t version; /* of the model; 0: not known yet */
    struct bs_run_result run;
    const char *algorithms;
};
bs_status bs_training_result_to_json(const struct bs_training_request *r, const struct bs_training_outcome *o,
                                     char **json, struct bs_err *err) BS_NODISCARD;
/* The version it made; 0: none. */
int64_t bs_training_result_version(const char *json);
/* Where a version came from; bs_model_record.lineage_json. */
bs_status bs_training_lineage_to_json(const struct bs_training_request *r,
                                      const struct bs_training_outcome *o, char **json,
                                      struct bs_err *err) BS_NODISCARD;
/* The same, read back. Texts that were not there are "". */
struct bs_training_lineage {
    char how[16], job[40], dataset[80];
    char parent[80]; /* "": none */
    char parent_blob[BS_BLOB_HASH_LEN + 1];
    int64_t parent_version;
};
bs_status bs_training_lineage_from_json(const char *json, struct bs_training_lineage *out,
                                        struct bs_err *err) BS_NODISCARD;

#endif
