/* Running single kernels from cmocka tests, on the host emulation or on a GPU (whichever libcuda.so.1 the loader finds).
   Every array that a test hands to a kernel is an allocation of its own, so that reading or writing past its end is noticed.
   Failures end the test with the message of what failed. */
#ifndef BS_TESTS_UNIT_CUDA_SUPPORT_H
#define BS_TESTS_UNIT_CUDA_SUPPORT_H

#include "kernels/cuda/launch.h"

struct cuda_test;

/* cmocka group setup and teardown; *state becomes a struct cuda_test *. Skips the group (77) where neither the emulation nor a
   GPU is at hand. */
int cuda_test_open(void **state);
int cuda_test_close(void **state);
/* Frees what the last test allocated and checks what the emulation found (bounds, races, ...); cmocka teardown of each test. */
int cuda_test_end(void **state);

struct bs__queue *cuda_queue(struct cuda_test *t);
bool cuda_is_emulated(const struct cuda_test *t);
const struct bs__driver *cuda_driver(const struct cuda_test *t);
/* What the emulation found since the last call, forgotten here: "kind: text" of the first, "" when nothing was found or a GPU runs
   the kernels. For tests that plant a fault; others leave it to cuda_test_end. Lives until the next call. */
const char *cuda_take_finding(struct cuda_test *t);
/* The order of threads from now on; nothing on a GPU. */
void cuda_seed(struct cuda_test *t, uint64_t seed);

/* Copies count floats to the device as elements of a type (rounded to nearest even) and returns their address. */
bs_address cuda_put(struct cuda_test *t, enum bs__element e, const float *values, size_t count);
bs_address cuda_put_ints(struct cuda_test *t, const int32_t *values, size_t count);
/* Memory that no one has written yet; reading it is an error. */
bs_address cuda_room(struct cuda_test *t, size_t bytes);
/* Waits for the work queued so far and copies back. Elements that no kernel wrote are an error. */
void cuda_get(struct cuda_test *t, enum bs__element e, bs_address from, float *values, size_t count);

/* Calls that must succeed: BS_OK or the test ends with the message. */
#define CUDA_MUST(call)                                                                                      \
    do {                                                                                                     \
        struct bs_err must_err = {0};                                                                        \
        struct bs_err *err = &must_err;                                                                      \
        if ((call) != BS_OK)                                                                                 \
            cuda_fail(__FILE__, __LINE__, err->msg);                                                         \
    } while (0)
__attribute__((noreturn)) void cuda_fail(const char *file, int line, const char *text);

/* Deterministic values in [lo, hi); the same on every machine. */
void cuda_fill(float *values, size_t count, uint64_t seed, float lo, float hi);
/* Rounds values as storing them as elements of a type does, so that a reference sees what the kernel sees. */
void cuda_round(enum bs__element e, float *values, size_t count);
/* Largest difference; fails with place and values where it exceeds absolute + relative * |want|. */
void cuda_near(const float *got, const float *want, size_t count, double absolute, double relative);

#endif
