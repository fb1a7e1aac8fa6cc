/* Origins of trained versions in the store. See origins.h. */
#include "server/store/origins.h"
#include "server/store/store_internal.h"
#include "server/store/store_models_internal.h"

#include <stdlib.h>
#include <string.h>

void bs_origin_record_free(struct bs_origin_record *o)
{
    if (!o)
        return;
    free(o->name);
    free(o->lineage_json);
    free(o->manifest_blob);
    free(o->parent);
    memset(o, 0, sizeof *o);
}

bs_status bs__origin_add(struct bs_store *s, const struct bs_model_record *m, const char *manifest_blob,
                         struct bs_err *err)
{
    sqlite3_stmt *st;
    if (!m->lineage_json)
        return BS_OK;
    bs_status rc = bs__sql(
        s, BS__SQL_ORIGIN_ADD,
        "INSERT INTO origins(name, version, blob, lineage_json, manifest_blob, parent, parent_version,"
        " created_ms) VALUES (?1, ?2, ?3, ?4, nullif(?5, ''), json_extract(?4, '$.parent.name'),"
        " json_extract(?4, '$.parent.version'), ?6)",
        &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, m->name);
    sqlite3_bind_int64(st, 2, m->version);
    bs__bind_text(st, 3, m->blob);
    bs__bind_text(st, 4, m->lineage_json);
    bs__bind_text(st, 5, manifest_blob);
    sqlite3_bind_int64(st, 6, m->created_ms);
    return bs__sql_run(s, st, "note where a version comes from", err);
}

bs_status bs__origins_prune(struct bs_store *s, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_ORIGIN_PRUNE,
                "WITH RECURSIVE needed(name, version) AS ("
                " SELECT name, version FROM models"
                " UNION SELECT model, model_version FROM jobs WHERE kind = 'train' AND model IS NOT NULL"
                " UNION SELECT o.name, o.version FROM origins o JOIN models m ON m.blob = o.blob"
                " UNION SELECT o.parent, o.parent_version FROM origins o JOIN needed n"
                "  ON o.name = n.name AND o.version = n.version WHERE o.parent IS NOT NULL)"
                " DELETE FROM origins WHERE (name, version) NOT IN (SELECT name, version FROM needed)",
                &st, err);
    return rc == BS_OK ? bs__sql_run(s, st, "forget where deleted versions came from", err) : rc;
}

bs_status bs_store_origin_get(struct bs_store *s, const char *name, int64_t version, const char *blob,
                              struct bs_origin_record *out, struct bs_err *err)
{
    sqlite3_stmt *st;
    memset(out, 0, sizeof *out);
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_ORIGIN_GET,
                "SELECT name, version, lineage_json, manifest_blob, parent, parent_version, created_ms"
                " FROM origins WHERE (name = ?1 AND version = ?2) OR blob = ?3"
                " ORDER BY (name = ?1 AND version = ?2) DESC, created_ms LIMIT 1",
                &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        sqlite3_bind_int64(st, 2, version);
        bs__bind_text(st, 3, blob);
        int step = sqlite3_step(st);
        if (step == SQLITE_ROW) {
            if (!bs__column_text(st, 0, &out->name) || !bs__column_text(st, 2, &out->lineage_json) ||
                !bs__column_text(st, 3, &out->manifest_blob) || !bs__column_text(st, 4, &out->parent))
                rc = BS_FAIL(err, BS_ENOMEM, "out of memory while reading where a version comes from");
            out->version = sqlite3_column_int64(st, 1);
            out->parent_version = sqlite3_column_int64(st, 5);
            out->created_ms = sqlite3_column_int64(st, 6);
        } else if (step == SQLITE_DONE) {
            rc = BS_FAIL(err, BS_ENOTFOUND, "%.64s version %lld was not trained here", name,
                         (long long)version);
        } else {
            rc = bs__sql_fail(s, err, "look up where a version comes from");
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK)
        bs_origin_record_free(out);
    return rc;
}
