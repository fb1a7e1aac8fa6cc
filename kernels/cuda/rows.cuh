// What the kernels on rows (views.h) share: which item a thread has, quotients, four neighbouring elements where a row may end
// before the fourth, activations.
#ifndef BS_KERNELS_CUDA_ROWS_CUH
#define BS_KERNELS_CUDA_ROWS_CUH

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/views.h"

// Item k of the `each` that this thread has: neighbouring threads have neighbouring items.
BS_DEVICE uint32_t bs_item(int each, int k)
{
    return ((uint32_t)blockIdx.x * (uint32_t)each + (uint32_t)k) * (uint32_t)blockDim.x +
           (uint32_t)threadIdx.x;
}

struct bs_quotient {
    uint32_t whole, rest;
};
BS_DEVICE bs_quotient bs_divide(uint32_t n, const struct bs__divisor &d)
{
    uint32_t whole = (uint32_t)(((uint64_t)n * d.multiply) >> d.shift);
    return {whole, n - whole * d.by};
}

// Elements i to i + 3; those from `left` on do not exist and are 0. FOURS: all exist and may be loaded at once.
template <bool FOURS, class P> BS_DEVICE bs_float4 bs_load_some(P p, int64_t i, int64_t left)
{
    if constexpr (FOURS)
        return bs_load4(p, i);
    bs_float4 v = {{0.0f, 0.0f, 0.0f, 0.0f}};
    BS_UNROLL for (int k = 0; k < 4; k++) if (k < left) v.at[k] = bs_load(p, i + k);
    return v;
}
template <bool FOURS, class P> BS_DEVICE void bs_store_some(P p, int64_t i, int64_t left, bs_float4 v)
{
    if constexpr (FOURS)
        bs_store4(p, i, v);
    else
        BS_UNROLL for (int k = 0; k < 4; k++) if (k < left) bs_store(p, i + k, v.at[k]);
}

BS_DEVICE float bs_relu(float v)
{
    return v <= 0.0f ? 0.0f : v; // NaN stays NaN
}
BS_DEVICE float bs_sigmoid(float v)
{
    return 1.0f / (1.0f + bs_exp(-v));
}
BS_DEVICE float bs_gelu(float v)
{
    return 0.5f * v * (1.0f + bs_erf(v * 0.70710678118654752440f));
}
// One of enum bs__activation, the same for all threads.
BS_DEVICE bs_float4 bs_activate(int32_t activation, bs_float4 v)
{
    BS_UNROLL for (int k = 0; k < 4; k++)
    {
        if (activation == BS__RELU)
            v.at[k] = bs_relu(v.at[k]);
        else if (activation == BS__SIGMOID)
            v.at[k] = bs_sigmoid(v.at[k]);
        else if (activation == BS__GELU)
            v.at[k] = bs_gelu(v.at[k]);
        else if (activation == BS__SILU)
            v.at[k] = v.at[k] * bs_sigmoid(v.at[k]);
    }
    return v;
}

#endif
