/* See random.h: splitmix64's mixing step on a counter. */
#include "model/dataset/random.h"

#include "kernels/base/mix.h"
#include "kernels/base/status.h"

struct bs_random bs_random_of(uint64_t seed, uint64_t purpose, uint64_t item)
{
    uint64_t key = bs_mix64(seed + BS_MIX_STEP);
    key = bs_mix64(key ^ (purpose * BS_MIX_STEP));
    return (struct bs_random){.key = bs_mix64(key + item * BS_MIX_STEP)};
}

uint64_t bs_random_next(struct bs_random *r)
{
    return bs_mix64(r->key + ++r->drawn * BS_MIX_STEP);
}

uint64_t bs_random_below(struct bs_random *r, uint64_t count)
{
    BS_ASSERT(count > 0);
    /* Numbers beyond the last whole multiple of count would make small results likelier. */
    uint64_t limit = UINT64_MAX - UINT64_MAX % count, v;
    do
        v = bs_random_next(r);
    while (v >= limit);
    return v % count;
}

double bs_random_unit(struct bs_random *r)
{
    return (double)(bs_random_next(r) >> 11) * 0x1p-53;
}

/* A Feistel network over the smallest even number of bits that holds count; results beyond it go round again, which
   ends because the network is a permutation. */
uint64_t bs_random_shuffled(uint64_t seed, uint64_t round, uint64_t count, uint64_t i)
{
    BS_ASSERT(i < count && count <= (uint64_t)1 << 62);
    int half = 1;
    while (((uint64_t)1 << (2 * half)) < count)
        half++;
    const uint64_t mask = ((uint64_t)1 << half) - 1;
    const struct bs_random keys = bs_random_of(seed, 0x73687566666c65u, round);
    do {
        uint64_t left = i >> half, right = i & mask;
        for (uint64_t k = 1; k <= 6; k++) {
            uint64_t next = left ^ (bs_mix64(keys.key + (k << 56) + right * BS_MIX_STEP) & mask);
            left = right;
            right = next;
        }
        i = left << half | right;
    } while (i >= count);
    return i;
}
