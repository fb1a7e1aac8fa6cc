/* Weights that training from scratch begins with: a pure function of network and seed. */
#ifndef BS_MODEL_TRAIN_INITIAL_H
#define BS_MODEL_TRAIN_INITIAL_H

#include "kernels/params.h"
#include "model/arch/arch.h"

/* As PyTorch begins: weights and biases of convolutions and linear layers uniform within 1 / sqrt(inputs per output), norms that
   change nothing; and Vision Mamba as its authors begin (Zhu et al. 2024, after Gu & Dao 2023): A the numbers 1 to N, steps
   delta spread evenly over the logarithms from 0.001 to 0.1, positions and class token normal with 0.02, patches normal
   with 1 / sqrt(inputs), what a mixer gives back divided by the root of the number of layers.
   BS_EUNSUPPORTED: UNETR, whose encoder nobody trains from nothing, and rotary positions. */
bs_status bs_initial_params(const struct bs_arch_config *arch, uint64_t seed, struct bs_params **out,
                            struct bs_err *err) BS_NODISCARD;

/* The values of base, but for the last convolution ("out_conv."), which begins anew with the arch's number of output channels: a
   network that is to learn another target. References base. */
bs_status bs_initial_head(struct bs_params *base, const struct bs_arch_config *arch, uint64_t seed,
                          struct bs_params **out, struct bs_err *err) BS_NODISCARD;

#endif
