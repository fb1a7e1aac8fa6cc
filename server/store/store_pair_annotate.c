/* One pair of a dataset, and where its labels count, said anew. Any thread. */
#include "server/store/datasets_internal.h"

static bs_status no_such_pair(const char *dataset, const char *id, struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOTFOUND, "dataset '%s' has no pair '%.40s'", dataset, id);
}

/* mu held. */
static bs_status get(struct bs_store *s, const struct bs_dataset_record *d, const char *id,
                     struct bs_pair_record *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_PAIR_GET,
                           "SELECT " BS__PAIR_COLUMNS " FROM pairs WHERE dataset = ?1 AND id = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    sqlite3_bind_int64(st, 1, d->number);
    bs__bind_text(st, 2, id);
    const int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        rc = bs__pair_read(st, out, err);
    else
        rc = step == SQLITE_DONE ? no_such_pair(d->name, id, err) : bs__sql_fail(s, err, "look for a pair");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_pair_get(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                            struct bs_pair_record *out, struct bs_err *err)
{
    struct bs_dataset_record d = {0};
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__dataset_get(s, owner, dataset, &d, err);
    if (rc == BS_OK)
        rc = get(s, &d, id, out, err);
    pthread_mutex_unlock(&s->mu);
    bs_dataset_record_free(&d);
    return rc;
}

bs_status bs_store_pair_annotate(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                                 const char *annotation, const char *info_json, struct bs_err *err)
{
    struct bs_dataset_record d = {0};
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__dataset_get(s, owner, dataset, &d, err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_PAIR_UPDATE,
                     "UPDATE pairs SET annotation = ?3, info_json = ?4 WHERE dataset = ?1 AND id = ?2", &st,
                     err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, d.number);
        bs__bind_text(st, 2, id);
        bs__bind_text(st, 3, annotation);
        bs__bind_text(st, 4, info_json);
        rc = bs__sql_run(s, st, "annotate a pair", err);
        if (rc == BS_OK && sqlite3_changes(s->db) == 0)
            rc = no_such_pair(d.name, id, err);
    }
    pthread_mutex_unlock(&s->mu);
    bs_dataset_record_free(&d);
    return rc;
}
