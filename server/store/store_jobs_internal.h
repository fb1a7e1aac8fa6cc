/* What the two files about jobs share. Called with bs_store.mu held. */
#ifndef BS_SERVER_STORE_STORE_JOBS_INTERNAL_H
#define BS_SERVER_STORE_STORE_JOBS_INTERNAL_H

#include "server/store/store_internal.h"

/* A paused job waits like a queued one, so that whatever keeps its data for it keeps it, but nobody takes it. */
#define BS__JOB_STATE "(CASE WHEN paused AND state = 0 THEN 5 ELSE state END)"

/* In the order bs__job_read expects. */
#define BS__JOB_COLUMNS                                                                                      \
    "id, owner, project, idempotency_key, payload_hash, kind, request, input_blob, result_json, "            \
    "labels_blob, maps_blob, objects_blob, error, error_code, " BS__JOB_STATE ", attempts, done, total, "    \
    "created_ms, started_ms, finished_ms, expires_ms, revision, labels, time_to_live_ms"

bs_status bs__job_read(sqlite3_stmt *st, struct bs_job_record *j, struct bs_err *err) BS_NODISCARD;
bs_status bs__job_get(struct bs_store *s, const char *id, struct bs_job_record *out,
                      struct bs_err *err) BS_NODISCARD;
bs_status bs__job_unknown(struct bs_err *err, const char *id);
bs_status bs__job_wrong_state(struct bs_err *err, const char *id, enum bs_job_state is, const char *doing);
/* In the open transaction: finds the job of the same owner and key, or adds this one. *now is the record as it stands. */
bs_status bs__job_add(struct bs_store *s, struct bs_job_record *job, struct bs_job_record *now,
                      bool *existing, struct bs_err *err) BS_NODISCARD;
/* Refuses what cannot be a job. No lock needed. */
bs_status bs__job_check_new(const struct bs_job_record *j, struct bs_err *err) BS_NODISCARD;
/* In the open transaction: RUNNING -> SUCCEEDED with the results of *job. */
bs_status bs__job_succeed(struct bs_store *s, const struct bs_job_record *job,
                          struct bs_err *err) BS_NODISCARD;
/* In the open transaction: adds the version and sets it (store_models.c). */
bs_status bs__model_check(const struct bs_model_record *m, struct bs_err *err) BS_NODISCARD;
bs_status bs__model_add(struct bs_store *s, struct bs_model_record *m, struct bs_err *err) BS_NODISCARD;

#endif
