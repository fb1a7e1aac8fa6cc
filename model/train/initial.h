/* Weights that training from scratch begins with: a pure function of network and seed. */
#ifndef BS_MODEL_TRAIN_INITIAL_H
#define BS_MODEL_TRAIN_INITIAL_H

#include "kernels/params.h"
#include "model/arch/arch.h"

/* As PyTorch begins: weights and biases of convolutions and linear layers uniform within 1 / sqrt(inputs per output), norms that
   change nothing. Of a U-Net; BS_EUNSUPPORTED for networks with an encoder that nobody trains from nothing without its own rule. */
bs_status bs_initial_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                            struct bs_err *err) BS_NODISCARD;

#endif
