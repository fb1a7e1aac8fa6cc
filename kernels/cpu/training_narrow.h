/* Values of training that lie in the arena with 16 bits: operators compute with float32, so what they read is widened before and
   what they make is rounded (to nearest even) afterwards. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_NARROW_H
#define BS_KERNELS_CPU_TRAINING_NARROW_H

#include "kernels/tensor.h"

/* dtype: BS_BF16 or BS_F16. */
void bs__train_widen(int threads, enum bs_dtype dtype, const uint16_t *from, size_t count, float *to);
void bs__train_narrow(int threads, enum bs_dtype dtype, const float *from, size_t count, uint16_t *to);

#endif
