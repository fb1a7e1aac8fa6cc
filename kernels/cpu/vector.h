/* What the kernel bodies are written in: one vector of L floats, and loads and stores of an image element.
   The including file defines BS__L and, for AVX-512, BS__AVX512 or, for AVX2, BS__AVX2. */
#ifndef BS_KERNELS_CPU_VECTOR_H
#define BS_KERNELS_CPU_VECTOR_H

#include <stdint.h>
#include <string.h>

#if defined(BS__AVX512) || defined(BS__AVX2)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline, unused))
#define L      BS__L

typedef float vec __attribute__((vector_size(L * 4), aligned(L * 4)));
typedef float vec_u __attribute__((vector_size(L * 4), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(L * 4), aligned(L * 4)));
typedef uint32_t uvec __attribute__((vector_size(L * 4), aligned(L * 4)));
typedef uint16_t hvec __attribute__((vector_size(L * 2), aligned(L * 2)));
typedef uint16_t hvec_u __attribute__((vector_size(L * 2), aligned(2)));

INLINE vec splat(float x)
{
    return x - (vec){0};
}

/* a * b + c; one rounding where the processor fuses. */
INLINE vec fma_v(vec a, vec b, vec c)
{
#if defined(BS__AVX512)
    return (vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(BS__AVX2)
    return (vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* c - a * b */
INLINE vec fnma_v(vec a, vec b, vec c)
{
#if defined(BS__AVX512)
    return (vec)_mm512_fnmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(BS__AVX2)
    return (vec)_mm256_fnmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return c - a * b;
#endif
}

/* max(x, 0); a NaN stays one. */
INLINE vec relu_v(vec x)
{
    return (vec)((ivec)x & ~(x < 0));
}

/* The larger one; a NaN wins. */
INLINE vec max_v(vec a, vec b)
{
    ivec take = (a > b) | (a != a); /* NOLINT(misc-redundant-expression): true for NaN alone */
    return (vec)(((ivec)a & take) | ((ivec)b & ~take));
}

INLINE vec load_f32(const float *p)
{
    return *(const vec *)p;
}

INLINE void store_f32(float *p, vec x)
{
    *(vec *)p = x;
}

INLINE vec load_bf16(const uint16_t *p)
{
    return (vec)(__builtin_convertvector(*(const hvec *)p, uvec) << 16);
}

/* Round to nearest even; a NaN keeps its upper bits and becomes quiet. */
INLINE void store_bf16(uint16_t *p, vec x)
{
    uvec bits = (uvec)x;
    uvec even = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    uvec nan = (bits >> 16) | 0x40;
    uvec is_nan = (uvec)(x != x); /* NOLINT(misc-redundant-expression): true for NaN alone */
    *(hvec *)p = __builtin_convertvector((even & ~is_nan) | (nan & is_nan), hvec);
}

/* The same for one number, and for memory that is not aligned. */
INLINE vec load_bf16_u(const uint16_t *p)
{
    return (vec)(__builtin_convertvector(*(const hvec_u *)p, uvec) << 16);
}

INLINE uint16_t bf16_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    if (x != x) /* NOLINT(misc-redundant-expression): true for NaN alone */
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

INLINE float f32_of(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float r;
    memcpy(&r, &bits, sizeof r);
    return r;
}

INLINE hvec_u bf16_of_v(vec x)
{
    uint16_t h[L] __attribute__((aligned(64)));
    store_bf16(h, x);
    return *(const hvec_u *)h;
}

/* Sum of the lanes in a fixed order. */
INLINE float lane_sum(vec x)
{
    float a[L] __attribute__((aligned(64)));
    store_f32(a, x);
    for (int step = L / 2; step > 0; step /= 2)
        for (int i = 0; i < step; i++)
            a[i] += a[i + step];
    return a[0];
}

#endif
