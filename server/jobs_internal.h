/* What the files of the job queue share: jobs.c has the calls and the dispatcher's loop, jobs_run.c what happens to one
   job, jobs_watch.c who hears of it. */
#ifndef BS_SERVER_JOBS_INTERNAL_H
#define BS_SERVER_JOBS_INTERNAL_H

#include "server/jobs.h"

#include <pthread.h>

/* A job that is with the engine. Made and freed by the dispatcher. */
struct bs__flight {
    struct bs_jobs *jobs;
    struct bs_job_record record;
    struct bs_job_request request;
    char model_blob[BS_BLOB_HASH_LEN + 1];
    int64_t retry_at_ms;       /* the store could not be written: when to try again */
    int64_t progress_saved_ms; /* the store is not written for every tile */
    int saved;

    /* guarded by bs_jobs.mu */
    struct bs_engine_task *task;
    bool cancel; /* its owner gave up, or we stop */
    bool ended;
    int done, total;
    bs_status status;
    struct bs_err err;
    struct bs_engine_result result;
    struct bs__flight *next;
};

struct bs_jobs {
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_engine *engine;
    struct bs__trainer *trainer;
    struct bs__comparer *comparer;
    pthread_t thread;

    pthread_mutex_t
        mu; /* guards what follows; never held over the store; the engine's lock may be taken inside */
    pthread_cond_t wake;
    pthread_cond_t idle;
    struct bs__flight *flights;
    bool kicked, draining, stopping, sweep;

    pthread_mutex_t watch_mu; /* guards watches, held over callbacks; taken alone */
    struct bs_job_watch *watches;
};

int64_t bs__jobs_now_ms(void); /* monotonic */

/* jobs_run.c; dispatcher thread, mu not held. */
/* Takes the next job from the store to the engine; false when there is none. */
bool bs__flight_start(struct bs_jobs *j);
/* Writes the end of a job to the store; false when that has to be tried again later. */
bool bs__flight_finish(struct bs_jobs *j, struct bs__flight *f);
void bs__flight_free(struct bs__flight *f);

/* jobs_watch.c; any thread, mu not held. gone: the job was deleted. */
void bs__notify(struct bs_jobs *j, const char *id, bool gone);

#endif
