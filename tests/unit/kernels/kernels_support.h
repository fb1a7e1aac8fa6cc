/* What the kernel tests share: seeded numbers, filled tensors, operators and graphs run on the reference backend, and a
   parameter set made of tensors. Allocation here never fails quietly: the test ends. One thread. */
#ifndef BS_TESTS_UNIT_KERNELS_SUPPORT_H
#define BS_TESTS_UNIT_KERNELS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/executable.h"

/* splitmix64: the same numbers on every machine. */
struct numbers {
    uint64_t state;
};
uint64_t next_number(struct numbers *r);
/* In [lo, hi). */
double next_real(struct numbers *r, double lo, double hi);
int next_int(struct numbers *r, int lo, int hi);

/* Tensors with memory of their own; release with free_tensor. */
struct bs_tensor new_tensor(struct bs_shape shape);
struct bs_tensor random_tensor(struct numbers *r, struct bs_shape shape);
struct bs_tensor tensor_of(struct bs_shape shape, const float *values);
void free_tensor(struct bs_tensor *t);
float *floats(const struct bs_tensor *t);

/* One operator through graph, plan and executable; the result has memory of its own. */
struct bs_tensor apply(enum bs_op op, struct bs_attr attr, const struct bs_tensor *in, int ninput);
/* The status and message of building a graph of one operator over inputs of these shapes. */
bs_status infer_shapes(enum bs_op op, struct bs_attr attr, const struct bs_shape *in, int ninput,
                       struct bs_err *err);

/* A finished graph run on ref; every output gets memory of its own. */
void run_graph(const struct bs_graph *g, const struct bs_tensor *in, int ninput, struct bs_tensor *out,
               int noutput);

/* Parameters by name. The list must outlive the set. */
struct named_tensor {
    const char *name;
    struct bs_tensor tensor;
};
struct named_tensors {
    const struct named_tensor *list;
    int count;
    int reads;    /* how often a value was read */
    int releases; /* how often the set let go of it */
    bool fail;    /* reading fails from now on */
};
struct bs_params *params_of(struct named_tensors *tensors);
/* The same for tests that let memory run out. */
bs_status try_params_of(struct named_tensors *tensors, struct bs_params **out, struct bs_err *err);

void assert_close(float have, double want, double tolerance);
void assert_tensor(const struct bs_tensor *have, const float *want, double tolerance);

#endif
