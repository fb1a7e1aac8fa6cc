/* One engine task on behalf of a waiting call: submitted, progress passed on, cancelled with the call. The handler's
   thread waits; the engine's thread and the completion queue's only leave word. */
#include "server/service/service_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct run {
    struct bs_services *services;
    pthread_mutex_t mu; /* guards everything below */
    pthread_cond_t changed;
    struct bs_engine_task *task;
    int done, total;
    bool progressed, ended;
    struct bs_preview_part unseen; /* of the preview: what nobody was shown yet */
    bs_status status;
    struct bs_err err;
    struct bs_engine_result result;
    int preview_fd;          /* the handler's alone, as is: */
    int64_t preview_next_ms; /* when the next part may go */
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

static void on_preview(void *ctx, const struct bs_preview_part *part)
{
    struct run *r = ctx;
    pthread_mutex_lock(&r->mu);
    bs_preview_join(&r->unseen, part);
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

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* A file for the whole preview, of a size that nobody can change. */
static bs_status open_preview(struct run *r, uint32_t side, struct bs_err *err)
{
    r->preview_fd = memfd_create("preview", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (r->preview_fd < 0 || ftruncate(r->preview_fd, (off_t)side * side) != 0 ||
        fcntl(r->preview_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a preview: %s", strerror(errno));
    return BS_OK;
}

/* Reads the part's pixels out of the file, which the worker may be painting into, and passes them on. */
static bs_status tell_preview(struct run *r, struct bs_call *call, const struct bs__audience *audience,
                              const struct bs_preview_part *part, struct bs_err *err)
{
    size_t rows = part->bottom - part->top, columns = part->right - part->left;
    struct bs_mapping *pixels = NULL;
    void *buffer;
    bs_status rc = bs_mapping_create_buffer(rows * columns, &pixels, &buffer, err);
    for (size_t y = 0; y < rows && rc == BS_OK; y++) {
        off_t at = (off_t)((part->top + y) * part->width + part->left);
        if (pread(r->preview_fd, (char *)buffer + y * columns, columns, at) != (ssize_t)columns)
            rc = BS_FAIL(err, BS_EINTERNAL, "the preview cannot be read: %s", strerror(errno));
    }
    if (rc == BS_OK)
        rc = audience->preview(call, part, pixels, err);
    bs_mapping_unref(pixels);
    r->preview_next_ms = now_ms() + audience->preview_ms;
    return rc;
}

/* Sleeps until there is something to tell, or the end. mu held. */
static void wait_for_news(struct run *r)
{
    while (!r->ended && !r->progressed) {
        if (bs_preview_empty(&r->unseen)) {
            pthread_cond_wait(&r->changed, &r->mu);
            continue;
        }
        int64_t due = r->preview_next_ms;
        if (now_ms() >= due)
            return;
        struct timespec until = {due / 1000, (long)(due % 1000) * 1000000};
        (void)pthread_cond_timedwait(&r->changed, &r->mu, &until);
    }
}

/* Until the task has ended, passing on what is heard of it; a failure to pass it on cancels. */
static bs_status wait_for_end(struct run *r, struct bs_call *call, const struct bs__audience *audience,
                              struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_mutex_lock(&r->mu);
    while (!r->ended) {
        wait_for_news(r);
        struct bs_preview_part part = r->unseen;
        int done = r->done, total = r->total;
        bool tell = r->progressed && audience && rc == BS_OK;
        bool show = audience && !r->ended && !bs_preview_empty(&part) && now_ms() >= r->preview_next_ms;
        r->progressed = false;
        if (show)
            r->unseen = (struct bs_preview_part){.height = 0};
        pthread_mutex_unlock(&r->mu);
        bs_status before = rc;
        if (show && rc == BS_OK)
            rc = tell_preview(r, call, audience, &part, err);
        if (tell && rc == BS_OK)
            rc = audience->progress(call, done, total, err);
        if (rc != BS_OK && before == BS_OK)
            bs_engine_cancel(r->services->engine, r->task);
        pthread_mutex_lock(&r->mu);
    }
    pthread_mutex_unlock(&r->mu);
    return rc;
}

bs_status bs__run(struct bs_services *s, struct bs_call *call, const struct bs__work *work, int image_fd,
                  uint64_t image_bytes, const struct bs_segment_maps *kept,
                  const struct bs__audience *audience, struct bs_engine_result *result, struct bs_err *err)
{
    const struct bs_job_request *w = &work->request;
    struct run r = {
        .services = s, .result = {.labels_fd = -1, .maps_fd = -1, .objects_fd = -1}, .preview_fd = -1};
    const uint32_t preview_side = audience ? audience->preview_side : 0;
    uint64_t model_bytes;
    int model_fd = -1;
    bs_status rc;
    pthread_mutex_init(&r.mu, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&r.changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (preview_side && (rc = open_preview(&r, preview_side, err)) != BS_OK)
        goto cleanup;
    if (!work->has_model_fd &&
        (rc = bs_blob_open(s->blobs, work->model.blob, &model_fd, &model_bytes, err)) != BS_OK)
        goto cleanup;
    struct bs_engine_request q = {
        .model_key = work->model.blob,
        .model_fd = work->has_model_fd ? work->model_fd : model_fd,
        .image_fd = image_fd,
        .image_bytes = image_bytes,
        .raw = w->raw,
        .sample = w->sample,
        .ndim = w->ndim,
        .pages = w->pages,
        .pixel_size = w->pixel_size,
        .spacing = w->spacing,
        .params = w->params,
        .want_maps = w->want_maps,
        .want_objects = w->want_objects,
        .preview_side = preview_side,
        .preview_fd = r.preview_fd,
        .kept = kept,
        .interactive = true,
        .owner = bs_call_caller(call)->name,
    };
    memcpy(q.axes, w->axes, sizeof q.axes);
    memcpy(q.dim, w->dim, sizeof q.dim);
    /* Without anybody to tell, progress would only wake this thread while the device works. */
    struct bs_engine_callbacks callbacks = {.ctx = &r,
                                            .progress = audience ? on_progress : NULL,
                                            .preview = preview_side ? on_preview : NULL,
                                            .done = on_done};
    if ((rc = bs_engine_submit(s->engine, &q, &callbacks, &r.task, err)) != BS_OK)
        goto cleanup;
    bs_call_on_cancel(call, on_call_cancelled, &r);
    rc = wait_for_end(&r, call, audience, err);
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
    if (r.preview_fd >= 0)
        close(r.preview_fd);
    pthread_cond_destroy(&r.changed);
    pthread_mutex_destroy(&r.mu);
    return rc;
}
