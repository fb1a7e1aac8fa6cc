/* Training runs: submitting, steering, and what they tell on its way to their callbacks; see engine.h. */
#include "server/engine_internal.h"

#include <stdio.h>
#include <sys/stat.h>

/* A task of that type with what the run is made of; checkpoints are the caller's to add. Returns new ref. */
static bs_status new_training(enum bs_worker_type type, const struct bs_engine_training *run,
                              struct bs_engine_task **out, struct bs_err *err)
{
    struct stat config, manifest;
    bs_status rc = bs__new_task(type, out, err);
    if (rc != BS_OK)
        return rc;
    struct bs_engine_task *t = *out;
    struct bs_worker_train *b = &t->message.body.train;
    if (fstat(run->config_fd, &config) != 0 || fstat(run->manifest_fd, &manifest) != 0)
        return BS_FAIL(err, BS_EIO, "the description of a training run has no length");
    b->config_bytes = (uint64_t)config.st_size;
    b->manifest_bytes = (uint64_t)manifest.st_size;
    b->has_initial = run->initial_fd >= 0;
    if ((rc = bs__task_duplicate(t, run->config_fd, err)) == BS_OK &&
        (rc = bs__task_duplicate(t, run->manifest_fd, err)) == BS_OK)
        rc = bs__task_duplicate(t, run->blobs_fd, err);
    return rc;
}

bs_status bs_engine_train(struct bs_engine *e, const struct bs_engine_training *run,
                          const struct bs_engine_training_callbacks *cb, struct bs_engine_task **task,
                          struct bs_err *err)
{
    struct bs_engine_task *t = NULL;
    *task = NULL;
    bs_status rc = new_training(BS_WORKER_TRAIN, run, &t, err);
    if (rc != BS_OK)
        goto cleanup;
    struct bs_worker_train *b = &t->message.body.train;
    b->has_checkpoint_folder = run->checkpoint_fd >= 0;
    b->has_resume = run->resume_fd >= 0;
    t->interactive = false;
    t->report_death = true;
    t->training = *cb;
    if ((b->has_checkpoint_folder && (rc = bs__task_duplicate(t, run->checkpoint_fd, err)) != BS_OK) ||
        (b->has_initial && (rc = bs__task_duplicate(t, run->initial_fd, err)) != BS_OK) ||
        (b->has_resume && (rc = bs__task_duplicate(t, run->resume_fd, err)) != BS_OK) ||
        (rc = bs__task_enqueue(e, t, err)) != BS_OK)
        goto cleanup;
    *task = t;
    t = NULL;
cleanup:
    bs__task_unref(t);
    return rc;
}

bs_status bs_engine_plan_training(struct bs_engine *e, const struct bs_engine_training *run, uint64_t *bytes,
                                  uint64_t *parameters, struct bs_err *err)
{
    struct bs_engine_task *t = NULL;
    struct bs__planned planned = {.bytes = 0};
    bs_status rc = new_training(BS_WORKER_TRAIN_PLAN, run, &t, err);
    if (rc != BS_OK ||
        (run->initial_fd >= 0 && (rc = bs__task_duplicate(t, run->initial_fd, err)) != BS_OK)) {
        bs__task_unref(t);
        return rc;
    }
    rc = bs__run_and_wait(e, t, &planned, err);
    *bytes = planned.bytes;
    *parameters = planned.parameters;
    return rc;
}

void bs_engine_training_committed(struct bs_engine *e, struct bs_engine_task *task, bs_status status,
                                  const char *text)
{
    pthread_mutex_lock(&e->mu);
    task->tell_committed = true; /* to the worker that runs it, if it still does */
    task->committed = (struct bs_worker_failure){.status = (uint32_t)status};
    if (status != BS_OK)
        (void)snprintf(task->committed.text, sizeof task->committed.text, "%s", text);
    pthread_mutex_unlock(&e->mu);
    bs__engine_wake(e);
}

void bs_engine_training_control(struct bs_engine *e, struct bs_engine_task *task,
                                const struct bs_run_control *control)
{
    pthread_mutex_lock(&e->mu);
    task->tell_control = true;
    task->control.pause |= control->pause;
    task->control.best_now |= control->best_now;
    if (control->learning_rate > 0)
        task->control.learning_rate = control->learning_rate;
    pthread_mutex_unlock(&e->mu);
    bs__engine_wake(e);
}

bool bs__training_tell(struct bs_engine *e)
{
    struct bs_engine_task *t = e->training;
    struct bs_err err;
    if (!t)
        return true;
    if (t->tell_control) {
        struct bs_worker_message m = {.type = BS_WORKER_TRAIN_CONTROL, .task = t->message.task};
        m.body.train_control =
            (struct bs_worker_train_control){t->control.pause, t->control.best_now, t->control.learning_rate};
        t->tell_control = false;
        t->control = (struct bs_run_control){.pause = t->control.pause};
        if (bs_worker_send(e->worker.sock, &m, false, &err) != BS_OK)
            return false;
    }
    if (t->tell_committed) {
        struct bs_worker_message m = {.type = BS_WORKER_TRAIN_COMMITTED, .task = t->message.task};
        m.body.failure = t->committed;
        t->tell_committed = false;
        t->uncommitted = false;
        if (bs_worker_send(e->worker.sock, &m, false, &err) != BS_OK)
            return false;
    }
    return true;
}

bool bs__training_event(struct bs_engine_task *t, struct bs_worker_message *m)
{
    const struct bs_worker_train_event *e = &m->body.train_event;
    struct bs_err err;
    if (bs_worker_check_event(m, &err) != BS_OK)
        return false;
    struct bs_run_event event = {.kind = (enum bs_run_event_kind)e->kind,
                                 .step = e->step,
                                 .epoch = e->epoch,
                                 .steps = e->steps,
                                 .loss = e->loss,
                                 .learning_rate = e->learning_rate,
                                 .metric = e->metric,
                                 .best_metric = e->best_metric,
                                 .best_step = e->best_step,
                                 .better = e->better != 0,
                                 .images_per_second = e->images_per_second,
                                 .seconds_left = e->seconds_left};
    if (m->nfd > 0) {
        event.channels = e->channels;
        event.target_channels = e->target_channels;
        event.height = (size_t)e->height;
        event.width = (size_t)e->width;
    }
    if (t->training.event) {
        t->training.event(t->training.ctx, &event, m->nfd > 0 ? m->fd[0] : -1);
        m->nfd = 0; /* the receiver of the callback owns it */
    }
    return true;
}

bool bs__training_checkpoint(struct bs_engine_task *t, struct bs_worker_message *m)
{
    const struct bs_worker_train_checkpoint *c = &m->body.train_checkpoint;
    struct bs_err err;
    /* One at a time: else a worker could fill the disk while we write the first. */
    if (t->uncommitted || bs_worker_check_checkpoint(m, &err) != BS_OK)
        return false;
    t->uncommitted = true;
    t->training.checkpoint(t->training.ctx, (enum bs_checkpoint_kind)c->kind, c->step, m->fd[0], c->bytes);
    m->nfd = 0; /* the receiver of the callback owns it */
    return true;
}

void bs__training_done(struct bs_engine_task *t, bs_status status, const struct bs_err *err,
                       const struct bs_worker_done *done)
{
    struct bs_engine_training_result r = {0};
    if (status == BS_OK) {
        const struct bs_worker_trained *d = &done->trained;
        r.run = (struct bs_run_result){.end = (enum bs_run_end)d->end,
                                       .step = d->step,
                                       .best_step = d->best_step,
                                       .best_metric = d->best_metric,
                                       .latest_step = d->latest_step,
                                       .plan_hash = d->plan_hash};
        (void)snprintf(r.algorithms, sizeof r.algorithms, "%s", d->algorithms);
    }
    t->training.done(t->training.ctx, status, err, status == BS_OK ? &r : NULL);
}
