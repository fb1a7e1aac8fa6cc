/* The life of training runs: checkpoints, requests, pausing, resuming, and the model at the end. Each change is one durable
   transaction. Any thread. */
#include "server/store/runs.h"
#include "server/store/runs_internal.h"
#include "server/store/store_models_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void bs_run_state_free(struct bs_run_state *r)
{
    if (!r)
        return;
    free(r->initial_blob);
    free(r->latest_blob);
    free(r->best_blob);
    memset(r, 0, sizeof *r);
}

bs_status bs_store_run_add(struct bs_store *s, struct bs_job_record *job, const char *initial_blob,
                           bool *existing, struct bs_err *err)
{
    struct bs_job_record now = {0};
    sqlite3_stmt *st;
    *existing = false;
    bs_status rc = bs__job_check_new(job, err);
    if (rc == BS_OK && initial_blob && !bs__hash_valid(initial_blob))
        rc = BS_FAIL(err, BS_EINVAL, "the weights that a run begins with are no blob");
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&s->mu);
    if ((rc = bs__begin(s, err)) != BS_OK)
        goto unlock;
    rc = bs__job_add(s, job, &now, existing, err);
    if (rc == BS_OK && !*existing &&
        (rc = bs__sql(s, BS__SQL_RUN_ADD, "INSERT INTO runs(job, initial_blob) VALUES (?1, ?2)", &st, err)) ==
            BS_OK) {
        bs__bind_text(st, 1, now.id);
        bs__bind_text(st, 2, initial_blob);
        rc = bs__sql_run(s, st, "add a training run", err);
    }
    rc = bs__end(s, rc, err);
unlock:
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        bs_job_record_free(&now);
        return rc;
    }
    bs_job_record_free(job);
    *job = now;
    return BS_OK;
}

bs_status bs_store_run_get(struct bs_store *s, const char *id, struct bs_run_state *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_RUN_GET,
                           "SELECT initial_blob, latest_blob, best_blob, latest_step, best_step, best_metric,"
                           " pause, learning_rate FROM runs WHERE job = ?1",
                           &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW) {
            bool ok = bs__column_text(st, 0, &out->initial_blob) &&
                      bs__column_text(st, 1, &out->latest_blob) && bs__column_text(st, 2, &out->best_blob);
            out->latest_step = sqlite3_column_int64(st, 3);
            out->best_step = sqlite3_column_int64(st, 4);
            out->best_metric =
                sqlite3_column_type(st, 5) == SQLITE_NULL ? INFINITY : sqlite3_column_double(st, 5);
            out->pause = sqlite3_column_int(st, 6) != 0;
            out->learning_rate = sqlite3_column_double(st, 7);
            if (!ok)
                rc = BS_FAIL(err, BS_ENOMEM, "out of memory while reading a training run");
        } else if (step == SQLITE_DONE) {
            rc = BS_FAIL(err, BS_ENOTFOUND, "there is no training run '%.40s'", id);
        } else {
            rc = bs__sql_fail(s, err, "look up a training run");
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK)
        bs_run_state_free(out);
    return rc;
}

/* BS_EPRECONDITION unless the job is in one of these states (a bit each). mu held. */
static bs_status require_state(struct bs_store *s, const char *id, unsigned states, const char *doing,
                               enum bs_job_state *is, struct bs_err *err)
{
    struct bs_job_record job = {0};
    bs_status rc = bs__job_get(s, id, &job, err);
    if (rc == BS_OK && !(states & 1u << job.state))
        rc = bs__job_wrong_state(err, id, job.state, doing);
    *is = job.state;
    bs_job_record_free(&job);
    return rc;
}

static bs_status note_latest(struct bs_store *s, const char *id, const struct bs_run_checkpoint *c,
                             struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_RUN_LATEST,
                           "UPDATE runs SET latest_blob = ?2, latest_step = ?3,"
                           " learning_rate = CASE WHEN ?4 THEN 0 ELSE learning_rate END WHERE job = ?1",
                           &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    bs__bind_text(st, 2, c->blob);
    sqlite3_bind_int64(st, 3, c->step);
    sqlite3_bind_int(st, 4, c->rate_is_in);
    return bs__sql_run(s, st, "note a checkpoint", err);
}

static bs_status note_best(struct bs_store *s, const char *id, const struct bs_run_checkpoint *c,
                           struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_BEST,
                "UPDATE runs SET best_blob = ?2, best_step = ?3, best_metric = ?4 WHERE job = ?1", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    bs__bind_text(st, 2, c->blob);
    sqlite3_bind_int64(st, 3, c->step);
    sqlite3_bind_double(st, 4, c->metric);
    return bs__sql_run(s, st, "note a checkpoint", err);
}

bs_status bs_store_run_checkpoint(struct bs_store *s, const char *id, const struct bs_run_checkpoint *c,
                                  struct bs_err *err)
{
    enum bs_job_state is;
    if (!bs__hash_valid(c->blob) || c->step < 0 || c->steps < c->step)
        return BS_FAIL(err, BS_EINVAL, "a checkpoint of step %lld of %lld is no blob", (long long)c->step,
                       (long long)c->steps);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = require_state(s, id, 1u << BS_JOB_RUNNING, "checkpointed", &is, err);
        if (rc == BS_OK)
            rc = c->best ? note_best(s, id, c, err) : note_latest(s, id, c, err);
        if (rc == BS_OK)
            rc = bs__run_notes_add(s, id, c->notes, c->nnote, err);
        if (rc == BS_OK)
            rc = bs__run_progress(s, id, c->step, c->steps, !c->best, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

static bs_status set_paused(struct bs_store *s, const char *id, int code, const char *reason,
                            struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_JOB_PAUSE,
                           "UPDATE jobs SET state = 0, paused = 1, error_code = ?2, error = ?3,"
                           " revision = revision + 1 WHERE id = ?1",
                           &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, code);
    bs__bind_text(st, 3, reason);
    return bs__sql_run(s, st, "pause a job", err);
}

/* pause below 0, learning_rate below 0: left as they are. mu held. */
static bs_status note_asked(struct bs_store *s, const char *id, int pause, double learning_rate,
                            struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_RUN_ASK,
                           "UPDATE runs SET pause = CASE WHEN ?2 < 0 THEN pause ELSE ?2 END,"
                           " learning_rate = CASE WHEN ?3 < 0 THEN learning_rate ELSE ?3 END WHERE job = ?1",
                           &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, pause);
    sqlite3_bind_double(st, 3, learning_rate);
    rc = bs__sql_run(s, st, "ask something of a training run", err);
    if (rc == BS_OK && sqlite3_changes(s->db) == 0)
        rc = BS_FAIL(err, BS_ENOTFOUND, "there is no training run '%.40s'", id);
    return rc;
}

bs_status bs_store_run_ask(struct bs_store *s, const char *id, bool pause, double learning_rate,
                           struct bs_err *err)
{
    enum bs_job_state is;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = require_state(s, id, 1u << BS_JOB_RUNNING | 1u << BS_JOB_QUEUED | 1u << BS_JOB_PAUSED,
                           pause ? "paused" : "given another learning rate", &is, err);
        const bool waits = rc == BS_OK && pause && is == BS_JOB_QUEUED;
        if (rc == BS_OK)
            rc = note_asked(s, id, pause && is == BS_JOB_RUNNING ? 1 : -1,
                            learning_rate > 0 ? learning_rate : -1, err);
        if (rc == BS_OK && waits)
            rc = set_paused(s, id, 0, "paused by its owner", err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_run_pause(struct bs_store *s, const char *id, int code, const char *reason,
                             struct bs_err *err)
{
    enum bs_job_state is;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = require_state(s, id, 1u << BS_JOB_RUNNING | 1u << BS_JOB_QUEUED, "paused", &is, err);
        if (rc == BS_OK)
            rc = note_asked(s, id, 0, -1, err);
        if (rc == BS_OK)
            rc = set_paused(s, id, code, reason, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_run_resume(struct bs_store *s, const char *id, struct bs_err *err)
{
    enum bs_job_state is;
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc != BS_OK)
        goto unlock;
    rc = require_state(s, id, 1u << BS_JOB_PAUSED | 1u << BS_JOB_FAILED | 1u << BS_JOB_CANCELLED, "resumed",
                       &is, err);
    if (rc == BS_OK)
        rc = note_asked(s, id, 0, -1, err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_JOB_RESUME,
                     "UPDATE jobs SET state = 0, paused = 0, attempts = 0, error = NULL, error_code = 0,"
                     " finished_ms = 0, expires_ms = 0, revision = revision + 1"
                     " WHERE id = ?1 AND input_blob <> ''",
                     &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        rc = bs__sql_run(s, st, "resume a job", err);
        if (rc == BS_OK && sqlite3_changes(s->db) == 0)
            rc = BS_FAIL(err, BS_EPRECONDITION,
                         "the checkpoints of job %.40s have expired; start a run of its own", id);
    }
    rc = bs__end(s, rc, err);
unlock:
    pthread_mutex_unlock(&s->mu);
    return rc;
}

/* The state to go on from is of no use to a run that has ended well, and it is large. */
static bs_status drop_latest(struct bs_store *s, const char *id, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_DROP_LATEST, "UPDATE runs SET latest_blob = NULL WHERE job = ?1", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    return bs__sql_run(s, st, "forget a checkpoint", err);
}

bs_status bs_store_run_succeed(struct bs_store *s, struct bs_job_record *job, struct bs_model_record *model,
                               bs_status (*describe)(void *ctx, int64_t version, char **json,
                                                     struct bs_err *err),
                               void *ctx, struct bs_err *err)
{
    bs_status rc = bs__model_check(model, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&s->mu);
    rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = bs__model_add(s, model, err);
        if (rc == BS_OK)
            rc = bs__origin_add(s, model, job->input_blob, err);
        if (rc == BS_OK) {
            free(job->result_json);
            job->result_json = NULL;
            rc = describe(ctx, model->version, &job->result_json, err);
        }
        if (rc == BS_OK)
            rc = bs__job_succeed(s, job, err);
        if (rc == BS_OK)
            rc = drop_latest(s, job->id, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}
