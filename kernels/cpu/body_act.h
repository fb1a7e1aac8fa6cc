/* Exponential and activations of a vector. Included after vector.h. */
#ifndef BS_KERNELS_CPU_BODY_ACT_H
#define BS_KERNELS_CPU_BODY_ACT_H

/* exp(x ln 2) for x < 127.5, relative error below 3e-7; 2^-126 for all x below -126, a NaN stays one.
   2^x = 2^n 2^f, n the nearest integer; 2^f by a minimax polynomial over [-1/2, 1/2]. */
INLINE vec exp2_v(vec x)
{
#ifdef BS__AVX512
    x = (vec)_mm512_max_ps(_mm512_set1_ps(-126), (__m512)x); /* the second one where either is NaN */
    vec n = (vec)_mm512_roundscale_ps((__m512)x, 8);
#else
    ivec low = x < -126.0f;
    x = (vec)(((ivec)splat(-126) & low) | ((ivec)x & ~low));
    const vec magic = splat(12582912.0f); /* 1.5 * 2^23: the low bits of the sum are the nearest integer */
    vec shifted = x + magic, n = shifted - magic;
#endif
    vec f = x - n, p = splat(0.00133908633647f);
    p = fma_v(p, f, splat(0.00967603191832f));
    p = fma_v(p, f, splat(0.0555035711422f));
    p = fma_v(p, f, splat(0.240221074853f));
    p = fma_v(p, f, splat(0.693147188026f));
    p = fma_v(p, f, splat(1));
#ifdef BS__AVX512
    return (vec)_mm512_scalef_ps((__m512)p, (__m512)n);
#else
    return p * (vec)(((ivec)shifted << 23) + (127 << 23));
#endif
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
