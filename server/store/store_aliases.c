/* Movable names of versions and the notes of their moves. See aliases.h. */
#include "server/store/aliases.h"
#include "server/store/store_internal.h"
#include "server/store/store_models_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAX_LIMIT    1001
#define MOVE_COLUMNS "number, alias, kind, from_version, to_version, who, moved_ms, reason"

void bs_alias_move_record_free(struct bs_alias_move_record *m)
{
    if (!m)
        return;
    free(m->alias);
    free(m->who);
    free(m->reason);
    memset(m, 0, sizeof *m);
}

static bs_status read_move(sqlite3_stmt *st, struct bs_alias_move_record *m, struct bs_err *err)
{
    memset(m, 0, sizeof *m);
    bool ok = bs__column_text(st, 1, &m->alias) && bs__column_text(st, 5, &m->who) &&
              bs__column_text(st, 7, &m->reason);
    m->number = sqlite3_column_int64(st, 0);
    m->kind = (enum bs_alias_move_kind)sqlite3_column_int(st, 2);
    m->from_version = sqlite3_column_int64(st, 3);
    m->to_version = sqlite3_column_int64(st, 4);
    m->moved_ms = sqlite3_column_int64(st, 6);
    if (ok)
        return BS_OK;
    bs_alias_move_record_free(m);
    return BS_FAIL(err, BS_ENOMEM, "out of memory while reading the moves of a name");
}

/* ---- in a transaction, mu held ---- */

/* The statement's one number; `absent` when it has no row. */
static bs_status one_number(struct bs_store *s, sqlite3_stmt *st, int64_t absent, int64_t *out,
                            struct bs_err *err)
{
    bs_status rc = BS_OK;
    int step = sqlite3_step(st);
    *out = step == SQLITE_ROW ? sqlite3_column_int64(st, 0) : absent;
    if (step != SQLITE_ROW && step != SQLITE_DONE)
        rc = bs__sql_fail(s, err, "look up the name of a version");
    sqlite3_reset(st);
    return rc;
}

bs_status bs__alias_version(struct bs_store *s, const char *name, const char *alias, int64_t *version,
                            struct bs_err *err)
{
    sqlite3_stmt *st;
    *version = 0;
    bs_status rc =
        bs__sql(s, BS__SQL_ALIAS_GET, "SELECT version FROM aliases WHERE name = ?1 AND alias = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    bs__bind_text(st, 2, alias);
    return one_number(s, st, 0, version, err);
}

/* BS_EPERMISSION when who asks may not move the alias away from `from`. */
static bs_status check_rights(struct bs_store *s, const struct bs_alias_wish *w, int64_t from,
                              struct bs_err *err)
{
    sqlite3_stmt *st;
    int64_t may = 0;
    if (w->admin || from == 0)
        return BS_OK;
    bs_status rc = bs__sql(
        s, BS__SQL_ALIAS_RIGHTS,
        "SELECT EXISTS (SELECT 1 FROM models WHERE name = ?1 AND version = ?2 AND owner = ?4)"
        " OR ?4 = (SELECT who FROM alias_moves WHERE name = ?1 AND alias = ?3 ORDER BY number DESC LIMIT 1)",
        &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, w->name);
    sqlite3_bind_int64(st, 2, from);
    bs__bind_text(st, 3, w->alias);
    bs__bind_text(st, 4, w->who);
    if ((rc = one_number(s, st, 0, &may, err)) == BS_OK && !may)
        rc = BS_FAIL(
            err, BS_EPERMISSION,
            "\"%.64s\" of %.64s means version %lld, which is not yours, nor did you move it last: its "
            "owner or an administrator may",
            w->alias, w->name, (long long)from);
    return rc;
}

static bs_status note_move(struct bs_store *s, const struct bs_alias_wish *w, enum bs_alias_move_kind kind,
                           int64_t from, int64_t to, struct bs_alias_move_record *move, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_ALIAS_MOVE_ADD,
                "INSERT INTO alias_moves(name, alias, kind, from_version, to_version, who, moved_ms, "
                "reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                &st, err);
    if (rc != BS_OK)
        return rc;
    *move = (struct bs_alias_move_record){.kind = kind,
                                          .from_version = from,
                                          .to_version = to,
                                          .moved_ms = bs__now_ms(),
                                          .alias = strdup(w->alias),
                                          .who = strdup(w->who),
                                          .reason = strdup(w->reason ? w->reason : "")};
    if (!move->alias || !move->who || !move->reason)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while moving a name");
    bs__bind_text(st, 1, w->name);
    bs__bind_text(st, 2, w->alias);
    sqlite3_bind_int(st, 3, (int)kind);
    sqlite3_bind_int64(st, 4, from);
    sqlite3_bind_int64(st, 5, to);
    bs__bind_text(st, 6, move->who);
    sqlite3_bind_int64(st, 7, move->moved_ms);
    bs__bind_text(st, 8, move->reason);
    rc = bs__sql_run(s, st, "note the move of a name", err);
    move->number = sqlite3_last_insert_rowid(s->db);
    return rc;
}

/* to 0: takes the alias away. */
static bs_status point(struct bs_store *s, const struct bs_alias_wish *w, int64_t to, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = to > 0 ? bs__sql(s, BS__SQL_ALIAS_SET,
                                    "INSERT INTO aliases(name, alias, version) VALUES (?1, ?2, ?3)"
                                    " ON CONFLICT(name, alias) DO UPDATE SET version = excluded.version",
                                    &st, err)
                          : bs__sql(s, BS__SQL_ALIAS_DELETE,
                                    "DELETE FROM aliases WHERE name = ?1 AND alias = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, w->name);
    bs__bind_text(st, 2, w->alias);
    if (to > 0)
        sqlite3_bind_int64(st, 3, to);
    return bs__sql_run(s, st, "move a name", err);
}

static bs_status refuse_too_many(struct bs_store *s, const char *name, struct bs_err *err)
{
    sqlite3_stmt *st;
    int64_t n = 0;
    bs_status rc = bs__sql(s, BS__SQL_ALIAS_COUNT, "SELECT count(*) FROM aliases WHERE name = ?1", &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, name);
    if ((rc = one_number(s, st, 0, &n, err)) == BS_OK && n >= BS_ALIASES_MAX)
        rc = BS_FAIL(err, BS_ELIMIT, "%.64s has %lld aliases; up to %d are accepted", name, (long long)n,
                     BS_ALIASES_MAX);
    return rc;
}

static bs_status set(struct bs_store *s, const struct bs_alias_wish *w, int64_t version,
                     struct bs_alias_move_record *move, struct bs_err *err)
{
    struct bs_model_record model = {.name = NULL};
    int64_t from = 0;
    bs_status rc = bs__model_get(s, w->name, version, &model, err);
    if (rc == BS_OK && !w->admin && strcmp(model.owner, w->who) != 0)
        rc = BS_FAIL(err, BS_EPERMISSION,
                     "%.64s version %lld belongs to %.64s; only they or an administrator may give it a name",
                     w->name, (long long)version, model.owner);
    bs_model_record_free(&model);
    if (rc != BS_OK || (rc = bs__alias_version(s, w->name, w->alias, &from, err)) != BS_OK || from == version)
        return rc;
    if (from == 0 && (rc = refuse_too_many(s, w->name, err)) != BS_OK)
        return rc;
    if ((rc = check_rights(s, w, from, err)) != BS_OK || (rc = point(s, w, version, err)) != BS_OK)
        return rc;
    return note_move(s, w, BS_ALIAS_SET, from, version, move, err);
}

/* The last move that was not undone and is not itself an undo: its number, and what the alias meant before. */
static bs_status last_move(struct bs_store *s, const struct bs_alias_wish *w, int64_t *number,
                           int64_t *before, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_ALIAS_MOVE_LAST,
                           "SELECT number, from_version FROM alias_moves WHERE name = ?1 AND alias = ?2"
                           " AND kind <> 1 AND NOT undone ORDER BY number DESC LIMIT 1",
                           &st, err);
    *number = *before = 0;
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, w->name);
    bs__bind_text(st, 2, w->alias);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        *number = sqlite3_column_int64(st, 0);
        *before = sqlite3_column_int64(st, 1);
    } else if (step != SQLITE_DONE) {
        rc = bs__sql_fail(s, err, "look for the last move of a name");
    }
    sqlite3_reset(st);
    return rc;
}

static bs_status roll_back(struct bs_store *s, const struct bs_alias_wish *w,
                           struct bs_alias_move_record *move, struct bs_err *err)
{
    struct bs_model_record model = {.name = NULL};
    sqlite3_stmt *st;
    int64_t from = 0, number = 0, before = 0;
    bs_status rc;
    if ((rc = bs__alias_version(s, w->name, w->alias, &from, err)) != BS_OK ||
        (rc = last_move(s, w, &number, &before, err)) != BS_OK)
        return rc;
    if (before == 0)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "\"%.64s\" of %.64s has meant no other version to go back to; promote one instead",
                       w->alias, w->name);
    if ((rc = check_rights(s, w, from, err)) != BS_OK)
        return rc;
    rc = bs__model_get(s, w->name, before, &model, err);
    bs_model_record_free(&model);
    if (rc == BS_ENOTFOUND)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "%.64s version %lld, which \"%.64s\" would go back to, was deleted; promote another",
                       w->name, (long long)before, w->alias);
    if (rc != BS_OK ||
        (rc = bs__sql(s, BS__SQL_ALIAS_MOVE_UNDO, "UPDATE alias_moves SET undone = 1 WHERE number = ?1", &st,
                      err)) != BS_OK)
        return rc;
    sqlite3_bind_int64(st, 1, number);
    if ((rc = bs__sql_run(s, st, "roll a name back", err)) != BS_OK ||
        (rc = point(s, w, before, err)) != BS_OK)
        return rc;
    return note_move(s, w, BS_ALIAS_ROLLED_BACK, from, before, move, err);
}

static bs_status delete_alias(struct bs_store *s, const struct bs_alias_wish *w,
                              struct bs_alias_move_record *move, struct bs_err *err)
{
    int64_t from = 0;
    bs_status rc = bs__alias_version(s, w->name, w->alias, &from, err);
    if (rc == BS_OK && from == 0)
        rc = BS_FAIL(err, BS_ENOTFOUND, "%.64s has no alias \"%.64s\"", w->name, w->alias);
    if (rc != BS_OK || (rc = check_rights(s, w, from, err)) != BS_OK || (rc = point(s, w, 0, err)) != BS_OK)
        return rc;
    return note_move(s, w, BS_ALIAS_DELETED, from, 0, move, err);
}

/* ---- calls ---- */

static bs_status check_wish(const struct bs_alias_wish *w, struct bs_err *err)
{
    if (!bs_store_name_valid(w->name))
        return BS_FAIL(err, BS_ENOTFOUND, "there is no model '%.64s'", w->name ? w->name : "");
    if (!bs_store_name_valid(w->alias) || strcmp(w->alias, BS_ALIAS_NEWEST) == 0)
        return BS_FAIL(err, BS_EINVAL,
                       "alias '%.64s' is not accepted: 1 to 64 letters, digits, '.', '_' or '-', the first a "
                       "letter or digit, and not \"" BS_ALIAS_NEWEST "\", which is always the newest version",
                       w->alias ? w->alias : "");
    if (w->alias[strspn(w->alias, "0123456789")] == '\0')
        return BS_FAIL(err, BS_EINVAL, "alias '%.64s' is not accepted: it reads like a version", w->alias);
    if (w->reason && strnlen(w->reason, BS_ALIAS_MAX_REASON + 1) > BS_ALIAS_MAX_REASON)
        return BS_FAIL(err, BS_EINVAL, "the reason is longer than %d bytes", BS_ALIAS_MAX_REASON);
    return BS_OK;
}

enum change { SET, ROLL_BACK, DELETE };

static bs_status change(struct bs_store *s, const struct bs_alias_wish *w, enum change what, int64_t version,
                        struct bs_alias_move_record *move, struct bs_err *err)
{
    memset(move, 0, sizeof *move);
    bs_status rc = check_wish(w, err);
    if (rc != BS_OK)
        return rc;
    pthread_mutex_lock(&s->mu);
    rc = bs__begin(s, err);
    if (rc == BS_OK) {
        rc = what == SET         ? set(s, w, version, move, err)
             : what == ROLL_BACK ? roll_back(s, w, move, err)
                                 : delete_alias(s, w, move, err);
        rc = bs__end(s, rc, err);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK)
        bs_alias_move_record_free(move);
    return rc;
}

bs_status bs_store_alias_set(struct bs_store *s, const struct bs_alias_wish *w, int64_t version,
                             struct bs_alias_move_record *move, struct bs_err *err)
{
    return change(s, w, SET, version, move, err);
}

bs_status bs_store_alias_roll_back(struct bs_store *s, const struct bs_alias_wish *w,
                                   struct bs_alias_move_record *move, struct bs_err *err)
{
    return change(s, w, ROLL_BACK, 0, move, err);
}

bs_status bs_store_alias_delete(struct bs_store *s, const struct bs_alias_wish *w,
                                struct bs_alias_move_record *move, struct bs_err *err)
{
    return change(s, w, DELETE, 0, move, err);
}

bs_status bs_store_alias_moves(struct bs_store *s, const char *name, const char *alias, int64_t before,
                               int limit, struct bs_alias_move_record **out, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "page size %d is not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_alias_move_record *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing the moves of names");
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_ALIAS_MOVES,
                           "SELECT " MOVE_COLUMNS " FROM alias_moves WHERE name = ?1"
                           " AND (?2 IS NULL OR alias = ?2) AND (?3 = 0 OR number < ?3)"
                           " ORDER BY number DESC LIMIT ?4",
                           &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        bs__bind_text(st, 2, alias);
        sqlite3_bind_int64(st, 3, before);
        sqlite3_bind_int(st, 4, limit);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list the moves of names");
            else if ((rc = read_move(st, &rows[n], err)) == BS_OK)
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc == BS_OK) {
        *out = rows;
        *count = n;
        return BS_OK;
    }
    for (int i = 0; i < n; i++)
        bs_alias_move_record_free(&rows[i]);
    free(rows);
    return rc;
}

bs_status bs_store_aliases_of(struct bs_store *s, const char *name, int64_t version, char ***out, int *count,
                              struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    char **names = calloc(BS_ALIASES_MAX, sizeof *names);
    if (!names)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing the names of a version");
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_ALIAS_OF_VERSION,
                "SELECT alias FROM aliases WHERE name = ?1 AND version = ?2 ORDER BY alias", &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, name);
        sqlite3_bind_int64(st, 2, version);
        int step;
        while (rc == BS_OK && n < BS_ALIASES_MAX && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list the names of a version");
            else if (bs__column_text(st, 0, &names[n]))
                n++;
            else
                rc = BS_FAIL(err, BS_ENOMEM, "out of memory while listing the names of a version");
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc == BS_OK) {
        *out = names;
        *count = n;
        return BS_OK;
    }
    for (int i = 0; i < n; i++)
        free(names[i]);
    free(names);
    return rc;
}

bs_status bs_store_model_by_alias(struct bs_store *s, const char *name, const char *alias,
                                  struct bs_model_record *out, struct bs_err *err)
{
    int64_t version = 0;
    memset(out, 0, sizeof *out);
    if (!bs_store_name_valid(name))
        return BS_FAIL(err, BS_ENOTFOUND, "there is no model '%.64s'", name ? name : "");
    pthread_mutex_lock(&s->mu);
    bs_status rc = BS_OK;
    if (!alias || strcmp(alias, BS_ALIAS_NEWEST) != 0)
        rc = bs__alias_version(s, name, alias ? alias : BS_ALIAS_PROMOTED, &version, err);
    if (rc == BS_OK && alias && version == 0 && strcmp(alias, BS_ALIAS_NEWEST) != 0)
        rc = BS_FAIL(err, BS_ENOTFOUND, "%.64s has no alias \"%.64s\"", name, alias);
    if (rc == BS_OK)
        rc = bs__model_get(s, name, version, out, err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}
