/* What the files of model/arch share: the parts of one network that arch.c dispatches to. Pure functions; any thread. */
#ifndef BS_MODEL_ARCH_ARCH_INTERNAL_H
#define BS_MODEL_ARCH_ARCH_INTERNAL_H

#include "model/arch/arch.h"

/* Refuses a config that no checkpoint of the original could have, naming the field and what is accepted. */
bs_status bs__unet_check(const struct bs_unet_config *cfg, struct bs_err *err) BS_NODISCARD;
/* Adds the network to an unfinished graph. */
void bs__unet_build(struct bs_graph *g, const struct bs_unet_config *cfg, int64_t n, int64_t h, int64_t w);
int bs__unet_divisor(const struct bs_unet_config *cfg);
int bs__unet_receptive_radius(const struct bs_unet_config *cfg);
/* Guesses the config from keys and shapes; arch.c then compares every entry with the graph that it gives. */
bs_status bs__unet_recover(const struct bs_state_entry *state, size_t count, struct bs_unet_config *cfg,
                           struct bs_err *err) BS_NODISCARD;

/* The entry of that name, or NULL. state is sorted by name. */
const struct bs_state_entry *bs__state_find(const struct bs_state_entry *state, size_t count,
                                            const char *name);

#endif
