/* The picture of a training run's last validation. Any thread. */
#include "server/store/runs_internal.h"

#include <stdlib.h>
#include <string.h>

void bs_run_sample_free(struct bs_run_sample *p)
{
    free(p->planes);
    memset(p, 0, sizeof *p);
}

bs_status bs_store_run_sample_put(struct bs_store *s, const char *id, const struct bs_run_sample *p,
                                  struct bs_err *err)
{
    sqlite3_stmt *st;
    if (p->bytes == 0 || p->bytes > BS_RUN_SAMPLE_MAX_BYTES)
        return BS_FAIL(err, BS_EINVAL, "a picture of %zu bytes; 1 to %d are accepted", p->bytes,
                       BS_RUN_SAMPLE_MAX_BYTES);
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_SAMPLE_PUT,
                "INSERT OR REPLACE INTO run_samples(job, step, height, width, channels, target_channels,"
                " reduction, planes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                &st, err);
    if (rc == BS_OK) {
        const int64_t numbers[] = {p->step,     p->height,          p->width,
                                   p->channels, p->target_channels, p->reduction};
        bs__bind_text(st, 1, id);
        for (int i = 0; i < 6; i++)
            sqlite3_bind_int64(st, 2 + i, numbers[i]);
        sqlite3_bind_blob(st, 8, p->planes, (int)p->bytes, SQLITE_STATIC);
        rc = bs__sql_run(s, st, "keep the picture of a validation", err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

static bs_status read_sample(sqlite3_stmt *st, struct bs_run_sample *out, struct bs_err *err)
{
    uint32_t *const numbers[] = {&out->height, &out->width, &out->channels, &out->target_channels,
                                 &out->reduction};
    out->step = sqlite3_column_int64(st, 0);
    for (int i = 0; i < 5; i++)
        *numbers[i] = (uint32_t)sqlite3_column_int64(st, 1 + i);
    out->bytes = (size_t)sqlite3_column_bytes(st, 6);
    if (!(out->planes = malloc(out->bytes + 1)))
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading a picture");
    if (out->bytes)
        memcpy(out->planes, sqlite3_column_blob(st, 6), out->bytes);
    return BS_OK;
}

bs_status bs_store_run_sample_get(struct bs_store *s, const char *id, struct bs_run_sample *out,
                                  struct bs_err *err)
{
    sqlite3_stmt *st;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_SAMPLE_GET,
                "SELECT step, height, width, channels, target_channels, reduction, planes FROM run_samples"
                " WHERE job = ?1",
                &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        const int step = sqlite3_step(st);
        if (step == SQLITE_ROW)
            rc = read_sample(st, out, err);
        else
            rc = step == SQLITE_DONE ? BS_FAIL(err, BS_ENOTFOUND, "job %s has not been validated yet", id)
                                     : bs__sql_fail(s, err, "look for a picture");
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_run_sample_step(struct bs_store *s, const char *id, int64_t *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    *out = -1;
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_SAMPLE_STEP, "SELECT step FROM run_samples WHERE job = ?1", &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        const int step = sqlite3_step(st);
        if (step == SQLITE_ROW)
            *out = sqlite3_column_int64(st, 0);
        else if (step != SQLITE_DONE)
            rc = bs__sql_fail(s, err, "look for a picture");
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}
