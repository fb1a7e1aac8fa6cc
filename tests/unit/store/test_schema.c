/* A database that an older bioseg wrote is brought up to date, with everything that is in it. */
#include "fixture.h"

#include <sqlite3.h>

/* The schema as number 2 had it, in its own words: what was released does not change with the code. */
static const char schema2[] =
    "CREATE TABLE model_names ("
    "  name TEXT PRIMARY KEY NOT NULL,"
    "  last_version INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE models ("
    "  name TEXT NOT NULL REFERENCES model_names(name),"
    "  version INTEGER NOT NULL CHECK (version > 0),"
    "  blob TEXT NOT NULL,"
    "  info_json TEXT NOT NULL,"
    "  owner TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL,"
    "  PRIMARY KEY (name, version)) WITHOUT ROWID;"
    "CREATE INDEX models_blob ON models(blob);"
    "CREATE TABLE jobs ("
    "  seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  id TEXT NOT NULL UNIQUE,"
    "  owner TEXT NOT NULL,"
    "  project TEXT NOT NULL,"
    "  idempotency_key TEXT NOT NULL,"
    "  payload_hash TEXT NOT NULL,"
    "  kind TEXT NOT NULL,"
    "  request TEXT NOT NULL,"
    "  input_blob TEXT NOT NULL,"
    "  result_json TEXT,"
    "  labels_blob TEXT, maps_blob TEXT, objects_blob TEXT,"
    "  error TEXT,"
    "  error_code INTEGER NOT NULL DEFAULT 0,"
    "  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 4),"
    "  attempts INTEGER NOT NULL DEFAULT 0,"
    "  done INTEGER NOT NULL DEFAULT 0,"
    "  total INTEGER NOT NULL DEFAULT 0,"
    "  created_ms INTEGER NOT NULL,"
    "  started_ms INTEGER NOT NULL DEFAULT 0,"
    "  finished_ms INTEGER NOT NULL DEFAULT 0,"
    "  expires_ms INTEGER NOT NULL DEFAULT 0,"
    "  revision INTEGER NOT NULL DEFAULT 1);"
    "CREATE UNIQUE INDEX jobs_key ON jobs(owner, idempotency_key) WHERE idempotency_key <> '';"
    "CREATE INDEX jobs_queue ON jobs(owner, seq) WHERE state = 0;"
    "CREATE INDEX jobs_running ON jobs(seq) WHERE state = 1;"
    "CREATE INDEX jobs_expiry ON jobs(expires_ms) WHERE expires_ms > 0;"
    "CREATE INDEX jobs_input ON jobs(input_blob);"
    "CREATE INDEX jobs_labels ON jobs(labels_blob) WHERE labels_blob IS NOT NULL;"
    "CREATE INDEX jobs_maps ON jobs(maps_blob) WHERE maps_blob IS NOT NULL;"
    "CREATE INDEX jobs_objects ON jobs(objects_blob) WHERE objects_blob IS NOT NULL;"
    "CREATE TABLE shares ("
    "  owner TEXT PRIMARY KEY NOT NULL,"
    "  taken INTEGER NOT NULL) WITHOUT ROWID;"
    "PRAGMA application_id = 1651733351;"
    "CREATE INDEX jobs_state ON jobs(state);"
    "PRAGMA user_version = 2;";

static const char rows2[] =
    "INSERT INTO model_names VALUES ('nuclei', 2);"
    "INSERT INTO models VALUES ('nuclei', 1, '" HASH_A "', '{\"trained\":true}', 'ann', 11, 100);"
    "INSERT INTO models VALUES ('nuclei', 2, '" HASH_B "', '{\"trained\":false}', 'ann', 12, 200);"
    "INSERT INTO jobs(id, owner, project, idempotency_key, payload_hash, kind, request, input_blob, state, "
    "created_ms)"
    " VALUES ('00000000000100000000000000000000', 'ann', '', 'k', '" HASH_C "', 'segment',"
    " '{\"model\":\"nuclei\",\"model_version\":1}', '" HASH_A "', 0, 13);";

static void write_old(const char *dir)
{
    char path[512];
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/bioseg.db", dir);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, schema2, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_exec(db, rows2, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("the old database could not be written: %s", sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void a_database_of_schema_2_keeps_its_models_and_jobs(void **state)
{
    struct bs_err err;
    struct bs_model_record m, *rows;
    struct bs_job_record *jobs;
    int n;
    write_old(*state);
    for (int opened = 0; opened < 2; opened++) { /* the second time nothing is left to do */
        struct bs_store *s = open_store(*state);
        assert_int_equal(bs_store_model_get(s, "nuclei", 1, &m, &err), BS_OK);
        assert_string_equal(m.blob, HASH_A);
        assert_string_equal(m.labels, "{}");
        assert_int_equal(m.expires_ms, 0);
        bs_model_record_free(&m);
        /* What the new columns are for works on old rows too. */
        assert_int_equal(
            bs_store_model_list(s, &(struct bs_model_filter){.untrained = false}, NULL, 9, &rows, &n, &err),
            BS_OK);
        assert_int_equal(n, 1);
        assert_int_equal(rows[0].version, 1);
        bs_model_record_free(&rows[0]);
        free(rows);
        const struct bs_job_filter of_nuclei = {.state = -1, .model = "nuclei"};
        assert_int_equal(bs_store_job_list(s, &of_nuclei, NULL, 9, &jobs, &n, &err), BS_OK);
        assert_int_equal(n, 1);
        assert_string_equal(jobs[0].labels, "{}");
        assert_string_equal(jobs[0].payload_hash, HASH_C);
        assert_int_equal(jobs[0].time_to_live_ms, 0);
        assert_int_equal(jobs[0].state, BS_JOB_QUEUED);
        bs_job_record_free(&jobs[0]);
        free(jobs);
        assert_int_equal(bs_store_model_delete(s, "nuclei", 1, &err), BS_EPRECONDITION);
        bs_store_close(s);
    }
}

static void a_migration_that_fails_leaves_the_old_database(void **state)
{
    struct bs_store *s;
    struct bs_err err;
    char path[512];
    sqlite3 *db;
    sqlite3_stmt *st;
    write_old(*state);
    snprintf(path, sizeof path, "%s/bioseg.db", (char *)*state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    /* In the way of the last statement of step 3. */
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE models_expiry(x)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(bs_store_open(*state, &s, &err), BS_EIO);
    assert_non_null(strstr(err.msg, "3"));
    assert_int_equal(sqlite3_prepare_v2(db,
                                        "SELECT user_version, (SELECT count(*) FROM pragma_table_info('jobs')"
                                        " WHERE name = 'labels') FROM pragma_user_version",
                                        -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(st, 0), 2);
    assert_int_equal(sqlite3_column_int(st, 1), 0);
    sqlite3_finalize(st);
    sqlite3_close(db);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
    const struct CMUnitTest tests[] = {
        T(a_database_of_schema_2_keeps_its_models_and_jobs),
        T(a_migration_that_fails_leaves_the_old_database),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
