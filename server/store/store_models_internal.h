/* What the files about models, their names and their origins share. Called with bs_store.mu held. */
#ifndef BS_SERVER_STORE_STORE_MODELS_INTERNAL_H
#define BS_SERVER_STORE_STORE_MODELS_INTERNAL_H

#include "server/store/store_internal.h"

/* As bs_store_model_get: version 0 is the newest. */
bs_status bs__model_get(struct bs_store *s, const char *name, int64_t version, struct bs_model_record *out,
                        struct bs_err *err) BS_NODISCARD;
/* What an alias means; 0: nothing. */
bs_status bs__alias_version(struct bs_store *s, const char *name, const char *alias, int64_t *version,
                            struct bs_err *err) BS_NODISCARD;
/* In the open transaction: notes where a version that was trained here comes from. manifest_blob may be NULL. */
bs_status bs__origin_add(struct bs_store *s, const struct bs_model_record *m, const char *manifest_blob,
                         struct bs_err *err) BS_NODISCARD;
/* In the open transaction: forgets origins that no version, and no run that may go on, descends from. */
bs_status bs__origins_prune(struct bs_store *s, struct bs_err *err) BS_NODISCARD;

#endif
