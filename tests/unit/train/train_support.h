/* What the tests of training share: small networks with formula weights, images and targets. Errors end the test. One
   thread. */
#ifndef BS_TESTS_UNIT_TRAIN_SUPPORT_H
#define BS_TESTS_UNIT_TRAIN_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/train/step.h"

/* A U-Net of two levels with two features, one input channel and three outputs. */
struct bs_arch_config small_unet(enum bs_norm norm);
/* Weights by the formula rule; NULL and *err when memory runs out. */
struct bs_params *formula_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_err *err);

/* Reproducible values in [lo, hi); free() them. NULL when memory runs out. */
float *random_values(size_t count, uint64_t seed, double lo, double hi);

/* A step with all it needs; end_step frees it. */
struct fixture {
    struct bs_device *dev;
    struct bs_params *params;
    struct bs_step *step;
    float *image, *target;
};
#define SIDE 8
/* Two samples of SIDE x SIDE. */
struct fixture begin_step(enum bs_norm norm, enum bs_loss_kind loss); /* on `ref` */
struct fixture begin_step_on(const char *device, enum bs_norm norm, enum bs_loss_kind loss);
void end_step(struct fixture *f);
/* The tensor of that name; it has to be there. */
const struct bs_step_tensor *tensor_named(const struct bs_step *step, const char *name);
/* One step with Adam at this rate; the loss before it. */
double train_once(struct fixture *f, double learning_rate);

#endif
