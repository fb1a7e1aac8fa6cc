/* Graphs of training on the CPU. Weights change from run to run, so nothing is packed ahead. Values are float32 (or 16 bits, widened for the step that reads them), dense in C order
   but for images whose channels fill blocks (training_layout.h); one step an operator but for siblings, the backward operators over
   the same inputs, and what is made as a part of something else (training_fusion.h). training_table.c says how each operator is computed: convolutions by oneDNN
   (training_conv.c), those of tokens by the own kernels (training_rows.c, _linear.c, _attention.c, _mixer.c), what only moves
   numbers by copies (training_copy.c), the rest by the reference's loops over planes (training_steps.c). What a task takes
   depends on shapes only, whatever the number of threads. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_H
#define BS_KERNELS_CPU_TRAINING_H

#include "kernels/cpu/onednn_grad.h"
#include "kernels/cpu/program.h"

/* Is it such a graph: has it operators of training, or weights that are not parameters? */
bool bs__is_training(const struct bs_graph *g);

/* BS_EUNSUPPORTED names an operator that is not among them. */
bs_status bs__training_lower(struct bs__cpu *cpu, const struct bs_graph *g, struct bs_params *params,
                             enum bs_precision precision, struct bs_program *program,
                             struct bs_err *err) BS_NODISCARD;

struct bs__training_value {
    struct bs_shape shape;
    int buffer;         /* BS__NO_BUFFER: not in the arena */
    const float *param; /* NULL: not a parameter */
    int host;           /* an input of the run that is read where the caller has it; below 0: none */
    bool narrow;        /* 16 bits a number in its buffer (training_narrow.h) */
    bool blocked;       /* lies in blocks of channels */
    /* Of an image in blocks whose norm is taken: buffer of its moments, for all samples together or each by itself. */
    int moments;
    bool of_batch;
    float eps;
    /* Not made: the norm of a value, which convolutions apply while they read that one; the sum of two, which one pass adds. */
    bs_value normed, addend[2]; /* BS_NO_VALUE: made as usual */
};

/* In which order a step's images are read and written (training_layout.h). */
enum bs__training_layout {
    BS__DENSE,
    BS__BLOCKS,    /* in the table: either, as the result lies */
    BS__AS_IT_LIES /* the operator looks at each of them */
};

enum bs__training_kind { BS__TRAINING_LOAD, BS__TRAINING_STORE, BS__TRAINING_OPERATOR };

struct bs__training_step {
    enum bs__training_kind kind;
    enum bs_op op;
    struct bs_attr attr;
    int ninput;
    int input[BS_MAX_INPUTS];
    /* What the step makes, or STORE hands out: [0]; of siblings, by their attribute which; of attention, the result and its
       lse. Below 0: not wanted. */
    int value[BS_MAX_INPUTS];
    int host;                   /* LOAD, STORE: index of the input or output */
    const char *own;            /* name of the own kernel that computes a convolution; NULL: none */
    struct bs__dnnl_grad *conv; /* oneDNN's; NULL: none */
    int scratch;                /* buffer */
    size_t own_scratch;         /* bytes of it that the operator takes; copies come behind */
    enum bs__training_layout layout;
    bool blocked_in[2], blocked_out; /* of convolutions */
    int moments; /* buffer: of the first input, for its norm or a convolution that applies it */
    bool make_moments;
    bool relu; /* behind the result */
    bool
        masked; /* the last image input is a mask: where it is not above zero the result becomes zero; result 1, where
                    wanted, is the sum of result 0 over each channel */
    int wide_input[BS_MAX_INPUTS], wide[BS_MAX_INPUTS]; /* buffers of narrow values as float32 */
    char text[112];
};

/* Lives in the program; destroyed with it. */
struct bs__training {
    enum bs_dtype narrow;             /* of narrow values */
    struct bs__training_value *value; /* per value of the graph */
    struct bs__training_step *step;
    int nstep;
};

/* One operator with its values. While a graph is lowered they have shapes and no data. */
struct bs__training_call {
    const struct bs__cpu *cpu;
    const struct bs__training_step *step;
    struct bs_tensor in[BS_MAX_INPUTS];
    struct bs_tensor out[BS_MAX_INPUTS]; /* as the step's value; not wanted: data NULL and no dimensions */
    void *scratch;                       /* as many bytes as asked for, 64-byte aligned */
    float *moments;                      /* of the step; NULL: none */
};

/* How an operator is computed (training_table.c). */
struct bs__training_op {
    bs_status (*run)(const struct bs__training_call *c, struct bs_err *err); /* NULL: not here */
    size_t (*scratch)(const struct bs__training_call *c);                    /* bytes; NULL: none */
    bool conv;                                                               /* has a primitive of oneDNN */
    bool siblings; /* which selects one of several results over the same inputs */
    bool only;     /* graphs that only predict have no such operator */
    enum bs__training_layout layout;
};
const struct bs__training_op *bs__training_op(enum bs_op op);

bs_status bs__training_run_step(const struct bs__cpu *cpu, const struct bs_program *program,
                                const struct bs__training *t, int step, const struct bs_run *run,
                                struct bs_err *err) BS_NODISCARD;
/* Accepts NULL. */
void bs__training_destroy(struct bs__training *t);

#endif
