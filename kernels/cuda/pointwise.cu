// Bound by memory: each value is read once and written once, and the arithmetic of an activation (tens of instructions) hides
// behind that. A thread takes two groups of four columns, a block apart, so that both loads are on their way together.
#include "kernels/cuda/pointwise.h"
#include "kernels/cuda/rows.cuh"

namespace bs_pointwise
{

struct plain {
    BS_DEVICE float of(float x, float, float)
    {
        return x;
    }
};
struct relu {
    BS_DEVICE float of(float x, float, float)
    {
        return bs_relu(x);
    }
};
struct sigmoid {
    BS_DEVICE float of(float x, float, float)
    {
        return bs_sigmoid(x);
    }
};
struct gelu {
    BS_DEVICE float of(float x, float, float)
    {
        return bs_gelu(x);
    }
};
struct silu {
    BS_DEVICE float of(float x, float, float)
    {
        return x / (1.0f + bs_exp(-x));
    }
};
struct scale {
    BS_DEVICE float of(float x, float, float factor)
    {
        return x * factor;
    }
};
struct add {
    BS_DEVICE float of(float x, float z, float)
    {
        return x + z;
    }
};
struct add_relu {
    BS_DEVICE float of(float x, float z, float)
    {
        return bs_relu(x + z);
    }
};
struct mul {
    BS_DEVICE float of(float x, float z, float)
    {
        return x * z;
    }
};
struct relu_grad {
    BS_DEVICE float of(float y, float gy, float)
    {
        return y <= 0.0f ? 0.0f : gy;
    }
};
struct sigmoid_grad {
    BS_DEVICE float of(float y, float gy, float)
    {
        return gy * y * (1.0f - y);
    }
};
struct gelu_grad {
    // the distribution's value and x times its density
    BS_DEVICE float of(float x, float gy, float)
    {
        float below = 0.5f * (1.0f + bs_erf(x * 0.70710678118654752440f));
        return gy * (below + x * 0.39894228040143267794f * bs_exp(-0.5f * x * x));
    }
};
struct silu_grad {
    BS_DEVICE float of(float x, float gy, float)
    {
        float s = bs_sigmoid(x);
        return gy * s * (1.0f + x * (1.0f - s));
    }
};

template <class T, class F, bool FOURS> BS_DEVICE void pointwise_of(const struct bs__pointwise &p)
{
    const bs_global<const T> x = bs_at<const T>(p.x.at), z = bs_at<const T>(p.z.at);
    const bs_global<const float> bias = bs_at<const float>(p.bias);
    const bs_global<T> y = bs_at<T>(p.y.at);
    const uint32_t items = (uint32_t)p.rows * p.by_fours.by;
    const bs_float4 zero = {{0.0f, 0.0f, 0.0f, 0.0f}};
    bs_float4 a[BS__POINTWISE_EACH], b[BS__POINTWISE_EACH];
    BS_UNROLL for (int k = 0; k < BS__POINTWISE_EACH; k++)
    {
        const uint32_t item = bs_item(BS__POINTWISE_EACH, k);
        a[k] = b[k] = zero;
        if (item >= items)
            continue;
        const bs_quotient at = bs_divide(item, p.by_fours);
        const int64_t column = 4 * (int64_t)at.rest, left = p.columns - column;
        a[k] = bs_load_some<FOURS>(x, at.whole * p.x.stride + column, left);
        if (p.z.at != 0)
            b[k] = bs_load_some<FOURS>(z, at.whole * p.z.stride + column, left);
        if (p.bias != 0) {
            const bs_float4 more = bs_load_some<FOURS>(bias, column, left);
            BS_UNROLL for (int c = 0; c < 4; c++) a[k].at[c] += more.at[c];
        }
    }
    BS_UNROLL for (int k = 0; k < BS__POINTWISE_EACH; k++)
    {
        const uint32_t item = bs_item(BS__POINTWISE_EACH, k);
        if (item >= items)
            continue;
        const bs_quotient at = bs_divide(item, p.by_fours);
        const int64_t column = 4 * (int64_t)at.rest;
        BS_UNROLL for (int c = 0; c < 4; c++) a[k].at[c] = F::of(a[k].at[c], b[k].at[c], p.factor);
        bs_store_some<FOURS>(y, at.whole * p.y.stride + column, p.columns - column, a[k]);
    }
}

template <class T, class F> BS_DEVICE void pointwise(const struct bs__pointwise &p)
{
    if (p.in_fours)
        pointwise_of<T, F, true>(p);
    else
        pointwise_of<T, F, false>(p);
}

#define KERNELS(f)                                                                                           \
    BS_KERNEL(pointwise_##f##_f32, BS__ITEM_THREADS, (pointwise<bs_f32, f>), struct bs__pointwise)           \
    BS_KERNEL(pointwise_##f##_f16, BS__ITEM_THREADS, (pointwise<bs_f16, f>), struct bs__pointwise)           \
    BS_KERNEL(pointwise_##f##_bf16, BS__ITEM_THREADS, (pointwise<bs_bf16, f>), struct bs__pointwise)

KERNELS(plain)
KERNELS(relu)
KERNELS(sigmoid)
KERNELS(gelu)
KERNELS(silu)
KERNELS(scale)
KERNELS(add)
KERNELS(add_relu)
KERNELS(mul)
KERNELS(relu_grad)
KERNELS(sigmoid_grad)
KERNELS(gelu_grad)
KERNELS(silu_grad)

#undef KERNELS
} // namespace bs_pointwise
