/* One entry per operator: shape inference, the plain reference computation, and the backward rule stand together in
   kernels/ops/<operator>.c. This table is what graph.c (shapes), ref/ (computation) and grad.c (backward) read. */
#ifndef BS_KERNELS_OP_H
#define BS_KERNELS_OP_H

#include "kernels/graph.h"

struct bs_op_def {
    const char *name;
    int min_inputs, max_inputs;
    /* Checks the inputs' shapes and attributes and sets *out. */
    bs_status (*infer)(const struct bs_attr *attr, const struct bs_shape *in, int ninput,
                       struct bs_shape *out, struct bs_err *err);
    /* Plain loops over float32 C-order tensors, accumulating in double where a sum is long: the meaning of the operator. */
    void (*reference)(const struct bs_attr *attr, const struct bs_tensor *in, int ninput,
                      struct bs_tensor *out);
    /* Emits the gradient of every input into gin[] (BS_NO_VALUE where there is none). NULL: no backward rule. */
    void (*backward)(struct bs_graph *g, bs_value node, bs_value gy, bs_value *gin);
    /* Multiply-adds times two; NULL: not counted. */
    double (*flops)(const struct bs_attr *attr, const struct bs_shape *in, const struct bs_shape *out);
};

const struct bs_op_def *bs_op_def(enum bs_op op);

#endif
