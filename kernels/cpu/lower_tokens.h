/* Lowering of values that are tokens. What is fused:
   - a norm is applied while the linear behind it reads its rows;
   - an activation and a residual sum go into the linear before them; without one, a sum and the norm behind it are one pass;
   - patches are gathered from the host's image and multiplied; a token put in and positions added are one pass;
   - slices are views;
   - both directions of a causal convolution, with their SiLU, are one step, as are both directions of a scan with the
     projection of its step size, its gate, the sum of the directions and its scale.
   In bf16 the residual stream (sums, positions) stays float32, as does what a scan's steps are made of. */
#ifndef BS_KERNELS_CPU_LOWER_TOKENS_H
#define BS_KERNELS_CPU_LOWER_TOKENS_H

#include "kernels/cpu/lower.h"

/* Is the value made by this part? (It may be an image made of tokens.) */
bool bs__is_tokens(const struct bs_node *n);
/* Is the value made as a part of the node that consumes it? Also for convolutions that embed patches. */
bool bs__tokens_defer(const struct bs__lowering *l, bs_value v);
/* Is an input image read only by patch embeddings, which take it from the host? */
bool bs__only_patches(const struct bs__lowering *l, bs_value input);
void bs__lower_token_input(struct bs__lowering *l, bs_value v, int host);
void bs__lower_token_node(struct bs__lowering *l, bs_value v);
void bs__lower_token_output(struct bs__lowering *l, bs_value v, int host);

/* The value as rows, made now if it was put off. */
struct bs__rows_at *bs__lower_rows(struct bs__lowering *l, bs_value v);
/* The only one that reads the value; BS_NO_VALUE when it is handed out or read twice. */
bs_value bs__only_consumer(const struct bs__lowering *l, bs_value v);

/* lower_fusion.c. */
bool bs__is_row_norm(enum bs_op op);
/* BS__ROW_AS_IS: not an activation. */
enum bs__row_act bs__act_of(enum bs_op op);
/* The linear that a sum of tokens takes in: the later one where both could be. Index of the input, or -1. */
int bs__added_linear(const struct bs__lowering *l, bs_value add);
/* Is the value cut into parts that only scans read, and the projections of their step sizes? */
bool bs__makes_steps(const struct bs__lowering *l, bs_value v);

/* Makes v by a pass over rows; o->dst is filled in. */
void bs__lower_pass(struct bs__lowering *l, const struct bs__row_operands *o, bs_value v,
                    struct bs__row_pass k, const char *name);

/* lower_places.c. Makes v: a token put in, positions added, or a rotary embedding. */
void bs__lower_places(struct bs__lowering *l, bs_value v);

/* lower_mixer.c. Is v a scan's step size that the scan projects itself? */
bool bs__is_low_rank(const struct bs__lowering *l, bs_value v);
/* Is `add` the sum of two scans that one step can make? */
bool bs__is_scan_pair(const struct bs__lowering *l, bs_value add);
/* Makes v: convolution `conv`, v being the SiLU behind it or itself; with the convolution of the other direction. */
void bs__lower_conv1d(struct bs__lowering *l, bs_value conv, bs_value v);
/* Makes v: one scan, or the sum of two times scale. */
void bs__lower_scan(struct bs__lowering *l, const bs_value *scan, int count, bs_value v, float scale);

#endif
