/* Arguments of the emulation's own kernels: right ones (selftest.cu) and ones with a planted fault (selftest_faults.cu). */
#ifndef BS_TESTS_EMULATION_SELFTEST_H
#define BS_TESTS_EMULATION_SELFTEST_H

#include <stdint.h>

struct selftest_arguments {
    uint64_t from, to; /* floats (or the element type); shapes as each kernel says */
    int64_t count, columns;
};

#endif
