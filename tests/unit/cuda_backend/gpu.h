/* What the tests of the CUDA backend share: what the fake driver found, as a teardown. One thread. */
#ifndef BS_TESTS_UNIT_CUDA_BACKEND_GPU_H
#define BS_TESTS_UNIT_CUDA_BACKEND_GPU_H

#include "tests/unit/kernels_cpu/compare.h"

/* Ends the test where the fake driver found a mistake: a race, an access outside, a leak (once no device is open). */
void expect_no_findings(void);
/* The same as a cmocka teardown. */
int no_findings(void **state);
/* How much was found, which is forgotten then. */
int forget_findings(void);
/* Memory of the device that another program takes, and gives back. */
uint64_t take_device_memory(size_t bytes);
void give_device_memory(uint64_t at);
/* The order in which threads, blocks and streams take turns from now on. */
void set_order(uint64_t seed);

#endif
