/* A queue of training jobs with store, blobs, the lab's engine and a dataset: what a daemon is without its ports. */
#ifndef BS_TESTS_UNIT_ENGINE_OFFICE_SUPPORT_H
#define BS_TESTS_UNIT_ENGINE_OFFICE_SUPPORT_H

#include "server/store/runs.h"
#include "server/training_json.h"
#include "training_support.h"

struct office {
    struct lab *lab;
    struct dataset data;
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_jobs *jobs;
    char manifest[BS_BLOB_HASH_LEN + 1];
};

/* Store, blobs (at most cap bytes; 0: no cap) and queue in the lab's folder, which then take up what is there. */
void open_office(struct office *o, uint64_t cap);
/* The queue stops; what runs is put back. */
void close_office(struct office *o);
/* cmocka setup and teardown: *state is an open office with a lab of its own and the dataset. */
int office_open(void **state);
int office_close(void **state);

/* The lab's tiny network in so many steps, patches of 16, validation every 10 and a checkpoint every 3. */
struct bs_train_config office_config(const struct office *o, int64_t steps);
void submit_config(struct office *o, const char *name, const struct bs_train_config *config, char id[40]);
/* submit_config with office_config. */
void submit_run(struct office *o, const char *name, int64_t steps, char id[40]);
/* Waits until the job is in that state, or has made so many steps in it. */
void await(struct office *o, const char *id, enum bs_job_state wanted, int step);
/* Hash of the first version of that name. */
void model_blob(struct office *o, const char *name, char hash[BS_BLOB_HASH_LEN + 1]);
/* How many steps the job has told; demands each once, in their order. */
int count_notes(struct office *o, const char *id);

#endif
