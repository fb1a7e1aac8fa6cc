/* Models in the store: names with versions, each naming the blob of its weights. Any thread. */
#include "server/store/store_internal.h"
#include "server/store/store_jobs_internal.h"
#include "server/store/store_models_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS   "name, version, blob, info_json, owner, created_ms, bytes, labels, expires_ms, lineage_json"
#define MAX_LIMIT 1001 /* a page of 1000, and one more that tells whether there is a next */

void bs_model_record_free(struct bs_model_record *m)
{
    if (!m)
        return;
    free(m->name);
    free(m->blob);
    free(m->info_json);
    free(m->owner);
    free(m->labels);
    free(m->lineage_json);
    memset(m, 0, sizeof *m);
}

static bs_status read_model(sqlite3_stmt *st, struct bs_model_record *m, struct bs_err *err)
{
    memset(m, 0, sizeof *m);
    bool ok = bs__column_text(st, 0, &m->name) && bs__column_text(st, 2, &m->blob) &&
              bs__column_text(st, 3, &m->info_json) && bs__column_text(st, 4, &m->owner) &&
              bs__column_text(st, 7, &m->labels) && bs__column_text(st, 9, &m->lineage_json);
    m->version = sqlite3_column_int64(st, 1);
    m->created_ms = sqlite3_column_int64(st, 5);
    m->bytes = (uint64_t)sqlite3_column_int64(st, 6);
    m->expires_ms = sqlite3_column_int64(st, 8);
    if (ok)
        return BS_OK;
    bs_model_record_free(m);
    return BS_FAIL(err, BS_ENOMEM, "out of memory while reading a model record");
}

bs_status bs__model_check(const struct bs_model_record *m, struct bs_err *err)
{
    if (!bs_store_name_valid(m->name))
        return BS_FAIL(
            err, BS_EINVAL,
            "model name '%.80s' is not accepted: 1 to 64 letters, digits, '.', '_' or '-', the first a "
            "letter or digit",
            m->name ? m->name : "");
    if (!bs__hash_valid(m->blob) || !m->info_json || !m->owner || m->bytes > INT64_MAX)
        return BS_FAIL(err, BS_EINVAL, "model '%s' lacks a blob, a description or an owner", m->name);
    return BS_OK;
}

/* The next number of the name, which no version had before. */
static bs_status next_version(struct bs_store *s, const char *name, int64_t *version, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_MODEL_NAME_ADD,
                           "INSERT INTO model_names(name, last_version) VALUES (?1, 1)"
                           " ON CONFLICT(name) DO UPDATE SET last_version = last_version + 1",
                           &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        rc = bs__sql_run(s, st, "add a model", err);
    }
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_MODEL_NEXT, "SELECT last_version FROM model_names WHERE name = ?1", &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        if (sqlite3_step(st) == SQLITE_ROW)
            *version = sqlite3_column_int64(st, 0);
        else
            rc = bs__sql_fail(s, err, "number a model");
        sqlite3_reset(st);
    }
    return rc;
}

bs_status bs__model_add(struct bs_store *s, struct bs_model_record *m, struct bs_err *err)
{
    sqlite3_stmt *st;
    int64_t now = m->created_ms ? m->created_ms : bs__now_ms(), version = 0;
    bs_status rc = next_version(s, m->name, &version, err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_MODEL_ADD,
                     "INSERT INTO models(" COLUMNS ", trained) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9,"
                     " ?10, NOT (json_valid(?4) AND coalesce(json_extract(?4, '$.trained'), 1) = 0))",
                     &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, m->name);
    sqlite3_bind_int64(st, 2, version);
    bs__bind_text(st, 3, m->blob);
    bs__bind_text(st, 4, m->info_json);
    bs__bind_text(st, 5, m->owner);
    sqlite3_bind_int64(st, 6, now);
    sqlite3_bind_int64(st, 7, (int64_t)m->bytes);
    bs__bind_text(st, 8, m->labels ? m->labels : "{}");
    sqlite3_bind_int64(st, 9, m->expires_ms);
    bs__bind_text(st, 10, m->lineage_json);
    if ((rc = bs__sql_run(s, st, "add a model", err)) != BS_OK)
        return rc;
    m->version = version;
    m->created_ms = now;
    return BS_OK;
}

bs_status bs_store_model_add(struct bs_store *s, struct bs_model_record *m, struct bs_err *err)
{
    bs_status rc = bs__model_check(m, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&s->mu);
    rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = bs__model_add(s, m, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

static bs_status no_such_model(struct bs_err *err, const char *name, int64_t version)
{
    if (version > 0)
        return BS_FAIL(err, BS_ENOTFOUND, "there is no version %lld of a model '%.64s'", (long long)version,
                       name);
    return BS_FAIL(err, BS_ENOTFOUND, "there is no model '%.64s'", name);
}

bs_status bs__model_get(struct bs_store *s, const char *name, int64_t version, struct bs_model_record *out,
                        struct bs_err *err)
{
    sqlite3_stmt *st;
    memset(out, 0, sizeof *out);
    bs_status rc =
        version > 0 ? bs__sql(s, BS__SQL_MODEL_GET,
                              "SELECT " COLUMNS " FROM models WHERE name = ?1 AND version = ?2", &st, err)
                    : bs__sql(s, BS__SQL_MODEL_NEWEST,
                              "SELECT " COLUMNS " FROM models WHERE name = ?1 ORDER BY version DESC LIMIT 1",
                              &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    if (version > 0)
        sqlite3_bind_int64(st, 2, version);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = read_model(st, out, err);
    else if (step == SQLITE_DONE)
        rc = no_such_model(err, name, version);
    else
        rc = bs__sql_fail(s, err, "look up a model");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_model_get(struct bs_store *s, const char *name, int64_t version,
                             struct bs_model_record *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    if (!bs_store_name_valid(name) || version < 0)
        return no_such_model(err, name ? name : "", version);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__model_get(s, name, version, out, err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_model_list(struct bs_store *s, const struct bs_model_filter *filter, const char *after,
                              int limit, struct bs_model_record **out, int *count, struct bs_err *err)
{
    *out = NULL;
    *count = 0;
    char name[65] = "";
    long long version = 0;
    if (after) {
        const char *colon = strrchr(after, ':');
        size_t n = colon ? (size_t)(colon - after) : 0;
        char *end = NULL;
        if (n >= 1 && n <= 64) {
            memcpy(name, after, n);
            name[n] = '\0';
            version = strtoll(colon + 1, &end, 10);
        }
        if (!end || *end || end == colon + 1 || version < 1 || !bs_store_name_valid(name))
            return BS_FAIL(err, BS_EINVAL, "page position '%.80s' is not accepted: expected name:version",
                           after);
    }
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "page size %d is not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_model_record *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing models");
    int n = 0;
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_MODEL_LIST,
                "SELECT " COLUMNS " FROM models WHERE (name, version) > (?1, ?2) AND (trained OR ?4)"
                " AND " BS__HAS_LABELS("?5") " ORDER BY name, version LIMIT ?3",
                &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        sqlite3_bind_int64(st, 2, version);
        sqlite3_bind_int(st, 3, limit);
        sqlite3_bind_int(st, 4, filter->untrained);
        bs__bind_text(st, 5, filter->labels);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list models");
            else if ((rc = read_model(st, &rows[n], err)) == BS_OK)
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        for (int i = 0; i < n; i++)
            bs_model_record_free(&rows[i]);
        free(rows);
        return rc;
    }
    *out = rows;
    *count = n;
    return BS_OK;
}

/* A comparison needs two versions; the other one stands in its request only. jobs: the table's name or alias. */
#define COMPARED(name, version)                                                                              \
    "SELECT 1 FROM jobs WHERE kind = 'compare' AND state < 2 AND json_extract(request, '$.baseline') "       \
    "= " name " AND json_extract(request, '$.baseline_version') = " version

/* BS_EPRECONDITION when the statement finds a job that has not finished and needs this version. mu held. */
static bs_status refuse_by(struct bs_store *s, enum bs__sql which, const char *text, const char *name,
                           int64_t version, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, which, text, &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    sqlite3_bind_int64(st, 2, version);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "model %s version %lld is needed by jobs that have not finished; cancel them or wait",
                     name, (long long)version);
    else if (step != SQLITE_DONE)
        rc = bs__sql_fail(s, err, "look for jobs that need a model");
    sqlite3_reset(st);
    return rc;
}

static bs_status refuse_needed(struct bs_store *s, const char *name, int64_t version, struct bs_err *err)
{
    bs_status rc =
        refuse_by(s, BS__SQL_MODEL_NEEDED,
                  "SELECT id FROM jobs WHERE model = ?1 AND model_version = ?2 AND state < 2 LIMIT 1", name,
                  version, err);
    return rc == BS_OK
               ? refuse_by(s, BS__SQL_MODEL_COMPARED, COMPARED("?1", "?2") " LIMIT 1", name, version, err)
               : rc;
}

/* BS_EPRECONDITION when a movable name means this version. mu held. */
static bs_status refuse_named(struct bs_store *s, const char *name, int64_t version, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_MODEL_ALIASED,
                           "SELECT alias FROM aliases WHERE name = ?1 AND version = ?2 LIMIT 1", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    sqlite3_bind_int64(st, 2, version);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc =
            BS_FAIL(err, BS_EPRECONDITION,
                    "model %s version %lld is what \"%.64s\" means; give that name to another version first, "
                    "or take it away",
                    name, (long long)version, (const char *)sqlite3_column_text(st, 0));
    else if (step != SQLITE_DONE)
        rc = bs__sql_fail(s, err, "look for names of a model");
    sqlite3_reset(st);
    return rc;
}

/* In the open transaction. */
static bs_status delete_version(struct bs_store *s, const char *name, int64_t version, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = refuse_needed(s, name, version, err);
    if (rc == BS_OK)
        rc = refuse_named(s, name, version, err);
    if (rc == BS_OK)
        rc =
            bs__sql(s, BS__SQL_MODEL_DELETE, "DELETE FROM models WHERE name = ?1 AND version = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    sqlite3_bind_int64(st, 2, version);
    rc = bs__sql_run(s, st, "delete a model", err);
    if (rc == BS_OK && sqlite3_changes(s->db) == 0)
        rc = no_such_model(err, name, version);
    return rc == BS_OK ? bs__origins_prune(s, err) : rc;
}

bs_status bs_store_model_delete(struct bs_store *s, const char *name, int64_t version, struct bs_err *err)
{
    if (!bs_store_name_valid(name) || version < 1)
        return no_such_model(err, name ? name : "", version);
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK)
        rc = bs__end(s, delete_version(s, name, version, err), err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_model_expire(struct bs_store *s, int64_t now_ms, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    *count = 0;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc != BS_OK)
        goto unlock;
    rc = bs__sql(
        s, BS__SQL_MODEL_EXPIRE,
        "DELETE FROM models WHERE expires_ms > 0 AND expires_ms <= ?1 AND NOT EXISTS (SELECT 1 FROM jobs"
        " WHERE jobs.model = models.name AND jobs.model_version = models.version AND jobs.state < 2)"
        " AND NOT EXISTS (" COMPARED(
            "models.name",
            "models.version") ")"
                              " AND NOT EXISTS (SELECT 1 FROM aliases WHERE aliases.name = models.name"
                              " AND aliases.version = models.version)",
        &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, now_ms);
        rc = bs__sql_run(s, st, "delete models past their time", err);
    }
    const int deleted = rc == BS_OK ? sqlite3_changes(s->db) : 0;
    if (deleted > 0)
        rc = bs__origins_prune(s, err);
    rc = bs__end(s, rc, err);
    if (rc == BS_OK)
        *count = deleted;
unlock:
    pthread_mutex_unlock(&s->mu);
    return rc;
}
