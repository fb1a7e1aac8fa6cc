/* See peak.h. */
#include "tests/bench/peak.h"

#include "kernels/tensor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ROUNDS 4000000

double thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#if defined(__x86_64__)
#include <immintrin.h>

/* Twelve sums hide a latency of four cycles at up to three instructions a cycle. */
#define TWELVE(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7) DO(8) DO(9) DO(10) DO(11)

__attribute__((target("avx512f"))) static float fused_512(void)
{
    const __m512 a = _mm512_set1_ps(0.5F), b = _mm512_set1_ps(0.25F);
#define SET(i) __m512 s##i = _mm512_set1_ps(i);
    TWELVE(SET)
#undef SET
    for (int r = 0; r < ROUNDS; r++) {
#define MULTIPLY(i)                                                                                          \
    s##i = _mm512_fmadd_ps(s##i, a, b);                                                                      \
    __asm__ volatile("" : "+v"(s##i));
        TWELVE(MULTIPLY)
#undef MULTIPLY
    }
    __m512 sum = s0;
#define ADD(i) sum = _mm512_add_ps(sum, s##i);
    TWELVE(ADD)
#undef ADD
    return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx512f,avx512bw,avx512bf16"))) static float pairs_512(void)
{
    const __m512bh a = (__m512bh)_mm512_set1_epi32(0x3f003f00), b = (__m512bh)_mm512_set1_epi32(0x3e803e80);
#define SET(i) __m512 s##i = _mm512_set1_ps(i);
    TWELVE(SET)
#undef SET
    for (int r = 0; r < ROUNDS; r++) {
#define MULTIPLY(i)                                                                                          \
    s##i = _mm512_dpbf16_ps(s##i, a, b);                                                                     \
    __asm__ volatile("" : "+v"(s##i));
        TWELVE(MULTIPLY)
#undef MULTIPLY
    }
    __m512 sum = s0;
#define ADD(i) sum = _mm512_add_ps(sum, s##i);
    TWELVE(ADD)
#undef ADD
    return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"))) static float fused_256(void)
{
    const __m256 a = _mm256_set1_ps(0.5F), b = _mm256_set1_ps(0.25F);
#define SET(i) __m256 s##i = _mm256_set1_ps(i);
    TWELVE(SET)
#undef SET
    for (int r = 0; r < ROUNDS; r++) {
#define MULTIPLY(i)                                                                                          \
    s##i = _mm256_fmadd_ps(s##i, a, b);                                                                      \
    __asm__ volatile("" : "+x"(s##i));
        TWELVE(MULTIPLY)
#undef MULTIPLY
    }
    __m256 sum = s0;
#define ADD(i) sum = _mm256_add_ps(sum, s##i);
    TWELVE(ADD)
#undef ADD
    return _mm256_cvtss_f32(sum);
}

static double rate(float (*loop)(void), int lanes, int per_lane)
{
    const double start = thread_seconds();
    volatile float sink = loop();
    (void)sink;
    return 2.0 * 12 * ROUNDS * lanes * per_lane / (thread_seconds() - start) * 1e-9;
}

double peak_gflops(const struct bs__simd *simd, bool pairs)
{
    if (simd == bs__simd_avx512())
        return pairs ? rate(pairs_512, 16, 2) : rate(fused_512, 16, 1);
    return simd == bs__simd_avx2() ? rate(fused_256, 8, 1) : 0;
}
#else
double peak_gflops(const struct bs__simd *simd, bool pairs)
{
    (void)simd;
    (void)pairs;
    return 0;
}
#endif

bool bench_isa(const char *name, const struct bs__simd **simd)
{
    const struct bs__simd *best = bs__simd_select();
    if (strcmp(name, "base") == 0)
        *simd = bs__simd_base();
    else if (strcmp(name, best->name) == 0)
        *simd = best;
    else if (strcmp(name, "avx2") == 0 && best != bs__simd_base())
        *simd = bs__simd_avx2();
    else
        return false;
    return true;
}

/* On pages of 2 MiB where the machine has them, as the arena is. */
void *bench_bytes(size_t bytes)
{
    const size_t page = bytes < (size_t)4 << 20 ? 64 : (size_t)2 << 20, whole = (bytes + page) / page * page;
    void *p = aligned_alloc(page, whole);
    if (!p) {
        fprintf(stderr, "no memory for %zu bytes\n", bytes);
        exit(1);
    }
    if (page > 64)
        madvise(p, whole, MADV_HUGEPAGE); /* smaller pages are slower, nothing else */
    memset(p, 0, whole);
    return p;
}

void *bench_values(size_t count, bool bf16)
{
    void *p = bench_bytes(count * (bf16 ? sizeof(uint16_t) : sizeof(float)));
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525 + 1013904223;
        const float v = (float)(int32_t)state * 0x1p-31F;
        if (bf16)
            ((uint16_t *)p)[i] = bs_f32_to_bf16(v);
        else
            ((float *)p)[i] = v;
    }
    return p;
}
