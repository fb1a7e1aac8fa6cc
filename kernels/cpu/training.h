/* Graphs of training on the CPU. Weights change from run to run and every value is read again by the backward, so nothing is
   packed ahead or fused away: values are dense C-order float32, one step an operator. Convolutions and their gradients are
   oneDNN's (onednn_grad.h); operators over planes and elements are the reference's loops, spread over threads by planes or
   ranges, which are the same whatever the number of threads. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_H
#define BS_KERNELS_CPU_TRAINING_H

#include "kernels/cpu/onednn_grad.h"
#include "kernels/cpu/program.h"

/* Is it such a graph: has it backward operators or losses, or weights that are not parameters? */
bool bs__is_training(const struct bs_graph *g);

/* BS_EUNSUPPORTED names an operator that is not among them. */
bs_status bs__training_lower(struct bs__cpu *cpu, const struct bs_graph *g, struct bs_params *params,
                             struct bs_program *program, struct bs_err *err) BS_NODISCARD;

/* How the reference's loops of an operator are spread over threads. */
enum bs__spread {
    BS__SPREAD_NONE,     /* one task */
    BS__SPREAD_ELEMENTS, /* ranges of all values alike */
    BS__SPREAD_PLANES,   /* sample and channel by themselves */
    BS__SPREAD_CHANNELS, /* sum_to_channel */
};

struct bs__training_value {
    struct bs_shape shape;
    int buffer;         /* BS__NO_BUFFER: not in the arena */
    const float *param; /* NULL: not a parameter */
};

enum bs__training_kind { BS__TRAINING_LOAD, BS__TRAINING_STORE, BS__TRAINING_LOOPS, BS__TRAINING_CONV };

struct bs__training_step {
    enum bs__training_kind kind;
    enum bs_op op;
    struct bs_attr attr;
    int ninput;
    int input[BS_MAX_INPUTS];
    int value; /* what the step makes, or STORE hands out */
    int host;  /* LOAD, STORE: index of the input or output */
    enum bs__spread spread;
    struct bs__dnnl_grad *conv;
    int scratch; /* buffer */
    char text[112];
};

/* Lives in the program; destroyed with it. */
struct bs__training {
    struct bs__training_value *value; /* per value of the graph */
    struct bs__training_step *step;
    int nstep;
};

bs_status bs__training_run_step(const struct bs__cpu *cpu, const struct bs_program *program,
                                const struct bs__training *t, int step, const struct bs_run *run,
                                struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__training_destroy(struct bs__training *t);

#endif
