/* What must survive: models, jobs and datasets (datasets.h), behind an interface small enough that another database fits.
   The implementation is SQLite in WAL mode with synchronous=FULL; every change below is one durable transaction, made
   before the call returns. Thread-safe. Strings in records are owned by the record (free with the *_free functions). */
#ifndef BS_SERVER_STORE_STORE_H
#define BS_SERVER_STORE_STORE_H

#include "kernels/base/status.h"

#include <stdint.h>

struct bs_store;

/* Opens or creates `dir/bioseg.db` and brings its schema to the current number; refuses a newer one. */
bs_status bs_store_open(const char *dir, struct bs_store **out, struct bs_err *err) BS_NODISCARD;
void bs_store_close(struct bs_store *s); /* accepts NULL */
/* How long results are kept after a job ends (default 7 days; 0: for ever); counts for jobs that end from now on. */
void bs_store_set_lifetime(struct bs_store *s, int64_t ms);
/* ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ */
bool bs_store_name_valid(const char *name);

/* Models: name + version; weights are a blob hash. */
struct bs_model_record {
    char *name;      /* ^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$ */
    int64_t version; /* 1, 2, ... per name */
    char *blob;      /* sha256 of the safetensors file, hex */
    char *info_json; /* bs_model_info_to_json */
    char *owner;
    char *labels;       /* JSON object of strings; NULL is written as none and read as "{}" */
    char *lineage_json; /* where it came from, when it was trained here (training_json.h); NULL: imported */
    int64_t created_ms;
    int64_t expires_ms; /* 0: never */
    uint64_t bytes;
};
bs_status bs_store_model_add(struct bs_store *s, struct bs_model_record *m /* version is set */,
                             struct bs_err *err) BS_NODISCARD;
/* version 0: the newest. */
bs_status bs_store_model_get(struct bs_store *s, const char *name, int64_t version,
                             struct bs_model_record *out, struct bs_err *err) BS_NODISCARD;
struct bs_model_filter {
    const char *labels; /* JSON object: models that have all of these; NULL: any */
    bool untrained;     /* those with random weights too */
};
/* Page of models ordered by (name, version) after `after` (NULL: from the start; "name:version"). */
bs_status bs_store_model_list(struct bs_store *s, const struct bs_model_filter *filter, const char *after,
                              int limit, struct bs_model_record **out, int *count,
                              struct bs_err *err) BS_NODISCARD;
/* Deletes the models past their expiry that no unfinished job needs. */
bs_status bs_store_model_expire(struct bs_store *s, int64_t now_ms, int *count,
                                struct bs_err *err) BS_NODISCARD;
/* BS_EPRECONDITION while a job that has not finished needs it. */
bs_status bs_store_model_delete(struct bs_store *s, const char *name, int64_t version,
                                struct bs_err *err) BS_NODISCARD;
void bs_model_record_free(struct bs_model_record *m);

enum bs_job_state {
    BS_JOB_QUEUED,
    BS_JOB_RUNNING,
    BS_JOB_SUCCEEDED,
    BS_JOB_FAILED,
    BS_JOB_CANCELLED,
    BS_JOB_PAUSED /* waits, but not for its turn: until somebody resumes it; error says why */
};
const char *bs_job_state_name(enum bs_job_state s);

struct bs_job_record {
    char id[40]; /* made by the store when empty on add */
    char *owner, *project;
    char *idempotency_key;                        /* "" none; unique per owner */
    char *payload_hash;                           /* sha256 of request and input, for the key check */
    char *kind;                                   /* "segment", "train" or "compare" */
    char *request;                                /* serialised request without pixels (JSON) */
    char *labels;                                 /* as those of a model */
    char *input_blob;                             /* sha256 */
    char *result_json;                            /* provenance, counts, warnings; NULL until there is one */
    char *labels_blob, *maps_blob, *objects_blob; /* NULL where absent */
    char *error;                                  /* message for people, NULL */
    int error_code;                               /* bs_status */
    enum bs_job_state state;
    int attempts;                                            /* deaths of a worker it was running in */
    int done, total;                                         /* tiles */
    int64_t created_ms, started_ms, finished_ms, expires_ms; /* 0: not yet / never */
    int64_t time_to_live_ms; /* how long its result is kept; 0: as the store says */
    int64_t revision;        /* grows with every change: what watch compares */
};
/* Takes the strings of *job and gives back the whole record as stored (also of the existing one).
   Same owner and key with the same payload_hash: returns the first job and *existing = true; another payload: BS_EEXIST. */
bs_status bs_store_job_add(struct bs_store *s, struct bs_job_record *job, bool *existing,
                           struct bs_err *err) BS_NODISCARD;
bs_status bs_store_job_get(struct bs_store *s, const char *id, struct bs_job_record *out,
                           struct bs_err *err) BS_NODISCARD;
struct bs_job_filter {
    const char *owner;   /* NULL: all */
    int state;           /* below 0: any */
    const char *project; /* NULL: any */
    const char *model;   /* NULL: any */
    const char *labels;  /* JSON object: jobs that have all of these; NULL: any */
};
/* Newest first, after the job id `after`. */
bs_status bs_store_job_list(struct bs_store *s, const struct bs_job_filter *filter, const char *after,
                            int limit, struct bs_job_record **out, int *count,
                            struct bs_err *err) BS_NODISCARD;
/* How many jobs are in each state; count is indexed by it. */
#define BS_JOB_STATES 6
bs_status bs_store_job_counts(struct bs_store *s, int64_t count[BS_JOB_STATES],
                              struct bs_err *err) BS_NODISCARD;
/* Takes the next QUEUED job (oldest first, fair between owners) to RUNNING; BS_ENOTFOUND when there is none. Training jobs and
   comparisons are taken by functions of their own. */
bs_status bs_store_job_take(struct bs_store *s, struct bs_job_record *out, struct bs_err *err) BS_NODISCARD;
bs_status bs_store_job_take_training(struct bs_store *s, struct bs_job_record *out,
                                     struct bs_err *err) BS_NODISCARD;
bs_status bs_store_job_take_comparison(struct bs_store *s, struct bs_job_record *out,
                                       struct bs_err *err) BS_NODISCARD;
/* RUNNING -> SUCCEEDED with result_json and blobs. */
bs_status bs_store_job_succeed(struct bs_store *s, const struct bs_job_record *job,
                               struct bs_err *err) BS_NODISCARD;
/* -> FAILED / CANCELLED with reason, from QUEUED, PAUSED or RUNNING; a finished job is left alone (BS_EPRECONDITION). */
bs_status bs_store_job_fail(struct bs_store *s, const char *id, int error_code, const char *reason,
                            struct bs_err *err) BS_NODISCARD;
bs_status bs_store_job_cancel(struct bs_store *s, const char *id, struct bs_err *err) BS_NODISCARD;
/* RUNNING -> QUEUED; counts an attempt when the worker died; the second death (of a training job the fifth since its last
   checkpoint) fails the job with that reason. */
bs_status bs_store_job_requeue(struct bs_store *s, const char *id, bool worker_died,
                               struct bs_err *err) BS_NODISCARD;
bs_status bs_store_job_progress(struct bs_store *s, const char *id, int done, int total,
                                struct bs_err *err) BS_NODISCARD;
/* Finished jobs only (BS_EPRECONDITION else); their blobs go with the next bs_blobs_sweep. */
bs_status bs_store_job_delete(struct bs_store *s, const char *id, struct bs_err *err) BS_NODISCARD;
/* At start: everything RUNNING becomes QUEUED again (attempt counted; FAILED at the fifth, a training job at the 25th since its
   last checkpoint). Returns how many. */
bs_status bs_store_job_recover(struct bs_store *s, int *count, struct bs_err *err) BS_NODISCARD;
/* Forgets results and input of finished jobs past their expiry (blob fields become NULL, input_blob ""); the record
   itself goes 30 days later. */
bs_status bs_store_job_expire(struct bs_store *s, int64_t now_ms, int *count,
                              struct bs_err *err) BS_NODISCARD;
void bs_job_record_free(struct bs_job_record *j);
/* Whether any model, job, run or pair of a dataset still names this blob. */
bs_status bs_store_blob_in_use(struct bs_store *s, const char *sha256, bool *used,
                               struct bs_err *err) BS_NODISCARD;

#endif
