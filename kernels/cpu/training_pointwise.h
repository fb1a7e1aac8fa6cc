/* 1x1 convolutions of training, stride 1, without padding, by own kernels that read and write planes where they lie
   (gradients.h). Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_POINTWISE_H
#define BS_KERNELS_CPU_TRAINING_POINTWISE_H

#include "kernels/cpu/training.h"

bool bs__training_pointwise_fits(const struct bs__training_call *c);
/* Bytes. */
size_t bs__training_pointwise_scratch(const struct bs__training_call *c);
void bs__training_pointwise_run(const struct bs__training_call *c);

/* The same where an image lies in blocks (training_pointwise_blocks.c). */
size_t bs__pointwise_blocks_scratch(const struct bs__training_call *c);
void bs__pointwise_blocks_run(const struct bs__training_call *c);

#endif
