/* Which network a model is: a config struct per architecture, the graph built from it, and the config recovered from
   a checkpoint's keys and shapes. Pure functions; any thread. */
#ifndef BS_MODEL_ARCH_ARCH_H
#define BS_MODEL_ARCH_ARCH_H

#include "kernels/graph.h"

enum bs_arch_kind { BS_ARCH_UNET, BS_ARCH_UNETR, BS_ARCH_VIMUNET };

enum bs_norm { BS_NORM_INSTANCE, BS_NORM_BATCH, BS_NORM_GROUP, BS_NORM_NONE };
enum bs_upsampling { BS_UPSAMPLING_BILINEAR, BS_UPSAMPLING_TRANSPOSED };

/* torch_em.model.UNet2d: levels 0..depth-1 plus the base, features initial_features * 2^level. */
struct bs_unet_config {
    int in_channels, out_channels;
    int depth;
    int initial_features;
    enum bs_norm norm;
    enum bs_upsampling upsampling;
    bool sigmoid; /* final_activation="Sigmoid" */
};

struct bs_arch_config {
    enum bs_arch_kind kind;
    struct bs_unet_config unet; /* kind UNET; the others follow with their networks */
};

/* Name for people and metadata: "unet", "unetr", "vimunet". */
const char *bs_arch_name(enum bs_arch_kind kind);

/* Spatial sizes must be multiples of this. */
int bs_arch_divisor(const struct bs_arch_config *cfg);
/* Pixels by which an output pixel's receptive field reaches beyond it on each side; the halo a tile needs for exactness. */
int bs_arch_receptive_radius(const struct bs_arch_config *cfg);

/* Builds input "image" (n, in_channels, h, w) -> outputs "logits" (before the final activation) and "output"
   (n, out_channels, h, w). Parameter names are torch_em's state_dict keys. The graph is finished. */
bs_status bs_arch_build(const struct bs_arch_config *cfg, int64_t n, int64_t h, int64_t w,
                        struct bs_graph **out, struct bs_err *err) BS_NODISCARD;

/* One entry of a state dict, for recovery. */
struct bs_state_entry {
    const char *name;
    struct bs_shape shape;
};
/* Recovers the config from keys and shapes. What they cannot tell (the final activation) is set to the default and
   named in *assumed as "key=value,..." (buffer of assumed_len bytes). BS_EINVAL says what is missing or odd. */
bs_status bs_arch_recover(const struct bs_state_entry *state, size_t count, struct bs_arch_config *cfg,
                          char *assumed, size_t assumed_len, struct bs_err *err) BS_NODISCARD;

/* Number of parameters (buffers not counted), from the graph's PARAM nodes' rule. */
bs_status bs_arch_parameter_count(const struct bs_arch_config *cfg, uint64_t *count,
                                  struct bs_err *err) BS_NODISCARD;

#endif
