/* The matrix product kernels for any processor; see products.h. */
#define BS__L     8
#define BS__NV    2 /* vectors multiplied at once */
#define BS__MT    4 /* rows multiplied at once */
#define BS__NAME  "base"
#define BS__TABLE bs__products_base
#include "kernels/cpu/body_products.h"
