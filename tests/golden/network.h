/* Running a network of the reference values: weights from a safetensors file or from the formula rule, on one device.
   Everything belongs to the main thread. */
#ifndef BS_TESTS_GOLDEN_NETWORK_H
#define BS_TESTS_GOLDEN_NETWORK_H

#include "kernels/executable.h"
#include "model/arch/arch.h"
#include "model/train/loss.h"
#include "tests/golden/golden.h"

#define GOLDEN_MAX_TAPS 32

/* A way to compute a network: a device and how it is opened. (ways.c) */
struct golden_way {
    char name[40]; /* for reports */
    const char *device;
    bool winograd;
    enum bs_precision precision;
    bool tf32;    /* float32 products of a GPU may round their factors to 10 bits */
    bool asked;   /* by --device: that it cannot be had is a failure, not a reason to skip */
    bool forward; /* gradients were not asked for */
};
/* Without --device: ref, cpu without Winograd, cpu with it. */
#define GOLDEN_DEFAULT_WAYS 3
extern const struct golden_way golden_default_ways[GOLDEN_DEFAULT_WAYS];
/* The way that --device and --precision name; borrows device. False: there is no such precision. */
bool golden_way_parse(const char *device, const char *precision, struct golden_way *out);
/* Can the device be opened? Otherwise reports under that name why there is nothing to compare. */
bool golden_way_usable(struct golden *g, const char *name, const struct golden_way *way);
bs_status golden_device_open(const struct golden_way *way, struct bs_device **dev,
                             struct bs_err *err) BS_NODISCARD;
/* Is training compared in this way? Only in float32; otherwise reports so under that name. */
bool golden_way_trains(struct golden *g, const char *name, const struct golden_way *way);
/* Reports an error. What a device that nobody asked for does not support is a reason to skip. */
void golden_refused(struct golden *g, const char *name, const struct golden_way *way,
                    const struct bs_err *err);
/* The tolerance that belongs to the way's precision: the README's for float32; what rounding to bfloat16 was seen to cost,
   doubled; an eighth of that for float16 and TF32. */
double golden_most(const struct golden_way *way, double f32, double bf16);

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

/* image (N,c,h,w) as the network takes it, a transformer's brought to its size: new memory, and its shape. */
bs_status golden_network_input(const struct bs_arch_config *arch, const struct bs_shape *shape,
                               const float *image, float **input, struct bs_shape *input_shape,
                               struct bs_err *err) BS_NODISCARD;

/* A loss by the name it has in the reference values ("dice", "dist_nomask", ...), false when there is none. */
bool golden_loss_named(const char *name, struct bs_loss *loss);
/* Its value for a prediction and a target, and the gradient of the prediction (may be NULL). (check_losses.c) */
bs_status golden_loss(const struct golden_way *way, const struct bs_loss *loss, const struct bs_shape *shape,
                      const float *prediction, const float *target, double *value, float *gradient,
                      struct bs_err *err) BS_NODISCARD;

/* A copy of a graph with the named modules' values as further outputs. (taps.c) */
bs_status golden_with_taps(const struct bs_graph *g, const char *const *taps, int ntap, struct bs_graph **out,
                           struct bs_err *err) BS_NODISCARD;
#endif
