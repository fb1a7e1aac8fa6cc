/* C (+)= A B for a few rows (tiles or pixels) and one chunk of output channels, all sums in registers.
   A: (block of in, row, L), rows L apart; B: (in, OCC); C: (row, OCC). Factors are float32; with BS__PAIRS they are bf16,
   two input channels side by side in B too: (in / 2, OCC, 2), and two products are added at once. Sums are float32. */

#ifdef BS__PAIRS
#define PER 2 /* input channels multiplied at once */
typedef uint16_t factor_t;
typedef __m512bh factors_t;

INLINE factors_t weights_at(const factor_t *p)
{
    return (factors_t)_mm512_load_si512(p);
}

INLINE factors_t everywhere(const factor_t *p)
{
    int32_t two;
    memcpy(&two, p, sizeof two);
    return (factors_t)_mm512_set1_epi32(two);
}

INLINE vec multiply_add(factors_t a, factors_t b, vec c)
{
    return (vec)_mm512_dpbf16_ps((__m512)c, a, b);
}

INLINE void store_factors(factor_t *p, vec x)
{
    _mm256_store_si256((__m256i *)p, (__m256i)_mm512_cvtneps_pbh((__m512)x));
}

/* Weights of two input channels. */
INLINE void store_weights(factor_t *p, vec even, vec odd)
{
    __m512i low = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)even));
    __m512i high = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)odd));
    _mm512_store_si512(p, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}
#else
#define PER 1
typedef float factor_t;
typedef vec factors_t;

INLINE factors_t weights_at(const factor_t *p)
{
    return load_f32(p);
}

INLINE factors_t everywhere(const factor_t *p)
{
    return splat(*p);
}

INLINE vec multiply_add(factors_t a, factors_t b, vec c)
{
    return fma_v(a, b, c);
}

INLINE void store_factors(factor_t *p, vec x)
{
    store_f32(p, x);
}

INLINE void store_weights(factor_t *p, vec x, vec same)
{
    (void)same;
    store_f32(p, x);
}
#endif

/* Elements from one plane of a run of tiles to the next: factors, products, weights. One line more than the content,
   else all planes share a cache set. */
#define V_PLANE(run) (KCB * (run)*L + PER * L)
#define M_PLANE(run) ((run)*OCC + L)
#define U_PLANE      (KCB * L * OCC + PER * L)

INLINE void multiply_n(const int rows, const int vectors, const factor_t *a, int64_t block_stride, int blocks,
                       const factor_t *b, float *c, bool add)
{
    vec sum[MT][NV];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = add ? load_f32(c + r * OCC + v * L) : splat(0);
    for (int k = 0; k < blocks; k++, a += block_stride)
#pragma GCC unroll 2
        for (int i = 0; i < L; i += PER, b += PER * OCC) {
            factors_t w[NV];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                w[v] = weights_at(b + v * PER * L);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                factors_t x = everywhere(a + r * L + i);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[r][v] = multiply_add(x, w[v], sum[r][v]);
            }
        }
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            store_f32(c + r * OCC + v * L, sum[r][v]);
}

#define ROWS(v)                                                                                              \
    for (; rows >= MT; rows -= MT, a += MT * L, c += MT * OCC)                                               \
        multiply_n(MT, v, a, block_stride, blocks, b, c, add);                                               \
    for (; rows >= 2; rows -= 2, a += 2 * L, c += 2 * OCC)                                                   \
        multiply_n(2, v, a, block_stride, blocks, b, c, add);                                                \
    for (; rows > 0; rows--, a += L, c += OCC)                                                               \
        multiply_n(1, v, a, block_stride, blocks, b, c, add);                                                \
    break

static void multiply(int64_t rows, int vectors, const factor_t *a, int64_t block_stride, int blocks,
                     const factor_t *b, float *c, bool add)
{
    switch (vectors) {
    case 1:
        ROWS(1);
    case 2:
        ROWS(2);
#if BS__NV > 2
    case 3:
        ROWS(3);
    case 4:
        ROWS(4);
#endif
    }
}
#undef ROWS
