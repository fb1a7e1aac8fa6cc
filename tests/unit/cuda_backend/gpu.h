/* What the tests of the CUDA backend share: what the fake driver found, as a teardown. One thread. */
#ifndef BS_TESTS_UNIT_CUDA_BACKEND_GPU_H
#define BS_TESTS_UNIT_CUDA_BACKEND_GPU_H

#include "tests/unit/kernels_cpu/compare.h"

/* Ends the test where the fake driver found a mistake: a race, an access outside, a leak (once no device is open). */
void expect_no_findings(void);
/* The same as a cmocka teardown. */
int no_findings(void **state);
/* Forgets what was found. */
void forget_findings(void);

#endif
