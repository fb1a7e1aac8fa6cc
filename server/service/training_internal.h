/* What the files of the training service share. */
#ifndef BS_SERVER_SERVICE_TRAINING_INTERNAL_H
#define BS_SERVER_SERVICE_TRAINING_INTERNAL_H

#include "model/dataset/manifest.h"
#include "model/dataset/names.h"
#include "server/service/service_internal.h"
#include "server/training_json.h"

#include "bioseg/v1/training.pb-c.h"

/* A spec, checked and made definite. */
struct bs__training {
    struct bs_train_config config;
    struct bs_training_request request;
    struct bs_model_record initial; /* name NULL: random weights */
    struct bs_manifest manifest;    /* of what is trained on, */
    size_t count[BS_PART_TEST + 1]; /* how much of it is of each part, */
    struct bs_names left_out;       /* and pairs that take no part, since nobody has marked them done */
    char manifest_blob[BS_BLOB_HASH_LEN + 1];
};

/* Network and recipe with the publication's settings. */
bs_status bs__training_default(const char *architecture, const char *recipe, struct bs_train_config *config,
                               struct bs_err *err) BS_NODISCARD;
/* keep: the list of images is stored as a blob; else only its hash is made. */
bs_status bs__training_decode(struct bs_services *s, const char *owner, const Bioseg__V1__TrainingSpec *spec,
                              bool keep, struct bs__training *t, struct bs_err *err) BS_NODISCARD;
/* training_dataset.c: the same of its images. BS_EPRECONDITION: none to train on, or none to validate with. */
bs_status bs__training_freeze(struct bs_services *s, const char *owner, const char *name, bool keep,
                              struct bs__training *t, struct bs_err *err) BS_NODISCARD;
void bs__training_free(struct bs__training *t); /* accepts one of zeros */

bs_status bs__training_no_memory(struct bs_err *err);
/* The caller's own run, which the caller frees. */
bs_status bs__training_find(struct bs_services *s, struct bs_call *call, const char *id,
                            struct bs_job_record *job, struct bs_err *err) BS_NODISCARD;
/* training_sample.c; a method of Training. */
bs_status bs__training_get_sample(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                  struct bs_err *err);
/* training_start.c; a method of Training. */
bs_status bs__training_start(void *service, struct bs_call *call, const ProtobufCMessage *message,
                             struct bs_err *err);

#endif
