/* Convolutions of training by the own Winograd kernels, where these cover them and are allowed: 3x3, stride 1, padding 1, channels
   in whole blocks on both sides. oneDNN has the others (training_conv.c). Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_WINOGRAD_H
#define BS_KERNELS_CPU_TRAINING_WINOGRAD_H

#include "kernels/cpu/training.h"

bool bs__training_winograd_fits(const struct bs__training_call *c);
/* Bytes. */
size_t bs__training_winograd_scratch(const struct bs__training_call *c);
void bs__training_winograd_run(const struct bs__training_call *c);

#endif
