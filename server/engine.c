/* The engine's calls: tasks in, state out. What happens to a task afterwards stands in engine_thread.c. Any thread. */
#include "server/engine_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAX_WAITING 256 /* each holds two descriptors and an image */

void bs__engine_wake(struct bs_engine *e)
{
    uint64_t one = 1;
    ssize_t ignored = write(e->wake, &one, sizeof one);
    (void)ignored;
}

void bs__task_unref(struct bs_engine_task *t)
{
    if (!t || atomic_fetch_sub(&t->refs, 1) != 1)
        return;
    bs_worker_message_release(&t->message);
    free(t);
}

void bs_engine_task_release(struct bs_engine_task *task)
{
    bs__task_unref(task);
}

bs_status bs_engine_create(const struct bs_engine_options *opt, struct bs_engine **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs_engine *e = calloc(1, sizeof *e);
    *out = NULL;
    if (!e)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting the engine");
    e->worker.sock = -1;
    e->opt = *opt;
    e->worker_path = strdup(opt->worker_path);
    e->device = strdup(opt->device ? opt->device : "auto");
    e->in = calloc(1, sizeof *e->in);
    e->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&e->mu, NULL);
    pthread_cond_init(&e->changed, NULL);
    if (!e->worker_path || !e->device || !e->in || e->wake < 0 ||
        pthread_create(&e->thread, NULL, bs__engine_thread, e) != 0) {
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while starting the engine");
        goto free_all;
    }
    pthread_mutex_lock(&e->mu);
    while (!e->settled)
        pthread_cond_wait(&e->changed, &e->mu);
    if (!e->ready && e->refusal.code != BS_OK) {
        rc = e->refusal.code;
        if (err)
            *err = e->refusal;
    }
    pthread_mutex_unlock(&e->mu);
    if (rc != BS_OK) {
        bs_engine_destroy(e);
        return rc;
    }
    *out = e;
    return BS_OK;
free_all:
    if (e->wake >= 0)
        close(e->wake);
    free(e->in);
    free(e->device);
    free(e->worker_path);
    free(e);
    return rc;
}

void bs_engine_destroy(struct bs_engine *e)
{
    if (!e)
        return;
    pthread_mutex_lock(&e->mu);
    e->closing = true;
    pthread_mutex_unlock(&e->mu);
    bs__engine_wake(e);
    pthread_join(e->thread, NULL);
    close(e->wake);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->mu);
    free(e->in);
    free(e->device);
    free(e->worker_path);
    free(e);
}

bs_status bs__task_duplicate(struct bs_engine_task *t, int fd, struct bs_err *err)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return BS_FAIL(err, BS_EIO, "no descriptor for a task: %s", strerror(errno));
    t->message.fd[t->message.nfd++] = copy;
    return BS_OK;
}

bs_status bs__new_task(enum bs_worker_type type, struct bs_engine_task **out, struct bs_err *err)
{
    struct bs_engine_task *t = calloc(1, sizeof *t);
    if (!t)
        return BS_FAIL(err, BS_ENOMEM, "out of memory for a task");
    atomic_init(&t->refs, 1);
    t->message.type = type;
    t->interactive = true;
    *out = t;
    return BS_OK;
}

bs_status bs__task_enqueue(struct bs_engine *e, struct bs_engine_task *t, struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_mutex_lock(&e->mu);
    if (e->closing) {
        rc = BS_FAIL(err, BS_EUNAVAILABLE, "the service is stopping");
    } else if (e->nwaiting >= MAX_WAITING) {
        e->refused += t->message.type == BS_WORKER_SEGMENT;
        rc = BS_FAIL(err, BS_ELIMIT, "%d requests are waiting already; try again later", MAX_WAITING);
    } else {
        struct bs_engine_task **at = &e->waiting;
        while (*at)
            at = &(*at)->next;
        *at = t;
        e->nwaiting++;
        t->message.task = ++e->last_task;
        atomic_fetch_add(&t->refs, 1);
    }
    pthread_mutex_unlock(&e->mu);
    if (rc == BS_OK)
        bs__engine_wake(e);
    return rc;
}

static bs_status check_key(const char *key, struct bs_err *err)
{
    if (!key || !*key || strnlen(key, BS_WORKER_KEY_LEN + 1) > BS_WORKER_KEY_LEN)
        return BS_FAIL(err, BS_EINVAL, "a model key has 1 to %d characters", BS_WORKER_KEY_LEN);
    return BS_OK;
}

bs_status bs_engine_submit(struct bs_engine *e, const struct bs_engine_request *req,
                           const struct bs_engine_callbacks *cb, struct bs_engine_task **task,
                           struct bs_err *err)
{
    struct bs_engine_task *t = NULL;
    bs_status rc = check_key(req->model_key, err);
    *task = NULL;
    if (rc != BS_OK || (rc = bs__new_task(BS_WORKER_SEGMENT, &t, err)) != BS_OK)
        return rc;
    struct bs_worker_segment *s = &t->message.body.segment;
    snprintf(s->model_key, sizeof s->model_key, "%s", req->model_key);
    s->image_bytes = req->image_bytes;
    s->raw = req->raw;
    if (req->raw) {
        if (req->ndim < 1 || req->ndim > BS_IMAGE_MAX_DIM) {
            rc = BS_FAIL(err, BS_EINVAL, "an image has 2 to %d axes, not %d", BS_IMAGE_MAX_DIM, req->ndim);
            goto cleanup;
        }
        s->sample = (uint32_t)req->sample;
        s->ndim = (uint32_t)req->ndim;
        memcpy(s->axes, req->axes, sizeof s->axes);
        for (int i = 0; i < req->ndim; i++)
            s->dim[i] = req->dim[i];
    }
    s->pages = req->pages;
    s->pixel_size = req->pixel_size;
    s->spacing = req->spacing;
    s->params = req->params;
    s->want_maps = req->want_maps;
    s->want_objects = req->want_objects;
    s->preview_side = req->preview_side;
    if (req->kept) {
        s->kept = req->kept->made ? BS_WORKER_KEPT_MADE : BS_WORKER_KEPT_MAKE;
        s->kept_max_bytes = req->kept->max_bytes;
        s->network = req->kept->network;
    }
    s->interactive = req->interactive;
    t->interactive = req->interactive;
    t->report_death = req->report_death;
    if (req->owner)
        snprintf(t->owner, sizeof t->owner, "%s", req->owner);
    t->cb = *cb;
    if ((rc = bs__task_duplicate(t, req->model_fd, err)) != BS_OK ||
        (rc = bs__task_duplicate(t, req->image_fd, err)) != BS_OK ||
        (req->preview_side && (rc = bs__task_duplicate(t, req->preview_fd, err)) != BS_OK) ||
        (req->kept && (rc = bs__task_duplicate(t, req->kept->fd, err)) != BS_OK) ||
        (rc = bs__task_enqueue(e, t, err)) != BS_OK)
        goto cleanup;
    *task = t;
    t = NULL;
cleanup:
    bs__task_unref(t);
    return rc;
}

void bs_engine_cancel(struct bs_engine *e, struct bs_engine_task *task)
{
    pthread_mutex_lock(&e->mu);
    task->cancel_requested = true;
    pthread_mutex_unlock(&e->mu);
    bs__engine_wake(e);
}

/* Queues a task that has no callbacks and waits for its end. Takes the caller's reference. */
bs_status bs__run_and_wait(struct bs_engine *e, struct bs_engine_task *t, struct bs__planned *planned,
                           struct bs_err *err)
{
    bs_status rc = bs__task_enqueue(e, t, err);
    if (rc == BS_OK) {
        pthread_mutex_lock(&e->mu);
        while (!t->finished)
            pthread_cond_wait(&e->changed, &e->mu);
        rc = t->status;
        if (rc != BS_OK && err)
            *err = t->err;
        if (planned)
            *planned = (struct bs__planned){t->planned_bytes, t->parameters, t->card};
        pthread_mutex_unlock(&e->mu);
    }
    bs__task_unref(t);
    return rc;
}

bs_status bs_engine_load(struct bs_engine *e, const char *model_key, int model_fd, struct bs_err *err)
{
    struct bs_engine_task *t;
    bs_status rc = check_key(model_key, err);
    if (rc != BS_OK || (rc = bs__new_task(BS_WORKER_LOAD, &t, err)) != BS_OK)
        return rc;
    snprintf(t->message.body.model.model_key, sizeof t->message.body.model.model_key, "%s", model_key);
    if ((rc = bs__task_duplicate(t, model_fd, err)) != BS_OK) {
        bs__task_unref(t);
        return rc;
    }
    return bs__run_and_wait(e, t, NULL, err);
}

bs_status bs_engine_unload(struct bs_engine *e, const char *model_key, struct bs_err *err)
{
    struct bs_engine_task *t;
    bs_status rc = check_key(model_key, err);
    if (rc != BS_OK || (rc = bs__new_task(BS_WORKER_UNLOAD, &t, err)) != BS_OK)
        return rc;
    snprintf(t->message.body.model.model_key, sizeof t->message.body.model.model_key, "%s", model_key);
    return bs__run_and_wait(e, t, NULL, err);
}

bs_status bs_engine_plan(struct bs_engine *e, const char *model_key, int model_fd, size_t height,
                         size_t width, const struct bs_segment_params *params, size_t *bytes,
                         struct bs_err *err)
{
    struct bs_engine_task *t;
    struct bs__planned planned = {.bytes = 0};
    bs_status rc = check_key(model_key, err);
    if (rc != BS_OK || (rc = bs__new_task(BS_WORKER_PLAN, &t, err)) != BS_OK)
        return rc;
    struct bs_worker_plan *p = &t->message.body.plan;
    snprintf(p->model_key, sizeof p->model_key, "%s", model_key);
    p->height = height;
    p->width = width;
    p->params = *params;
    if ((rc = bs__task_duplicate(t, model_fd, err)) != BS_OK) {
        bs__task_unref(t);
        return rc;
    }
    rc = bs__run_and_wait(e, t, &planned, err);
    *bytes = (size_t)planned.bytes;
    return rc;
}

bs_status bs_engine_card(struct bs_engine *e, int model_fd, int batch, enum bs_precision precision,
                         struct bs_model_card_plan *plan, struct bs_err *err)
{
    struct bs_engine_task *t;
    bs_status rc = bs__new_task(BS_WORKER_CARD, &t, err);
    if (rc != BS_OK)
        return rc;
    t->message.body.card = (struct bs_worker_card){batch, (int32_t)precision};
    if ((rc = bs__task_duplicate(t, model_fd, err)) != BS_OK) {
        bs__task_unref(t);
        return rc;
    }
    struct bs__planned planned = {.card = {.batch = batch}};
    rc = bs__run_and_wait(e, t, &planned, err);
    *plan = planned.card;
    return rc;
}

static const struct bs__loaded *find_loaded(const struct bs_engine *e, const char *model_key)
{
    const struct bs__loaded *l = e->loaded;
    while (l && strcmp(l->key, model_key) != 0)
        l = l->next;
    return l;
}

bool bs_engine_is_loaded(struct bs_engine *e, const char *model_key)
{
    pthread_mutex_lock(&e->mu);
    bool found = find_loaded(e, model_key) != NULL;
    pthread_mutex_unlock(&e->mu);
    return found;
}

size_t bs_engine_resident(struct bs_engine *e, const char *model_key)
{
    pthread_mutex_lock(&e->mu);
    const struct bs__loaded *l = find_loaded(e, model_key);
    size_t bytes = l ? l->bytes : 0;
    pthread_mutex_unlock(&e->mu);
    return bytes;
}

void bs_engine_state_get(struct bs_engine *e, struct bs_engine_state *state)
{
    memset(state, 0, sizeof *state);
    pthread_mutex_lock(&e->mu);
    state->ready = e->ready;
    state->device = e->info;
    state->waiting = e->nwaiting;
    state->running = (e->running != NULL) + (e->training != NULL);
    state->restarts = e->restarts;
    state->worker_pid = (int)e->worker.pid;
    state->succeeded = e->succeeded;
    state->failed = e->failed;
    state->cancelled = e->cancelled;
    state->refused = e->refused;
    state->budget = e->budget;
    for (struct bs__loaded *l = e->loaded; l; l = l->next) {
        state->resident += l->bytes;
        state->nresident++;
    }
    pthread_mutex_unlock(&e->mu);
}
