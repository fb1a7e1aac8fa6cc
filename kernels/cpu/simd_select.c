/* Picks the vector kernels for this processor; see simd.h. */
#include "kernels/cpu/simd.h"

#include <string.h>

/* Those this processor can run, best first. */
static int runnable(const struct bs__simd *list[3])
{
    int count = 0;
#if defined(__x86_64__) || defined(__i386__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        list[count++] = bs__simd_avx512();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        list[count++] = bs__simd_avx2();
#endif
    list[count++] = bs__simd_base();
    return count;
}

const struct bs__simd *bs__simd_select(void)
{
    const struct bs__simd *list[3];
    (void)runnable(list);
    return list[0];
}

const struct bs__simd *bs__simd_named(const char *name)
{
    const struct bs__simd *list[3];
    for (int i = 0, count = runnable(list); i < count; i++)
        if (strcmp(list[i]->name, name) == 0)
            return list[i];
    return NULL;
}

size_t bs__tile_scratch(const struct bs__simd *simd, int in_blocks, int64_t run, size_t planes,
                        size_t weight_planes)
{
    size_t lanes = (size_t)simd->lanes, chunk = (size_t)simd->in_chunk, out = (size_t)simd->out_vectors;
    size_t chunks = ((size_t)in_blocks + chunk - 1) / chunk;
    size_t v = chunks * planes * (chunk * (size_t)run * lanes + lanes);
    size_t m = planes * ((size_t)run * out * lanes + lanes);
    size_t u = weight_planes * (chunk * lanes * out * lanes + lanes);
    return v + m + u;
}

size_t bs__winograd_grad_scratch(const struct bs__simd *simd, int64_t run)
{
    const size_t lanes = (size_t)simd->lanes, in = (size_t)simd->in_chunk * lanes;
    const size_t out = (size_t)simd->out_vectors * lanes;
    return 36 * (in * (size_t)run + lanes + (size_t)run * out + lanes + in * out + lanes);
}
