/* What of a graph of training is made as a part of something else, so that it costs no trip to memory: activations behind
   convolutions and norms, norms that convolutions apply while reading, masks of activations and sums of biases behind the pass that
   makes what came back. Decided from the graph alone, where values lie in blocks. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_FUSION_H
#define BS_KERNELS_CPU_TRAINING_FUSION_H

#include "kernels/cpu/training.h"

/* Who reads each value. */
struct bs__training_readers {
    int *count;     /* outputs of the graph count too */
    bs_value *last; /* one of them: the only one where count is 1 and it is not an output */
    bs_value *sum;  /* the sum_to_channel among them, or BS_NO_VALUE */
};
bs_status bs__training_readers_create(const struct bs_graph *g, struct bs__training_readers *r,
                                      struct bs_err *err) BS_NODISCARD;
void bs__training_readers_destroy(struct bs__training_readers *r);

/* The node of that operator that reads v as its input i, if nothing else reads v; else BS_NO_VALUE. */
bs_value bs__training_only_reader(const struct bs_graph *g, const struct bs__training_readers *r, bs_value v,
                                  enum bs_op op, int i);
/* Does Winograd compute the convolution v, or this gradient of one? */
bool bs__training_is_winograd(const struct bs__cpu *cpu, const struct bs_graph *g, bs_value v);
/* Do only own convolutions read v, as weights, which they pack number by number wherever they lie? */
bool bs__training_only_packed(const struct bs__cpu *cpu, const struct bs_graph *g,
                              const struct bs__training_readers *r, bs_value v);
/* Do only Winograd's convolutions and their gradients read v, as the image? */
bool bs__training_only_convolved(const struct bs__cpu *cpu, const struct bs_graph *g, bs_value v);

#endif
