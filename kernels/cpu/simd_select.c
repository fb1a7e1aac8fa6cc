/* Picks the vector kernels for this processor; see simd.h. */
#include "kernels/cpu/simd.h"

const struct bs__simd *bs__simd_select(void)
{
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        return bs__simd_avx512();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return bs__simd_avx2();
#endif
    return bs__simd_base();
}

size_t bs__winograd_scratch(const struct bs__simd *simd, int in_blocks, int64_t run)
{
    size_t lanes = (size_t)simd->lanes, chunk = (size_t)simd->in_chunk, out = (size_t)simd->out_vectors;
    size_t chunks = ((size_t)in_blocks + chunk - 1) / chunk;
    size_t v = chunks * 36 * (chunk * (size_t)run * lanes + lanes);
    size_t m = 36 * ((size_t)run * out * lanes + lanes);
    size_t u = 36 * (chunk * lanes * out * lanes + lanes);
    return v + m + u;
}
