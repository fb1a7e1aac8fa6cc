/* Running a network of the reference values: weights from a safetensors file or from the formula rule, on one device.
   Everything belongs to the main thread. */
#ifndef BS_TESTS_GOLDEN_NETWORK_H
#define BS_TESTS_GOLDEN_NETWORK_H

#include "kernels/executable.h"
#include "model/arch/arch.h"

#define GOLDEN_MAX_TAPS 32

/* How a device is opened for a comparison, with the README's tolerance for its logits. */
struct golden_way {
    const char *name, *device;
    bool winograd;
};
/* ref, cpu without Winograd, cpu with it. */
extern const struct golden_way golden_ways[3];

/* Weights. */
bs_status golden_params_file(const char *path, struct bs_arch_config *arch, struct bs_params **out,
                             struct bs_err *err) BS_NODISCARD; /* recovers arch */
/* Sets what keys cannot tell and the reference values were made with; the fixture's name says it. */
void golden_settings(const char *folder, struct bs_arch_config *arch);
/* Recovers arch from a list of names and shapes. */
bs_status golden_arch_manifest(const char *path, struct bs_arch_config *arch,
                               struct bs_err *err) BS_NODISCARD;
bs_status golden_params_formula(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                                struct bs_err *err) BS_NODISCARD;

/* Values a network made; free with golden_result_free. */
struct golden_result {
    struct bs_shape shape;        /* of output */
    struct bs_shape logits_shape; /* differs where the network has a size of its own */
    float *output, *logits;
    int ntap;
    struct bs_shape tap_shape[GOLDEN_MAX_TAPS];
    float *tap[GOLDEN_MAX_TAPS]; /* what the named modules made */
};
/* shape: of image. A transformer's images are brought to its size and its outputs back as the original does.
   taps: module names such as "decoder.blocks.0" (ntap of them); BS_ENOTFOUND when the network has no such module. */
bs_status golden_network_run(const struct golden_way *way, const struct bs_arch_config *arch,
                             struct bs_params *params, const struct bs_shape *shape, const float *image,
                             const char *const *taps, int ntap, struct golden_result *out,
                             struct bs_err *err) BS_NODISCARD;
void golden_result_free(struct golden_result *r);

/* A copy of a graph with the named modules' values as further outputs. (taps.c) */
bs_status golden_with_taps(const struct bs_graph *g, const char *const *taps, int ntap, struct bs_graph **out,
                           struct bs_err *err) BS_NODISCARD;

/* Is the device of that way part of this build and machine? */
bool golden_way_available(const struct golden_way *way);

#endif
