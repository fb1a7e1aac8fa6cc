/* Shared by the files of the store: the connection, its prepared statements, and the transaction helpers.
   Everything here is called with bs_store.mu held, except where it says otherwise. */
#ifndef BS_SERVER_STORE_STORE_INTERNAL_H
#define BS_SERVER_STORE_STORE_INTERNAL_H

#include "server/store/store.h"

#include <pthread.h>
#include <sqlite3.h>

/* Every statement the store uses; the texts stand in the file that runs them. */
enum bs__sql {
    BS__SQL_MODEL_NAME_ADD,
    BS__SQL_MODEL_NEXT,
    BS__SQL_MODEL_ADD,
    BS__SQL_MODEL_GET,
    BS__SQL_MODEL_NEWEST,
    BS__SQL_MODEL_LIST,
    BS__SQL_MODEL_NEEDED,
    BS__SQL_MODEL_COMPARED,
    BS__SQL_MODEL_DELETE,
    BS__SQL_MODEL_EXPIRE,
    BS__SQL_MODEL_ALIASED,
    BS__SQL_ALIAS_GET,
    BS__SQL_ALIAS_SET,
    BS__SQL_ALIAS_DELETE,
    BS__SQL_ALIAS_COUNT,
    BS__SQL_ALIAS_OF_VERSION,
    BS__SQL_ALIAS_RIGHTS,
    BS__SQL_ALIAS_MOVE_ADD,
    BS__SQL_ALIAS_MOVE_LAST,
    BS__SQL_ALIAS_MOVE_UNDO,
    BS__SQL_ALIAS_MOVES,
    BS__SQL_ORIGIN_ADD,
    BS__SQL_ORIGIN_GET,
    BS__SQL_ORIGIN_PRUNE,
    BS__SQL_JOB_BY_KEY,
    BS__SQL_JOB_ADD,
    BS__SQL_JOB_GET,
    BS__SQL_JOB_LIST,
    BS__SQL_JOB_COUNTS,
    BS__SQL_JOB_NEXT,
    BS__SQL_JOB_TAKE,
    BS__SQL_SHARE,
    BS__SQL_JOB_FINISH,
    BS__SQL_JOB_REQUEUE,
    BS__SQL_JOB_PROGRESS,
    BS__SQL_JOB_DELETE,
    BS__SQL_JOB_RUNNING,
    BS__SQL_JOB_EXPIRE,
    BS__SQL_JOB_FORGET,
    BS__SQL_BLOB_IN_USE,
    BS__SQL_DATASET_ADD,
    BS__SQL_DATASET_GET,
    BS__SQL_DATASET_LIST,
    BS__SQL_DATASET_NEEDED,
    BS__SQL_DATASET_DELETE,
    BS__SQL_DATASET_EXPIRE,
    BS__SQL_DATASET_GROUPS,
    BS__SQL_PAIR_BY_NAME,
    BS__SQL_PAIR_ELSEWHERE,
    BS__SQL_PAIR_ADD,
    BS__SQL_PAIR_LIST,
    BS__SQL_PAIR_DELETE,
    BS__SQL_PAIR_GET,
    BS__SQL_PAIR_UPDATE,
    BS__SQL_FILE_OF_OWNER,
    BS__SQL_RUN_ADD,
    BS__SQL_RUN_GET,
    BS__SQL_RUN_EVENT,
    BS__SQL_RUN_EVENTS,
    BS__SQL_RUN_PROGRESS,
    BS__SQL_RUN_SAMPLE_PUT,
    BS__SQL_RUN_SAMPLE_GET,
    BS__SQL_RUN_SAMPLE_STEP,
    BS__SQL_RUN_LATEST,
    BS__SQL_RUN_BEST,
    BS__SQL_RUN_ASK,
    BS__SQL_RUN_DROP_LATEST,
    BS__SQL_RUN_EXPIRE,
    BS__SQL_JOB_PAUSE,
    BS__SQL_JOB_RESUME,
    BS__SQL_JOB_NEXT_TRAINING,
    BS__SQL_JOB_NEXT_COMPARISON,
    BS__SQL_COUNT
};

struct bs_store {
    pthread_mutex_t mu; /* guards everything below; a leaf: nothing else is locked while it is held */
    sqlite3 *db;
    sqlite3_stmt *stmt[BS__SQL_COUNT]; /* prepared on first use */
    int64_t last_id_ms;                /* ids grow, also when the clock does not */
    int64_t lifetime_ms;               /* of results after a job's end; 0: for ever */
};

/* Brings the schema to the current number or refuses a newer one. */
bs_status bs__schema_migrate(sqlite3 *db, struct bs_err *err) BS_NODISCARD;

/* The prepared statement, reset and without bindings; text is used on the first call. Borrowed. */
bs_status bs__sql(struct bs_store *s, enum bs__sql which, const char *text, sqlite3_stmt **out,
                  struct bs_err *err) BS_NODISCARD;
/* Turns the connection's last error into ours; `doing` completes "the job database could not ...". */
bs_status bs__sql_fail(struct bs_store *s, struct bs_err *err, const char *doing);
/* Runs a statement that yields no rows and resets it. */
bs_status bs__sql_run(struct bs_store *s, sqlite3_stmt *st, const char *doing,
                      struct bs_err *err) BS_NODISCARD;

bs_status bs__begin(struct bs_store *s, struct bs_err *err) BS_NODISCARD;
/* Commits when rc is BS_OK, else rolls back; returns rc or what the commit said. */
bs_status bs__end(struct bs_store *s, bs_status rc, struct bs_err *err) BS_NODISCARD;

/* Binds text, NULL as NULL. The text must live until the statement has run. */
void bs__bind_text(sqlite3_stmt *st, int index, const char *text);
/* A copy of a column (NULL stays NULL); false when memory ran out. */
bool bs__column_text(sqlite3_stmt *st, int column, char **out);

/* Whether the row's labels hold all of those of parameter `p` (NULL: any will do). A piece of a WHERE. */
#define BS__HAS_LABELS(p)                                                                                    \
    "NOT EXISTS (SELECT 1 FROM json_each(" p ") AS wanted WHERE NOT EXISTS"                                  \
    " (SELECT 1 FROM json_each(labels) AS has WHERE has.key = wanted.key AND has.value = wanted.value))"

/* A new id: 12 hex digits of time, growing, then 20 random ones, so that ids sort by age and cannot be guessed. */
bs_status bs__make_id(struct bs_store *s, char *id, size_t size, struct bs_err *err) BS_NODISCARD;

/* Milliseconds since 1970. No lock needed. */
int64_t bs__now_ms(void);
/* 64 lower-case hex digits. No lock needed. */
bool bs__hash_valid(const char *hash);

#endif
