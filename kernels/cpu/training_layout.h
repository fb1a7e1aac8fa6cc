/* Where images of training lie in blocks of channels, (N, C / lanes, H, W, lanes), instead of densely: every one whose channels fill
   their blocks, where Winograd is allowed, so that convolutions and the passes between them bring nothing into another order. An
   operator whose kernels know one order gets and gives copies in that order, in its scratch memory. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_LAYOUT_H
#define BS_KERNELS_CPU_TRAINING_LAYOUT_H

#include "kernels/cpu/training.h"

/* Does value v of the graph lie in blocks, given where its inputs do? */
bool bs__training_in_blocks(const struct bs__cpu *cpu, const struct bs__training_value *values,
                            const struct bs_graph *g, bs_value v);

/* In which order the kernels of a step that is no convolution work. */
enum bs__training_layout bs__training_layout_of(const struct bs__training_value *values,
                                                const struct bs__training_step *s);
/* Bytes of the copies of a step whose layout is set. They come behind what its operator takes itself of the step's scratch memory
   (own_scratch, a multiple of 64). */
size_t bs__training_copies(const struct bs__training_value *values, const struct bs__training_step *s);
/* Before an operator runs: inputs become copies where they must, results places for them. After it: results are brought to where they
   belong. */
void bs__training_copy_in(const struct bs__training_value *values, struct bs__training_call *c);
void bs__training_copy_out(const struct bs__training_value *values, struct bs__training_call *c,
                           const struct bs_tensor *out);

/* (n, channels, pixels) to (n, blocks, pixels, lanes), zeros behind the last channel; and back. */
void bs__to_blocks(const struct bs__cpu *cpu, const float *src, int64_t n, int64_t channels, int64_t pixels,
                   float *dst);
void bs__from_blocks(const struct bs__cpu *cpu, const float *src, int64_t n, int64_t channels, int64_t pixels,
                     float *dst);

#endif
