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

/* "<prefix>.block": norm, 3x3 convolution, ReLU, norm, 3x3 convolution, ReLU. */
bs_value bs__unet_block(struct bs_graph *g, enum bs_norm kind, const char *prefix, bs_value x,
                        int64_t features);
/* To twice the size, "<prefix>.conv" or "<prefix>.block". */
bs_value bs__unet_upsample(struct bs_graph *g, enum bs_upsampling kind, const char *prefix, bs_value x,
                           int64_t features);

bs_status bs__unetr_check(const struct bs_unetr_config *cfg, struct bs_err *err) BS_NODISCARD;
void bs__unetr_build(struct bs_graph *g, const struct bs_unetr_config *cfg, int64_t n, int64_t h, int64_t w);
/* Sets what keys and shapes cannot tell to the paper's settings; arch.c names it as assumed. */
bs_status bs__unetr_recover(const struct bs_state_entry *state, size_t count, struct bs_unetr_config *cfg,
                            struct bs_err *err) BS_NODISCARD;

bs_status bs__vimunet_check(const struct bs_vimunet_config *cfg, struct bs_err *err) BS_NODISCARD;
void bs__vimunet_build(struct bs_graph *g, const struct bs_vimunet_config *cfg, int64_t n, int64_t h,
                       int64_t w);
/* Refuses inputs that the encoder's tables cannot be brought to. */
bs_status bs__vimunet_check_size(const struct bs_vimunet_config *cfg, int64_t h, int64_t w,
                                 struct bs_err *err) BS_NODISCARD;
bs_status bs__vimunet_recover(const struct bs_state_entry *state, size_t count, struct bs_vimunet_config *cfg,
                              struct bs_err *err) BS_NODISCARD;
/* What bs__vimunet_recover has set without a trace in keys and shapes: "key=value,...". */
const char *bs__vimunet_assumptions(const struct bs_vimunet_config *cfg);

/* The parameter "<prefix>.<suffix>". */
bs_value bs__param(struct bs_graph *g, const char *prefix, const char *suffix, struct bs_shape shape);
/* Size of axis `axis` of a value; 1 once building has failed, so that a network need not ask. */
int64_t bs__dim(const struct bs_graph *g, bs_value v, int axis);
/* The linear map "<prefix>.weight", "<prefix>.bias" of the last axis to `out` features. */
bs_value bs__linear(struct bs_graph *g, const char *prefix, bs_value x, int64_t out, bool bias);
/* The convolution "<prefix>.weight", "<prefix>.bias" with odd kernel, stride 1 and the padding that keeps the size. */
bs_value bs__conv(struct bs_graph *g, const char *prefix, bs_value x, int64_t out, int kernel);

/* Batch norm "<prefix>.weight", bias, running_mean, running_var. */
bs_value bs__batch_norm(struct bs_graph *g, const char *prefix, bs_value x, float eps);

/* An int of a shape from a file. */
bs_status bs__state_int(const struct bs_state_entry *e, int axis, int *out, struct bs_err *err) BS_NODISCARD;
/* The entry of that name with that number of axes; BS_EINVAL names what is missing or odd. */
bs_status bs__state_need(const struct bs_state_entry *state, size_t count, const char *name, int axes,
                         const struct bs_state_entry **out, struct bs_err *err) BS_NODISCARD;
/* The entry of that name, or NULL. state is sorted by name. */
const struct bs_state_entry *bs__state_find(const struct bs_state_entry *state, size_t count,
                                            const char *name);

#endif
