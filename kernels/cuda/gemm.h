/* Products of matrices with own kernels: y = act(x w^T + b) + r, what a linear layer is, and the two products of its
   backward. The path where cuBLASLt is absent, and for shapes whose launch through it does not pay. float32 multiplies in
   float; the half types multiply on tensor cores and sum in float (bf16 before sm_80 is widened to float). Every sum has one
   fixed order. Executor thread only. */
#ifndef BS_KERNELS_CUDA_GEMM_H
#define BS_KERNELS_CUDA_GEMM_H

#include "kernels/cuda/launch.h"

enum bs__gemm_act { BS__GEMM_NONE, BS__GEMM_RELU, BS__GEMM_GELU };
/* Which operands lie transposed; sums run over `depth`. */
enum bs__gemm_form {
    BS__GEMM_LINEAR, /* a (rows, depth), b (columns, depth): y = x w^T */
    BS__GEMM_PLAIN,  /* a (rows, depth), b (depth, columns): gx = gy w */
    BS__GEMM_OUTER,  /* a (depth, rows), b (depth, columns): gw = gy^T x */
};

/* y (rows, columns) = act(a b + bias) + residual. Strides are elements from one row to the next, at least its length. */
struct bs__gemm {
    enum bs__element element; /* of a, b, residual and y; sums are float */
    enum bs__gemm_form form;
    int64_t rows, columns, depth;
    bs_address a, b, y;
    int64_t a_stride, b_stride, y_stride;
    bs_address bias; /* (columns) of bias_element; 0: none */
    enum bs__element bias_element;
    enum bs__gemm_act act; /* GELU is the exact one */
    bs_address residual;   /* (rows, columns), may be y; 0: none */
    int64_t residual_stride;
};

/* Queues the product; needs no workspace. */
bs_status bs__cuda_gemm(struct bs__queue *q, const struct bs__gemm *c, struct bs_err *err) BS_NODISCARD;

#endif
