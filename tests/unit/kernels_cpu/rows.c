/* Rows in guarded memory; see rows.h. */
#include "tests/unit/kernels_cpu/rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GUARD 0x7fc1 /* a NaN in bf16 and, twice, in float32 */

static float widened(uint16_t x)
{
    uint32_t bits = (uint32_t)x << 16;
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint16_t narrowed(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* Rows with room between them that begin at no particular address. */
struct grid new_grid(int64_t n, int64_t length, int width, bool bf16)
{
    struct grid g = {.rows = {.bf16 = bf16, .row = width + 5}};
    g.rows.sample = length * g.rows.row + 2;
    g.elements = (size_t)(n * g.rows.sample) + 8;
    g.memory = malloc(g.elements * (bf16 ? 2 : 4));
    g.value = calloc((size_t)(n * length * width), sizeof *g.value);
    assert_non_null(g.memory);
    assert_non_null(g.value);
    for (size_t i = 0; i < g.elements * (bf16 ? 1 : 2); i++)
        g.memory[i] = GUARD;
    g.rows.data = g.memory + (bf16 ? 3 : 6);
    return g;
}

void set_grid(struct grid *g, int64_t length, int width, int64_t n, int64_t t, int i, float x)
{
    const int64_t at = n * g->rows.sample + t * g->rows.row + i;
    if (g->rows.bf16)
        ((uint16_t *)g->rows.data)[at] = isnan(x) ? GUARD : narrowed(x),
                   x = isnan(x) ? x : widened(narrowed(x));
    else
        ((float *)g->rows.data)[at] = x;
    g->value[(n * length + t) * width + i] = (double)x;
}

float get_grid(const struct grid *g, int64_t n, int64_t t, int i)
{
    const int64_t at = n * g->rows.sample + t * g->rows.row + i;
    return g->rows.bf16 ? widened(((const uint16_t *)g->rows.data)[at]) : ((const float *)g->rows.data)[at];
}

struct grid random_grid(struct numbers *r, int64_t n, int64_t length, int width, bool bf16, double lo,
                        double hi)
{
    struct grid g = new_grid(n, length, width, bf16);
    for (int64_t s = 0; s < n; s++)
        for (int64_t t = 0; t < length; t++)
            for (int i = 0; i < width; i++)
                set_grid(&g, length, width, s, t, i, (float)next_real(r, lo, hi));
    return g;
}

void free_grid(struct grid *g)
{
    free(g->value);
    free(g->memory);
}

/* Everything beside the rows is as it was. */
void assert_untouched_beside(const struct grid *g, int64_t n, int64_t length, int width)
{
    const size_t first = g->rows.bf16 ? 3 : 6, part = g->rows.bf16 ? 1 : 2;
    for (int64_t s = 0; s < n; s++)
        for (int64_t t = 0; t < length; t++)
            memset(g->memory + first + (size_t)(s * g->rows.sample + t * g->rows.row) * part, 0,
                   (size_t)width * part * 2);
    size_t touched = 0;
    for (size_t i = 0; i < g->elements * part; i++)
        touched += g->memory[i] != GUARD && g->memory[i] != 0;
    assert_int_equal(touched, 0);
}

float *vectors_of(size_t count)
{
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0, (count * sizeof *p + 63) / 64 * 64);
    return p;
}

float *packed_floats(const struct bs__simd *simd, const float *src, int features, int m)
{
    float *p = vectors_of(bs__scan_packed(simd, features, m));
    bs__scan_pack(simd, src, features, m, p);
    return p;
}

float *plain_floats(struct numbers *r, size_t count, double lo, double hi)
{
    float *p = vectors_of(count);
    for (size_t i = 0; i < count; i++)
        p[i] = (float)next_real(r, lo, hi);
    return p;
}

/* All instruction sets of this processor. */
void with_all_instruction_sets(void (*check)(const struct bs__simd *simd))
{
    check(bs__simd_base());
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        check(bs__simd_avx2());
    if (bs__simd_select() == bs__simd_avx512())
        check(bs__simd_avx512());
#endif
}
