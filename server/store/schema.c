/* The schema of the job database and how an older one becomes the current one. The number stands in user_version;
   a step is never changed once it was released, only followed by another. Called once, while the store opens. */
#include "server/store/store_internal.h"

#include <stdlib.h>

#define APPLICATION_ID "1651733351" /* "bseg" in ASCII: another program's SQLite file is not taken for ours */

/* Step i brings schema number i to i + 1. */
static const char *const steps[] = {
    /* 1: models, jobs, and who was served last. A name remembers its last version, so that a number never comes
       back for other weights. */
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
    "PRAGMA application_id = " APPLICATION_ID ";",
    /* 2: jobs are counted by state at every look at the metrics, without reading the jobs themselves. */
    "CREATE INDEX jobs_state ON jobs(state);",
    /* 3: labels (JSON objects of strings) and lifetimes that their owners chose; what lists are searched by has columns of
       its own, which are filled from the descriptions. */
    "ALTER TABLE jobs ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';"
    "ALTER TABLE jobs ADD COLUMN time_to_live_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE jobs ADD COLUMN model TEXT;"
    "ALTER TABLE jobs ADD COLUMN model_version INTEGER;"
    "UPDATE jobs SET model = json_extract(request, '$.model'),"
    "  model_version = json_extract(request, '$.model_version') WHERE json_valid(request);"
    "CREATE INDEX jobs_need ON jobs(model, model_version) WHERE state < 2;"
    "ALTER TABLE models ADD COLUMN labels TEXT NOT NULL DEFAULT '{}';"
    "ALTER TABLE models ADD COLUMN expires_ms INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE models ADD COLUMN trained INTEGER NOT NULL DEFAULT 1;"
    "UPDATE models SET trained = 0 WHERE json_valid(info_json) AND json_extract(info_json, '$.trained') = 0;"
    "CREATE INDEX models_expiry ON models(expires_ms) WHERE expires_ms > 0;",
    /* 4: datasets and their pairs. Numbers are not used again, so that a job never finds another dataset under its own; a job
       names its dataset in a column, which says whether the dataset may go. */
    "CREATE TABLE datasets ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  owner TEXT NOT NULL,"
    "  name TEXT NOT NULL,"
    "  project TEXT NOT NULL,"
    "  labels TEXT NOT NULL,"
    "  description TEXT NOT NULL,"
    "  licence TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  expires_ms INTEGER NOT NULL DEFAULT 0,"
    "  UNIQUE (owner, name));"
    "CREATE INDEX datasets_expiry ON datasets(expires_ms) WHERE expires_ms > 0;"
    "CREATE TABLE pairs ("
    "  id TEXT PRIMARY KEY NOT NULL,"
    "  dataset INTEGER NOT NULL REFERENCES datasets(number) ON DELETE CASCADE,"
    "  name TEXT NOT NULL,"
    "  grp TEXT NOT NULL,"
    "  split INTEGER NOT NULL CHECK (split BETWEEN 0 AND 2),"
    "  image_blob TEXT NOT NULL,"
    "  labels_blob TEXT NOT NULL,"
    "  image_bytes INTEGER NOT NULL,"
    "  labels_bytes INTEGER NOT NULL,"
    "  info_json TEXT NOT NULL,"
    "  created_ms INTEGER NOT NULL,"
    "  UNIQUE (dataset, name)) WITHOUT ROWID;"
    "CREATE INDEX pairs_order ON pairs(dataset, id);"
    "CREATE INDEX pairs_group ON pairs(dataset, grp) WHERE grp <> '';"
    "CREATE INDEX pairs_image ON pairs(image_blob);"
    "CREATE INDEX pairs_labels ON pairs(labels_blob);"
    "ALTER TABLE jobs ADD COLUMN dataset INTEGER;"
    "CREATE INDEX jobs_dataset ON jobs(dataset) WHERE dataset IS NOT NULL AND state < 2;",
    /* 5: training runs: the checkpoints of a job, what is asked of it, and what it told; where a version came from. A paused job is
       one that waits and is not taken. */
    "ALTER TABLE jobs ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;"
    "CREATE TABLE runs ("
    "  job TEXT PRIMARY KEY NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  initial_blob TEXT,"
    "  latest_blob TEXT,"
    "  latest_step INTEGER NOT NULL DEFAULT -1,"
    "  best_blob TEXT,"
    "  best_step INTEGER NOT NULL DEFAULT -1,"
    "  best_metric REAL,"
    "  pause INTEGER NOT NULL DEFAULT 0,"
    "  learning_rate REAL NOT NULL DEFAULT 0) WITHOUT ROWID;"
    "CREATE INDEX runs_initial ON runs(initial_blob) WHERE initial_blob IS NOT NULL;"
    "CREATE INDEX runs_latest ON runs(latest_blob) WHERE latest_blob IS NOT NULL;"
    "CREATE INDEX runs_best ON runs(best_blob) WHERE best_blob IS NOT NULL;"
    "CREATE TABLE run_events ("
    "  job TEXT NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  step INTEGER NOT NULL,"
    "  kind INTEGER NOT NULL,"
    "  epoch INTEGER NOT NULL,"
    "  loss REAL, learning_rate REAL, metric REAL, best_metric REAL,"
    "  best_step INTEGER NOT NULL,"
    "  images_per_second REAL, seconds_left REAL,"
    "  PRIMARY KEY (job, step, kind)) WITHOUT ROWID;"
    "ALTER TABLE models ADD COLUMN lineage_json TEXT;",
    /* 6: movable names of versions with every move of theirs; and what a trained version learned from, which outlives the job and,
       as long as a version descends from it, the version. kind: enum bs_alias_move_kind; undone: rolled back since. */
    "CREATE TABLE aliases ("
    "  name TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  PRIMARY KEY (name, alias)) WITHOUT ROWID;"
    "CREATE INDEX aliases_version ON aliases(name, version);"
    "CREATE TABLE alias_moves ("
    "  number INTEGER PRIMARY KEY AUTOINCREMENT,"
    "  name TEXT NOT NULL,"
    "  alias TEXT NOT NULL,"
    "  kind INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),"
    "  from_version INTEGER NOT NULL,"
    "  to_version INTEGER NOT NULL,"
    "  who TEXT NOT NULL,"
    "  moved_ms INTEGER NOT NULL,"
    "  reason TEXT NOT NULL,"
    "  undone INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX alias_moves_name ON alias_moves(name, number);"
    "CREATE TABLE origins ("
    "  name TEXT NOT NULL,"
    "  version INTEGER NOT NULL,"
    "  blob TEXT NOT NULL,"
    "  lineage_json TEXT NOT NULL,"
    "  manifest_blob TEXT,"
    "  parent TEXT,"
    "  parent_version INTEGER,"
    "  created_ms INTEGER NOT NULL,"
    "  PRIMARY KEY (name, version)) WITHOUT ROWID;"
    "CREATE INDEX origins_blob ON origins(blob);"
    "CREATE INDEX origins_manifest ON origins(manifest_blob) WHERE manifest_blob IS NOT NULL;"
    "INSERT INTO origins SELECT name, version, blob, lineage_json,"
    "  (SELECT nullif(input_blob, '') FROM jobs WHERE id = json_extract(lineage_json, '$.job')),"
    "  json_extract(lineage_json, '$.parent.name'), json_extract(lineage_json, '$.parent.version'), "
    "created_ms"
    "  FROM models WHERE json_valid(lineage_json);",
    /* 7: where the labels of a pair count, and the prediction that they were made from. */
    "ALTER TABLE pairs ADD COLUMN annotation TEXT NOT NULL DEFAULT '{}';"
    "ALTER TABLE pairs ADD COLUMN prediction_blob TEXT;"
    "ALTER TABLE pairs ADD COLUMN prediction_bytes INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX pairs_prediction ON pairs(prediction_blob) WHERE prediction_blob IS NOT NULL;",
    /* 8: a picture of each run's last validation. */
    "CREATE TABLE run_samples ("
    "  job TEXT PRIMARY KEY NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,"
    "  step INTEGER NOT NULL,"
    "  height INTEGER NOT NULL,"
    "  width INTEGER NOT NULL,"
    "  channels INTEGER NOT NULL,"
    "  target_channels INTEGER NOT NULL,"
    "  reduction INTEGER NOT NULL,"
    "  planes BLOB NOT NULL);",
};
#define STEP_COUNT ((int)(sizeof steps / sizeof *steps))

static bs_status read_pragma(sqlite3 *db, const char *text, int64_t *value, struct bs_err *err)
{
    sqlite3_stmt *st = NULL;
    bs_status rc = BS_OK;
    if (sqlite3_prepare_v2(db, text, -1, &st, NULL) != SQLITE_OK || sqlite3_step(st) != SQLITE_ROW)
        rc = BS_FAIL(err, BS_EIO, "the job database could not be read: %s", sqlite3_errmsg(db));
    else
        *value = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    return rc;
}

bs_status bs__schema_migrate(sqlite3 *db, struct bs_err *err)
{
    int64_t number = 0, application = 0, tables = 0;
    bs_status rc;
    if ((rc = read_pragma(db, "PRAGMA user_version", &number, err)) != BS_OK ||
        (rc = read_pragma(db, "PRAGMA application_id", &application, err)) != BS_OK ||
        (rc = read_pragma(db, "SELECT count(*) FROM sqlite_master", &tables, err)) != BS_OK)
        return rc;
    if (number < 0 || (number == 0 && tables > 0) || (number > 0 && application != atoll(APPLICATION_ID)))
        return BS_FAIL(err, BS_EPRECONDITION, "bioseg.db is a database of another program; move it away");
    if (number > STEP_COUNT)
        return BS_FAIL(
            err, BS_EPRECONDITION,
            "the job database has schema number %lld, this program knows up to %d: it was written by a "
            "newer bioseg; run that one, or restore a backup made before the upgrade",
            (long long)number, STEP_COUNT);
    for (int i = (int)number; i < STEP_COUNT; i++) {
        char closing[64];
        sqlite3_snprintf(sizeof closing, closing, "PRAGMA user_version = %d; COMMIT;", i + 1);
        if (sqlite3_exec(db, "BEGIN EXCLUSIVE;", NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(db, steps[i], NULL, NULL, NULL) != SQLITE_OK ||
            sqlite3_exec(db, closing, NULL, NULL, NULL) != SQLITE_OK) {
            rc = BS_FAIL(err, BS_EIO, "the job database could not be brought to schema number %d: %s", i + 1,
                         sqlite3_errmsg(db));
            sqlite3_exec(db, "ROLLBACK;", NULL, NULL, NULL);
            return rc;
        }
    }
    return BS_OK;
}
