/* What the files of the trainer share: trainer.c has the thread, trainer_run.c what happens to one run, trainer_notes.c and
   trainer_sample.c what it tells. */
#ifndef BS_SERVER_TRAINER_INTERNAL_H
#define BS_SERVER_TRAINER_INTERNAL_H

#include "server/jobs_internal.h"
#include "server/store/runs.h"
#include "server/trainer.h"
#include "server/training_json.h"

#define BS__RUN_MAX_NOTES 100000 /* a disk that stays full that long costs points of the curve, not the run */

/* What a run has told and the store does not know yet. */
struct bs__notes {
    struct bs_run_note *at;
    size_t count, room;
    int64_t step, steps; /* of the last */
};

/* A validation's picture as the worker sent it (engine.h). */
struct bs__run_sample {
    bool there;
    int fd;
    int64_t step;
    int channels, target_channels;
    size_t height, width;
};

/* A run that is with the engine. Made and freed by the trainer's thread. */
struct bs__run {
    struct bs__trainer *trainer;
    struct bs_job_record record;
    struct bs_training_request request;
    struct bs_run_state state; /* as the store had it; checkpoints are kept up to date */
    int64_t retry_at_ms;       /* the store could not be written: when to try again */

    /* guarded by bs__trainer.mu */
    struct bs_engine_task *task;
    bool cancel;       /* its owner gave up, or we stop */
    bool owner_pauses; /* else a pause is ours, because we stop */
    double asked_rate; /* 0: none */
    int64_t rate_step; /* the first step made with it; -1: none yet */
    struct bs__notes notes;
    struct bs__run_sample sample; /* of the last validation, not kept yet */
    double best_metric;           /* of the last better validation */
    struct {
        bool there;
        enum bs_checkpoint_kind kind;
        int64_t step;
        int fd;
        uint64_t bytes;
    } checkpoint;                /* written, not committed yet */
    struct bs_err commit_failed; /* code BS_OK: none did */
    bool ended;
    bs_status status;
    struct bs_err err;
    struct bs_engine_training_result result;
};

struct bs__trainer {
    struct bs_jobs *jobs; /* store, blobs, engine, watchers */
    pthread_t thread;

    pthread_mutex_t
        mu; /* guards what follows; never held over the store; the engine's lock may be taken inside */
    pthread_cond_t wake, idle;
    struct bs__run *run; /* NULL: none */
    bool kicked, draining, stopping;
};

/* Trainer's thread, mu not held. */
/* Takes the next run from the store to the engine; false when there is none. */
bool bs__run_start(struct bs__trainer *t);
/* Commits the checkpoint that waits, if there is one. */
void bs__run_commit(struct bs__run *r);
/* trainer_notes.c. Takes the notes; those that come meanwhile begin a new list. */
struct bs__notes bs__run_take_notes(struct bs__run *r);
/* Puts them back before those that came meanwhile. */
void bs__run_return_notes(struct bs__run *r, struct bs__notes *n);
/* Writes what was told; what cannot be written now is kept for later. */
void bs__run_flush(struct bs__run *r);
/* trainer_sample.c. Takes fd (-1: none) in the place of the picture before; the engine's thread, mu held. */
void bs__run_note_sample(struct bs__run *r, const struct bs_run_event *e, int fd);
/* Keeps the picture that waits; before what was told of its validation. */
void bs__run_keep_sample(struct bs__run *r);
/* Writes the end to the store; false when that has to be tried again later. */
bool bs__run_finish(struct bs__run *r);
void bs__run_free(struct bs__run *r);

#endif
