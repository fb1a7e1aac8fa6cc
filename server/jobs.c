/* The job queue's calls and its dispatcher: one thread that brings jobs from the store to the engine and their results
   back, a few at a time, and forgets what has expired. */
#include "server/comparer.h"
#include "server/jobs_internal.h"
#include "server/store/datasets.h"
#include "server/store/runs.h"
#include "server/trainer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_FLIGHTS     2   /* one runs, one is ready behind it */
#define PROGRESS_GAP_MS 500 /* each write waits for the disk */
#define EXPIRY_MS       60000
#define SWEEP_MS        600000
#define SWEEP_AGE_S     600  /* an upload is named by a job long before that */
#define IDLE_MS         1000 /* worker up again? disk no longer full? */

int64_t bs__jobs_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static struct timespec after_ms(int64_t ms)
{
    int64_t at = bs__jobs_now_ms() + ms;
    return (struct timespec){at / 1000, at % 1000 * 1000000};
}

static void kick(struct bs_jobs *j)
{
    pthread_mutex_lock(&j->mu);
    j->kicked = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->mu);
}

/* ---- dispatcher ---- */

static bs_status blob_in_use(void *ctx, const char *hash, bool *used, struct bs_err *err)
{
    return bs_store_blob_in_use(ctx, hash, used, err);
}

static void tidy(struct bs_jobs *j, int64_t *next_expiry, int64_t *next_sweep)
{
    struct bs_err err;
    struct timespec now;
    int count = 0;
    pthread_mutex_lock(&j->mu);
    bool sweep = j->sweep;
    j->sweep = false;
    pthread_mutex_unlock(&j->mu);
    if (bs__jobs_now_ms() >= *next_expiry) {
        clock_gettime(CLOCK_REALTIME, &now);
        *next_expiry = bs__jobs_now_ms() + EXPIRY_MS;
        const int64_t at = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
        if (bs_store_job_expire(j->store, at, &count, &err) == BS_OK && count > 0)
            sweep = true;
        if (bs_store_model_expire(j->store, at, &count, &err) == BS_OK && count > 0)
            sweep = true;
        if (bs_store_dataset_expire(j->store, at, &count, &err) == BS_OK && count > 0)
            sweep = true;
    }
    if (sweep || bs__jobs_now_ms() >= *next_sweep) {
        *next_sweep = bs__jobs_now_ms() + SWEEP_MS;
        /* What could not be removed now is found again by the next sweep. */
        (void)!bs_blobs_sweep(j->blobs, SWEEP_AGE_S, blob_in_use, j->store, &count, &err);
    }
}

/* Writes progress of flights that moved, and returns one that has ended (taken out of the list), if there is one. */
static struct bs__flight *look_at_flights(struct bs_jobs *j)
{
    struct {
        char id[40];
        int done, total;
    } moved[MAX_FLIGHTS];
    int n = 0;
    struct bs__flight *ended = NULL;
    int64_t now = bs__jobs_now_ms();
    pthread_mutex_lock(&j->mu);
    for (struct bs__flight **at = &j->flights; *at;) {
        struct bs__flight *f = *at;
        if (f->ended && !ended && now >= f->retry_at_ms) {
            *at = f->next;
            ended = f;
            continue;
        }
        if (!f->ended && f->done != f->saved && now - f->progress_saved_ms >= PROGRESS_GAP_MS &&
            n < MAX_FLIGHTS) {
            snprintf(moved[n].id, sizeof moved[n].id, "%s", f->record.id);
            moved[n].done = f->saved = f->done;
            moved[n++].total = f->total;
            f->progress_saved_ms = now;
        }
        at = &f->next;
    }
    pthread_mutex_unlock(&j->mu);
    for (int i = 0; i < n; i++) {
        struct bs_err err;
        /* A cancelled job moves no more; anything else comes again with the next tile. */
        if (bs_store_job_progress(j->store, moved[i].id, moved[i].done, moved[i].total, &err) == BS_OK)
            bs__notify(j, moved[i].id, false);
    }
    return ended;
}

static void put_back(struct bs_jobs *j, struct bs__flight *f)
{
    pthread_mutex_lock(&j->mu);
    f->next = j->flights;
    j->flights = f;
    pthread_mutex_unlock(&j->mu);
}

/* Asks every flight to end; the jobs go back to the queue. */
static void cancel_flights(struct bs_jobs *j)
{
    pthread_mutex_lock(&j->mu);
    for (struct bs__flight *f = j->flights; f; f = f->next) {
        f->cancel = true;
        if (f->task && !f->ended)
            bs_engine_cancel(j->engine, f->task);
    }
    pthread_mutex_unlock(&j->mu);
}

/* Milliseconds until something may be due; mu held. */
static int64_t pause(const struct bs_jobs *j)
{
    int64_t now = bs__jobs_now_ms(), wait = IDLE_MS;
    for (const struct bs__flight *f = j->flights; f; f = f->next) {
        int64_t due = f->ended              ? f->retry_at_ms
                      : f->done != f->saved ? f->progress_saved_ms + PROGRESS_GAP_MS
                                            : INT64_MAX;
        if (due - now < wait)
            wait = due - now;
    }
    return wait < 0 ? 0 : wait;
}

static void *dispatch(void *arg)
{
    struct bs_jobs *j = arg;
    int64_t next_expiry = 0, next_sweep = 0;
    bool cancelled = false;
    for (;;) {
        struct bs_engine_state engine;
        struct bs__flight *f;
        bool more = false;
        while ((f = look_at_flights(j))) {
            if (bs__flight_finish(j, f))
                bs__flight_free(f);
            else {
                put_back(j, f);
                break;
            }
        }
        pthread_mutex_lock(&j->mu);
        int flights = 0, ended = 0;
        for (f = j->flights; f; f = f->next) {
            flights++;
            ended += f->ended;
        }
        bool take = flights < MAX_FLIGHTS && !j->draining, stopping = j->stopping;
        if (flights == 0)
            pthread_cond_broadcast(&j->idle);
        pthread_mutex_unlock(&j->mu);
        if (stopping && !cancelled) {
            cancel_flights(j);
            cancelled = true;
        }
        /* What still cannot be written stays RUNNING in the store, and the next start recovers it. */
        if (stopping && flights == ended)
            break;
        bs_engine_state_get(j->engine, &engine);
        if (take && engine.ready)
            more = bs__flight_start(j);
        if (!more && !stopping)
            tidy(j, &next_expiry, &next_sweep);
        pthread_mutex_lock(&j->mu);
        bool unseen = false;
        for (f = j->flights; f; f = f->next)
            unseen |= f->ended && f->retry_at_ms == 0;
        if (!more && !unseen && !j->kicked && j->stopping == stopping) {
            struct timespec until = after_ms(pause(j));
            pthread_cond_timedwait(&j->wake, &j->mu, &until);
        }
        j->kicked = false;
        pthread_mutex_unlock(&j->mu);
    }
    return NULL;
}

/* ---- calls ---- */

bs_status bs_jobs_create(struct bs_store *store, struct bs_blobs *blobs, struct bs_engine *engine,
                         struct bs_jobs **out, struct bs_err *err)
{
    int recovered;
    pthread_condattr_t monotonic;
    *out = NULL;
    bs_status rc = bs_store_job_recover(store, &recovered, err);
    if (rc != BS_OK)
        return rc;
    struct bs_jobs *j = calloc(1, sizeof *j);
    if (!j)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting the job queue");
    j->store = store;
    j->blobs = blobs;
    j->engine = engine;
    pthread_mutex_init(&j->mu, NULL);
    pthread_mutex_init(&j->watch_mu, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&j->wake, &monotonic);
    pthread_cond_init(&j->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&j->thread, NULL, dispatch, j) != 0) {
        free(j);
        return BS_FAIL(err, BS_ENOMEM, "no thread for the job queue");
    }
    if ((rc = bs__trainer_create(j, &j->trainer, err)) != BS_OK ||
        (rc = bs__comparer_create(j, &j->comparer, err)) != BS_OK) {
        bs_jobs_destroy(j);
        return rc;
    }
    *out = j;
    return BS_OK;
}

bool bs_jobs_drain(struct bs_jobs *j, int wait_ms)
{
    struct timespec until = after_ms(wait_ms);
    int rc = 0;
    bs__trainer_drain(j->trainer);
    bs__comparer_drain(j->comparer);
    pthread_mutex_lock(&j->mu);
    j->draining = true;
    while (j->flights && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&j->idle, &j->mu, &until);
    bool idle = !j->flights;
    pthread_mutex_unlock(&j->mu);
    idle = bs__comparer_idle(j->comparer, &until) && idle;
    return bs__trainer_idle(j->trainer, &until) && idle;
}

void bs_jobs_destroy(struct bs_jobs *j)
{
    if (!j)
        return;
    bs__trainer_destroy(j->trainer);
    bs__comparer_destroy(j->comparer);
    pthread_mutex_lock(&j->mu);
    j->draining = j->stopping = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->mu);
    pthread_join(j->thread, NULL);
    while (j->flights) {
        struct bs__flight *f = j->flights;
        j->flights = f->next;
        bs__flight_free(f);
    }
    pthread_cond_destroy(&j->idle);
    pthread_cond_destroy(&j->wake);
    pthread_mutex_destroy(&j->watch_mu);
    pthread_mutex_destroy(&j->mu);
    free(j);
}

/* What the same idempotency key must come with: kind, request and input. */
static bs_status hash_payload(struct bs_job_record *job, struct bs_err *err)
{
    char *text = NULL;
    bs_status rc = BS_OK;
    if (asprintf(&text, "%s\n%s\n%s", job->kind ? job->kind : "", job->input_blob ? job->input_blob : "",
                 job->request ? job->request : "") < 0)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while adding a job");
    if (!(job->payload_hash = malloc(BS_BLOB_HASH_LEN + 1)))
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while adding a job");
    else
        rc = bs_blob_hash(text, strlen(text), job->payload_hash, err);
    free(text);
    return rc;
}

bs_status bs_jobs_submit(struct bs_jobs *j, struct bs_job_record *job, bool *existing, struct bs_err *err)
{
    bs_status rc = BS_OK;
    if (!job->payload_hash && (rc = hash_payload(job, err)) != BS_OK)
        return rc;
    if ((rc = bs_store_job_add(j->store, job, existing, err)) != BS_OK)
        return rc;
    if (!*existing && strcmp(job->kind, "compare") == 0)
        bs__comparer_kick(j->comparer);
    else if (!*existing)
        kick(j);
    return BS_OK;
}

bs_status bs_jobs_submit_training(struct bs_jobs *j, struct bs_job_record *job, const char *initial_blob,
                                  bool *existing, struct bs_err *err)
{
    bs_status rc = BS_OK;
    if (!job->payload_hash && (rc = hash_payload(job, err)) != BS_OK)
        return rc;
    if ((rc = bs_store_run_add(j->store, job, initial_blob, existing, err)) != BS_OK)
        return rc;
    if (!*existing)
        bs__trainer_kick(j->trainer);
    return BS_OK;
}

bs_status bs_jobs_steer(struct bs_jobs *j, const char *id, bool pause, double learning_rate,
                        struct bs_err *err)
{
    bs_status rc = bs_store_run_ask(j->store, id, pause, learning_rate, err);
    if (rc != BS_OK)
        return rc;
    bs__trainer_ask(
        j->trainer, id,
        &(struct bs_run_control){.pause = pause, .learning_rate = learning_rate > 0 ? learning_rate : 0});
    bs__notify(j, id, false);
    return BS_OK;
}

bs_status bs_jobs_resume(struct bs_jobs *j, const char *id, struct bs_err *err)
{
    bs_status rc = bs_store_run_resume(j->store, id, err);
    if (rc != BS_OK)
        return rc;
    bs__trainer_kick(j->trainer);
    bs__notify(j, id, false);
    return BS_OK;
}

bs_status bs_jobs_cancel(struct bs_jobs *j, const char *id, struct bs_err *err)
{
    bs_status rc = bs_store_job_cancel(j->store, id, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&j->mu);
    for (struct bs__flight *f = j->flights; f; f = f->next)
        if (strcmp(f->record.id, id) == 0) {
            f->cancel = true;
            /* The engine's lock is a leaf, and the task lives as long as the flight is listed. */
            if (f->task && !f->ended)
                bs_engine_cancel(j->engine, f->task);
        }
    pthread_mutex_unlock(&j->mu);
    bs__trainer_cancel(j->trainer, id);
    bs__comparer_cancel(j->comparer, id);
    bs__notify(j, id, false);
    return BS_OK;
}

bs_status bs_jobs_delete(struct bs_jobs *j, const char *id, struct bs_err *err)
{
    bs_status rc = bs_store_job_delete(j->store, id, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&j->mu);
    j->sweep = j->kicked = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->mu);
    bs__notify(j, id, true);
    return BS_OK;
}
