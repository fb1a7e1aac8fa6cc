/* What the two files about datasets share. Called with bs_store.mu held. */
#ifndef BS_SERVER_STORE_DATASETS_INTERNAL_H
#define BS_SERVER_STORE_DATASETS_INTERNAL_H

#include "server/store/datasets.h"
#include "server/store/store_internal.h"

bs_status bs__dataset_get(struct bs_store *s, const char *owner, const char *name,
                          struct bs_dataset_record *out, struct bs_err *err) BS_NODISCARD;
/* BS_EPRECONDITION when a job that has not finished needs it; `doing` completes "cannot be ...". */
bs_status bs__dataset_refuse_needed(struct bs_store *s, const struct bs_dataset_record *d, const char *doing,
                                    struct bs_err *err) BS_NODISCARD;

#endif
