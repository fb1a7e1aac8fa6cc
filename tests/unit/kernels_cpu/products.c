/* See products.h. */
#include "tests/unit/kernels_cpu/products.h"

#include "kernels/base/machine.h"

#include <stdlib.h>
#include <string.h>

int ways(struct way *list)
{
    int n = 0;
    const struct bs__simd *best = bs__simd_select();
    const struct bs__simd *all[] = {bs__simd_base(), best->lanes == BS__MAX_LANES ? bs__simd_avx2() : NULL,
                                    best};
    for (int i = 0; i < 3; i++) {
        if (!all[i] || (i == 2 && best == bs__simd_base()))
            continue;
        list[n++] = (struct way){.simd = all[i]};
        list[n++] = (struct way){.simd = all[i], .bf16 = true};
    }
    if (strcmp(bs_machine_isa(), "avx512_bf16") == 0)
        list[n++] = (struct way){.simd = best, .bf16 = true, .fast = true};
    return n;
}

void *zeros(size_t bytes)
{
    const size_t whole = (bytes + 64) / 64 * 64;
    void *p = aligned_alloc(64, whole);
    assert_non_null(p);
    memset(p, 0, whole);
    return p;
}

void *random_values(struct numbers *r, size_t count, bool bf16, double lo, double hi, double *exact)
{
    float *f = zeros(count * sizeof *f);
    uint16_t *h = zeros(count * sizeof *h);
    for (size_t i = 0; i < count; i++) {
        f[i] = (float)next_real(r, lo, hi);
        h[i] = bs_f32_to_bf16(f[i]);
        exact[i] = bf16 ? (double)bs_bf16_to_f32(h[i]) : (double)f[i];
    }
    free(bf16 ? (void *)f : (void *)h);
    return bf16 ? (void *)h : (void *)f;
}

double value_of(const void *values, bool bf16, int64_t at)
{
    return bf16 ? (double)bs_bf16_to_f32(((const uint16_t *)values)[at])
                : (double)((const float *)values)[at];
}
