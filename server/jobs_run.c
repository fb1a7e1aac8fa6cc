/* One job from the store to the engine and its result back into the store. Dispatcher thread, but for the engine's
   callbacks, which only leave word. */
#include "server/jobs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_RETRY_MS 2000

/* Engine's thread. */
static void on_progress(void *ctx, int done, int total)
{
    struct bs__flight *f = ctx;
    pthread_mutex_lock(&f->jobs->mu);
    f->done = done;
    f->total = total;
    pthread_cond_signal(&f->jobs->wake);
    pthread_mutex_unlock(&f->jobs->mu);
}

/* Engine's thread. */
static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_result *result)
{
    struct bs__flight *f = ctx;
    struct bs_jobs *j = f->jobs;
    pthread_mutex_lock(&j->mu);
    f->status = status;
    if (err)
        f->err = *err;
    if (result)
        f->result = *result;
    f->ended = true;
    pthread_cond_signal(&j->wake);
    pthread_mutex_unlock(&j->mu);
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

void bs__flight_free(struct bs__flight *f)
{
    if (!f)
        return;
    bs_engine_task_release(f->task);
    close_result(&f->result);
    bs_job_record_free(&f->record);
    free(f);
}

/* Opens model and image and hands the job to the engine. */
static bs_status submit(struct bs_jobs *j, struct bs__flight *f, struct bs_err *err)
{
    struct bs_model_record model = {0};
    struct bs_engine_task *task = NULL;
    int model_fd = -1, image_fd = -1;
    uint64_t model_bytes = 0, image_bytes = 0;
    bs_status rc;
    if (strcmp(f->record.kind, "segment") != 0) {
        rc =
            BS_FAIL(err, BS_EUNSUPPORTED, "jobs of kind '%.32s' are not run by this version", f->record.kind);
        goto cleanup;
    }
    if ((rc = bs_job_request_from_json(f->record.request, &f->request, err)) != BS_OK ||
        (rc = bs_store_model_get(j->store, f->request.model, f->request.model_version, &model, err)) !=
            BS_OK ||
        (rc = bs_blob_open(j->blobs, model.blob, &model_fd, &model_bytes, err)) != BS_OK ||
        (rc = bs_blob_open(j->blobs, f->record.input_blob, &image_fd, &image_bytes, err)) != BS_OK)
        goto cleanup;
    f->request.model_version = model.version;
    snprintf(f->model_blob, sizeof f->model_blob, "%s", model.blob);
    struct bs_engine_request q = {
        .model_key = model.blob,
        .model_fd = model_fd,
        .image_fd = image_fd,
        .image_bytes = (size_t)image_bytes,
        .raw = f->request.raw,
        .sample = f->request.sample,
        .ndim = f->request.ndim,
        .pages = f->request.pages,
        .pixel_size = f->request.pixel_size,
        .spacing = f->request.spacing,
        .params = f->request.params,
        .want_maps = f->request.want_maps,
        .want_objects = f->request.want_objects,
        .owner = f->record.owner,
        .report_death = true,
    };
    memcpy(q.axes, f->request.axes, sizeof q.axes);
    memcpy(q.dim, f->request.dim, sizeof q.dim);
    struct bs_engine_callbacks cb = {.ctx = f, .progress = on_progress, .done = on_done};
    if ((rc = bs_engine_submit(j->engine, &q, &cb, &task, err)) != BS_OK)
        goto cleanup;
    pthread_mutex_lock(&j->mu);
    f->task = task;
    bool cancel = f->cancel;
    pthread_mutex_unlock(&j->mu);
    if (cancel)
        bs_engine_cancel(j->engine, task);
cleanup:
    if (model_fd >= 0)
        close(model_fd);
    if (image_fd >= 0)
        close(image_fd);
    bs_model_record_free(&model);
    return rc;
}

bool bs__flight_start(struct bs_jobs *j)
{
    struct bs_job_record now = {0};
    struct bs_err err = {.msg = ""};
    struct bs__flight *f = calloc(1, sizeof *f);
    if (!f)
        return false;
    f->jobs = j;
    f->result = (struct bs_engine_result){.labels_fd = -1, .maps_fd = -1, .objects_fd = -1};
    if (bs_store_job_take(j->store, &f->record, &err) != BS_OK) {
        free(f);
        return false;
    }
    f->total = f->record.total;
    pthread_mutex_lock(&j->mu);
    f->next = j->flights;
    j->flights = f;
    bool draining = j->draining;
    pthread_mutex_unlock(&j->mu);
    bs__notify(j, f->record.id, false);
    /* A cancel that came between taking the job and listing it did not find it: the store knows. */
    bs_status rc = bs_store_job_get(j->store, f->record.id, &now, &err);
    if (rc == BS_OK && now.state != BS_JOB_RUNNING)
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    else if (rc == BS_OK && draining)
        rc = BS_FAIL(&err, BS_ECANCELLED, "the service is stopping");
    else if (rc == BS_OK)
        rc = submit(j, f, &err);
    bs_job_record_free(&now);
    if (rc != BS_OK) {
        pthread_mutex_lock(&j->mu);
        /* The engine's own "stopping" must not count as a worker's death. */
        f->status = rc == BS_EUNAVAILABLE ? BS_ECANCELLED : rc;
        f->err = err;
        f->ended = true;
        pthread_mutex_unlock(&j->mu);
    }
    return true;
}

/* A memfd of the result into the blobs; *hash is new. */
static bs_status keep(struct bs_jobs *j, int fd, uint64_t bytes, char **hash, struct bs_err *err)
{
    if (fd < 0)
        return BS_OK;
    free(*hash);
    if (!(*hash = malloc(BS_BLOB_HASH_LEN + 1)))
        return BS_FAIL(err, BS_ENOMEM, "out of memory while storing a result");
    bs_status rc = bs_blob_put_fd(j->blobs, fd, bytes, *hash, err);
    if (rc != BS_OK) {
        free(*hash);
        *hash = NULL;
    }
    return rc;
}

static bs_status succeed(struct bs_jobs *j, struct bs__flight *f, struct bs_err *err)
{
    struct bs_engine_state state;
    const struct bs_segment_result *r = &f->result.info;
    uint64_t pixels = (uint64_t)r->height * r->width * r->stack.planes;
    bs_status rc;
    if ((rc = keep(j, f->result.labels_fd, pixels * 4, &f->record.labels_blob, err)) != BS_OK ||
        (rc = keep(j, f->result.maps_fd, pixels * 4 * (uint64_t)r->channels, &f->record.maps_blob, err)) !=
            BS_OK ||
        (rc = keep(j, f->result.objects_fd, r->count * sizeof(struct bs_object), &f->record.objects_blob,
                   err)) != BS_OK) {
        (void)!bs_err_prefix(err, "the result could not be stored");
        /* Nothing was written about the job yet; the result is lost, and that is said. */
        return bs_store_job_fail(j->store, f->record.id, rc, err->msg, err);
    }
    bs_engine_state_get(j->engine, &state);
    struct bs_job_provenance p = {&f->request, f->model_blob, f->record.input_blob, r, &state.device};
    free(f->record.result_json);
    f->record.result_json = NULL;
    if ((rc = bs_job_result_to_json(&p, &f->record.result_json, err)) != BS_OK)
        return bs_store_job_fail(j->store, f->record.id, rc, err->msg, err);
    f->record.done = f->record.total = f->total;
    return bs_store_job_succeed(j->store, &f->record, err);
}

bool bs__flight_finish(struct bs_jobs *j, struct bs__flight *f)
{
    struct bs_err err = {.msg = ""};
    bs_status rc;
    pthread_mutex_lock(&j->mu);
    bs_status status = f->status;
    pthread_mutex_unlock(&j->mu);
    if (status == BS_OK)
        rc = succeed(j, f, &err);
    else if (status == BS_ECANCELLED)
        rc = bs_store_job_requeue(j->store, f->record.id, false, &err);
    else if (status == BS_EUNAVAILABLE)
        rc = bs_store_job_requeue(j->store, f->record.id, true, &err);
    else
        rc = bs_store_job_fail(j->store, f->record.id, status, f->err.msg, &err);
    /* BS_EPRECONDITION: its owner cancelled it meanwhile, the store has the last word; BS_ENOTFOUND: and deleted it. */
    if (rc == BS_OK || rc == BS_EPRECONDITION || rc == BS_ENOTFOUND) {
        bs__notify(j, f->record.id, false);
        return true;
    }
    f->retry_at_ms = bs__jobs_now_ms() + STORE_RETRY_MS;
    return false;
}
