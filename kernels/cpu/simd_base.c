/* The vector kernels for any processor: the compiler lowers the vectors to what it may use. */

#define BS__L     8
#define BS__NV    2 /* vectors of output channels multiplied at once */
#define BS__MT    4 /* tiles or pixels multiplied at once: NV * MT sums + NV weights + 1 fit the registers */
#define BS__NAME  "base"
#define BS__TABLE bs__simd_base
#include "kernels/cpu/body.h"
