/* Pairs of image and labels: adding them under the rules that keep splits honest, listing and removing them. Any thread. */
#include "server/store/datasets_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LIMIT 1001 /* a page of 1000, and one more that tells whether there is a next */
#define MAX_NAME  255
#define NOTHING   "{}" /* annotation */

void bs_pair_record_free(struct bs_pair_record *p)
{
    if (!p)
        return;
    free(p->name);
    free(p->group);
    free(p->image_blob);
    free(p->labels_blob);
    free(p->info_json);
    free(p->annotation);
    free(p->prediction_blob);
    memset(p, 0, sizeof *p);
}

bs_status bs__pair_read(sqlite3_stmt *st, struct bs_pair_record *p, struct bs_err *err)
{
    memset(p, 0, sizeof *p);
    snprintf(p->id, sizeof p->id, "%s", (const char *)sqlite3_column_text(st, 0));
    char **texts[] = {&p->name,      &p->group,      &p->image_blob,     &p->labels_blob,
                      &p->info_json, &p->annotation, &p->prediction_blob};
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof texts / sizeof *texts; i++)
        ok = bs__column_text(st, 1 + (int)i, texts[i]);
    if (!ok) {
        bs_pair_record_free(p);
        return BS_FAIL(err, BS_ENOMEM, "out of memory while reading a pair");
    }
    p->split = (enum bs_split)sqlite3_column_int(st, 8);
    p->image_bytes = (uint64_t)sqlite3_column_int64(st, 9);
    p->labels_bytes = (uint64_t)sqlite3_column_int64(st, 10);
    p->prediction_bytes = (uint64_t)sqlite3_column_int64(st, 11);
    p->created_ms = sqlite3_column_int64(st, 12);
    return BS_OK;
}

static bs_status check_new(const struct bs_pair_record *p, struct bs_err *err)
{
    if (!p->name || !*p->name || strnlen(p->name, MAX_NAME + 1) > MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "a pair needs a name of 1 to %d bytes", MAX_NAME);
    if (!p->group || strnlen(p->group, MAX_NAME + 1) > MAX_NAME)
        return BS_FAIL(err, BS_EINVAL, "a pair's group has at most %d bytes", MAX_NAME);
    if ((unsigned)p->split >= BS_SPLITS || !bs__hash_valid(p->image_blob) ||
        !bs__hash_valid(p->labels_blob) || !p->info_json || p->image_bytes > INT64_MAX ||
        p->labels_bytes > INT64_MAX || p->prediction_bytes > INT64_MAX ||
        (p->prediction_blob && !bs__hash_valid(p->prediction_blob)))
        return BS_FAIL(err, BS_EINVAL, "pair '%s' lacks a split, its files or their description", p->name);
    return BS_OK;
}

static bool differ(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) != 0 : a != b;
}

/* The pair of that name, if there is one: the same is found, another refused. */
static bs_status find_by_name(struct bs_store *s, int64_t dataset, const struct bs_pair_record *p,
                              struct bs_pair_record *found, bool *existing, struct bs_err *err)
{
    sqlite3_stmt *st;
    *existing = false;
    bs_status rc =
        bs__sql(s, BS__SQL_PAIR_BY_NAME,
                "SELECT " BS__PAIR_COLUMNS " FROM pairs WHERE dataset = ?1 AND name = ?2", &st, err);
    if (rc != BS_OK)
        return rc;
    sqlite3_bind_int64(st, 1, dataset);
    bs__bind_text(st, 2, p->name);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        rc = bs__pair_read(st, found, err);
        *existing = rc == BS_OK;
    } else if (step != SQLITE_DONE) {
        rc = bs__sql_fail(s, err, "look for a pair");
    }
    sqlite3_reset(st);
    if (!*existing)
        return rc;
    const char *other = strcmp(found->image_blob, p->image_blob) != 0        ? "another image"
                        : strcmp(found->labels_blob, p->labels_blob) != 0    ? "other labels"
                        : found->split != p->split                           ? "another split"
                        : strcmp(found->group, p->group) != 0                ? "another group"
                        : differ(found->prediction_blob, p->prediction_blob) ? "another prediction"
                        : strcmp(found->annotation, p->annotation ? p->annotation : NOTHING) != 0
                            ? "another annotation"
                            : NULL;
    if (other) {
        rc = BS_FAIL(err, BS_EEXIST, "the dataset has a pair '%s' already, with %s; delete it first", p->name,
                     other);
        bs_pair_record_free(found);
        *existing = false;
    }
    return rc;
}

/* What is trained on must not judge: neither the same image nor, unless that was asked for, the same group. */
static bs_status refuse_elsewhere(struct bs_store *s, int64_t dataset, const struct bs_pair_addition *how,
                                  const struct bs_pair_record *p, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc =
        bs__sql(s, BS__SQL_PAIR_ELSEWHERE,
                "SELECT name, split, 1 FROM pairs WHERE dataset = ?1 AND split <> ?2 AND image_blob = ?3"
                " UNION ALL SELECT name, split, 0 FROM pairs WHERE dataset = ?1 AND split <> ?2 AND grp = ?4"
                " AND grp <> '' AND NOT ?5 LIMIT 1",
                &st, err);
    if (rc != BS_OK)
        return rc;
    sqlite3_bind_int64(st, 1, dataset);
    sqlite3_bind_int(st, 2, (int)p->split);
    bs__bind_text(st, 3, p->image_blob);
    bs__bind_text(st, 4, p->group);
    sqlite3_bind_int(st, 5, how->group_across_splits);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        const char *split = bs_split_name((enum bs_split)sqlite3_column_int(st, 1));
        rc = sqlite3_column_int(st, 2)
                 ? BS_FAIL(
                       err, BS_EPRECONDITION,
                       "the image of '%s' is also that of '%.200s', which is for %s; one image cannot be in "
                       "two splits",
                       p->name, name, split)
                 : BS_FAIL(err, BS_EPRECONDITION,
                           "'%s' is of group '%.100s', and so is '%.100s', which is for %s; a group stays in "
                           "one split unless it is asked to be in several",
                           p->name, p->group, name, split);
    } else if (step != SQLITE_DONE) {
        rc = bs__sql_fail(s, err, "look for a pair");
    }
    sqlite3_reset(st);
    return rc;
}

/* mu held. */
static bs_status file_of_owner(struct bs_store *s, const char *owner, const char *sha256, uint64_t *bytes,
                               struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(
        s, BS__SQL_FILE_OF_OWNER,
        "SELECT image_bytes FROM pairs JOIN datasets ON datasets.number = pairs.dataset"
        " WHERE pairs.image_blob = ?2 AND datasets.owner = ?1"
        " UNION ALL SELECT labels_bytes FROM pairs JOIN datasets ON datasets.number = pairs.dataset"
        " WHERE pairs.labels_blob = ?2 AND datasets.owner = ?1"
        " UNION ALL SELECT prediction_bytes FROM pairs JOIN datasets ON datasets.number = pairs.dataset"
        " WHERE pairs.prediction_blob = ?2 AND datasets.owner = ?1 LIMIT 1",
        &st, err);
    if (rc != BS_OK)
        return rc;
    bs__bind_text(st, 1, owner);
    bs__bind_text(st, 2, sha256);
    int step = sqlite3_step(st);
    if (step == SQLITE_ROW)
        *bytes = (uint64_t)sqlite3_column_int64(st, 0);
    else if (step == SQLITE_DONE)
        rc = BS_FAIL(err, BS_ENOTFOUND, "none of your datasets holds the file %.12s...; send it", sha256);
    else
        rc = bs__sql_fail(s, err, "look for a file");
    sqlite3_reset(st);
    return rc;
}

bs_status bs_store_file_of_owner(struct bs_store *s, const char *owner, const char *sha256, uint64_t *bytes,
                                 struct bs_err *err)
{
    if (!bs__hash_valid(sha256))
        return BS_FAIL(err, BS_EINVAL, "'%.80s' is not a SHA-256 of 64 hex digits", sha256 ? sha256 : "");
    pthread_mutex_lock(&s->mu);
    bs_status rc = file_of_owner(s, owner, sha256, bytes, err);
    pthread_mutex_unlock(&s->mu);
    return rc;
}

static bs_status insert(struct bs_store *s, int64_t dataset, struct bs_pair_record *p, struct bs_err *err)
{
    sqlite3_stmt *st;
    bs_status rc = bs__sql(s, BS__SQL_PAIR_ADD,
                           "INSERT INTO pairs(" BS__PAIR_COLUMNS
                           ", dataset) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                           &st, err);
    if (rc == BS_OK)
        rc = bs__make_id(s, p->id, sizeof p->id, err);
    if (rc != BS_OK)
        return rc;
    p->created_ms = bs__now_ms();
    const char *const texts[] = {p->id,          p->name,      p->group,      p->image_blob,
                                 p->labels_blob, p->info_json, p->annotation, p->prediction_blob};
    for (int i = 0; i < 8; i++)
        bs__bind_text(st, 1 + i, texts[i]);
    sqlite3_bind_int(st, 9, (int)p->split);
    sqlite3_bind_int64(st, 10, (int64_t)p->image_bytes);
    sqlite3_bind_int64(st, 11, (int64_t)p->labels_bytes);
    sqlite3_bind_int64(st, 12, (int64_t)p->prediction_bytes);
    sqlite3_bind_int64(st, 13, p->created_ms);
    sqlite3_bind_int64(st, 14, dataset);
    return bs__sql_run(s, st, "add a pair", err);
}

bs_status bs_store_pair_add(struct bs_store *s, const struct bs_pair_addition *how, struct bs_pair_record *p,
                            bool *existing, struct bs_err *err)
{
    struct bs_dataset_record d = {0};
    struct bs_pair_record found = {.name = NULL};
    uint64_t bytes;
    *existing = false;
    bs_status rc = check_new(p, err);
    if (rc != BS_OK)
        return rc;
    if (!p->annotation && !(p->annotation = strdup(NOTHING)))
        return BS_FAIL(err, BS_ENOMEM, "out of memory while adding a pair");
    pthread_mutex_lock(&s->mu);
    if ((rc = bs__begin(s, err)) != BS_OK)
        goto unlock;
    rc = bs__dataset_get(s, how->owner, how->dataset, &d, err);
    if (rc == BS_OK)
        rc = find_by_name(s, d.number, p, &found, existing, err);
    if (rc == BS_OK && !*existing) {
        rc = refuse_elsewhere(s, d.number, how, p, err);
        /* Looked at again here: the pair that held the file may have been deleted since the service looked. */
        if (rc == BS_OK && how->image_held)
            rc = file_of_owner(s, how->owner, p->image_blob, &bytes, err);
        if (rc == BS_OK && how->labels_held)
            rc = file_of_owner(s, how->owner, p->labels_blob, &bytes, err);
        if (rc == BS_OK && how->prediction_held)
            rc = file_of_owner(s, how->owner, p->prediction_blob, &bytes, err);
        if (rc == BS_OK)
            rc = insert(s, d.number, p, err);
    }
    rc = bs__end(s, rc, err);
unlock:
    pthread_mutex_unlock(&s->mu);
    bs_dataset_record_free(&d);
    if (rc == BS_OK && *existing) {
        bs_pair_record_free(p);
        *p = found;
    } else {
        bs_pair_record_free(&found);
        *existing = false;
    }
    return rc;
}

bs_status bs_store_pair_list(struct bs_store *s, int64_t dataset, int split, const char *after, int limit,
                             struct bs_pair_record **out, int *count, struct bs_err *err)
{
    sqlite3_stmt *st;
    int n = 0;
    *out = NULL;
    *count = 0;
    if (limit < 1 || limit > MAX_LIMIT)
        return BS_FAIL(err, BS_EINVAL, "page size %d is not accepted: 1 to %d", limit, MAX_LIMIT);
    struct bs_pair_record *rows = calloc((size_t)limit, sizeof *rows);
    if (!rows)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while listing pairs");
    pthread_mutex_lock(&s->mu);
    bs_status rc =
        bs__sql(s, BS__SQL_PAIR_LIST,
                "SELECT " BS__PAIR_COLUMNS " FROM pairs WHERE dataset = ?1 AND (?2 < 0 OR split = ?2)"
                " AND (?3 IS NULL OR id > ?3) ORDER BY id LIMIT ?4",
                &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, dataset);
        sqlite3_bind_int(st, 2, split);
        bs__bind_text(st, 3, after && *after ? after : NULL);
        sqlite3_bind_int(st, 4, limit);
        int step;
        while (rc == BS_OK && (step = sqlite3_step(st)) != SQLITE_DONE) {
            if (step != SQLITE_ROW)
                rc = bs__sql_fail(s, err, "list pairs");
            else if ((rc = bs__pair_read(st, &rows[n], err)) == BS_OK)
                n++;
        }
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    if (rc != BS_OK) {
        for (int i = 0; i < n; i++)
            bs_pair_record_free(&rows[i]);
        free(rows);
        return rc;
    }
    *out = rows;
    *count = n;
    return BS_OK;
}

bs_status bs_store_pair_delete(struct bs_store *s, const char *owner, const char *dataset, const char *id,
                               struct bs_err *err)
{
    struct bs_dataset_record d = {0};
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__dataset_get(s, owner, dataset, &d, err);
    if (rc == BS_OK)
        rc = bs__dataset_refuse_needed(s, &d, "changed", err);
    if (rc == BS_OK)
        rc = bs__sql(s, BS__SQL_PAIR_DELETE, "DELETE FROM pairs WHERE dataset = ?1 AND id = ?2", &st, err);
    if (rc == BS_OK) {
        sqlite3_bind_int64(st, 1, d.number);
        bs__bind_text(st, 2, id);
        rc = bs__sql_run(s, st, "delete a pair", err);
        if (rc == BS_OK && sqlite3_changes(s->db) == 0)
            rc = BS_FAIL(err, BS_ENOTFOUND, "dataset '%s' has no pair '%.40s'", d.name, id);
    }
    pthread_mutex_unlock(&s->mu);
    bs_dataset_record_free(&d);
    return rc;
}
