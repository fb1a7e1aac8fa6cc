/* Exponential and activations of a vector. Included after vector.h. */
#ifndef BS_KERNELS_CPU_BODY_ACT_H
#define BS_KERNELS_CPU_BODY_ACT_H

/* fraction_v: x - n for the greatest whole n <= x. scale_v: 2^n p. */
#ifdef BS__AVX512
INLINE vec fraction_v(vec x)
{
    return (vec)_mm512_reduce_ps((__m512)x, 1); /* 0 for infinities */
}

INLINE vec scale_v(vec p, vec x, vec f)
{
    (void)f;
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)x);
}
#else
/* Whole numbers, so that x below -126 has to be met before; a NaN stays one. */
INLINE vec fraction_v(vec x)
{
    vec n = __builtin_convertvector(__builtin_convertvector(x, ivec), vec); /* towards zero */
    return x - n + (vec)((ivec)splat(1) & (n > x));
}

INLINE vec scale_v(vec p, vec x, vec f)
{
    return p * (vec)((__builtin_convertvector(x - f, ivec) + 127) << 23);
}
#endif

/* No more than 2^-126 for smaller x, which AVX-512 does itself. */
INLINE vec bounded_v(vec x)
{
#ifndef BS__AVX512
    ivec low = x < -126.0f;
    x = (vec)(((ivec)splat(-126) & low) | ((ivec)x & ~low));
#endif
    return x;
}

/* 2^x = 2^n 2^f for x < 128, n whole, 0 <= f < 1, 2^f a minimax polynomial that is 1 at 0. Relative error below 3e-7; 0 or
   2^-126 for all x below -126; a NaN stays one, which attention relies on (body_exp.h, for the scan, does not promise it). */
INLINE vec exp2_v(vec x)
{
    x = bounded_v(x);
    const vec f = fraction_v(x);
    vec p = splat(0.00186713098f);
    p = fma_v(p, f, splat(0.00901702778f));
    p = fma_v(p, f, splat(0.0557999156f));
    p = fma_v(p, f, splat(0.240164449f));
    p = fma_v(p, f, splat(0.693151312f));
    p = fma_v(p, f, splat(1));
    return scale_v(p, x, f);
}

/* The same for what becomes bf16: relative error below 9e-5, of 2e-3 that the rounding takes. */
INLINE vec exp2_rough_v(vec x)
{
    x = bounded_v(x);
    const vec f = fraction_v(x);
    vec p = splat(0.0770670901f);
    p = fma_v(p, f, splat(0.227644908f));
    p = fma_v(p, f, splat(0.695116821f));
    p = fma_v(p, f, splat(1));
    return scale_v(p, x, f);
}

/* |error| of x/2 (1 + erf(x / sqrt 2)) below 2e-7: erfc(|x| / sqrt 2) = 2^-R(|x|), R by a polynomial over [0, 6]. Behind 6 the
   factor differs from 0 or 1 by less than 2e-9, which float32's 1 + erf does not show either. */
INLINE vec gelu_v(vec x)
{
    const ivec sign = (ivec)x & INT32_MIN;
    const vec a = (vec)((ivec)x ^ sign);
    vec r = splat(1.894168875e-8f);
    r = fma_v(r, a, splat(-6.089550158e-7f));
    r = fma_v(r, a, splat(8.350974894e-6f));
    r = fma_v(r, a, splat(-6.177901966e-5f));
    r = fma_v(r, a, splat(0.0002320609514f));
    r = fma_v(r, a, splat(8.972128942e-5f));
    r = fma_v(r, a, splat(-0.007040539407f));
    r = fma_v(r, a, splat(0.0524893288f));
    r = fma_v(r, a, splat(0.459211569f));
    r = fma_v(r, a, splat(1.151104476f));
    const vec half = (vec)((ivec)(x * 0.5f) & ~(a > 6.0f));
    /* x/2 e below zero, x - x/2 e above */
    return fma_v((vec)((ivec)half ^ (sign ^ INT32_MIN)), exp2_v(-r * a), (vec)((ivec)x & ~(sign >> 31)));
}

/* 1 / (1 + exp(-x)); 0 for x below -87, where it is less than 2e-38. */
INLINE vec sigmoid_v(vec x)
{
    const ivec far = x < -87.0f;
    const vec bounded = (vec)((ivec)x & ~far);
    return (vec)((ivec)(1.0f / (1.0f + exp2_v(bounded * -1.44269504f))) & ~far);
}

INLINE vec act_v(enum bs__row_act act, vec x)
{
    switch (act) {
    case BS__ROW_AS_IS:
        break;
    case BS__ROW_GELU:
        return gelu_v(x);
    case BS__ROW_SILU:
        return x * sigmoid_v(x);
    case BS__ROW_RELU:
        return relu_v(x);
    case BS__ROW_SIGMOID:
        return sigmoid_v(x);
    }
    return x;
}

#endif
