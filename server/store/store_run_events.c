/* What training runs tell: one row for each step and for each validation. Any thread. */
#include "server/store/runs_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIMIT 10000

static void bind_number(sqlite3_stmt *st, int index, double v)
{
    if (isnan(v)) /* SQLite makes NULL of it anyway */
        sqlite3_bind_null(st, index);
    else
        sqlite3_bind_double(st, index, v);
}

static double number(sqlite3_stmt *st, int column)
{
    return sqlite3_column_type(st, column) == SQLITE_NULL ? NAN : sqlite3_column_double(st, column);
}

bs_status bs__run_notes_add(struct bs_store *s, const char *id, const struct bs_run_note *notes, size_t count,
                            struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (size_t i = 0; i < count && rc == BS_OK; i++) {
        const struct bs_run_note *n = &notes[i];
        sqlite3_stmt *st;
        rc = bs__sql(s, BS__SQL_RUN_EVENT,
                     "INSERT OR REPLACE INTO run_events(job, step, kind, epoch, loss, learning_rate, metric,"
                     " best_metric, best_step, images_per_second, seconds_left)"
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                     &st, err);
        if (rc != BS_OK)
            break;
        bs__bind_text(st, 1, id);
        sqlite3_bind_int64(st, 2, n->step);
        sqlite3_bind_int(st, 3, n->validation);
        sqlite3_bind_int64(st, 4, n->epoch);
        bind_number(st, 5, n->loss);
        bind_number(st, 6, n->learning_rate);
        bind_number(st, 7, n->metric);
        bind_number(st, 8, n->best_metric);
        sqlite3_bind_int64(st, 9, n->best_step);
        bind_number(st, 10, n->images_per_second);
        bind_number(st, 11, n->seconds_left);
        rc = bs__sql_run(s, st, "keep what a training run told", err);
    }
    return rc;
}

bs_status bs__run_progress(struct bs_store *s, const char *id, int64_t step, int64_t steps, bool forgive,
                           struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_RUN_PROGRESS,
                "UPDATE jobs SET done = ?2, total = ?3, attempts = CASE WHEN ?4 THEN 0 ELSE attempts END,"
                " revision = revision + 1 WHERE id = ?1 AND state = 1",
                &st, err);
    if (rc != BS_OK)
        return rc;
    /* The columns were made for tiles. */
    bs__bind_text(st, 1, id);
    sqlite3_bind_int64(st, 2, step < INT32_MAX ? step : INT32_MAX);
    sqlite3_bind_int64(st, 3, steps < INT32_MAX ? steps : INT32_MAX);
    sqlite3_bind_int(st, 4, forgive);
    return bs__sql_run(s, st, "note how far a training run is", err);
}

bs_status bs_store_run_notes_add(struct bs_store *s, const char *id, const struct bs_run_note *notes,
                                 size_t count, int64_t step, int64_t steps, struct bs_err *err)
{
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = bs__run_notes_add(s, id, notes, count, err);
        if (rc == BS_OK)
            rc = bs__run_progress(s, id, step, steps, false, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_run_notes(struct bs_store *s, const char *id, int64_t after_step, bool after_validation,
                             int limit, struct bs_run_note **out, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "%d notes at a time are not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_run_note *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading what a training run told");
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_RUN_EVENTS,
                           "SELECT step, kind, epoch, loss, learning_rate, metric, best_metric, best_step,"
                           " images_per_second, seconds_left FROM run_events WHERE job = ?1"
                           " AND (step, kind) > (?2, ?4)"
                           " ORDER BY step, kind LIMIT ?3",
                           &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, id);
        sqlite3_bind_int64(st, 2, after_step);
        sqlite3_bind_int(st, 3, limit);
        sqlite3_bind_int(st, 4, after_validation);
        int step;
        while ((step = sqlite3_step(st)) == SQLITE_ROW)
            rows[n++] = (struct bs_run_note){.step = sqlite3_column_int64(st, 0),
                                             .validation = sqlite3_column_int(st, 1) != 0,
                                             .epoch = sqlite3_column_int64(st, 2),
                                             .loss = number(st, 3),
                                             .learning_rate = number(st, 4),
                                             .metric = number(st, 5),
                                             .best_metric = number(st, 6),
                                             .best_step = sqlite3_column_int64(st, 7),
                                             .images_per_second = number(st, 8),
                                             .seconds_left = number(st, 9)};
        if (step != SQLITE_DONE)
            rc = bs__sql_fail(s, err, "read what a training run told");
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        free(rows);
        return rc;
    }
    *out = rows;
    *count = n;
    return BS_OK;
}
