/* The engine's thread: it alone starts, feeds, hears and buries the worker. One task at a time is with the worker, so that
   a death is always charged to the task that ran, and beside it one training run; everything else waits here and outlives any
   worker (engine_queue.c says which is next). */
#include "server/engine_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HELLO_TIMEOUT_MS 60000 /* opening a GPU on a busy machine takes seconds */
#define CANCEL_GRACE_MS  10000 /* one operator on the slowest backend; then the worker hangs and is killed */
#define STOP_GRACE_MS    2000
#define FIRST_BACKOFF_MS 50
#define MAX_BACKOFF_MS   10000
#define STEADY_MS        10000 /* a worker that lived this long starts the backoff anew */
#define MAX_DEATHS       2
#define MAX_LOADED       1024 /* models that a worker may say it holds */

int64_t bs__engine_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Ends a task: its callback or its waiting caller hears of it, and the queue's reference goes. result is of a segmentation,
   done of a training run; NULL unless status is BS_OK. mu not held. */
static void finish(struct bs_engine *e, struct bs_engine_task *t, bs_status status, const struct bs_err *err,
                   const struct bs_engine_result *result, const struct bs_worker_done *done)
{
    if (t->message.type == BS_WORKER_SEGMENT) { /* counted before anybody hears of the end */
        pthread_mutex_lock(&e->mu);
        ++*(status == BS_OK ? &e->succeeded : status == BS_ECANCELLED ? &e->cancelled : &e->failed);
        pthread_mutex_unlock(&e->mu);
    }
    if (t->message.type == BS_WORKER_TRAIN)
        bs__training_done(t, status, err, done);
    else if (t->cb.done)
        t->cb.done(t->cb.ctx, status, err, result);
    pthread_mutex_lock(&e->mu);
    t->status = status;
    if (err)
        t->err = *err;
    t->finished = true;
    pthread_cond_broadcast(&e->changed);
    pthread_mutex_unlock(&e->mu);
    bs__task_unref(t);
}

static void finish_cancelled(struct bs_engine *e, struct bs_engine_task *t)
{
    struct bs_err err;
    finish(e, t, BS_FAIL(&err, BS_ECANCELLED, "cancelled"), &err, NULL, NULL);
}

static void forget_loaded(struct bs_engine *e, const char *key)
{
    for (struct bs__loaded **at = &e->loaded; *at;) {
        if (key && strcmp((*at)->key, key) != 0) {
            at = &(*at)->next;
            continue;
        }
        struct bs__loaded *gone = *at;
        *at = gone->next;
        free(gone);
    }
}

/* False: no worker has so many. */
static bool note_loaded(struct bs_engine *e, const struct bs_worker_model *m)
{
    struct bs__loaded *l = e->loaded;
    int others = 0;
    for (; l && strcmp(l->key, m->model_key) != 0; l = l->next)
        others++;
    if (others >= MAX_LOADED)
        return false;
    if (!l && (l = calloc(1, sizeof *l))) {
        snprintf(l->key, sizeof l->key, "%s", m->model_key);
        l->next = e->loaded;
        e->loaded = l;
    }
    if (l)
        l->bytes = (size_t)m->bytes;
    return true;
}

/* The first answer of the first worker lets bs_engine_create go on. mu held. */
static void settle(struct bs_engine *e, const struct bs_err *refusal)
{
    if (!e->settled && refusal)
        e->refusal = *refusal;
    e->settled = true;
    pthread_cond_broadcast(&e->changed);
}

static void start_worker(struct bs_engine *e)
{
    char threads[16], budget[32], idle[32];
    struct bs_worker_process p;
    struct bs_err err;
    snprintf(threads, sizeof threads, "%d", e->opt.threads);
    snprintf(budget, sizeof budget, "%zu", e->opt.model_budget);
    snprintf(idle, sizeof idle, "%" PRId64, e->opt.idle_ms);
    const char *const args[] = {
        "--device", e->device,   "--threads", threads,      "--model-budget",
        budget,     "--idle-ms", idle,        "--winograd", e->opt.winograd ? "1" : "0",
        NULL};
    bs_status rc = bs_worker_spawn(e->worker_path, args, &p, &err);
    pthread_mutex_lock(&e->mu);
    e->started_ms = bs__engine_now_ms();
    if (rc == BS_OK) {
        e->worker = p;
        e->hello_deadline_ms = e->started_ms + HELLO_TIMEOUT_MS;
    } else {
        e->next_start_ms = e->started_ms + MAX_BACKOFF_MS;
        settle(e, &err);
    }
    pthread_mutex_unlock(&e->mu);
}

/* The task that the dead worker had: again, or its end. mu not held. */
static void after_death(struct bs_engine *e, struct bs_engine_task *t, const char *how)
{
    struct bs_err err;
    bool again = false;
    pthread_mutex_lock(&e->mu);
    bool cancelled = t->cancel_requested;
    t->deaths++;
    if (!cancelled && !t->report_death && t->deaths < MAX_DEATHS && !e->closing) {
        /* To the front: it has waited its turn already. */
        t->next = e->waiting;
        e->waiting = t;
        e->nwaiting++;
        again = true;
    }
    pthread_mutex_unlock(&e->mu);
    if (again)
        return;
    if (cancelled)
        finish_cancelled(e, t);
    else if (t->report_death)
        finish(e, t, BS_FAIL(&err, BS_EUNAVAILABLE, "the worker process died while it ran this (%s)", how),
               &err, NULL, NULL);
    else
        finish(
            e, t,
            BS_FAIL(
                &err, BS_EINTERNAL,
                "the worker process died twice while it ran this (%s); the image or the model may need more "
                "memory than there is",
                how),
            &err, NULL, NULL);
}

/* The worker is gone, or must go. refusal: what it said against starting, if it did; why: what we kill it for, if we do. */
static void bury_worker(struct bs_engine *e, int wait_ms, const struct bs_err *refusal, const char *why)
{
    char how[80];
    int restart_in = -1;
    struct bs_err err;
    struct bs_worker_process p = e->worker;
    bs_worker_reap(&p, wait_ms, how, sizeof how);
    if (why)
        snprintf(how, sizeof how, "%s", why);
    pthread_mutex_lock(&e->mu);
    int64_t now = bs__engine_now_ms();
    e->worker = p;
    forget_loaded(e, NULL);
    struct bs_engine_task *t = e->running, *training = e->training;
    e->running = e->training = NULL;
    if (!refusal) {
        (void)!BS_FAIL(&err, BS_EUNAVAILABLE, "the worker process ended before its device was open (%s)",
                       how);
        refusal = &err;
    }
    if (!e->settled)
        settle(e, refusal);
    e->ready = false;
    if (!e->closing) {
        e->restarts++;
        /* At once after a worker that worked; ever later after ones that do not. */
        if (now - e->started_ms >= STEADY_MS || e->backoff_ms == 0)
            e->backoff_ms = FIRST_BACKOFF_MS;
        else
            e->backoff_ms = e->backoff_ms * 2 < MAX_BACKOFF_MS ? e->backoff_ms * 2 : MAX_BACKOFF_MS;
        e->next_start_ms = now + e->backoff_ms;
        restart_in = e->backoff_ms;
    }
    pthread_mutex_unlock(&e->mu);
    if (restart_in >= 0 && e->opt.worker_died)
        e->opt.worker_died(e->opt.worker_died_ctx, how, restart_in);
    if (t)
        after_death(e, t, how);
    if (training)
        after_death(e, training, how);
}

/* A task's end as the worker tells it. */
static void task_done(struct bs_engine *e, struct bs_engine_task *t, struct bs_worker_message *m)
{
    const struct bs_worker_done *d = &m->body.done;
    struct bs_err err = {.msg = ""};
    struct bs_engine_result r = {.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    if (d->failure.status != BS_OK) {
        finish(e, t, BS_FAIL(&err, (bs_status)d->failure.status, "%s", d->failure.text), &err, NULL, NULL);
        return;
    }
    pthread_mutex_lock(&e->mu);
    t->planned_bytes = d->planned_bytes;
    t->parameters = d->parameters;
    t->card = d->card;
    e->backoff_ms = 0;
    pthread_mutex_unlock(&e->mu);
    if (t->message.type == BS_WORKER_SEGMENT) {
        r.info.height = (size_t)d->height;
        r.info.width = (size_t)d->width;
        r.info.stack = d->stack;
        r.info.linked = d->linked != 0;
        r.info.region = d->region;
        r.info.channels = d->channels;
        r.info.count = d->count;
        r.info.pixel_size = d->pixel_size;
        r.info.tiled = d->tiled != 0;
        r.info.tile = d->tile;
        r.info.halo = d->halo;
        r.info.nwarning = d->nwarning;
        memcpy(r.info.warning, d->warning, sizeof r.info.warning);
        r.info.seconds_network = d->seconds_network;
        r.info.seconds_instances = d->seconds_instances;
        r.info.plan_hash = d->plan_hash;
        memcpy(r.info.algorithms, d->algorithms, sizeof r.info.algorithms);
        r.info.kept_maps = d->kept_maps != 0;
        r.network = d->network;
        int next = 0;
        r.labels_fd = m->fd[next++];
        if (d->has_maps)
            r.maps_fd = m->fd[next++];
        if (d->has_objects)
            r.objects_fd = m->fd[next++];
        m->nfd = 0; /* the receiver of the callback owns them */
    }
    finish(e, t, BS_OK, NULL, &r, d);
}

/* False: the worker broke the protocol. */
static bool handle(struct bs_engine *e, struct bs_worker_message *m)
{
    struct bs_engine_task *t = e->running; /* only this thread changes them */
    if (e->training && e->training->message.task == m->task)
        t = e->training;
    const bool mine = t && t->message.task == m->task, training = mine && t->message.type == BS_WORKER_TRAIN;
    bool fine;
    struct bs_err err;
    switch (m->type) {
    case BS_WORKER_HELLO:
        pthread_mutex_lock(&e->mu);
        memcpy(e->info.name, m->body.hello.name, sizeof e->info.name);
        memcpy(e->info.backend, m->body.hello.backend, sizeof e->info.backend);
        memcpy(e->info.libraries, m->body.hello.libraries, sizeof e->info.libraries);
        memcpy(e->info.isa, m->body.hello.isa, sizeof e->info.isa);
        memcpy(e->info.notice, m->body.hello.notice, sizeof e->info.notice);
        e->info.memory = (size_t)m->body.hello.memory;
        e->info.threads = m->body.hello.threads;
        e->info.fast_bf16 = m->body.hello.fast_bf16 != 0;
        e->budget = (size_t)m->body.hello.model_budget;
        e->ready = true;
        settle(e, NULL);
        pthread_mutex_unlock(&e->mu);
        return true;
    case BS_WORKER_PONG:
        return true;
    case BS_WORKER_STARTED:
        if (training && t->training.started)
            t->training.started(t->training.ctx);
        else if (mine && !training && t->deaths == 0 && t->cb.started)
            t->cb.started(t->cb.ctx);
        return mine;
    case BS_WORKER_TRAIN_EVENT:
        return training && bs__training_event(t, m);
    case BS_WORKER_TRAIN_CHECKPOINT:
        return training && bs__training_checkpoint(t, m);
    case BS_WORKER_PROGRESS:
        if (m->body.progress.done < 0 || m->body.progress.total < m->body.progress.done ||
            !bs_preview_part_valid(&m->body.progress.preview, mine && t->message.type == BS_WORKER_SEGMENT
                                                                  ? t->message.body.segment.preview_side
                                                                  : 0))
            return false;
        if (mine && t->cb.preview && !bs_preview_empty(&m->body.progress.preview))
            t->cb.preview(t->cb.ctx, &m->body.progress.preview);
        if (mine && t->cb.progress)
            t->cb.progress(t->cb.ctx, m->body.progress.done, m->body.progress.total);
        return mine;
    case BS_WORKER_DONE:
        if (!mine || bs_worker_check_done(m, &err) != BS_OK ||
            (m->body.done.failure.status == BS_OK && (t->message.type == BS_WORKER_SEGMENT) != (m->nfd > 0)))
            return false;
        pthread_mutex_lock(&e->mu);
        *(training ? &e->training : &e->running) = NULL;
        pthread_mutex_unlock(&e->mu);
        task_done(e, t, m);
        return true;
    case BS_WORKER_LOADED:
    case BS_WORKER_DROPPED:
        pthread_mutex_lock(&e->mu);
        fine = m->type == BS_WORKER_DROPPED || note_loaded(e, &m->body.model);
        if (m->type == BS_WORKER_DROPPED)
            forget_loaded(e, m->body.model.model_key);
        pthread_mutex_unlock(&e->mu);
        return fine;
    default:
        return false;
    }
}

/* Everything the worker has said so far. */
static void hear(struct bs_engine *e)
{
    struct bs_err err;
    while (e->worker.sock >= 0) {
        bs_status rc = bs_worker_receive(e->worker.sock, false, e->in, &err);
        if (rc == BS_ENOTFOUND)
            return;
        if (rc == BS_OK && e->in->type == BS_WORKER_REFUSED) {
            unsigned code = e->in->body.failure.status;
            (void)!BS_FAIL(&err, code > BS_OK && code <= BS_EINTERNAL ? (bs_status)code : BS_EINTERNAL, "%s",
                           e->in->body.failure.text);
            bury_worker(e, STOP_GRACE_MS, &err, NULL);
            return;
        }
        if (rc == BS_OK)
            bs__pulse_heard(e, e->in);
        bool fine = rc == BS_OK && handle(e, e->in);
        if (rc == BS_OK)
            bs_worker_message_release(e->in);
        if (!fine) {
            /* At end of file it is dying by itself: its own reason is worth a moment. */
            bury_worker(e, rc == BS_EUNAVAILABLE ? STOP_GRACE_MS : 0, NULL, NULL);
            return;
        }
    }
}

static int64_t cancel_grace(const struct bs_engine *e)
{
    return e->closing ? STOP_GRACE_MS : e->opt.cancel_grace_ms > 0 ? e->opt.cancel_grace_ms : CANCEL_GRACE_MS;
}

/* Tells the worker to stop what was cancelled, once; false: it does not listen. t may be NULL; mu held. */
static bool tell_cancel(struct bs_engine *e, struct bs_engine_task *t, int64_t now)
{
    struct bs_err err;
    if (!t || t->cancel_sent || !(t->cancel_requested || e->closing))
        return true;
    const struct bs_worker_message cancel = {.type = BS_WORKER_CANCEL, .task = t->message.task};
    t->cancel_sent = true;
    t->cancel_requested = true;
    t->cancel_deadline_ms = now + cancel_grace(e);
    return bs_worker_send(e->worker.sock, &cancel, false, &err) == BS_OK;
}

/* Should what was cancelled have stopped by now? t may be NULL; mu held. */
static bool is_overdue(const struct bs_engine *e, struct bs_engine_task *t, int64_t now, int64_t *due)
{
    if (!t || !t->cancel_sent)
        return false;
    if (e->closing && t->cancel_deadline_ms > now + STOP_GRACE_MS)
        t->cancel_deadline_ms = now + STOP_GRACE_MS;
    if (t->cancel_deadline_ms < *due)
        *due = t->cancel_deadline_ms;
    return now >= t->cancel_deadline_ms;
}

/* Sends a task to the worker; false: it does not listen. mu held. */
static bool give(struct bs_engine *e, struct bs_engine_task *t, int64_t now)
{
    struct bs_err err;
    t->cancel_sent = false;
    bs__pulse_begin(e, now);
    return bs_worker_send(e->worker.sock, &t->message, false, &err) == BS_OK;
}

/* What has to be done now; returns milliseconds until something is due, -1: nothing is. */
static int64_t attend(struct bs_engine *e)
{
    int64_t due = INT64_MAX, now = bs__engine_now_ms();
    pthread_mutex_lock(&e->mu);
    struct bs_engine_task *gone = bs__take_cancelled(e);
    bool start = !e->closing && e->worker.pid == 0 && now >= e->next_start_ms;
    pthread_mutex_unlock(&e->mu);
    while (gone) {
        struct bs_engine_task *next = gone->next;
        gone->next = NULL;
        finish_cancelled(e, gone);
        gone = next;
    }
    if (start)
        start_worker(e);

    pthread_mutex_lock(&e->mu);
    bool kill_worker = false, broken = false;
    const char *why = NULL;
    if (e->worker.pid == 0 && !e->closing)
        due = e->next_start_ms;
    if (e->worker.pid > 0 && !e->ready) {
        due = e->hello_deadline_ms;
        kill_worker = now >= due;
        why = kill_worker ? "killed, because its device did not open in a minute" : NULL;
    }
    broken = !tell_cancel(e, e->running, now) || !tell_cancel(e, e->training, now) || !bs__training_tell(e);
    /* A training run stops between two operators of its own; what runs there meanwhile takes its time. */
    if (e->training && e->training->cancel_sent && e->running && !e->closing)
        e->training->cancel_deadline_ms = now + cancel_grace(e);
    if (is_overdue(e, e->running, now, &due) || is_overdue(e, e->training, now, &due)) {
        kill_worker = true;
        why = "killed, because it did not stop when it was told to";
    }
    if (e->ready && !e->closing && !broken) {
        if (!e->running && (e->running = bs__choose(e)))
            broken = !give(e, e->running, now);
        if (!broken && !e->training && (e->training = bs__choose_training(e)))
            broken = !give(e, e->training, now);
    }
    if ((e->running || e->training) && !kill_worker && !broken)
        kill_worker = bs__pulse_check(e, now, &due, &why);
    pthread_mutex_unlock(&e->mu);
    if (kill_worker || broken)
        bury_worker(e, 0, NULL, why);
    if (kill_worker || broken)
        return 0;
    return due == INT64_MAX ? -1 : due > now ? due - now : 0;
}

void *bs__engine_thread(void *engine)
{
    struct bs_engine *e = engine;
    for (;;) {
        int64_t wait = attend(e);
        pthread_mutex_lock(&e->mu);
        bool over = e->closing && !e->running && !e->training && !e->waiting;
        pthread_mutex_unlock(&e->mu);
        if (over)
            break;
        struct pollfd fds[2] = {{.fd = e->wake, .events = POLLIN}, {.fd = e->worker.sock, .events = POLLIN}};
        int got = poll(fds, e->worker.sock >= 0 ? 2 : 1, wait > 60000 ? 60000 : (int)wait);
        if (got <= 0)
            continue;
        if (fds[0].revents) {
            uint64_t count;
            ssize_t ignored = read(e->wake, &count, sizeof count);
            (void)ignored;
        }
        if (e->worker.sock >= 0 && fds[1].revents)
            hear(e);
    }
    if (e->worker.pid > 0) {
        struct bs_worker_message stop = {.type = BS_WORKER_STOP};
        struct bs_err err;
        bool told = bs_worker_send(e->worker.sock, &stop, false, &err) == BS_OK;
        bury_worker(e, told ? STOP_GRACE_MS : 0, NULL, NULL);
    }
    pthread_mutex_lock(&e->mu);
    forget_loaded(e, NULL);
    if (!e->settled)
        settle(e, NULL);
    pthread_mutex_unlock(&e->mu);
    return NULL;
}
