/* Opening and closing the job database, and the helpers that its other files share. One SQLite connection behind one
   mutex: the queue makes a few transactions a second, and each waits for the disk anyway. Any thread. */
#include "server/store/store_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define DEFAULT_LIFETIME_MS (INT64_C(7) * 24 * 3600 * 1000)

/* WAL with FULL: a commit returns after the log is on the disk, so that power loss takes nothing acknowledged. */
static const char *const settings = "PRAGMA journal_mode = WAL;"
                                    "PRAGMA synchronous = FULL;"
                                    "PRAGMA foreign_keys = ON;"
                                    "PRAGMA trusted_schema = OFF;"
                                    "PRAGMA journal_size_limit = 16777216;"
                                    "PRAGMA temp_store = MEMORY;";

int64_t bs__now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool bs__hash_valid(const char *hash)
{
    if (!hash || strnlen(hash, 65) != 64)
        return false;
    for (int i = 0; i < 64; i++)
        if (!((hash[i] >= '0' && hash[i] <= '9') || (hash[i] >= 'a' && hash[i] <= 'f')))
            return false;
    return true;
}

bool bs_store_name_valid(const char *name)
{
    if (!name)
        return false;
    size_t n = strnlen(name, 65);
    if (n < 1 || n > 64 || !(isascii((unsigned char)name[0]) && isalnum((unsigned char)name[0])))
        return false;
    for (size_t i = 1; i < n; i++) {
        unsigned char c = (unsigned char)name[i];
        if (!isascii(c) || !(isalnum(c) || c == '.' || c == '_' || c == '-'))
            return false;
    }
    return true;
}

bs_status bs__sql_fail(struct bs_store *s, struct bs_err *err, const char *doing)
{
    int code = sqlite3_errcode(s->db);
    if ((code & 0xff) == SQLITE_FULL)
        return BS_FAIL(err, BS_EIO, "the job database could not %s: the disk is full; nothing was changed",
                       doing);
    if ((code & 0xff) == SQLITE_NOMEM)
        return BS_FAIL(err, BS_ENOMEM, "the job database could not %s: out of memory", doing);
    if ((code & 0xff) == SQLITE_BUSY)
        return BS_FAIL(err, BS_EUNAVAILABLE, "the job database could not %s: another program holds it",
                       doing);
    if ((code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB)
        return BS_FAIL(err, BS_ECORRUPT, "the job database could not %s: the file is damaged", doing);
    return BS_FAIL(err, BS_EIO, "the job database could not %s: %s", doing, sqlite3_errmsg(s->db));
}

bs_status bs__sql(struct bs_store *s, enum bs__sql which, const char *text, sqlite3_stmt **out,
                  struct bs_err *err)
{
    if (!s->stmt[which] &&
        sqlite3_prepare_v3(s->db, text, -1, SQLITE_PREPARE_PERSISTENT, &s->stmt[which], NULL) != SQLITE_OK)
        return bs__sql_fail(s, err, "prepare a statement");
    sqlite3_reset(s->stmt[which]);
    sqlite3_clear_bindings(s->stmt[which]);
    *out = s->stmt[which];
    return BS_OK;
}

bs_status bs__sql_run(struct bs_store *s, sqlite3_stmt *st, const char *doing, struct bs_err *err)
{
    bs_status rc = sqlite3_step(st) == SQLITE_DONE ? BS_OK : bs__sql_fail(s, err, doing);
    sqlite3_reset(st);
    return rc;
}

bs_status bs__begin(struct bs_store *s, struct bs_err *err)
{
    if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
        return bs__sql_fail(s, err, "begin a change");
    return BS_OK;
}

bs_status bs__end(struct bs_store *s, bs_status rc, struct bs_err *err)
{
    if (rc == BS_OK && sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
        rc = bs__sql_fail(s, err, "make a change durable");
    if (rc != BS_OK && !sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

void bs__bind_text(sqlite3_stmt *st, int index, const char *text)
{
    if (text)
        sqlite3_bind_text(st, index, text, -1, SQLITE_STATIC);
    else
        sqlite3_bind_null(st, index);
}

bool bs__column_text(sqlite3_stmt *st, int column, char **out)
{
    *out = NULL;
    if (sqlite3_column_type(st, column) == SQLITE_NULL)
        return true;
    const unsigned char *text = sqlite3_column_text(st, column);
    *out = text ? strdup((const char *)text) : NULL;
    return *out != NULL;
}

bs_status bs__make_id(struct bs_store *s, char *id, size_t size, struct bs_err *err)
{
    unsigned char noise[10];
    if (getrandom(noise, sizeof noise, 0) != (ssize_t)sizeof noise)
        return BS_FAIL(err, BS_EIO, "the system gave no random numbers");
    int64_t now = bs__now_ms();
    s->last_id_ms = now > s->last_id_ms ? now : s->last_id_ms + 1;
    int used = snprintf(id, size, "%012llx", (unsigned long long)s->last_id_ms);
    for (size_t i = 0; i < sizeof noise; i++)
        used += snprintf(id + used, size - (size_t)used, "%02x", noise[i]);
    return BS_OK;
}

/* The time part of the newest id: new ids go on after it. */
static void read_last_id(struct bs_store *s)
{
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(s->db,
                           "SELECT substr(max(coalesce((SELECT max(id) FROM jobs), ''), coalesce((SELECT "
                           "max(id) FROM pairs), '')), 1, 12)",
                           -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW && sqlite3_column_text(st, 0))
        s->last_id_ms = (int64_t)strtoull((const char *)sqlite3_column_text(st, 0), NULL, 16);
    sqlite3_finalize(st);
}

bs_status bs_store_open(const char *dir, struct bs_store **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    char *path = NULL;
    struct bs_store *s = calloc(1, sizeof *s);
    if (!s || asprintf(&path, "%s/bioseg.db", dir) < 0) {
        path = NULL;
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while opening the job database");
        goto cleanup;
    }
    pthread_mutex_init(&s->mu, NULL);
    s->lifetime_ms = DEFAULT_LIFETIME_MS;
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK) {
        rc = BS_FAIL(err, BS_EIO, "bioseg.db in the data directory could not be opened: %s",
                     s->db ? sqlite3_errmsg(s->db) : "out of memory");
        goto cleanup;
    }
    sqlite3_busy_timeout(s->db, 5000);
    sqlite3_extended_result_codes(s->db, 1);
    /* The number is looked at before anything is written: a newer file stays as it is. */
    if ((rc = bs__schema_migrate(s->db, err)) != BS_OK)
        goto cleanup;
    if (sqlite3_exec(s->db, settings, NULL, NULL, NULL) != SQLITE_OK) {
        rc = bs__sql_fail(s, err, "be set up");
        goto cleanup;
    }
    read_last_id(s);
    *out = s;
    s = NULL;
cleanup:
    free(path);
    bs_store_close(s);
    return rc;
}

void bs_store_close(struct bs_store *s)
{
    if (!s)
        return;
    for (int i = 0; i < BS__SQL_COUNT; i++)
        sqlite3_finalize(s->stmt[i]);
    sqlite3_close(s->db);
    pthread_mutex_destroy(&s->mu);
    free(s);
}

void bs_store_set_lifetime(struct bs_store *s, int64_t ms)
{
    pthread_mutex_lock(&s->mu);
    s->lifetime_ms = ms;
    pthread_mutex_unlock(&s->mu);
}

bs_status bs_store_blob_in_use(struct bs_store *s, const char *sha256, bool *used, struct bs_err *err)
{
    sqlite3_stmt *st;
    pthread_mutex_lock(&s->mu);
    bs_status rc = bs__sql(s, BS__SQL_BLOB_IN_USE,
                           "SELECT EXISTS (SELECT 1 FROM models WHERE blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM jobs WHERE input_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM jobs WHERE labels_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM jobs WHERE maps_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM jobs WHERE objects_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM runs WHERE initial_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM runs WHERE latest_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM runs WHERE best_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM pairs WHERE image_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM pairs WHERE labels_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM origins WHERE manifest_blob = ?1)"
                           " OR EXISTS (SELECT 1 FROM pairs WHERE prediction_blob = ?1)",
                           &st, err);
    if (rc == BS_OK) {
        bs__bind_text(st, 1, sha256);
        if (sqlite3_step(st) == SQLITE_ROW)
            *used = sqlite3_column_int(st, 0) != 0;
        else
            rc = bs__sql_fail(s, err, "look up a blob");
        sqlite3_reset(st);
    }
    pthread_mutex_unlock(&s->mu);
    return rc;
}
