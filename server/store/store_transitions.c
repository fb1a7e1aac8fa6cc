/* The life of a job: QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED, back to QUEUED when its worker or the daemon
   went away. Each change is one durable transaction that looks at the state it starts from. Any thread. */
#include "server/store/store_internal.h"
#include "server/store/store_jobs_internal.h"

#include <stdio.h>
#include <string.h>

/* A job whose worker died twice is the likely cause of it. */
#define MAX_WORKER_DEATHS 2
/* A stop of the whole daemon says less about the job that happened to run, so more of them are forgiven; but a job
   that takes the machine down each time must not do so for ever. */
#define MAX_RECOVERIES 5
/* Of a training run, counted from its last checkpoint on: it has worked then, and weeks may be at stake. */
#define MAX_TRAINING_DEATHS     5
#define MAX_TRAINING_RECOVERIES 25
/* How long a record without results still answers "it is gone" before it goes too. */
#define FORGET_AFTER_MS (INT64_C(30) * 24 * 3600 * 1000)

static const char *const training_died_text = "the worker process died five times while it ran this job "
                                              "without reaching another checkpoint; the patches "
                                              "or the network may need more memory than there is";
static const char *const worker_died_text = "the worker process died twice while it ran this job; the image "
                                            "or the model may need more memory than there is";

/* The state of a job, read inside the open transaction. */
static bs_status read_state(struct bs_store *s, const char *id, enum bs_job_state *state, int *attempts,
                            bool *training, struct bs_err *err)
{
    struct bs_job_record job = {0};
    bs_status rc = bs__job_get(s, id, &job, err);
    if (rc == BS_OK) {
        *state = job.state;
        *attempts = job.attempts;
        *training = strcmp(job.kind, "train") == 0;
    }
    bs_job_record_free(&job);
    return rc;
}

bs_status bs__job_wrong_state(struct bs_err *err, const char *id, enum bs_job_state is, const char *doing)
{
    return BS_FAIL(err, BS_EPRECONDITION, "job %.40s is %s and cannot be %s", id, bs_job_state_name(is),
                   doing);
}

/* What a job ends with. */
struct ending {
    enum bs_job_state state;
    int error_code;
    const char *error;
    int attempts;
    const struct bs_job_record *results; /* NULL: none */
};

static bs_status finish(struct bs_store *s, const char *id, const struct ending *e, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_JOB_FINISH,
                "UPDATE jobs SET state = ?2, paused = 0, error_code = ?3, error = ?4, attempts = ?5, "
                "finished_ms = ?6,"
                " expires_ms = CASE WHEN time_to_live_ms > 0 THEN ?6 + time_to_live_ms ELSE ?7 END, "
                "result_json = ?8, labels_blob = ?9, maps_blob = ?10, objects_blob = ?11,"
                " done = max(done, ?12), total = max(total, ?13), revision = revision + 1 WHERE id = ?1",
                &st, err);
    if (rc != BS_OK)
        return rc;
    int64_t now = bs__now_ms();
    int64_t expires = s->lifetime_ms > 0 ? now + s->lifetime_ms : 0;
    bs__bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, (int)e->state);
    sqlite3_bind_int(st, 3, e->error_code);
    bs__bind_text(st, 4, e->error);
    sqlite3_bind_int(st, 5, e->attempts);
    sqlite3_bind_int64(st, 6, now);
    sqlite3_bind_int64(st, 7, expires);
    sqlite3_bind_int(st, 12, 0);
    sqlite3_bind_int(st, 13, 0);
    if (e->results) {
        bs__bind_text(st, 8, e->results->result_json);
        bs__bind_text(st, 9, e->results->labels_blob);
        bs__bind_text(st, 10, e->results->maps_blob);
        bs__bind_text(st, 11, e->results->objects_blob);
        sqlite3_bind_int(st, 12, e->results->done);
        sqlite3_bind_int(st, 13, e->results->total);
    }
    return bs__sql_run(s, st, "finish a job", err);
}

/* Ends a job from QUEUED (if that is allowed) or RUNNING. */
static bs_status end_job(struct bs_store *s, const char *id, struct ending e, bool from_queued,
                         const char *doing, struct bs_err *err)
{
    enum bs_job_state state;
    bool training;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = read_state(s, id, &state, &e.attempts, &training, err);
        if (rc == BS_OK && state != BS_JOB_RUNNING &&
            !(from_queued && (state == BS_JOB_QUEUED || state == BS_JOB_PAUSED)))
            rc = bs__job_wrong_state(err, id, state, doing);
        if (rc == BS_OK)
            rc = finish(s, id, &e, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_job_succeed(struct bs_store *s, const struct bs_job_record *job, struct bs_err *err)
{
    if (!job->result_json || (job->labels_blob && !bs__hash_valid(job->labels_blob)) ||
        (job->maps_blob && !bs__hash_valid(job->maps_blob)) ||
        (job->objects_blob && !bs__hash_valid(job->objects_blob)))
        return BS_FAIL(err, BS_EINVAL,
                       "a finished job needs its result description, and blobs of 64 hex digits");
    return end_job(s, job->id, (struct ending){.state = BS_JOB_SUCCEEDED, .results = job}, false, "finished",
                   err);
}

bs_status bs__job_succeed(struct bs_store *s, const struct bs_job_record *job, struct bs_err *err)
{
    struct ending e = {.state = BS_JOB_SUCCEEDED, .results = job};
    enum bs_job_state state;
    bool training;
    bs_status rc = read_state(s, job->id, &state, &e.attempts, &training, err);
    if (rc == BS_OK && state != BS_JOB_RUNNING)
        rc = bs__job_wrong_state(err, job->id, state, "finished");
    return rc == BS_OK ? finish(s, job->id, &e, err) : rc;
}

bs_status bs_store_job_fail(struct bs_store *s, const char *id, int error_code, const char *reason,
                            struct bs_err *err)
{
    return end_job(s, id, (struct ending){.state = BS_JOB_FAILED, .error_code = error_code, .error = reason},
                   true, "failed", err);
}

bs_status bs_store_job_cancel(struct bs_store *s, const char *id, struct bs_err *err)
{
    struct ending e = {
        .state = BS_JOB_CANCELLED, .error_code = BS_ECANCELLED, .error = "cancelled by its owner"};
    return end_job(s, id, e, true, "cancelled", err);
}

/* which, text: the statement that finds the job. */
static bs_status take(struct bs_store *s, enum bs__sql which, const char *text, struct bs_job_record *out,
                      struct bs_err *err)
{
    sqlite3_stmt *st;
    char id[sizeof out->id] = "";
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc != BS_OK)
        goto unlock;
    rc = bs__sql(s, which, text, &st, err);
    if (rc == BS_OK) {
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW)
            snprintf(id, sizeof id, "%s", (const char *)sqlite3_column_text(st, 0));
        else if (step == SQLITE_DONE)
            rc = BS_FAIL(err, BS_ENOTFOUND, "no job is waiting");
        else
            rc = bs__sql_fail(s, err, "look for waiting jobs");
        sqlite3_reset(st);
    }
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_JOB_TAKE,
                     "UPDATE jobs SET state = 1, started_ms = ?2, done = CASE WHEN kind = 'train' THEN done "
                     "ELSE 0 END,"
                     " revision = revision + 1 WHERE id = ?1",
                     &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        sqlite3_bind_int64(st, 2, bs__now_ms());
        rc = bs__sql_run(s, st, "start a job", err);
    }
    if (rc == BS_OK)
        rc = bs__job_get(s, id, out, err);
    if (rc == BS_OK)
        rc = bs__sql(
            s, BS__SQL_SHARE,
            "INSERT INTO shares(owner, taken) VALUES (?1, (SELECT coalesce(max(taken), 0) + 1 FROM shares))"
            " ON CONFLICT(owner) DO UPDATE SET taken = excluded.taken",
            &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, out->owner);
        rc = bs__sql_run(s, st, "share the device", err);
    }
    rc = bs__end(s, rc, err);
    if (rc != BS_OK)
        bs_job_record_free(out);
unlock:
    pthread_mutex_unlock(&s->mu);
    return rc;
}

/* The oldest job of the owner who was served longest ago. */
#define NEXT(kind)                                                                                           \
    "SELECT j.id FROM (SELECT owner, min(seq) AS first FROM jobs WHERE state = 0 AND NOT paused AND " kind   \
    " GROUP BY owner) q JOIN jobs j ON j.seq = q.first LEFT JOIN shares s ON s.owner = q.owner"              \
    " ORDER BY coalesce(s.taken, 0), q.first LIMIT 1"

bs_status bs_store_job_take(struct bs_store *s, struct bs_job_record *out, struct bs_err *err)
{
    return take(s, BS__SQL_JOB_NEXT, NEXT("kind NOT IN ('train', 'compare')"), out, err);
}

bs_status bs_store_job_take_training(struct bs_store *s, struct bs_job_record *out, struct bs_err *err)
{
    return take(s, BS__SQL_JOB_NEXT_TRAINING, NEXT("kind = 'train'"), out, err);
}

bs_status bs_store_job_take_comparison(struct bs_store *s, struct bs_job_record *out, struct bs_err *err)
{
    return take(s, BS__SQL_JOB_NEXT_COMPARISON, NEXT("kind = 'compare'"), out, err);
}

/* RUNNING -> QUEUED inside the open transaction, or -> FAILED at the last attempt. */
static bs_status put_back(struct bs_store *s, const char *id, int attempts, int max_attempts,
                          const char *reason, struct bs_err *err)
{
    if (max_attempts > 0 && attempts >= max_attempts)
        return finish(
            s, id,
            &(struct ending){
                .state = BS_JOB_FAILED, .error_code = BS_EINTERNAL, .error = reason, .attempts = attempts},
            err);
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_JOB_REQUEUE,
                           "UPDATE jobs SET state = 0, attempts = ?2, started_ms = 0,"
                           " done = CASE WHEN kind = 'train' THEN done ELSE 0 END,"
                           " revision = revision + 1 WHERE id = ?1",
                           &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    sqlite3_bind_int(st, 2, attempts);
    return bs__sql_run(s, st, "put a job back", err);
}

bs_status bs_store_job_requeue(struct bs_store *s, const char *id, bool worker_died, struct bs_err *err)
{
    enum bs_job_state state;
    int attempts = 0;
    bool training = false;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = read_state(s, id, &state, &attempts, &training, err);
        if (rc == BS_OK && state != BS_JOB_RUNNING)
            rc = bs__job_wrong_state(err, id, state, "put back");
        if (rc == BS_OK)
            rc = put_back(s, id, attempts + worker_died,
                          !worker_died ? 0
                          : training   ? MAX_TRAINING_DEATHS
                                       : MAX_WORKER_DEATHS,
                          training ? training_died_text : worker_died_text, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_job_recover(struct bs_store *s, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    char id[40];
    *count = 0;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc != BS_OK)
        goto unlock;
    for (;;) {
        int attempts = 0;
        bool training = false;
        rc = bs__sql(s, BS__SQL_JOB_RUNNING,
                     "SELECT id, attempts, kind = 'train' FROM jobs WHERE state = 1 ORDER BY seq LIMIT 1",
                     &st, err);
        if (rc != BS_OK)
            break;
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW) {
            snprintf(id, sizeof id, "%s", (const char *)sqlite3_column_text(st, 0));
            attempts = sqlite3_column_int(st, 1);
            training = sqlite3_column_int(st, 2) != 0;
        } else if (step != SQLITE_DONE) {
            rc = bs__sql_fail(s, err, "recover running jobs");
        }
        sqlite3_reset(st);
        if (rc != BS_OK || step == SQLITE_DONE)
            break;
        rc = put_back(
            s, id, attempts + 1, training ? MAX_TRAINING_RECOVERIES : MAX_RECOVERIES,
            training ? "the service stopped without warning 25 times while it ran this job, which reached no "
                       "other checkpoint meanwhile"
                     : "the service stopped without warning five times while it ran this job",
            err);
        if (rc != BS_OK)
            break;
        ++*count;
    }
    rc = bs__end(s, rc, err);
    if (rc != BS_OK)
        *count = 0;
unlock:
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_job_progress(struct bs_store *s, const char *id, int done, int total, struct bs_err *err)
{
    sqlite3_stmt *st;
    if (done < 0 || total < 0 || done > total)
        return BS_FAIL(err, BS_EINVAL, "progress %d of %d makes no sense", done, total);
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_JOB_PROGRESS,
                "UPDATE jobs SET done = ?2, total = ?3, revision = revision + 1 WHERE id = ?1 AND state = 1",
                &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        sqlite3_bind_int(st, 2, done);
        sqlite3_bind_int(st, 3, total);
        rc = bs__sql_run(s, st, "note progress", err);
        if (rc == BS_OK && sqlite3_changes(s->db) == 0) {
            enum bs_job_state state;
            int attempts;
            bool training;
            rc = read_state(s, id, &state, &attempts, &training, err);
            if (rc == BS_OK)
                rc = bs__job_wrong_state(err, id, state, "in progress");
        }
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_job_delete(struct bs_store *s, const char *id, struct bs_err *err)
{
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_JOB_DELETE, "DELETE FROM jobs WHERE id = ?1 AND state NOT IN (0, 1)", &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        rc = bs__sql_run(s, st, "delete a job", err);
        if (rc == BS_OK && sqlite3_changes(s->db) == 0) {
            enum bs_job_state state;
            int attempts;
            bool training;
            rc = read_state(s, id, &state, &attempts, &training, err);
            if (rc == BS_OK)
                rc = bs__job_wrong_state(err, id, state, "deleted; cancel it first");
        }
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_job_expire(struct bs_store *s, int64_t now_ms, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    *count = 0;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc != BS_OK)
        goto unlock;
    /* The record stays a while, so that a client who comes late hears that the results expired. */
    rc = bs__sql(s, BS__SQL_JOB_EXPIRE,
                 "UPDATE jobs SET labels_blob = NULL, maps_blob = NULL, objects_blob = NULL, input_blob = '',"
                 " revision = revision + 1 WHERE expires_ms > 0 AND expires_ms <= ?1 AND state > 1 AND"
                 " (input_blob <> '' OR labels_blob IS NOT NULL)",
                 &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, now_ms);
        rc = bs__sql_run(s, st, "forget results", err);
        *count = sqlite3_changes(s->db);
    }
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_RUN_EXPIRE,
                     "UPDATE runs SET initial_blob = NULL, latest_blob = NULL, best_blob = NULL"
                     " WHERE job IN (SELECT id FROM jobs WHERE input_blob = '' AND state > 1)"
                     " AND (initial_blob IS NOT NULL OR latest_blob IS NOT NULL OR best_blob IS NOT NULL)",
                     &st, err);
    if (rc == BS_OK)
        rc = bs__sql_run(s, st, "forget checkpoints", err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_JOB_FORGET,
                     "DELETE FROM jobs WHERE expires_ms > 0 AND expires_ms <= ?1 AND state > 1", &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, now_ms - FORGET_AFTER_MS);
        rc = bs__sql_run(s, st, "forget jobs", err);
    }
    rc = bs__end(s, rc, err);
    if (rc != BS_OK)
        *count = 0;
unlock:
    pthread_mutex_unlock(&s->mu);
    return rc;
}
