/* C (+)= A B for a few rows (tiles or pixels) and one chunk of output channels, all sums in registers.
   A: (block of in, row, L), rows L apart; B: (in, OCC); C: (row, OCC). */

INLINE void multiply_n(const int rows, const int vectors, const float *a, int64_t block_stride, int blocks,
                       const float *b, float *c, bool add)
{
    vec sum[MT][NV];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++)
            sum[r][v] = add ? load_f32(c + r * OCC + v * L) : splat(0);
    for (int k = 0; k < blocks; k++, a += block_stride)
#pragma GCC unroll 2
        for (int i = 0; i < L; i++, b += OCC) {
            vec w[NV];
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++)
                w[v] = load_f32(b + v * L);
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                vec x = splat(a[r * L + i]);
#pragma GCC unroll 4
                for (int v = 0; v < vectors; v++)
                    sum[r][v] = fma_v(x, w[v], sum[r][v]);
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

static void multiply(int64_t rows, int vectors, const float *a, int64_t block_stride, int blocks,
                     const float *b, float *c, bool add)
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
