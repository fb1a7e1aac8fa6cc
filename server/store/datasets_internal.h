/* What the files about datasets and pairs share. Called with bs_store.mu held. */
#ifndef BS_SERVER_STORE_DATASETS_INTERNAL_H
#define BS_SERVER_STORE_DATASETS_INTERNAL_H

#include "server/store/datasets.h"
#include "server/store/store_internal.h"

bs_status bs__dataset_get(struct bs_store *s, const char *owner, const char *name,
                          struct bs_dataset_record *out, struct bs_err *err) BS_NODISCARD;
/* BS_EPRECONDITION when a job that has not finished needs it; `doing` completes "cannot be ...". */
bs_status bs__dataset_refuse_needed(struct bs_store *s, const struct bs_dataset_record *d, const char *doing,
                                    struct bs_err *err) BS_NODISCARD;

/* Columns of a pair in the order that bs__pair_read takes. */
#define BS__PAIR_COLUMNS                                                                                     \
    "id, name, grp, image_blob, labels_blob, info_json, annotation, prediction_blob, split, image_bytes,"    \
    " labels_bytes, prediction_bytes, created_ms"
bs_status bs__pair_read(sqlite3_stmt *st, struct bs_pair_record *p, struct bs_err *err) BS_NODISCARD;

#endif
