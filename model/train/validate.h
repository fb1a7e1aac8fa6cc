/* The loss of the network as it stands, without a step: what validation measures. Sees the state of a step as it is at that
   moment. Everything belongs to the device's executor thread. */
#ifndef BS_MODEL_TRAIN_VALIDATE_H
#define BS_MODEL_TRAIN_VALIDATE_H

#include "model/train/step.h"

struct bs_validator;

/* Compiles for batches of the size given. Borrows step, whose network it must be; constants come from params, which get a
   reference. */
bs_status bs_validator_create(struct bs_device *dev, const struct bs_arch_config *arch,
                              const struct bs_train_size *size, const struct bs_loss *loss,
                              struct bs_params *params, const struct bs_step *step, struct bs_validator **out,
                              struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs_validator_destroy(struct bs_validator *v);

/* Loss of one batch. It may be anything that floats hold. BS_ECANCELLED as in bs_executable_run. */
bs_status bs_validator_run(struct bs_validator *v, const float *image, const float *target,
                           const struct bs_cancel *cancel, double *loss, struct bs_err *err) BS_NODISCARD;
/* What the network made of the last batch, of the target's shape without the mask's channel. */
const float *bs_validator_output(const struct bs_validator *v);

size_t bs_validator_arena_bytes(const struct bs_validator *v);
void bs_validator_trim(struct bs_validator *v);
uint64_t bs_validator_plan_hash(const struct bs_validator *v);

#endif
