/* The comparer's thread and its calls. See comparer.h. */
#include "server/comparer.h"

#include "server/comparison.h"
#include "server/jobs_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_MS         1000 /* worker up again? */
#define PROGRESS_GAP_MS 500  /* each write waits for the disk */
#define STORE_RETRY_MS  2000

struct bs__comparer {
    struct bs_jobs *jobs; /* store, blobs, engine, watchers */
    pthread_t thread;

    pthread_mutex_t
        mu; /* guards what follows; never held over the store; the engine's lock may be taken inside */
    pthread_cond_t wake, idle;
    bool kicked, draining, stopping;
    char id[40];                 /* of the comparison that runs; "": none */
    bool cancel;                 /* its owner gave up, or we stop */
    struct bs_engine_task *task; /* NULL: none is with the engine */
    bool ended;
    bs_status status;
    struct bs_err err;
    struct bs_engine_result result;
};

/* Of a comparison that runs; the thread's own. */
struct run {
    struct bs__comparer *c;
    struct bs_job_record record;
    struct bs_comparison_request request;
    struct bs_comparison_images images;
    int done;
    int64_t progress_saved_ms;
};

/* Engine's thread. */
static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_result *result)
{
    struct bs__comparer *c = ctx;
    pthread_mutex_lock(&c->mu);
    c->status = status;
    if (err)
        c->err = *err;
    if (result)
        c->result = *result;
    c->ended = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mu);
}

static void close_result(struct bs_engine_result *r)
{
    int *fds[] = {&r->labels_fd, &r->maps_fd, &r->objects_fd};
    for (int i = 0; i < 3; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}

/* Submits and waits. BS_ECANCELLED: its owner gave up, or we stop. The result's descriptors are the caller's. */
static bs_status run_task(struct bs__comparer *c, const struct bs_engine_request *q,
                          struct bs_engine_result *result, struct bs_err *err)
{
    const struct bs_engine_callbacks cb = {.ctx = c, .done = on_done};
    struct bs_engine_task *task = NULL;
    pthread_mutex_lock(&c->mu);
    c->ended = false;
    c->result = (struct bs_engine_result){.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    pthread_mutex_unlock(&c->mu);
    bs_status rc = bs_engine_submit(c->jobs->engine, q, &cb, &task, err);
    if (rc != BS_OK) /* the engine's own "stopping" must not count as a worker's death */
        return rc == BS_EUNAVAILABLE ? BS_ECANCELLED : rc;
    pthread_mutex_lock(&c->mu);
    c->task = task;
    if (c->cancel)
        bs_engine_cancel(c->jobs->engine, task);
    while (!c->ended)
        pthread_cond_wait(&c->wake, &c->mu);
    c->task = NULL;
    rc = c->status;
    *result = c->result;
    if (rc != BS_OK)
        *err = c->err;
    pthread_mutex_unlock(&c->mu);
    bs_engine_task_release(task);
    return rc;
}

/* What the file does not say itself. */
static void describe_image(const struct bs_file_info *f, struct bs_engine_request *q)
{
    const char *x = strchr(f->axes, 'x');
    if (strchr(f->axes, '?'))
        q->pages = 'z';
    if (!f->raw)
        return;
    q->raw = true;
    q->sample = f->sample;
    q->ndim = f->ndim;
    memcpy(q->axes, f->axes, sizeof q->axes);
    for (int i = 0; i < f->ndim; i++)
        q->dim[i] = (size_t)f->dim[i];
    if (x && strcmp(f->unit, "um") == 0)
        q->pixel_size = f->pixel_size[x - f->axes];
}

/* One version on one image. */
static bs_status score_image(struct run *r, const struct bs_comparison_version *version,
                             const struct bs_comparison_image *image, struct bs_label_score *score,
                             struct bs_err *err)
{
    struct bs_jobs *j = r->c->jobs;
    struct bs_model_record model = {0};
    struct bs_model_info info;
    struct bs_engine_result result = {.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    int model_fd = -1, image_fd = -1, truth_fd = -1;
    uint64_t model_bytes, image_bytes, truth_bytes;
    bs_status rc;
    if ((rc = bs_store_model_get(j->store, version->name, version->version, &model, err)) != BS_OK ||
        (rc = bs_model_info_from_json(model.info_json, strlen(model.info_json), &info, err)) != BS_OK ||
        (rc = bs_blob_open(j->blobs, model.blob, &model_fd, &model_bytes, err)) != BS_OK ||
        (rc = bs_blob_open(j->blobs, image->image, &image_fd, &image_bytes, err)) != BS_OK ||
        (rc = bs_blob_open(j->blobs, image->labels, &truth_fd, &truth_bytes, err)) != BS_OK)
        goto cleanup;
    const struct bs_raw_image truth = bs_file_info_raw(&image->files.labels);
    struct bs_engine_request q = {
        .model_key = model.blob,
        .model_fd = model_fd,
        .image_fd = image_fd,
        .image_bytes = (size_t)image_bytes,
        .params = bs_segment_params_default(&info),
        .preview_fd = -1,
        .owner = r->record.owner,
        .report_death = true,
    };
    describe_image(&image->files.image, &q);
    if ((rc = run_task(r->c, &q, &result, err)) != BS_OK)
        goto cleanup;
    rc = bs_engine_score(j->engine, result.labels_fd, result.info.stack.planes, result.info.height,
                         result.info.width, truth_fd, &truth, score, err);
cleanup:
    close_result(&result);
    if (model_fd >= 0)
        close(model_fd);
    if (image_fd >= 0)
        close(image_fd);
    if (truth_fd >= 0)
        close(truth_fd);
    bs_model_record_free(&model);
    return rc;
}

static bool cancelled(struct bs__comparer *c)
{
    pthread_mutex_lock(&c->mu);
    bool is = c->cancel;
    pthread_mutex_unlock(&c->mu);
    return is;
}

static void tell_progress(struct run *r)
{
    struct bs_err ignored;
    const int64_t now = bs__jobs_now_ms();
    r->done++;
    if (now - r->progress_saved_ms < PROGRESS_GAP_MS)
        return;
    r->progress_saved_ms = now;
    /* A cancelled job moves no more; anything else comes again with the next image. */
    if (bs_store_job_progress(r->c->jobs->store, r->record.id, r->done, (int)(2 * r->images.count),
                              &ignored) == BS_OK)
        bs__notify(r->c->jobs, r->record.id, false);
}

static bs_status score_all(struct run *r, struct bs_err *err)
{
    bs_status rc = BS_OK;
    /* One version after the other, so that neither is loaded twice when both do not fit. */
    for (int k = 0; k < 2 && rc == BS_OK; k++)
        for (size_t i = 0; i < r->images.count && rc == BS_OK; i++) {
            struct bs_comparison_image *im = &r->images.image[i];
            if (cancelled(r->c))
                return BS_FAIL(err, BS_ECANCELLED, "cancelled");
            rc = score_image(r, k == 0 ? &r->request.candidate : &r->request.baseline, im,
                             k == 0 ? &im->candidate : &im->baseline, err);
            if (rc != BS_OK && rc != BS_ECANCELLED && rc != BS_EUNAVAILABLE)
                (void)!bs_err_prefix(err, "%.80s", im->name);
            if (rc == BS_OK)
                tell_progress(r);
        }
    return rc == BS_OK ? bs_comparison_summarise(&r->images, &r->request.options, err) : rc;
}

static bs_status compare(struct run *r, struct bs_err *err)
{
    struct bs_jobs *j = r->c->jobs;
    bs_status rc;
    if ((rc = bs_comparison_request_from_json(r->record.request, &r->request, err)) != BS_OK ||
        (rc = bs_comparison_images_get(j->blobs, r->record.input_blob, &r->images, err)) != BS_OK ||
        (rc = score_all(r, err)) != BS_OK)
        return rc;
    free(r->record.objects_blob);
    free(r->record.result_json);
    r->record.result_json = NULL;
    if (!(r->record.objects_blob = malloc(BS_BLOB_HASH_LEN + 1)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the result");
    if ((rc = bs_comparison_images_put(j->blobs, &r->images, r->record.objects_blob, err)) != BS_OK)
        return rc;
    r->record.done = r->record.total = (int)(2 * r->images.count);
    return bs_comparison_result_to_json(&r->request, &r->images, &r->record.result_json, err);
}

/* Writes the end to the store, again and again while it cannot be written; what still cannot at a stop stays RUNNING there, and the
   next start recovers it. */
static void finish(struct run *r, bs_status status, const struct bs_err *why)
{
    struct bs__comparer *c = r->c;
    struct bs_store *store = c->jobs->store;
    for (;;) {
        struct bs_err err = {.msg = ""};
        bs_status rc = status == BS_OK           ? bs_store_job_succeed(store, &r->record, &err)
                       : status == BS_ECANCELLED ? bs_store_job_requeue(store, r->record.id, false, &err)
                       : status == BS_EUNAVAILABLE
                           ? bs_store_job_requeue(store, r->record.id, true, &err)
                           : bs_store_job_fail(store, r->record.id, status, why->msg, &err);
        /* BS_EPRECONDITION: its owner cancelled it meanwhile, the store has the last word; BS_ENOTFOUND: and deleted it. */
        if (rc == BS_OK || rc == BS_EPRECONDITION || rc == BS_ENOTFOUND)
            break;
        int64_t at = bs__jobs_now_ms() + STORE_RETRY_MS;
        struct timespec until = {at / 1000, at % 1000 * 1000000};
        pthread_mutex_lock(&c->mu);
        bool stopping = c->stopping;
        if (!stopping)
            pthread_cond_timedwait(&c->wake, &c->mu, &until);
        pthread_mutex_unlock(&c->mu);
        if (stopping)
            break;
    }
    bs__notify(c->jobs, r->record.id, false);
}

/* Takes the next comparison and runs it to its end; false when there is none. */
static bool run_next(struct bs__comparer *c)
{
    struct run r = {.c = c};
    struct bs_job_record now = {0};
    struct bs_err err = {.msg = ""};
    if (bs_store_job_take_comparison(c->jobs->store, &r.record, &err) != BS_OK)
        return false;
    pthread_mutex_lock(&c->mu);
    snprintf(c->id, sizeof c->id, "%s", r.record.id);
    c->cancel = c->draining;
    pthread_mutex_unlock(&c->mu);
    bs__notify(c->jobs, r.record.id, false);
    /* A cancel that came between taking the job and listing it did not find it: the store knows. */
    bs_status rc = bs_store_job_get(c->jobs->store, r.record.id, &now, &err);
    if (rc == BS_OK && now.state != BS_JOB_RUNNING)
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    if (rc == BS_OK)
        rc = compare(&r, &err);
    finish(&r, rc, &err);
    pthread_mutex_lock(&c->mu);
    c->id[0] = '\0';
    pthread_cond_broadcast(&c->idle);
    pthread_mutex_unlock(&c->mu);
    bs_job_record_free(&now);
    bs_job_record_free(&r.record);
    bs_comparison_images_free(&r.images);
    return true;
}

static void *run_thread(void *arg)
{
    struct bs__comparer *c = arg;
    for (;;) {
        struct bs_engine_state engine;
        pthread_mutex_lock(&c->mu);
        bool take = !c->draining, stopping = c->stopping;
        pthread_mutex_unlock(&c->mu);
        if (stopping)
            break;
        bs_engine_state_get(c->jobs->engine, &engine);
        if (take && engine.ready && run_next(c))
            continue;
        int64_t at = bs__jobs_now_ms() + IDLE_MS;
        struct timespec until = {at / 1000, at % 1000 * 1000000};
        pthread_mutex_lock(&c->mu);
        if (!c->kicked && !c->stopping)
            pthread_cond_timedwait(&c->wake, &c->mu, &until);
        c->kicked = false;
        pthread_mutex_unlock(&c->mu);
    }
    return NULL;
}

/* ---- calls ---- */

bs_status bs__comparer_create(struct bs_jobs *jobs, struct bs__comparer **out, struct bs_err *err)
{
    pthread_condattr_t monotonic;
    struct bs__comparer *c = calloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting the comparer");
    c->jobs = jobs;
    pthread_mutex_init(&c->mu, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&c->wake, &monotonic);
    pthread_cond_init(&c->idle, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&c->thread, NULL, run_thread, c) != 0) {
        free(c);
        return BS_FAIL(err, BS_ENOMEM, "no thread for the comparer");
    }
    *out = c;
    return BS_OK;
}

/* mu held. */
static void stop_run(struct bs__comparer *c)
{
    c->cancel = true;
    if (c->task && !c->ended)
        bs_engine_cancel(c->jobs->engine, c->task);
}

void bs__comparer_drain(struct bs__comparer *c)
{
    pthread_mutex_lock(&c->mu);
    c->draining = true;
    if (c->id[0])
        stop_run(c);
    pthread_mutex_unlock(&c->mu);
}

bool bs__comparer_idle(struct bs__comparer *c, const struct timespec *until)
{
    int rc = 0;
    pthread_mutex_lock(&c->mu);
    while (c->id[0] && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&c->idle, &c->mu, until);
    bool idle = !c->id[0];
    pthread_mutex_unlock(&c->mu);
    return idle;
}

void bs__comparer_destroy(struct bs__comparer *c)
{
    if (!c)
        return;
    pthread_mutex_lock(&c->mu);
    c->draining = c->stopping = true;
    if (c->id[0])
        stop_run(c);
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mu);
    pthread_join(c->thread, NULL);
    pthread_cond_destroy(&c->idle);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->mu);
    free(c);
}

void bs__comparer_kick(struct bs__comparer *c)
{
    pthread_mutex_lock(&c->mu);
    c->kicked = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->mu);
}

void bs__comparer_cancel(struct bs__comparer *c, const char *id)
{
    pthread_mutex_lock(&c->mu);
    if (strcmp(c->id, id) == 0)
        stop_run(c);
    pthread_mutex_unlock(&c->mu);
}
