/* What the two files about training runs share. Called with bs_store.mu held, inside a transaction. */
#ifndef BS_SERVER_STORE_RUNS_INTERNAL_H
#define BS_SERVER_STORE_RUNS_INTERNAL_H

#include "server/store/runs.h"
#include "server/store/store_internal.h"
#include "server/store/store_jobs_internal.h"

bs_status bs__run_notes_add(struct bs_store *s, const char *id, const struct bs_run_note *notes, size_t count,
                            struct bs_err *err) BS_NODISCARD;
/* How far a running job is; `forgive`: deaths are counted anew. */
bs_status bs__run_progress(struct bs_store *s, const char *id, int64_t step, int64_t steps, bool forgive,
                           struct bs_err *err) BS_NODISCARD;

#endif
