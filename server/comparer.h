/* Durable comparisons: takes queued ones from the store, one at a time, has both versions segment each image and their labels scored,
   and writes what was found. One thread of its own, which waits for the engine, so that a long comparison keeps no other job
   from the dispatcher. What is interrupted (a stop of the daemon, a death of the worker) goes back to the queue and begins anew:
   scores are a function of model and image, so nothing but time is lost. Part of the job queue (jobs.h); thread-safe. */
#ifndef BS_SERVER_COMPARER_H
#define BS_SERVER_COMPARER_H

#include "server/jobs.h"

#include <time.h>

struct bs__comparer;

/* Borrows the queue. */
bs_status bs__comparer_create(struct bs_jobs *jobs, struct bs__comparer **out,
                              struct bs_err *err) BS_NODISCARD;
/* Takes no comparison any more; the one that runs goes back to the queue. */
void bs__comparer_drain(struct bs__comparer *c);
/* Waits for that until `until` (CLOCK_MONOTONIC); true when nothing runs. */
bool bs__comparer_idle(struct bs__comparer *c, const struct timespec *until);
/* Drains and joins. Accepts NULL. */
void bs__comparer_destroy(struct bs__comparer *c);
/* There may be something to take. */
void bs__comparer_kick(struct bs__comparer *c);
/* The store knows already: stops it, if it runs. */
void bs__comparer_cancel(struct bs__comparer *c, const char *id);

#endif
