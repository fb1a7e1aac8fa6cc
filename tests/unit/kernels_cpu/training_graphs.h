/* Graphs of training for tests: an operator or a small network with losses and the gradient of everything it reads, run by the
   CPU backend with every instruction set and compared with the reference. One thread. */
#ifndef BS_TESTS_UNIT_KERNELS_CPU_TRAINING_GRAPHS_H
#define BS_TESTS_UNIT_KERNELS_CPU_TRAINING_GRAPHS_H

#include "compare.h"

#define MOST_VARIABLES 12

struct network {
    struct bs_graph *g;
    bs_value wrt[MOST_VARIABLES];
    int nwrt;
};
/* A new input whose gradient is wanted. */
bs_value variable(struct network *n, struct bs_shape shape);

typedef bs_value (*build_fn)(struct network *n);
/* Outputs: what the network makes, its loss, and the gradient of every variable. Images get three losses and the batch's
   statistics, tokens the mean square. */
struct bs_graph *training_of(build_fn build);

/* Every output is within `share` of its largest value of what the reference makes. Winograd is allowed. */
void check_graph(const struct bs_graph *g, double share);
void check_training(build_fn build, double share);
/* Five runs give the same bits; so does another number of threads. */
void same_bits(const struct bs_graph *g, int threads, int other_threads);

#endif
