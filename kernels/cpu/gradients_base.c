/* The vector kernels of training for any processor; see gradients.h. */
#define BS__L     8
#define BS__NV    2 /* vectors multiplied at once */
#define BS__MT    4 /* rows multiplied at once */
#define BS__TABLE bs__gradients_base
#include "kernels/cpu/body_gradients.h"
