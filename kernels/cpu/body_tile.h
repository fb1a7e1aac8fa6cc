/* What linear and attention share: sums of products of a few rows with NV vectors, all in registers, over 32-bit words.
   A word is one float32 or, with BS__PAIRS, two bf16 side by side (the even one in the low half), whose products the
   processor adds to a float32. */

#define OCC (NV * L) /* words of a row of the right operand */

#ifdef BS__PAIRS
#define WORD_VALUES 2
typedef uint32_t word __attribute__((may_alias, aligned(2))); /* bf16 rows are read where they lie */
typedef uvec word_vec __attribute__((may_alias));
INLINE vec mac(const word *a, word_vec b, vec sum)
{
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)*a), (__m512bh)b);
}
#else
#define WORD_VALUES 1
typedef float word;
typedef vec word_vec;
INLINE vec mac(const word *a, word_vec b, vec sum)
{
    return fma_v(splat(*a), b, sum);
}
#endif
#ifdef BS__PAIRS
/* 2 L values one after another: a, then b. */
INLINE word_vec words_of_v(vec a, vec b)
{
    return (word_vec)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a);
}

/* Word i: lane i of a in the low half, of b in the high half. */
INLINE word_vec pairs_of_v(vec a, vec b)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23,
                                           7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (word_vec)_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh((__m512)b, (__m512)a));
}
#endif

INLINE word_vec load_words(const word *p)
{
    return *(const word_vec *)p;
}

/* sum[r][v] += sum over k of a[r a_row + k a_step] b[k][v]; a: words, b: (count, OCC). */
INLINE void multiply_tile(const int rows, const int vectors, const word *a, int64_t a_row, int64_t a_step,
                          int64_t count, const word *b, vec sum[MT][NV])
{
#pragma GCC unroll 4
    for (int64_t k = 0; k < count; k++, a += a_step, b += OCC) {
        word_vec w[NV];
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            w[v] = load_words(b + v * L);
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                sum[r][v] = mac(a + r * a_row, w[v], sum[r][v]);
    }
}

/* STEP(rows, vectors) until no rows are left, MT of them at a time, then 4, 2 and 1: constants, so that every sum has its
   register. */
#define OVER_ROWS(left, vectors, STEP)                                                                       \
    do {                                                                                                     \
        for (; (left) >= MT; (left) -= MT)                                                                   \
            STEP(MT, vectors);                                                                               \
        for (; MT > 4 && (left) >= 4; (left) -= 4)                                                           \
            STEP(4, vectors);                                                                                \
        for (; (left) >= 2; (left) -= 2)                                                                     \
            STEP(2, vectors);                                                                                \
        for (; (left) > 0; (left)--)                                                                         \
            STEP(1, vectors);                                                                                \
    } while (0)

#if BS__NV > 2
#define OVER_VECTORS(left, vectors, STEP)                                                                    \
    switch (vectors) {                                                                                       \
    case 1:                                                                                                  \
        OVER_ROWS(left, 1, STEP);                                                                            \
        break;                                                                                               \
    case 2:                                                                                                  \
        OVER_ROWS(left, 2, STEP);                                                                            \
        break;                                                                                               \
    case 3:                                                                                                  \
        OVER_ROWS(left, 3, STEP);                                                                            \
        break;                                                                                               \
    default:                                                                                                 \
        OVER_ROWS(left, 4, STEP);                                                                            \
    }
#else
#define OVER_VECTORS(left, vectors, STEP)                                                                    \
    switch (vectors) {                                                                                       \
    case 1:                                                                                                  \
        OVER_ROWS(left, 1, STEP);                                                                            \
        break;                                                                                               \
    default:                                                                                                 \
        OVER_ROWS(left, 2, STEP);                                                                            \
    }
#endif

/* First feature of a row. */
INLINE void *row_at(const struct bs__rows *r, int64_t sample, int64_t token)
{
    int64_t i = sample * r->sample + token * r->row;
    return r->bf16 ? (void *)((uint16_t *)r->data + i) : (void *)((float *)r->data + i);
}

/* Feature `at` of a row. */
INLINE const void *values_at(const void *row, bool bf16, int64_t at)
{
    return bf16 ? (const void *)((const uint16_t *)row + at) : (const void *)((const float *)row + at);
}

#ifdef BS__AVX512
#define LANES(count) ((__mmask16)((1U << (count)) - 1))
#endif

/* Features of a row at any address, float32 or bf16; what lies behind `count` becomes zero and is not read. */
INLINE vec load_values(const void *row, bool bf16, int64_t at, int64_t count)
{
    if (count >= L)
        return bf16 ? load_bf16_u((const uint16_t *)row + at) : *(const vec_u *)((const float *)row + at);
#ifdef BS__AVX512
    const __mmask16 lanes = LANES(count > 0 ? count : 0);
    if (!bf16)
        return (vec)_mm512_maskz_loadu_ps(lanes, (const float *)row + at);
    const __m256i h = _mm256_maskz_loadu_epi16(lanes, (const uint16_t *)row + at);
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16);
#else
    float x[L] __attribute__((aligned(64))) = {0};
    for (int64_t i = 0; i < count; i++)
        x[i] = bf16 ? f32_of(((const uint16_t *)row)[at + i]) : ((const float *)row)[at + i];
    return load_f32(x);
#endif
}

/* To the nearest even; the processor's own rounding takes numbers below 2^-126 for zero. */
INLINE hvec_u narrow_v(vec x)
{
#ifdef BS__PAIRS
    return (hvec_u)_mm512_cvtneps_pbh((__m512)x);
#else
    return bf16_of_v(x);
#endif
}

/* The first `count` lanes. */
INLINE void store_values(void *row, bool bf16, int64_t at, int64_t count, vec x)
{
    if (count >= L) {
        if (bf16)
            *(hvec_u *)((uint16_t *)row + at) = narrow_v(x);
        else
            *(vec_u *)((float *)row + at) = x;
        return;
    }
#ifdef BS__AVX512
    if (bf16)
        _mm256_mask_storeu_epi16((uint16_t *)row + at, LANES(count), (__m256i)narrow_v(x));
    else
        _mm512_mask_storeu_ps((float *)row + at, LANES(count), (__m512)x);
#else
    float y[L] __attribute__((aligned(64)));
    store_f32(y, x);
    for (int64_t i = 0; i < count; i++)
        if (bf16)
            ((uint16_t *)row)[at + i] = bf16_of(y[i]);
        else
            ((float *)row)[at + i] = y[i];
#endif
}

/* The same in words: with pairs a row of bf16 (or float32, rounded) becomes ceil(values / 2) words. `count` values are
   there from `at` on; at most L words are made. */
INLINE word_vec load_row_words(const void *row, bool bf16, int64_t at, int64_t count)
{
#ifdef BS__PAIRS
    if (!bf16)
        return words_of_v(load_values(row, false, at, count), load_values(row, false, at + L, count - L));
    if (count >= 2 * L)
        return (word_vec)_mm512_loadu_si512((const uint16_t *)row + at);
    const __mmask32 lanes = count > 0 ? (1U << count) - 1 : 0;
    return (word_vec)_mm512_maskz_loadu_epi16(lanes, (const uint16_t *)row + at);
#else
    return load_values(row, bf16, at, count);
#endif
}
