/* Training runs in the store: what a job of kind "train" has beside its record. Its checkpoints are blobs; each is named here in
   the same transaction that notes how far the run is, so that after any crash it goes on from the last one. What it tells
   (losses, scores) is kept by step: a step that is told again after a resume replaces itself. Thread-safe. */
#ifndef BS_SERVER_STORE_RUNS_H
#define BS_SERVER_STORE_RUNS_H

#include "server/store/store.h"

struct bs_run_state {
    char *initial_blob;             /* weights to begin with; NULL: random ones */
    char *latest_blob;              /* to go on from; NULL: none yet */
    char *best_blob;                /* a model file; NULL: none yet */
    int64_t latest_step, best_step; /* -1: none yet */
    double best_metric;             /* infinity: none yet */
    bool pause;                     /* asked for, not done yet */
    double learning_rate;           /* > 0: asked for, in no checkpoint yet */
};
void bs_run_state_free(struct bs_run_state *r);

/* As bs_store_job_add, with the run in the same transaction. initial_blob may be NULL. */
bs_status bs_store_run_add(struct bs_store *s, struct bs_job_record *job, const char *initial_blob,
                           bool *existing, struct bs_err *err) BS_NODISCARD;
bs_status bs_store_run_get(struct bs_store *s, const char *id, struct bs_run_state *out,
                           struct bs_err *err) BS_NODISCARD;

/* One line of the curves. What is not known is NaN. */
struct bs_run_note {
    int64_t step;
    bool validation; /* else one step */
    int64_t epoch;
    double loss, learning_rate;
    double metric, best_metric; /* validation only */
    int64_t best_step;          /* validation only; else -1 */
    double images_per_second, seconds_left;
};
/* Adds notes and how far the job is, in one transaction. */
bs_status bs_store_run_notes_add(struct bs_store *s, const char *id, const struct bs_run_note *notes,
                                 size_t count, int64_t step, int64_t steps, struct bs_err *err) BS_NODISCARD;
/* What was noted behind a step or, with after_validation, behind its validation: in order, a step before its validation, at
   most `limit`. The caller frees the array. */
bs_status bs_store_run_notes(struct bs_store *s, const char *id, int64_t after_step, bool after_validation,
                             int limit, struct bs_run_note **out, int *count,
                             struct bs_err *err) BS_NODISCARD;

/* The picture of a run's last validation; goes with the job. */
#define BS_RUN_SAMPLE_MAX_SIDE  256
#define BS_RUN_SAMPLE_MAX_BYTES (4 << 20)
struct bs_run_sample {
    int64_t step;
    uint32_t height, width, channels, target_channels,
        reduction;   /* pixels of the image along a side that became one */
    uint8_t *planes; /* (channels + 2 target_channels, height, width): image, target, prediction */
    size_t bytes;
};
/* Instead of the one before. */
bs_status bs_store_run_sample_put(struct bs_store *s, const char *id, const struct bs_run_sample *p,
                                  struct bs_err *err) BS_NODISCARD;
/* BS_ENOTFOUND: there was no validation yet. */
bs_status bs_store_run_sample_get(struct bs_store *s, const char *id, struct bs_run_sample *out,
                                  struct bs_err *err) BS_NODISCARD;
/* The step of the picture that is kept; -1: none. */
bs_status bs_store_run_sample_step(struct bs_store *s, const char *id, int64_t *step,
                                   struct bs_err *err) BS_NODISCARD;
void bs_run_sample_free(struct bs_run_sample *p);

/* A checkpoint that is a durable blob now. LATEST: the run goes on from there after whatever happens, deaths are counted
   anew, and a learning rate that was asked for by then is part of it. BEST: with its metric. The notes come in the same
   transaction. BS_EPRECONDITION when the job does not run any more. */
struct bs_run_checkpoint {
    bool best; /* else LATEST */
    const char *blob;
    int64_t step, steps;
    double metric;   /* of BEST */
    bool rate_is_in; /* LATEST: the learning rate asked for has been used */
    const struct bs_run_note *notes;
    size_t nnote;
};
bs_status bs_store_run_checkpoint(struct bs_store *s, const char *id, const struct bs_run_checkpoint *c,
                                  struct bs_err *err) BS_NODISCARD;

/* Asks a run to stop after a checkpoint, or for another learning rate. A queued job pauses at once. BS_EPRECONDITION: it has ended. */
bs_status bs_store_run_ask(struct bs_store *s, const char *id, bool pause, double learning_rate,
                           struct bs_err *err) BS_NODISCARD;
/* RUNNING or QUEUED -> PAUSED, with the reason. */
bs_status bs_store_run_pause(struct bs_store *s, const char *id, int code, const char *reason,
                             struct bs_err *err) BS_NODISCARD;
/* PAUSED, FAILED or CANCELLED -> QUEUED. BS_EPRECONDITION: it has succeeded, runs, or was forgotten. */
bs_status bs_store_run_resume(struct bs_store *s, const char *id, struct bs_err *err) BS_NODISCARD;
/* RUNNING -> SUCCEEDED, and the version of its weights, both or neither. The version is set in *model, and written into the job's
   result by `describe`, which makes job->result_json of it. */
bs_status bs_store_run_succeed(struct bs_store *s, struct bs_job_record *job, struct bs_model_record *model,
                               bs_status (*describe)(void *ctx, int64_t version, char **json,
                                                     struct bs_err *err),
                               void *ctx, struct bs_err *err) BS_NODISCARD;

#endif
