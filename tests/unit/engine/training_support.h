/* A training run through the real worker: a folder of blobs with discs, a tiny U-Net, and what the run told and handed over. The
   callbacks come on the engine's thread; a thread of the trial's own answers for checkpoints, as a store would. */
#ifndef BS_TESTS_UNIT_ENGINE_TRAINING_SUPPORT_H
#define BS_TESTS_UNIT_ENGINE_TRAINING_SUPPORT_H

#include "engine_support.h"

#define MAX_EVENTS 4096

struct dataset {
    char folder[300];
    int folder_fd;
    char *manifest; /* JSON */
};
/* Four images to train on and two to validate with, in lab->dir. */
void make_dataset(const struct lab *lab, struct dataset *d);
void clear_dataset(struct dataset *d);

struct trial {
    struct lab *lab;
    const struct dataset *data;
    struct bs_train_config config;
    const char *manifest; /* instead of the dataset's; NULL: that one */
    bool in_memory;       /* checkpoints are not written to a folder */
    int initial_fd, resume_fd;
    const char *refuse; /* what is answered for every checkpoint instead of success; NULL: success */
    int hold_after; /* > 0: after so many answers the next ones are held back, so that the run stands still soon */

    pthread_mutex_t mu; /* guards the rest */
    pthread_cond_t changed;
    struct bs_engine_task *handle;
    struct bs_run_event event[MAX_EVENTS]; /* clock removed */
    int events, started, ended, pictures;
    int64_t last_step;
    int latest_fd, best_fd; /* the last ones; -1: none */
    int64_t latest_step;
    int latests, bests;
    int to_answer; /* checkpoints that have not been answered yet */
    int answered;
    bool closing;
    pthread_t answerer;
    bs_status status;
    struct bs_err err;
    struct bs_engine_training_result result;
};

/* 12 steps, validation every 4, a checkpoint after each, patches of 16. */
struct trial *new_trial(struct lab *lab, const struct dataset *data);
void start_trial(struct trial *t);
/* Waits for that step, or the end. */
void await_step(struct trial *t, int64_t step);
bs_status await_end(struct trial *t);
/* Waits for a checkpoint of that step, and answers what was held back. */
void await_checkpoint(struct trial *t, int64_t step);
void answer_all(struct trial *t);
/* start_trial and await_end; demands BS_OK. */
void succeed(struct trial *t);
void end_trial(struct trial *t);
void steer(struct trial *t, struct bs_run_control control);
/* The same bytes? */
bool same_files(int a, int b);

#endif
