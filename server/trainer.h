/* Durable training runs: takes queued ones from the store, one at a time, gives them to the engine, keeps checkpoints and what is
   told, and writes the end. One thread of its own, so that hashing a checkpoint keeps no segmentation job waiting. Part of the
   job queue (jobs.h), whose calls reach it; thread-safe. */
#ifndef BS_SERVER_TRAINER_H
#define BS_SERVER_TRAINER_H

#include "server/jobs.h"

struct bs__trainer;

/* Borrows the queue. */
bs_status bs__trainer_create(struct bs_jobs *jobs, struct bs__trainer **out, struct bs_err *err) BS_NODISCARD;
/* Takes no run any more; the one that runs writes a checkpoint and goes back to the queue. */
void bs__trainer_drain(struct bs__trainer *t);
/* Waits for that until `until` (CLOCK_MONOTONIC); true when nothing runs. */
bool bs__trainer_idle(struct bs__trainer *t, const struct timespec *until);
/* As drain, but what has not ended after the engine's patience goes back to its last checkpoint. Joins. Accepts NULL. */
void bs__trainer_destroy(struct bs__trainer *t);
/* There may be something to take. */
void bs__trainer_kick(struct bs__trainer *t);
/* The store knows already: tells the run, if it is with the engine. */
void bs__trainer_cancel(struct bs__trainer *t, const char *id);
void bs__trainer_ask(struct bs__trainer *t, const char *id, const struct bs_run_control *control);

#endif
