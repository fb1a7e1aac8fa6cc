/* One engine task on behalf of a waiting call: submitted, progress passed on, cancelled with the call. The handler's
   thread waits; the engine's thread and the completion queue's only leave word. */
#include "server/service/service_internal.h"

#include <string.h>
#include <unistd.h>

struct run {
    struct bs_services *services;
    pthread_mutex_t mu; /* guards everything below */
    pthread_cond_t changed;
    struct bs_engine_task *task;
    int done, total;
    bool progressed, ended;
    bs_status status;
    struct bs_err err;
    struct bs_engine_result result;
};

static void on_progress(void *ctx, int done, int total)
{
    struct run *r = ctx;
    pthread_mutex_lock(&r->mu);
    r->done = done;
    r->total = total;
    r->progressed = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->mu);
}

static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_result *result)
{
    struct run *r = ctx;
    pthread_mutex_lock(&r->mu);
    r->status = status;
    if (err)
        r->err = *err;
    if (result)
        r->result = *result;
    r->ended = true;
    pthread_cond_signal(&r->changed);
    pthread_mutex_unlock(&r->mu);
}

static void on_call_cancelled(void *ctx)
{
    struct run *r = ctx;
    bs_engine_cancel(r->services->engine, r->task);
}

static void drop_result(struct bs_engine_result *result)
{
    int fds[] = {result->labels_fd, result->maps_fd, result->objects_fd};
    for (int i = 0; i < 3; i++) {
        if (fds[i] >= 0)
            close(fds[i]);
    }
    result->labels_fd = result->maps_fd = result->objects_fd = -1;
}

/* Until the task has ended, passing progress on; a failure to pass it on cancels. */
static bs_status wait_for_end(struct run *r, struct bs_call *call,
                              bs_status (*progress)(struct bs_call *, int, int, struct bs_err *),
                              struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_mutex_lock(&r->mu);
    while (!r->ended) {
        while (!r->ended && !r->progressed)
            pthread_cond_wait(&r->changed, &r->mu);
        int done = r->done, total = r->total;
        bool tell = r->progressed && progress && rc == BS_OK;
        r->progressed = false;
        pthread_mutex_unlock(&r->mu);
        if (tell && (rc = progress(call, done, total, err)) != BS_OK)
            bs_engine_cancel(r->services->engine, r->task);
        pthread_mutex_lock(&r->mu);
    }
    pthread_mutex_unlock(&r->mu);
    return rc;
}

bs_status bs__run(struct bs_services *s, struct bs_call *call, const struct bs__work *work, int image_fd,
                  uint64_t image_bytes,
                  bs_status (*progress)(struct bs_call *call, int done, int total, struct bs_err *err),
                  struct bs_engine_result *result, struct bs_err *err)
{
    const struct bs_job_request *w = &work->request;
    struct run r = {.services = s, .result = {.labels_fd = -1, .maps_fd = -1, .objects_fd = -1}};
    uint64_t model_bytes;
    int model_fd = -1;
    bs_status rc;
    pthread_mutex_init(&r.mu, NULL);
    pthread_cond_init(&r.changed, NULL);
    if ((rc = bs_blob_open(s->blobs, work->model.blob, &model_fd, &model_bytes, err)) != BS_OK)
        goto cleanup;
    struct bs_engine_request q = {
        .model_key = work->model.blob,
        .model_fd = model_fd,
        .image_fd = image_fd,
        .image_bytes = image_bytes,
        .raw = w->raw,
        .sample = w->sample,
        .ndim = w->ndim,
        .pixel_size = w->pixel_size,
        .params = w->params,
        .want_maps = w->want_maps,
        .want_objects = w->want_objects,
        .interactive = true,
        .owner = bs_call_caller(call)->name,
    };
    memcpy(q.axes, w->axes, sizeof q.axes);
    memcpy(q.dim, w->dim, sizeof q.dim);
    /* Without anybody to tell, progress would only wake this thread while the device works. */
    struct bs_engine_callbacks callbacks = {
        .ctx = &r, .progress = progress ? on_progress : NULL, .done = on_done};
    if ((rc = bs_engine_submit(s->engine, &q, &callbacks, &r.task, err)) != BS_OK)
        goto cleanup;
    bs_call_on_cancel(call, on_call_cancelled, &r);
    rc = wait_for_end(&r, call, progress, err);
    bs_call_on_cancel(call, NULL, NULL);
    if (rc == BS_OK && r.status == BS_ECANCELLED && bs_call_cancelled(call)) {
        rc = bs_call_cancelled_status(call, err);
    } else if (rc == BS_OK && r.status != BS_OK) {
        *err = r.err;
        rc = r.status;
    }
    if (rc == BS_OK)
        *result = r.result;
    else
        drop_result(&r.result);

cleanup:
    bs_engine_task_release(r.task);
    if (model_fd >= 0)
        close(model_fd);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.mu);
    return rc;
}
