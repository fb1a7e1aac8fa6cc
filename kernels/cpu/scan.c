/* Sizes, tasks and packed weights of the scan kernels; see scan.h. */
#include "kernels/cpu/scan.h"

#include <math.h>
#include <string.h>

void bs__conv1d_split(struct bs__conv1d *c)
{
    c->run = 64;
    c->runs = (c->length + c->run - 1) / c->run;
}

/* Where additions go through the ports of the multiplications an instruction less is time won. AMD's adders are their own, and the
   instruction that is spared is an addition there. */
static bool additions_cost(void)
{
#if defined(__x86_64__) || defined(__i386__)
    return !__builtin_cpu_is("amd");
#else
    return true;
#endif
}

/* Neighbouring blocks share the rows of B, C and dt while these are in the first cache, up to eight; but every thread should
   have several tasks. */
void bs__scan_split(const struct bs__simd *simd, int threads, struct bs__scan *c)
{
    const int64_t blocks = (c->features + simd->lanes - 1) / simd->lanes;
    c->vectors = 8;
    while (c->vectors > 1 && c->n * ((blocks + c->vectors - 1) / c->vectors) < 3 * (int64_t)threads)
        c->vectors--;
    c->groups = (blocks + c->vectors - 1) / c->vectors;
    c->fused = additions_cost();
}

static size_t rounded(size_t count)
{
    return (count + 15) / 16 * 16;
}

void bs__scan_grad_split(const struct bs__simd *simd, struct bs__scan_grad *c)
{
    const int64_t blocks = (c->features + simd->lanes - 1) / simd->lanes;
    const size_t lanes = (size_t)simd->lanes, states = (size_t)c->states;
    const size_t pieces = (size_t)((c->length + BS__SCAN_GRAD_PIECE - 1) / BS__SCAN_GRAD_PIECE);
    c->vectors = 8;
    while (c->vectors > 1 && c->n * ((blocks + c->vectors - 1) / c->vectors) < 8)
        c->vectors--;
    c->groups = (blocks + c->vectors - 1) / c->vectors;
    /* states where pieces begin, the state's gradient and that of a for every block; decays, states and the sums for B and C
       of one piece; ten vectors for each of its tokens */
    c->scratch_floats = rounded(pieces * (size_t)c->vectors * states * lanes) +
                        2 * rounded((size_t)c->vectors * states * lanes) +
                        rounded(BS__SCAN_GRAD_PIECE * states * lanes) +
                        rounded((BS__SCAN_GRAD_PIECE + 1) * states * lanes) +
                        2 * rounded(BS__SCAN_GRAD_PIECE * states * lanes) +
                        8 * rounded(BS__SCAN_GRAD_PIECE * lanes) + 2 * rounded((size_t)c->vectors * lanes);
}

size_t bs__scan_scratch(const struct bs__simd *simd, const struct bs__scan *c)
{
    const size_t lanes = (size_t)simd->lanes, states = (size_t)c->states;
    return rounded((size_t)c->vectors * states * lanes) + 2 * rounded(BS__SCAN_PIECE * states) +
           rounded(BS__SCAN_PIECE * (size_t)c->rank) + 3 * rounded(BS__SCAN_PIECE * lanes);
}

size_t bs__scan_packed(const struct bs__simd *simd, int features, int m)
{
    const size_t lanes = (size_t)simd->lanes;
    return ((size_t)features + lanes - 1) / lanes * lanes * (size_t)m;
}

void bs__scan_pack(const struct bs__simd *simd, const float *src, int features, int m, float *dst)
{
    const int lanes = simd->lanes;
    memset(dst, 0, bs__scan_packed(simd, features, m) * sizeof *dst);
    for (int64_t f = 0; f < features; f++)
        for (int i = 0; i < m; i++)
            dst[(f / lanes * m + i) * lanes + f % lanes] = src[f * m + i];
}

/* In double, so that the rate is as exact as a float32 holds it. A NaN becomes the plain one, which the kernels keep. */
void bs__scan_pack_a(const struct bs__simd *simd, const float *a_log, int features, int states, float *dst)
{
    const size_t count = bs__scan_packed(simd, features, states);
    bs__scan_pack(simd, a_log, features, states, dst);
    for (size_t i = 0; i < count; i++) {
        const bool padding = (int)(i / ((size_t)simd->lanes * (size_t)states)) * simd->lanes +
                                 (int)(i % (size_t)simd->lanes) >=
                             features;
        const double a = -exp((double)dst[i]) * 1.4426950408889634;
        dst[i] = padding ? 0 : isnan(a) ? NAN : (float)a;
    }
}
