/* The trainer's thread and its calls. See trainer.h. */
#include "server/trainer_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS  1000 /* worker up again? */
#define FLUSH_MS 500  /* each write waits for the disk */

static struct timespec after_ms(int64_t ms)
{
    int64_t at = bs__jobs_now_ms() + ms;
    return (struct timespec){at / 1000, at % 1000 * 1000000};
}

/* One look at the run: what it wrote, told, and whether it has ended. */
static void attend(struct bs__trainer *t, int64_t *next_flush)
{
    struct bs__run *r = t->run; /* only this thread changes it */
    bs__run_commit(r);
    pthread_mutex_lock(&t->mu);
    bool ended = r->ended && !r->checkpoint.there && bs__jobs_now_ms() >= r->retry_at_ms;
    pthread_mutex_unlock(&t->mu);
    if (ended || bs__jobs_now_ms() >= *next_flush) {
        bs__run_flush(r);
        *next_flush = bs__jobs_now_ms() + FLUSH_MS;
    }
    if (!ended || !bs__run_finish(r))
        return;
    pthread_mutex_lock(&t->mu);
    t->run = NULL;
    pthread_cond_broadcast(&t->idle);
    pthread_mutex_unlock(&t->mu);
    bs__run_free(r);
}

/* Milliseconds until something may be due; mu held. */
static int64_t patience(const struct bs__trainer *t, int64_t next_flush)
{
    const struct bs__run *r = t->run;
    int64_t now = bs__jobs_now_ms(), wait = IDLE_MS;
    if (r && r->ended)
        wait = r->retry_at_ms - now;
    else if (r && r->notes.count && next_flush - now < wait)
        wait = next_flush - now;
    return r && r->checkpoint.there ? 0 : wait < 0 ? 0 : wait;
}

static void *run_thread(void *arg)
{
    struct bs__trainer *t = arg;
    int64_t next_flush = 0;
    for (;;) {
        struct bs_engine_state engine;
        if (t->run)
            attend(t, &next_flush);
        pthread_mutex_lock(&t->mu);
        bool take = !t->run && !t->draining, stopping = t->stopping;
        /* What still cannot be written stays RUNNING in the store, and the next start recovers it. */
        bool over = stopping && (!t->run || t->run->ended);
        pthread_mutex_unlock(&t->mu);
        if (over)
            break;
        bs_engine_state_get(t->jobs->engine, &engine);
        if (take && engine.ready && bs__run_start(t))
            continue;
        pthread_mutex_lock(&t->mu);
        if (!t->kicked && t->stopping == stopping) {
            struct timespec until = after_ms(patience(t, next_flush));
            pthread_cond_timedwait(&t->wake, &t->mu, &until);
        }
        t->kicked = false;
        pthread_mutex_unlock(&t->mu);
    }
    return NULL;
}

bs_status bs__trainer_create(struct bs_jobs *jobs, struct bs__trainer **out, struct bs_err *err)
{
    pthread_condattr_t monotonic;
    struct bs__trainer *t = calloc(1, sizeof *t);
    *out = NULL;
    if (!t)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting the trainer");
    t->jobs = jobs;
    pthread_mutex_init(&t->mu, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&t->wake, &monotonic);
    pthread_cond_init(&t->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&t->thread, NULL, run_thread, t) != 0) {
        free(t);
        return BS_FAIL(err, BS_ENOMEM, "no thread for the trainer");
    }
    *out = t;
    return BS_OK;
}

void bs__trainer_drain(struct bs__trainer *t)
{
    pthread_mutex_lock(&t->mu);
    t->draining = true;
    if (t->run && t->run->task && !t->run->ended)
        bs_engine_training_control(t->jobs->engine, t->run->task, &(struct bs_run_control){.pause = true});
    pthread_mutex_unlock(&t->mu);
}

bool bs__trainer_idle(struct bs__trainer *t, const struct timespec *until)
{
    int rc = 0;
    pthread_mutex_lock(&t->mu);
    while (t->run && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&t->idle, &t->mu, until);
    bool idle = !t->run;
    pthread_mutex_unlock(&t->mu);
    return idle;
}

void bs__trainer_destroy(struct bs__trainer *t)
{
    if (!t)
        return;
    pthread_mutex_lock(&t->mu);
    t->draining = t->stopping = true;
    if (t->run) {
        t->run->cancel = true;
        if (t->run->task && !t->run->ended)
            bs_engine_cancel(t->jobs->engine, t->run->task);
    }
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mu);
    pthread_join(t->thread, NULL);
    bs__run_free(t->run);
    pthread_cond_destroy(&t->idle);
    pthread_cond_destroy(&t->wake);
    pthread_mutex_destroy(&t->mu);
    free(t);
}

void bs__trainer_kick(struct bs__trainer *t)
{
    pthread_mutex_lock(&t->mu);
    t->kicked = true;
    pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mu);
}

void bs__trainer_cancel(struct bs__trainer *t, const char *id)
{
    pthread_mutex_lock(&t->mu);
    struct bs__run *r = t->run;
    if (r && strcmp(r->record.id, id) == 0) {
        r->cancel = true;
        /* The engine's lock is a leaf, and the task lives as long as the run is listed. */
        if (r->task && !r->ended)
            bs_engine_cancel(t->jobs->engine, r->task);
    }
    pthread_mutex_unlock(&t->mu);
}

void bs__trainer_ask(struct bs__trainer *t, const char *id, const struct bs_run_control *control)
{
    pthread_mutex_lock(&t->mu);
    struct bs__run *r = t->run;
    if (r && strcmp(r->record.id, id) == 0) {
        r->owner_pauses |= control->pause;
        if (control->learning_rate > 0) {
            r->asked_rate = control->learning_rate;
            r->rate_step = -1;
        }
        if (r->task && !r->ended)
            bs_engine_training_control(t->jobs->engine, r->task, control);
    }
    pthread_mutex_unlock(&t->mu);
}
