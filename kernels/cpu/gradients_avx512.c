/* The vector kernels of training for AVX-512; built with those instructions, called only where the processor has them. */
#define BS__AVX512
#define BS__L     16
#define BS__NV    4 /* vectors multiplied at once */
#define BS__MT    6 /* rows multiplied at once: NV * MT sums + NV words + 1 fit the registers */
#define BS__TABLE bs__gradients_avx512
#include "kernels/cpu/body_gradients.h"
