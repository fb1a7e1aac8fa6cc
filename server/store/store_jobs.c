/* Jobs in the store: reading them, adding them once, listing them. What changes a job's state stands in
   store_transitions.c. Any thread. */
#include "server/store/store_internal.h"
#include "server/store/store_jobs_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIMIT   1001 /* a page of 1000, and one more that tells whether there is a next */
#define MAX_REQUEST 65536
#define MAX_NAME    256

const char *bs_job_state_name(enum bs_job_state s)
{
    switch (s) {
    case BS_JOB_QUEUED:
        return "queued";
    case BS_JOB_RUNNING:
        return "running";
    case BS_JOB_SUCCEEDED:
        return "succeeded";
    case BS_JOB_FAILED:
        return "failed";
    case BS_JOB_CANCELLED:
        return "cancelled";
    case BS_JOB_PAUSED:
        return "paused";
    }
    return "unknown";
}

void bs_job_record_free(struct bs_job_record *j)
{
    if (!j)
        return;
    free(j->owner);
    free(j->project);
    free(j->idempotency_key);
    free(j->payload_hash);
    free(j->kind);
    free(j->request);
    free(j->labels);
    free(j->input_blob);
    free(j->result_json);
    free(j->labels_blob);
    free(j->maps_blob);
    free(j->objects_blob);
    free(j->error);
    memset(j, 0, sizeof *j);
}

bs_status bs__job_read(sqlite3_stmt *st, struct bs_job_record *j, struct bs_err *err)
{
    memset(j, 0, sizeof *j);
    snprintf(j->id, sizeof j->id, "%s", (const char *)sqlite3_column_text(st, 0));
    char **texts[] = {&j->owner,       &j->project,   &j->idempotency_key, &j->payload_hash,
                      &j->kind,        &j->request,   &j->input_blob,      &j->result_json,
                      &j->labels_blob, &j->maps_blob, &j->objects_blob,    &j->error};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof texts / sizeof *texts; i++)
        ok = bs__column_text(st, 1 + (int)i, texts[i]);
    if (!ok || !bs__column_text(st, 23, &j->labels)) {
        bs_job_record_free(j);
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading a job record");
    }
    j->error_code = sqlite3_column_int(st, 13);
    j->state = (enum bs_job_state)sqlite3_column_int(st, 14);
    j->attempts = sqlite3_column_int(st, 15);
    j->done = sqlite3_column_int(st, 16);
    j->total = sqlite3_column_int(st, 17);
    j->created_ms = sqlite3_column_int64(st, 18);
    j->started_ms = sqlite3_column_int64(st, 19);
    j->finished_ms = sqlite3_column_int64(st, 20);
    j->expires_ms = sqlite3_column_int64(st, 21);
    j->revision = sqlite3_column_int64(st, 22);
    j->time_to_live_ms = sqlite3_column_int64(st, 24);
    return BS_OK;
}

bs_status bs__job_unknown(struct bs_err *err, const char *id)
{
    return BS_FAIL(err, BS_ENOTFOUND, "there is no job '%.40s'", id ? id : "");
}

bs_status bs__job_get(struct bs_store *s, const char *id, struct bs_job_record *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_JOB_GET, "SELECT " BS__JOB_COLUMNS " FROM jobs WHERE id = ?1", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, id);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = bs__job_read(st, out, err);
    else if (step == SQLITE_DONE)
        rc = bs__job_unknown(err, id);
    else
        rc = bs__sql_fail(s, err, "look up a job");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_job_get(struct bs_store *s, const char *id, struct bs_job_record *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__job_get(s, id, out, err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs__job_check_new(const struct bs_job_record *j, struct bs_err *err)
{
    if (!j->owner || !*j->owner || strnlen(j->owner, MAX_NAME + 1) > MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "a job needs an owner of 1 to %d bytes", MAX_NAME);
    if (j->project && strnlen(j->project, MAX_NAME + 1) > MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "project name is longer than %d bytes", MAX_NAME);
    if (j->idempotency_key && strnlen(j->idempotency_key, MAX_NAME + 1) > MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "idempotency key is longer than %d bytes", MAX_NAME);
    if (!j->kind || !*j->kind || strnlen(j->kind, 33) > 32)
        return BS_FAIL(err, BS_EINVAL, "a job needs a kind of 1 to 32 bytes");
    if (!j->request || strnlen(j->request, MAX_REQUEST + 1) > MAX_REQUEST)
        return BS_FAIL(err, BS_EINVAL, "a job needs a request of at most %d bytes", MAX_REQUEST);
    if (j->time_to_live_ms < 0 || (j->labels && strnlen(j->labels, MAX_REQUEST + 1) > MAX_REQUEST))
        return BS_FAIL(err, BS_EINVAL, "a job's labels have at most %d bytes, its lifetime is not negative",
                       MAX_REQUEST);
    if (!bs__hash_valid(j->input_blob) || !bs__hash_valid(j->payload_hash))
        return BS_FAIL(err, BS_EINVAL, "a job needs an input blob and a payload hash (64 hex digits each)");
    return BS_OK;
}

/* The job that this owner submitted with this key, if there is one. */
static bs_status find_by_key(struct bs_store *s, const struct bs_job_record *job, struct bs_job_record *found,
                             bool *existing, struct bs_err *err)
{
    *existing = false;
    if (!job->idempotency_key || !*job->idempotency_key)
        return BS_OK;
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_JOB_BY_KEY,
                           "SELECT " BS__JOB_COLUMNS " FROM jobs WHERE owner = ?1 AND idempotency_key = ?2"
                           " AND idempotency_key <> ''",
                           &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, job->owner);
    bs__bind_text(st, 2, job->idempotency_key);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        rc = bs__job_read(st, found, err);
        *existing = rc == BS_OK;
    } else if (step != SQLITE_DONE) {
        rc = bs__sql_fail(s, err, "look up an idempotency key");
    }
    sqlite3_reset(st);
    if (*existing && strcmp(found->payload_hash, job->payload_hash) != 0) {
        rc = BS_FAIL(err, BS_EEXIST,
                     "idempotency key '%.64s' was used for job %s with another image, model or parameters; "
                     "use a new key",
                     job->idempotency_key, found->id);
        bs_job_record_free(found);
        *existing = false;
    }
    return rc;
}

static bs_status insert(struct bs_store *s, struct bs_job_record *j, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(
        s, BS__SQL_JOB_ADD,
        "INSERT INTO jobs(id, owner, project, idempotency_key, payload_hash, kind, request,"
        " input_blob, state, total, created_ms, labels, time_to_live_ms, model, model_version, dataset)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, ?10, ?11, ?12,"
        " CASE WHEN json_valid(?7) THEN json_extract(?7, '$.model') END,"
        " CASE WHEN json_valid(?7) THEN json_extract(?7, '$.model_version') END,"
        " CASE WHEN json_valid(?7) THEN json_extract(?7, '$.dataset_number') END)",
        &st, err);
    if (rc == BS_OK && !j->id[0])
        rc = bs__make_id(s, j->id, sizeof j->id, err);
    if (rc != BS_OK)
        return rc;
    j->created_ms = bs__now_ms();
    bs__bind_text(st, 1, j->id);
    bs__bind_text(st, 2, j->owner);
    bs__bind_text(st, 3, j->project ? j->project : "");
    bs__bind_text(st, 4, j->idempotency_key ? j->idempotency_key : "");
    bs__bind_text(st, 5, j->payload_hash);
    bs__bind_text(st, 6, j->kind);
    bs__bind_text(st, 7, j->request);
    bs__bind_text(st, 8, j->input_blob);
    sqlite3_bind_int(st, 9, j->total);
    sqlite3_bind_int64(st, 10, j->created_ms);
    bs__bind_text(st, 11, j->labels ? j->labels : "{}");
    sqlite3_bind_int64(st, 12, j->time_to_live_ms);
    return bs__sql_run(s, st, "add a job", err);
}

bs_status bs__job_add(struct bs_store *s, struct bs_job_record *job, struct bs_job_record *now,
                      bool *existing, struct bs_err *err)
{
    bs_status rc = find_by_key(s, job, now, existing, err);
    if (rc == BS_OK && !*existing && (rc = insert(s, job, err)) == BS_OK)
        rc = bs__job_get(s, job->id, now, err);
    return rc;
}

bs_status bs_store_job_add(struct bs_store *s, struct bs_job_record *job, bool *existing, struct bs_err *err)
{
    struct bs_job_record now = {0};
    bool found = false;
    *existing = false;
    bs_status rc = bs__job_check_new(job, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&s->mu);
    rc = bs__begin(s, err);
    if (rc != BS_OK) {
        pthread_mutex_unlock(&s->mu);
        return rc;
    }
    rc = bs__job_add(s, job, &now, &found, err);
    rc = bs__end(s, rc, err);
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        bs_job_record_free(&now);
        return rc;
    }
    bs_job_record_free(job);
    *job = now;
    *existing = found;
    return BS_OK;
}

bs_status bs_store_job_list(struct bs_store *s, const struct bs_job_filter *filter, const char *after,
                            int limit, struct bs_job_record **out, int *count, struct bs_err *err)
{
    *out = NULL;
    *count = 0;
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "page size %d is not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_job_record *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing jobs");
    int n = 0;
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    /* Ids sort by age, so a page goes on at its place even when the job it ended at was deleted meanwhile. */
    bs_status rc = bs__sql(
        s, BS__SQL_JOB_LIST,
        "SELECT " BS__JOB_COLUMNS " FROM jobs WHERE (?1 IS NULL OR owner = ?1)"
        " AND (?2 < 0 OR " BS__JOB_STATE " = ?2) AND (?3 IS NULL OR id < ?3) AND (?5 IS NULL OR project = ?5)"
        " AND (?6 IS NULL OR model = ?6) AND " BS__HAS_LABELS("?7") " ORDER BY id DESC LIMIT ?4",
        &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, filter->owner);
        sqlite3_bind_int(st, 2, filter->state);
        bs__bind_text(st, 3, after && *after ? after : NULL);
        sqlite3_bind_int(st, 4, limit);
        bs__bind_text(st, 5, filter->project);
        bs__bind_text(st, 6, filter->model);
        bs__bind_text(st, 7, filter->labels);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list jobs");
            else if ((rc = bs__job_read(st, &rows[n], err)) == BS_OK)
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        for (int i = 0; i < n; i++)
            bs_job_record_free(&rows[i]);
        free(rows);
        return rc;
    }
    *out = rows;
    *count = n;
    return BS_OK;
}

bs_status bs_store_job_counts(struct bs_store *s, int64_t count[BS_JOB_STATES], struct bs_err *err)
{
    sqlite3_stmt *st;
    memset(count, 0, BS_JOB_STATES * sizeof *count);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_JOB_COUNTS,
                           "SELECT " BS__JOB_STATE " AS s, count(*) FROM jobs GROUP BY s", &st, err);
    if (rc == BS_OK) {
        int step;
        while ((step = sqlite3_step(st)) == SQLITE_ROW) {
            int state = sqlite3_column_int(st, 0);
            if (state >= 0 && state < BS_JOB_STATES)
                count[state] = sqlite3_column_int64(st, 1);
        }
        if (step != SQLITE_DONE)
            rc = bs__sql_fail(s, err, "count jobs");
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}
