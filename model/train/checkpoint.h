/* What a LATEST checkpoint says of the run it belongs to, beside its tensors: JSON under the metadata key "bioseg.training".
   Plain values; pure functions; any thread. */
#ifndef BS_MODEL_TRAIN_CHECKPOINT_H
#define BS_MODEL_TRAIN_CHECKPOINT_H

#include "model/train/run_internal.h"

#define BS__CHECKPOINT_KEY "bioseg.training"

/* free() the text. */
bs_status bs__checkpoint_describe(const struct bs_run *run, char **json, struct bs_err *err) BS_NODISCARD;
/* The state of a run that is the same one; BS_EPRECONDITION says what differs. */
bs_status bs__checkpoint_match(const struct bs_run *run, const char *json, struct bs__run_state *state,
                               struct bs_err *err) BS_NODISCARD;

#endif
