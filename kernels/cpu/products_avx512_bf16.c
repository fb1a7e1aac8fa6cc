/* The matrix product kernels for processors that multiply bf16 pairs; called only where the processor does. */
#define BS__AVX512
#define BS__PAIRS
#define BS__L     16
#define BS__NV    4 /* vectors multiplied at once */
#define BS__MT    6 /* rows multiplied at once: NV * MT sums + NV words + 1 fit the registers */
#define BS__NAME  "avx512_bf16"
#define BS__TABLE bs__products_avx512_bf16
#include "kernels/cpu/body_products.h"
