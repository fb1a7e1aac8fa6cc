/* A fuzzer's input as a file: our readers take descriptors. Used by one thread. */
#ifndef BS_TESTS_FUZZ_INPUT_FILE_H
#define BS_TESTS_FUZZ_INPUT_FILE_H

#include <stddef.h>
#include <stdint.h>

/* libFuzzer's entry point, which each fuzzer defines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An anonymous file in memory with these bytes, read from its start; never fails (aborts). The caller closes it. */
int bs_fuzz_file(const uint8_t *data, size_t size);

#endif
