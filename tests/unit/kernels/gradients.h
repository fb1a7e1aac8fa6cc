/* Gradients against finite differences. A problem is a graph y(inputs). With a random seed gy, the analytic gradient of
   sum(gy y) is compared with central differences at two step widths, extrapolated (Richardson), so that what is left is
   rounding. One thread. */
#ifndef BS_TESTS_UNIT_KERNELS_GRADIENTS_H
#define BS_TESTS_UNIT_KERNELS_GRADIENTS_H

#include "kernels_support.h"

#define MAX_WRT 8

struct problem {
    struct bs_graph *g;
    bs_value wrt[MAX_WRT];
    int nwrt;
    int nconstant;
    bs_value kink; /* a value whose elements must stay clear of zero (before a ReLU), or BS_NO_VALUE */
};

/* A random input whose gradient is checked. */
bs_value variable(struct problem *p, struct bs_shape shape);
/* One whose gradient is not asked for. */
bs_value constant(struct problem *p, struct bs_shape shape);

typedef bs_value (*build_fn)(struct problem *p);
/* Every element of every variable; the test ends where a gradient is wrong. */
void check_gradients(build_fn build);

#define GRADIENT_TEST(name)                                                                                  \
    static void gradient_of_##name(void **state)                                                             \
    {                                                                                                        \
        (void)state;                                                                                         \
        check_gradients(name);                                                                               \
    }

#endif
