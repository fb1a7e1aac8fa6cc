/* What the two files about jobs share. Called with bs_store.mu held. */
#ifndef BS_SERVER_STORE_STORE_JOBS_INTERNAL_H
#define BS_SERVER_STORE_STORE_JOBS_INTERNAL_H

#include "server/store/store_internal.h"

/* In the order bs__job_read expects. */
#define BS__JOB_COLUMNS                                                                                      \
    "id, owner, project, idempotency_key, payload_hash, kind, request, input_blob, result_json, "            \
    "labels_blob, "                                                                                          \
    "maps_blob, objects_blob, error, error_code, state, attempts, done, total, created_ms, started_ms, "     \
    "finished_ms, "                                                                                          \
    "expires_ms, revision, labels, time_to_live_ms"

bs_status bs__job_read(sqlite3_stmt *st, struct bs_job_record *j, struct bs_err *err) BS_NODISCARD;
bs_status bs__job_get(struct bs_store *s, const char *id, struct bs_job_record *out,
                      struct bs_err *err) BS_NODISCARD;
bs_status bs__job_unknown(struct bs_err *err, const char *id);

#endif
