/* The mixing step of splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on every bit given. Pure; any
   thread. */
#ifndef BS_KERNELS_BASE_MIX_H
#define BS_KERNELS_BASE_MIX_H

#include <stdint.h>

/* What splitmix64 adds to its counter: 2^64 divided by the golden ratio. */
#define BS_MIX_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t bs_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

#endif
