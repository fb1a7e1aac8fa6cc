/* exp, softplus and SiLU of a vector, for the token kernels.
   2^x = 2^k 2^(j/32) 2^f. AVX-512 takes 2^(j/32) from two registers and a polynomial of degree 2 for |f| <= 1/64; the others
   have no such registers (j = 0) and take degree 5 for |f| <= 1/2. The coefficients are minimax under the condition that
   2^0 is 1, so that a state that hardly decays keeps its rate. Results of 2^-126 and above are right to 2 units in the last
   place (2.5 without fused multiply-adds), smaller ones are off by 2^-126 at most. (test_conv1d.c: 
   exponential_is_as_exact_as_it_says.) */

#define LOG2E 1.44269504F

#if defined(BS__AVX512)
/* 2^(j/32) */
static const float exp2_table[32] __attribute__((aligned(64))) = {
    1,           1.0218972F,  1.04427373F, 1.06714046F, 1.09050775F, 1.1143868F,  1.13878858F, 1.1637249F,
    1.18920708F, 1.21524739F, 1.24185777F, 1.26905096F, 1.29683959F, 1.32523668F, 1.35425556F, 1.38390994F,
    1.41421354F, 1.44518077F, 1.47682619F, 1.50916445F, 1.54221082F, 1.5759809F,  1.61049032F, 1.64575553F,
    1.68179286F, 1.71861935F, 1.75625217F, 1.79470909F, 1.8340081F,  1.87416768F, 1.91520655F, 1.95714414F,
};
#endif

/* The larger and the smaller one of x and a limit; what a NaN becomes is left open. */
INLINE vec at_least_v(vec x, float limit)
{
#if defined(BS__AVX512)
    return (vec)_mm512_max_ps((__m512)splat(limit), (__m512)x);
#elif defined(BS__AVX2)
    return (vec)_mm256_max_ps((__m256)splat(limit), (__m256)x);
#else
    /* The sign spread over the lane: comparisons of vectors that the processor does not have are taken lane by lane. */
    ivec take = (ivec)(x - splat(limit)) >> 31;
    return (vec)(((ivec)x & ~take) | ((ivec)splat(limit) & take));
#endif
}

#if !defined(BS__AVX512)
INLINE vec at_most_v(vec x, float limit)
{
#if defined(BS__AVX2)
    return (vec)_mm256_min_ps((__m256)splat(limit), (__m256)x);
#else
    ivec take = (ivec)(splat(limit) - x) >> 31;
    return (vec)(((ivec)x & ~take) | ((ivec)splat(limit) & take));
#endif
}
#endif

/* How many vectors go through a function side by side. Its operations wait for each other, some 20 in a row; one vector after the
   other, the processor sees too few of them at a time to fill the waiting. */
#if defined(BS__AVX512)
#define SIDE_BY_SIDE 8
#else
#define SIDE_BY_SIDE 4
#endif
#define EACH_OF(count) _Pragma("GCC unroll 8") for (int i = 0; i < (count); i++)

#if defined(BS__AVX512)
/* x = 2^(y + f); the lowest bits of x are those of y, which is a multiple of 1/32. */
INLINE void exp2_from_parts(const int count, vec *x, const vec *y, vec *f)
{
    EACH_OF(count) f[i] = fma_v(splat(0.24022649F), f[i], splat(0.69315732F)) * f[i];
    EACH_OF(count)
    x[i] = (vec)_mm512_permutex2var_ps((__m512)load_f32(exp2_table), (__m512i)x[i],
                                       (__m512)load_f32(exp2_table + 16));
    EACH_OF(count) x[i] = fma_v(x[i], f[i], x[i]);
    /* scalef multiplies by 2^floor(y) and knows overflow and underflow. */
    EACH_OF(count) x[i] = (vec)_mm512_scalef_ps((__m512)x[i], (__m512)y[i]);
}
#endif

/* x = 2^x for finite x. A NaN need not stay one: what it came from has to be a factor elsewhere. */
INLINE void exp2_each(const int count, vec *x)
{
#if defined(BS__AVX512)
    /* Adding 1.5 * 2^18 rounds to multiples of 1/32 and leaves j in the lowest bits. */
    const vec magic = splat(393216.0F);
    vec y[SIDE_BY_SIDE], f[SIDE_BY_SIDE];
    EACH_OF(count) y[i] = x[i] + magic;
    EACH_OF(count) f[i] = x[i] - (y[i] - magic);
    EACH_OF(count) x[i] = y[i];
    EACH_OF(count) y[i] = y[i] - magic;
    exp2_from_parts(count, x, y, f);
#else
    /* The same with whole numbers; 2^128 comes out as infinity. */
    const vec magic = splat(12582912.0F);
    vec m[SIDE_BY_SIDE], q[SIDE_BY_SIDE];
    EACH_OF(count)
    {
        x[i] = at_most_v(at_least_v(x[i], -126), 128);
        m[i] = x[i] + magic;
        x[i] = x[i] - (m[i] - magic);
    }
    EACH_OF(count) q[i] = fma_v(splat(0.00132257084F), x[i], splat(0.00967176259F));
    EACH_OF(count) q[i] = fma_v(q[i], x[i], splat(0.0555089153F));
    EACH_OF(count) q[i] = fma_v(q[i], x[i], splat(0.240222365F));
    EACH_OF(count) q[i] = fma_v(q[i], x[i], splat(0.693146825F));
    EACH_OF(count) q[i] = fma_v(q[i], x[i], splat(1));
    EACH_OF(count) x[i] = (vec)((ivec)q[i] + ((ivec)m[i] << 23));
#endif
}

INLINE vec exp2_v(vec x)
{
    exp2_each(1, &x);
    return x;
}

#if defined(BS__AVX512)
/* 2^(a b) for |a b| <= 2^40. The product is never rounded: rounding it to multiples of 1/32 and taking the remainder are a
   multiply-add each, so that one instruction less is needed than for the product and exp2_v. */
INLINE vec exp2_of_product_v(vec a, vec b)
{
    const vec magic = splat(393216.0F);
    vec m = fma_v(a, b, magic), y = m - magic, f = (vec)_mm512_fmsub_ps((__m512)a, (__m512)b, (__m512)y);
    exp2_from_parts(1, &m, &y, &f);
    return m;
}
#endif

/* x = log(1 + exp(x)), which above 17 is x in float32. log(1 + e) / e for e <= 1 is a polynomial, relative error 2^-25. */
INLINE void softplus_each(const int count, vec *x)
{
    vec e[SIDE_BY_SIDE], q[SIDE_BY_SIDE];
    EACH_OF(count) e[i] = at_least_v((vec)((ivec)x[i] & 0x7fffffff) * splat(-LOG2E), -150);
    exp2_each(count, e);
    EACH_OF(count) q[i] = fma_v(splat(0.00523268990F), e[i], splat(-0.0295052212F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(0.0782259181F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(-0.136632428F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(0.191060051F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(-0.248429820F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(0.333190978F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(-0.499994934F));
    EACH_OF(count) q[i] = fma_v(q[i], e[i], splat(0.999999940F));
    EACH_OF(count) x[i] = fma_v(q[i], e[i], relu_v(x[i]));
}

INLINE vec softplus_v(vec x)
{
    softplus_each(1, &x);
    return x;
}

/* x = x / (1 + exp(-x)) */
INLINE void silu_each(const int count, vec *x)
{
    vec e[SIDE_BY_SIDE];
#if defined(BS__AVX512)
    /* Where exp(-x) would be infinite, the reciprocal's correction would not be a number; there the result is below 2^-119. */
    EACH_OF(count) x[i] = at_least_v(x[i], -87);
    EACH_OF(count) e[i] = at_least_v(x[i] * splat(-LOG2E), -150);
    exp2_each(count, e);
    vec r[SIDE_BY_SIDE];
    EACH_OF(count) e[i] = e[i] + 1;
    EACH_OF(count) r[i] = (vec)_mm512_rcp14_ps((__m512)e[i]);
    EACH_OF(count) e[i] = (vec)_mm512_fnmadd_ps((__m512)e[i], (__m512)r[i], (__m512)splat(1));
    EACH_OF(count) r[i] = fma_v(r[i], e[i], r[i]);
    EACH_OF(count) x[i] = x[i] * r[i];
#else
    EACH_OF(count) e[i] = at_least_v(x[i] * splat(-LOG2E), -150);
    exp2_each(count, e);
    EACH_OF(count) x[i] = x[i] / (1 + e[i]);
#endif
}

INLINE vec silu_v(vec x)
{
    silu_each(1, &x);
    return x;
}

/* 2^x of whole vectors, for tests and measurements. */
static void exp2_rows(const float *x, float *dst, int64_t count)
{
    for (int64_t i = 0; i < count; i += L)
        *(vec_u *)(dst + i) = exp2_v(*(const vec_u *)(x + i));
}
