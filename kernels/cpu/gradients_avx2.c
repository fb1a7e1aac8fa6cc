/* The vector kernels of training for AVX2; built with those instructions, called only where the processor has them. */
#define BS__AVX2
#define BS__L     8
#define BS__NV    2 /* vectors multiplied at once */
#define BS__MT    6 /* rows multiplied at once: NV * MT sums + NV words + 1 fit the registers */
#define BS__TABLE bs__gradients_avx2
#include "kernels/cpu/body_gradients.h"
