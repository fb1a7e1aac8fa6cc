/* One training run from the store to the engine, its checkpoints and what it tells on their way back, and its end. Trainer's
   thread, but for the engine's callbacks, which only leave word. */
#include "server/trainer_internal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define STORE_RETRY_MS 2000
#define MAX_NOTES      BS__RUN_MAX_NOTES

/* ---- the engine's thread ---- */

static void on_event(void *ctx, const struct bs_run_event *e, int preview)
{
    struct bs__run *r = ctx;
    struct bs__trainer *t = r->trainer;
    const bool validation = e->kind == BS_RUN_VALIDATION;
    pthread_mutex_lock(&t->mu);
    struct bs__notes *n = &r->notes;
    if (preview >= 0)
        bs__run_note_sample(r, e, preview);
    if (n->count == n->room && n->room < MAX_NOTES) {
        size_t room = n->room ? 2 * n->room : 256;
        struct bs_run_note *more = realloc(n->at, room * sizeof *more);
        if (more) {
            n->at = more;
            n->room = room;
        }
    }
    if (n->count < n->room)
        n->at[n->count++] = (struct bs_run_note){
            .step = e->step,
            .validation = validation,
            .epoch = e->epoch,
            .loss = e->loss,
            .learning_rate = e->learning_rate,
            .metric = validation ? e->metric : NAN,
            .best_metric = validation ? e->best_metric : NAN,
            .best_step = validation ? e->best_step : -1,
            .images_per_second = e->images_per_second > 0 ? e->images_per_second : NAN,
            .seconds_left = e->seconds_left >= 0 ? e->seconds_left : NAN,
        };
    n->step = e->step;
    n->steps = e->steps;
    if (validation && e->better)
        r->best_metric = e->metric;
    if (!validation && r->asked_rate > 0 && r->rate_step < 0 && e->learning_rate == r->asked_rate)
        r->rate_step = e->step;
    /* Notes wait for the next flush; the thread need not wake for each. */
    if (n->count == 1)
        pthread_cond_signal(&t->wake);
    pthread_mutex_unlock(&t->mu);
}

static void on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, int64_t step, int fd, uint64_t bytes)
{
    struct bs__run *r = ctx;
    pthread_mutex_lock(&r->trainer->mu);
    r->checkpoint.there = true;
    r->checkpoint.kind = kind;
    r->checkpoint.step = step;
    r->checkpoint.fd = fd;
    r->checkpoint.bytes = bytes;
    r->trainer->kicked = true;
    pthread_cond_signal(&r->trainer->wake);
    pthread_mutex_unlock(&r->trainer->mu);
}

static void on_done(void *ctx, bs_status status, const struct bs_err *err,
                    const struct bs_engine_training_result *result)
{
    struct bs__run *r = ctx;
    pthread_mutex_lock(&r->trainer->mu);
    r->status = status;
    if (err)
        r->err = *err;
    if (result)
        r->result = *result;
    r->ended = true;
    r->trainer->kicked = true;
    pthread_cond_signal(&r->trainer->wake);
    pthread_mutex_unlock(&r->trainer->mu);
}

/* ---- start ---- */

void bs__run_free(struct bs__run *r)
{
    if (!r)
        return;
    bs_engine_task_release(r->task);
    if (r->checkpoint.there)
        close(r->checkpoint.fd);
    if (r->sample.there)
        close(r->sample.fd);
    free(r->notes.at);
    bs_training_request_free(&r->request);
    bs_run_state_free(&r->state);
    bs_job_record_free(&r->record);
    free(r);
}

static bs_status text_file(const char *text, int *fd, struct bs_err *err)
{
    size_t n = strlen(text);
    *fd = memfd_create("training", MFD_CLOEXEC);
    if (*fd < 0 || write(*fd, text, n) != (ssize_t)n)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a training run's configuration");
    return BS_OK;
}

/* Opens everything and hands the run to the engine, from its last checkpoint if there is one. */
static bs_status submit(struct bs__trainer *t, struct bs__run *r, struct bs_err *err)
{
    struct bs_jobs *j = t->jobs;
    struct bs_engine_training q = {.config_fd = -1, .manifest_fd = -1, .initial_fd = -1, .resume_fd = -1};
    struct bs_engine_task *task = NULL;
    uint64_t bytes;
    bs_status rc;
    if ((rc = bs_training_request_from_json(r->record.request, &r->request, err)) != BS_OK ||
        (rc = bs_store_run_get(j->store, r->record.id, &r->state, err)) != BS_OK ||
        (rc = text_file(r->request.config, &q.config_fd, err)) != BS_OK ||
        (rc = bs_blob_open(j->blobs, r->record.input_blob, &q.manifest_fd, &bytes, err)) != BS_OK ||
        (r->state.initial_blob &&
         (rc = bs_blob_open(j->blobs, r->state.initial_blob, &q.initial_fd, &bytes, err)) != BS_OK) ||
        (r->state.latest_blob &&
         (rc = bs_blob_open(j->blobs, r->state.latest_blob, &q.resume_fd, &bytes, err)) != BS_OK))
        goto cleanup;
    r->best_metric = r->state.best_metric;
    q.blobs_fd = q.checkpoint_fd = bs_blobs_folder(j->blobs);
    struct bs_engine_training_callbacks cb = {
        .ctx = r, .event = on_event, .checkpoint = on_checkpoint, .done = on_done};
    if ((rc = bs_engine_train(j->engine, &q, &cb, &task, err)) != BS_OK)
        goto cleanup;
    pthread_mutex_lock(&t->mu);
    r->task = task;
    /* What was asked for before a crash, or since the job was taken. */
    if (r->state.learning_rate > 0 && r->asked_rate == 0)
        r->asked_rate = r->state.learning_rate;
    r->owner_pauses |= r->state.pause;
    const struct bs_run_control control = {.pause = r->owner_pauses || t->draining,
                                           .learning_rate = r->asked_rate};
    if (r->cancel)
        bs_engine_cancel(j->engine, task);
    else if (control.pause || control.learning_rate > 0)
        bs_engine_training_control(j->engine, task, &control);
    pthread_mutex_unlock(&t->mu);
cleanup:
    if (q.config_fd >= 0)
        close(q.config_fd);
    if (q.manifest_fd >= 0)
        close(q.manifest_fd);
    if (q.initial_fd >= 0)
        close(q.initial_fd);
    if (q.resume_fd >= 0)
        close(q.resume_fd);
    return rc;
}

bool bs__run_start(struct bs__trainer *t)
{
    struct bs_job_record now = {0};
    struct bs_err err = {.msg = ""};
    struct bs__run *r = calloc(1, sizeof *r);
    if (!r)
        return false;
    r->trainer = t;
    r->rate_step = -1;
    r->best_metric = INFINITY;
    if (bs_store_job_take_training(t->jobs->store, &r->record, &err) != BS_OK) {
        free(r);
        return false;
    }
    pthread_mutex_lock(&t->mu);
    t->run = r;
    bool draining = t->draining;
    pthread_mutex_unlock(&t->mu);
    bs__notify(t->jobs, r->record.id, false);
    /* A cancel that came between taking the job and listing it did not find it: the store knows. */
    bs_status rc = bs_store_job_get(t->jobs->store, r->record.id, &now, &err);
    if (rc == BS_OK && now.state != BS_JOB_RUNNING)
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    else if (rc == BS_OK && draining)
        rc = BS_FAIL(&err, BS_ECANCELLED, "the service is stopping");
    else if (rc == BS_OK)
        rc = submit(t, r, &err);
    bs_job_record_free(&now);
    if (rc != BS_OK) {
        pthread_mutex_lock(&t->mu);
        /* The engine's own "stopping" must not count as a worker's death. */
        r->status = rc == BS_EUNAVAILABLE ? BS_ECANCELLED : rc;
        r->err = err;
        r->ended = true;
        pthread_mutex_unlock(&t->mu);
    }
    return true;
}

/* ---- checkpoints ---- */

/* The file becomes a blob, then the store names it: whatever happens in between, the run goes on from the one before. */
static bs_status commit(struct bs__run *r, struct bs_err *err)
{
    struct bs_jobs *j = r->trainer->jobs;
    const bool best = r->checkpoint.kind == BS_CHECKPOINT_BEST;
    char hash[BS_BLOB_HASH_LEN + 1];
    bs_status rc = bs_blob_put_fd(j->blobs, r->checkpoint.fd, r->checkpoint.bytes, hash, err);
    if (rc != BS_OK)
        return rc;
    bs__run_keep_sample(r);
    struct bs__notes n = bs__run_take_notes(r);
    pthread_mutex_lock(&r->trainer->mu);
    struct bs_run_checkpoint c = {.best = best,
                                  .blob = hash,
                                  .step = r->checkpoint.step,
                                  .steps = n.steps > r->checkpoint.step ? n.steps : r->checkpoint.step,
                                  .metric = r->best_metric,
                                  .rate_is_in = r->rate_step >= 0 && r->rate_step <= r->checkpoint.step,
                                  .notes = n.at,
                                  .nnote = n.count};
    pthread_mutex_unlock(&r->trainer->mu);
    char **blob = best ? &r->state.best_blob : &r->state.latest_blob;
    char *copy = strdup(hash);
    rc = copy ? bs_store_run_checkpoint(j->store, r->record.id, &c, err)
              : BS_FAIL(err, BS_ENOMEM, "out of memory while keeping a checkpoint");
    if (rc != BS_OK) {
        free(copy);
        bs__run_return_notes(r, &n);
        return rc;
    }
    free(*blob);
    *blob = copy;
    free(n.at);
    /* The one before is named by nobody any more. */
    pthread_mutex_lock(&j->mu);
    j->sweep = true;
    pthread_mutex_unlock(&j->mu);
    bs__notify(j, r->record.id, false);
    return BS_OK;
}

void bs__run_commit(struct bs__run *r)
{
    struct bs__trainer *t = r->trainer;
    struct bs_err err = {.msg = ""};
    pthread_mutex_lock(&t->mu);
    bool there = r->checkpoint.there;
    pthread_mutex_unlock(&t->mu);
    if (!there)
        return;
    bs_status rc = commit(r, &err);
    if (rc == BS_EPRECONDITION || rc == BS_ENOTFOUND) /* its owner cancelled it meanwhile */
        rc = BS_FAIL(&err, BS_ECANCELLED, "cancelled");
    close(r->checkpoint.fd);
    pthread_mutex_lock(&t->mu);
    r->checkpoint.there = false;
    if (rc != BS_OK && rc != BS_ECANCELLED)
        r->commit_failed = err;
    if (!r->ended)
        bs_engine_training_committed(t->jobs->engine, r->task, rc, err.msg);
    pthread_mutex_unlock(&t->mu);
}

/* ---- the end ---- */

struct describing {
    const struct bs_training_request *request;
    struct bs_training_outcome outcome;
};

static bs_status describe_result(void *ctx, int64_t version, char **json, struct bs_err *err)
{
    struct describing *d = ctx;
    d->outcome.version = version;
    return bs_training_result_to_json(d->request, &d->outcome, json, err);
}

/* The best weights become a version, after the same look into the file as at an import. */
static bs_status succeed(struct bs__run *r, struct bs_err *err)
{
    struct bs_jobs *j = r->trainer->jobs;
    struct bs_model_info info;
    struct describing d = {&r->request,
                           {.job = r->record.id, .run = r->result.run, .algorithms = r->result.algorithms}};
    struct bs_model_record m = {
        .name = r->request.model_name, .blob = r->state.best_blob, .owner = r->record.owner};
    int fd = -1;
    bs_status rc;
    if (!r->state.best_blob)
        return bs_store_job_fail(j->store, r->record.id, BS_EINTERNAL,
                                 "the run ended without weights that were validated", err);
    if ((rc = bs_blob_open(j->blobs, r->state.best_blob, &fd, &m.bytes, err)) == BS_OK)
        rc = bs_engine_inspect(j->engine, fd, &info, err);
    if (fd >= 0)
        close(fd);
    if (rc == BS_OK)
        rc = bs_model_info_to_json(&info, &m.info_json, err);
    if (rc == BS_OK)
        rc = bs_training_lineage_to_json(&r->request, &d.outcome, &m.lineage_json, err);
    if (rc == BS_OK) {
        r->record.done = r->record.total =
            (int)(r->result.run.step < INT32_MAX ? r->result.run.step : INT32_MAX);
        rc = bs_store_run_succeed(j->store, &r->record, &m, describe_result, &d, err);
    } else {
        (void)bs_err_prefix(err, "the trained weights could not be recorded");
        rc = bs_store_job_fail(j->store, r->record.id, rc, err->msg, err);
    }
    free(m.info_json);
    free(m.lineage_json);
    return rc;
}

/* A full disk loses nothing: the run waits until there is room and somebody says so. */
static bool is_full(bs_status rc)
{
    return rc == BS_EIO || rc == BS_ELIMIT;
}

bool bs__run_finish(struct bs__run *r)
{
    struct bs_jobs *j = r->trainer->jobs;
    struct bs_err err = {.msg = ""};
    const char *id = r->record.id;
    bs_status rc;
    pthread_mutex_lock(&r->trainer->mu);
    const bs_status status = r->status;
    const bool owner_pauses = r->owner_pauses;
    const struct bs_err failed = r->commit_failed;
    pthread_mutex_unlock(&r->trainer->mu);
    if (status == BS_OK && r->result.run.end == BS_RUN_PAUSED)
        rc = owner_pauses ? bs_store_run_pause(j->store, id, 0, "paused by its owner", &err)
                          : bs_store_job_requeue(j->store, id, false, &err);
    else if (status == BS_OK)
        rc = succeed(r, &err);
    else if (status == BS_ECANCELLED)
        rc = bs_store_job_requeue(j->store, id, false, &err);
    else if (status == BS_EUNAVAILABLE)
        rc = bs_store_job_requeue(j->store, id, true, &err);
    else if (is_full(failed.code))
        rc = bs_store_run_pause(j->store, id, failed.code, failed.msg, &err);
    else if (status == BS_EIO)
        rc = bs_store_run_pause(j->store, id, status, r->err.msg, &err);
    else
        rc = bs_store_job_fail(j->store, id, status, r->err.msg, &err);
    /* BS_EPRECONDITION: its owner cancelled it meanwhile, the store has the last word; BS_ENOTFOUND: and deleted it. */
    if (rc == BS_OK || rc == BS_EPRECONDITION || rc == BS_ENOTFOUND) {
        bs__notify(j, id, false);
        return true;
    }
    r->retry_at_ms = bs__jobs_now_ms() + STORE_RETRY_MS;
    return false;
}
