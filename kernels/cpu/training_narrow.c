/* See training_narrow.h. bfloat16 by loops that the compiler vectorises; tensor.c says what they compute. */
#include "kernels/cpu/training_narrow.h"

#include "kernels/cpu/parallel.h"

#include <string.h>

#define RUN ((size_t)1 << 15) /* numbers of a task */

struct conversion {
    enum bs_dtype dtype;
    const void *from;
    void *to;
    size_t count;
};

static size_t begin(const struct conversion *c, int64_t task, size_t *count)
{
    const size_t first = (size_t)task * RUN;
    *count = c->count - first < RUN ? c->count - first : RUN;
    return first;
}

static void widen(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct conversion *c = ctx;
    size_t n;
    const size_t first = begin(c, task, &n);
    const uint16_t *restrict from = (const uint16_t *)c->from + first;
    float *restrict to = (float *)c->to + first;
    if (c->dtype == BS_F16) {
        for (size_t i = 0; i < n; i++)
            to[i] = bs_f16_to_f32(from[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

static void narrow(const void *ctx, int64_t task, int worker)
{
    (void)worker;
    const struct conversion *c = ctx;
    size_t n;
    const size_t first = begin(c, task, &n);
    const float *restrict from = (const float *)c->from + first;
    uint16_t *restrict to = (uint16_t *)c->to + first;
    if (c->dtype == BS_F16) {
        for (size_t i = 0; i < n; i++)
            to[i] = bs_f32_to_f16(from[i]);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], sizeof bits);
        const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        to[i] = (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? (bits >> 16) | 0x40u : rounded);
    }
}

void bs__train_widen(int threads, enum bs_dtype dtype, const uint16_t *from, size_t count, float *to)
{
    const struct conversion c = {dtype, from, to, count};
    bs__parallel(threads, (int64_t)((count + RUN - 1) / RUN), widen, &c);
}

void bs__train_narrow(int threads, enum bs_dtype dtype, const float *from, size_t count, uint16_t *to)
{
    const struct conversion c = {dtype, from, to, count};
    bs__parallel(threads, (int64_t)((count + RUN - 1) / RUN), narrow, &c);
}
