/* Datasets in the store; their pairs stand in store_pairs.c. Any thread. */
#include "server/store/datasets_internal.h"

#include <stdlib.h>
#include <string.h>

/* Counts and bytes are summed up from the pairs at every look: pairs are indexed by dataset, and nothing can disagree. */
#define COLUMNS                                                                                              \
    "number, name, owner, project, labels, description, licence, created_ms, expires_ms,"                    \
    " (SELECT count(*) FROM pairs WHERE dataset = number AND split = 0),"                                    \
    " (SELECT count(*) FROM pairs WHERE dataset = number AND split = 1),"                                    \
    " (SELECT count(*) FROM pairs WHERE dataset = number AND split = 2),"                                    \
    " (SELECT coalesce(sum(image_bytes + labels_bytes + prediction_bytes), 0) FROM pairs WHERE dataset = "   \
    "number)"
#define MAX_LIMIT 1001 /* a page of 1000, and one more that tells whether there is a next */
#define MAX_TEXT  65536

const char *bs_split_name(enum bs_split split)
{
    static const char *const name[BS_SPLITS] = {"train", "validation", "test"};
    return (unsigned)split < BS_SPLITS ? name[split] : "unknown";
}

void bs_dataset_record_free(struct bs_dataset_record *d)
{
    if (!d)
        return;
    free(d->name);
    free(d->owner);
    free(d->project);
    free(d->labels);
    free(d->description);
    free(d->licence);
    memset(d, 0, sizeof *d);
}

static bs_status read_dataset(sqlite3_stmt *st, struct bs_dataset_record *d, struct bs_err *err)
{
    memset(d, 0, sizeof *d);
    char **texts[] = {&d->name, &d->owner, &d->project, &d->labels, &d->description, &d->licence};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof texts / sizeof *texts; i++)
        ok = bs__column_text(st, 1 + (int)i, texts[i]);
    if (!ok) {
        bs_dataset_record_free(d);
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading a dataset record");
    }
    d->number = sqlite3_column_int64(st, 0);
    d->created_ms = sqlite3_column_int64(st, 7);
    d->expires_ms = sqlite3_column_int64(st, 8);
    for (int i = 0; i < BS_SPLITS; i++)
        d->pairs[i] = (uint64_t)sqlite3_column_int64(st, 9 + i);
    d->bytes = (uint64_t)sqlite3_column_int64(st, 12);
    return BS_OK;
}

static bs_status no_such_dataset(struct bs_err *err, const char *name)
{
    return BS_FAIL(err, BS_ENOTFOUND, "you have no dataset '%.64s'", name);
}

bs_status bs__dataset_get(struct bs_store *s, const char *owner, const char *name,
                          struct bs_dataset_record *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_DATASET_GET,
                           "SELECT " COLUMNS " FROM datasets WHERE owner = ?1 AND name = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, owner);
    bs__bind_text(st, 2, name);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = read_dataset(st, out, err);
    else if (step == SQLITE_DONE)
        rc = no_such_dataset(err, name);
    else
        rc = bs__sql_fail(s, err, "look up a dataset");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_dataset_get(struct bs_store *s, const char *owner, const char *name,
                               struct bs_dataset_record *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    if (!bs_store_name_valid(name))
        return no_such_dataset(err, name ? name : "");
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__dataset_get(s, owner, name, out, err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

static bs_status check_new(const struct bs_dataset_record *d, struct bs_err *err)
{
    if (!bs_store_name_valid(d->name))
        return BS_FAIL(
            err, BS_EINVAL,
            "dataset name '%.80s' is not accepted: 1 to 64 letters, digits, '.', '_' or '-', the first a "
            "letter or digit",
            d->name ? d->name : "");
    if (!d->owner || !*d->owner)
        return BS_FAIL(err, BS_EINVAL, "a dataset needs an owner");
    const char *const texts[] = {d->project, d->labels, d->description, d->licence};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i] && strnlen(texts[i], MAX_TEXT + 1) > MAX_TEXT)
            return BS_FAIL(err, BS_EINVAL, "a dataset's texts have at most %d bytes each", MAX_TEXT);
    return BS_OK;
}

bs_status bs_store_dataset_add(struct bs_store *s, struct bs_dataset_record *d, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = check_new(d, err);
    if (rc != BS_OK)
        return rc;
    int64_t now = d->created_ms ? d->created_ms : bs__now_ms();
    pthread_mutex_lock(&s->mu);
    rc = bs__sql(s, BS__SQL_DATASET_ADD,
                 "INSERT INTO datasets(owner, name, project, labels, description, licence, created_ms,"
                 " expires_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
                 &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, d->owner);
        bs__bind_text(st, 2, d->name);
        bs__bind_text(st, 3, d->project ? d->project : "");
        bs__bind_text(st, 4, d->labels ? d->labels : "{}");
        bs__bind_text(st, 5, d->description ? d->description : "");
        bs__bind_text(st, 6, d->licence ? d->licence : "");
        sqlite3_bind_int64(st, 7, now);
        sqlite3_bind_int64(st, 8, d->expires_ms);
        rc = bs__sql_run(s, st, "add a dataset", err);
    }
    if (rc == BS_OK && sqlite3_changes(s->db) == 0)
        rc = BS_FAIL(err, BS_EEXIST, "you have a dataset '%s' already", d->name);
    if (rc == BS_OK) {
        d->number = sqlite3_last_insert_rowid(s->db);
        d->created_ms = now;
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_dataset_list(struct bs_store *s, const struct bs_dataset_filter *filter, const char *after,
                                int limit, struct bs_dataset_record **out, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "page size %d is not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_dataset_record *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing datasets");
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_DATASET_LIST,
                "SELECT " COLUMNS " FROM datasets WHERE owner = ?1 AND (?2 IS NULL OR name > ?2)"
                " AND (?4 IS NULL OR project = ?4) AND " BS__HAS_LABELS("?5") " ORDER BY name LIMIT ?3",
                &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, filter->owner);
        bs__bind_text(st, 2, after && *after ? after : NULL);
        sqlite3_bind_int(st, 3, limit);
        bs__bind_text(st, 4, filter->project);
        bs__bind_text(st, 5, filter->labels);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list datasets");
            else if ((rc = read_dataset(st, &rows[n], err)) == BS_OK)
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        for (int i = 0; i < n; i++)
            bs_dataset_record_free(&rows[i]);
        free(rows);
        return rc;
    }
    *out = rows;
    *count = n;
    return BS_OK;
}

bs_status bs__dataset_refuse_needed(struct bs_store *s, const struct bs_dataset_record *d, const char *doing,
                                    struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_DATASET_NEEDED,
                           "SELECT id FROM jobs WHERE dataset = ?1 AND state < 2 LIMIT 1", &st, err);
    if (rc != BS_OK)
        return rc;
    sqlite3_bind_int64(st, 1, d->number);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "dataset '%s' is needed by job %.40s, which has not finished, and cannot be %s; cancel "
                     "the job or wait",
                     d->name, (const char *)sqlite3_column_text(st, 0), doing);
    else if (step != SQLITE_DONE)
        rc = bs__sql_fail(s, err, "look for jobs that need a dataset");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_dataset_delete(struct bs_store *s, const char *owner, const char *name, struct bs_err *err)
{
    struct bs_dataset_record d = {0};
    sqlite3_stmt *st;
    if (!bs_store_name_valid(name))
        return no_such_dataset(err, name ? name : "");
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__dataset_get(s, owner, name, &d, err);
    if (rc == BS_OK)
        rc = bs__dataset_refuse_needed(s, &d, "deleted", err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_DATASET_DELETE, "DELETE FROM datasets WHERE number = ?1", &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, d.number);
        rc = bs__sql_run(s, st, "delete a dataset", err);
    }
    pthread_mutex_unlock(&s->mu);
    bs_dataset_record_free(&d);
    return rc;
}

bs_status bs_store_dataset_expire(struct bs_store *s, int64_t now_ms, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    *count = 0;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_DATASET_EXPIRE,
                           "DELETE FROM datasets WHERE expires_ms > 0 AND expires_ms <= ?1 AND NOT EXISTS"
                           " (SELECT 1 FROM jobs WHERE jobs.dataset = datasets.number AND jobs.state < 2)",
                           &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, now_ms);
        rc = bs__sql_run(s, st, "delete datasets past their time", err);
        if (rc == BS_OK)
            *count = sqlite3_changes(s->db);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}

bs_status bs_store_dataset_shared_groups(struct bs_store *s, int64_t number, char ***out, int *count,
                                         struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    char **names = calloc(BS_SHARED_GROUPS_MAX, sizeof *names);
    if (!names)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while looking for groups");
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_DATASET_GROUPS,
                           "SELECT grp FROM pairs WHERE dataset = ?1 AND grp <> '' GROUP BY grp"
                           " HAVING min(split) <> max(split) ORDER BY grp LIMIT ?2",
                           &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, number);
        sqlite3_bind_int(st, 2, BS_SHARED_GROUPS_MAX);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "look for groups");
            else if (!bs__column_text(st, 0, &names[n]))
                rc = BS_FAIL(err, BS_ENOMEM, "out of memory while looking for groups");
            else
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        for (int i = 0; i < n; i++)
            free(names[i]);
        free(names);
        return rc;
    }
    *out = names;
    *count = n;
    return BS_OK;
}
