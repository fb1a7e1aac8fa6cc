/* Rows of numbers for tests of token kernels: float32 or bf16, in memory full of NaN, so that whatever is read beside them
   shows and whatever is written beside them is found. Allocation never fails quietly: the test ends. One thread. */
#ifndef BS_TESTS_UNIT_KERNELS_CPU_ROWS_H
#define BS_TESTS_UNIT_KERNELS_CPU_ROWS_H

#include "kernels/cpu/scan.h"
#include "tests/unit/kernels/kernels_support.h"

struct grid {
    double *value; /* (n, length, width) */
    uint16_t *memory;
    size_t elements;
    struct bs__rows rows;
};

/* Rows with room between them that begin at no particular address. */
struct grid new_grid(int64_t n, int64_t length, int width, bool bf16);
struct grid random_grid(struct numbers *r, int64_t n, int64_t length, int width, bool bf16, double lo,
                        double hi);
void free_grid(struct grid *g);
void set_grid(struct grid *g, int64_t length, int width, int64_t n, int64_t t, int i, float x);
float get_grid(const struct grid *g, int64_t n, int64_t t, int i);
/* Everything beside the rows is as it was; the rows are lost. */
void assert_untouched_beside(const struct grid *g, int64_t n, int64_t length, int width);

/* Aligned for the kernels; release with free. */
float *vectors_of(size_t count);
float *plain_floats(struct numbers *r, size_t count, double lo, double hi);
float *packed_floats(const struct bs__simd *simd, const float *src, int features, int m);

/* With every instruction set that this processor has. */
void with_all_instruction_sets(void (*check)(const struct bs__simd *simd));

#endif
