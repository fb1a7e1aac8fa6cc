/* Adam and AdamW, one tensor at a time. Arithmetic is in double per element, what is kept is float32, so a step from a stored
   state gives the same bits as one that never stopped. Pure functions; any thread.

   With gradient g, step number k from 1, moments m and v (zero before the first step):
     Adam   g' = g + weight_decay x            AdamW   x' = x (1 - lr weight_decay), g' = g
     m = beta1 m + (1 - beta1) g',  v = beta2 v + (1 - beta2) g'^2
     x = x' - lr m / (1 - beta1^k) / (sqrt(v) / sqrt(1 - beta2^k) + eps)
   Kingma & Ba 2015; Loshchilov & Hutter 2019; eps outside the root, as torch has it. */
#ifndef BS_MODEL_TRAIN_OPTIMIZER_H
#define BS_MODEL_TRAIN_OPTIMIZER_H

#include "kernels/base/status.h"

#include <stdint.h>

enum bs_optimizer_kind { BS_ADAM, BS_ADAMW };

struct bs_optimizer {
    enum bs_optimizer_kind kind;
    double learning_rate, beta1, beta2, eps, weight_decay;
};

/* Learning rate 1e-4 as the publication, beta 0.9 and 0.999, eps 1e-8; weight decay 0 for Adam and 0.01 for AdamW. */
struct bs_optimizer bs_optimizer_defaults(enum bs_optimizer_kind kind);
/* BS_EINVAL names the setting, its value and what is accepted. */
bs_status bs_optimizer_check(const struct bs_optimizer *o, struct bs_err *err) BS_NODISCARD;

/* Step number `step` (from 1) of one tensor: value, first and second moment are changed. */
void bs_optimizer_step(const struct bs_optimizer *o, int64_t step, const float *gradient, size_t count,
                       float *value, float *first, float *second);

#endif
