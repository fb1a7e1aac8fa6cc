// What the kernels of products share: the end of a product, act(sum + bias) + residual.
#ifndef BS_KERNELS_CUDA_GEMM_CUH
#define BS_KERNELS_CUDA_GEMM_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/gemm.h"
#include "kernels/cuda/gemm_arguments.h"

template <class T>
BS_DEVICE float gemm_value(const bs__gemm_arguments &a, int64_t row, int64_t column, float v)
{
    if (a.bias_kind == BS__GEMM_BIAS_ELEMENT)
        v += bs_load(bs_at<const T>(a.bias), column);
    else if (a.bias_kind == BS__GEMM_BIAS_FLOAT)
        v += bs_load(bs_at<const float>(a.bias), column);
    if (a.act == BS__GEMM_RELU)
        v = v < 0 ? 0 : v; // a NaN stays one
    else if (a.act == BS__GEMM_GELU)
        v = 0.5f * v * (1.0f + bs_erf(v * 0.707106781f));
    return a.residual ? v + bs_load(bs_at<const T>(a.residual), row * a.residual_stride + column) : v;
}

template <class T>
BS_DEVICE void gemm_store(const bs__gemm_arguments &a, int64_t row, int64_t column, float v)
{
    if (row < a.rows && column < a.columns)
        bs_store(bs_at<T>(a.y), row * a.y_stride + column, gemm_value<T>(a, row, column, v));
}

#endif
