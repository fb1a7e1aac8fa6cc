/* What the tests of linear and attention share: every kernel this processor can run, and arrays of numbers of either type.
   Memory comes from malloc and ends the test when there is none. */
#ifndef BS_TESTS_UNIT_KERNELS_CPU_PRODUCTS_H
#define BS_TESTS_UNIT_KERNELS_CPU_PRODUCTS_H

#include "kernels/cpu/simd.h"
#include "tests/unit/kernels/kernels_support.h"

/* One way to compute: an instruction set, an element type, and whether bf16 pairs are multiplied by the processor. */
struct way {
    const struct bs__simd *simd;
    bool bf16, fast;
};
#define MOST_WAYS 7
/* How many this processor has. */
int ways(struct way *list);

/* 64-byte aligned zeros. */
void *zeros(size_t bytes);
/* count values in [lo, hi), float32 or rounded to bf16; `exact` gets what they stand for. */
void *random_values(struct numbers *r, size_t count, bool bf16, double lo, double hi, double *exact);
double value_of(const void *values, bool bf16, int64_t at);

#endif
