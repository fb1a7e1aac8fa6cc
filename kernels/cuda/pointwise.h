/* One value from one or two values at the same place, for any shape: activations, sums, products and their gradients.
   Rows with a stride (views.h); y may be the memory of x or of z. Sums in float, one rounding at the end. */
#ifndef BS_KERNELS_CUDA_POINTWISE_H
#define BS_KERNELS_CUDA_POINTWISE_H

#include "kernels/cuda/views.h"

enum bs__pointwise_kind {
    /* y = f(x + bias[column]), the bias where given */
    BS__POINTWISE_PLAIN,
    BS__POINTWISE_RELU,
    BS__POINTWISE_SIGMOID,
    BS__POINTWISE_GELU,
    BS__POINTWISE_SILU,
    BS__POINTWISE_SCALE, /* (x + bias) * factor */
    /* y = f(x + bias[column], z) */
    BS__POINTWISE_ADD,
    BS__POINTWISE_ADD_RELU,
    BS__POINTWISE_MUL,
    /* gx from x or y (as the name says) in x and gy in z; no bias */
    BS__POINTWISE_RELU_GRAD_Y,
    BS__POINTWISE_SIGMOID_GRAD_Y,
    BS__POINTWISE_GELU_GRAD_X,
    BS__POINTWISE_SILU_GRAD_X,
    BS__POINTWISE_COUNT
};

struct bs__pointwise {
    struct bs__rows y, x, z;
    bs_address bias; /* float, one per column; 0: none */
    int64_t rows, columns;
    float factor;
    /* set by the launch */
    int32_t in_fours;
    struct bs__divisor by_fours; /* groups of four columns in a row */
};
#define BS__POINTWISE_EACH 2 /* groups per thread */

bs_status bs__cuda_pointwise(struct bs__queue *q, enum bs__element e, enum bs__pointwise_kind kind,
                             const struct bs__pointwise *p, struct bs_err *err) BS_NODISCARD;

#endif
