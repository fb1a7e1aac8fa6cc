/* What the operators of training share (training.h), and the functions behind the table. Executor thread only. */
#ifndef BS_KERNELS_CPU_TRAINING_OPERATORS_H
#define BS_KERNELS_CPU_TRAINING_OPERATORS_H

#include "kernels/cpu/gradients.h"
#include "kernels/cpu/training.h"
#include "kernels/op.h"

#include <string.h>

#define BS__ROWS_RUN 64 /* rows of a task of norms and sums */

/* Do the step's images lie in blocks? */
static inline bool bs__in_blocks(const struct bs__training_call *c)
{
    return c->step->layout == BS__BLOCKS;
}

/* Floats of a buffer in scratch memory, so that what follows is aligned to 64 bytes. */
static inline size_t bs__floats(int64_t count)
{
    return ((size_t)count + 15) / 16 * 16;
}

/* The next `floats` of scratch memory. */
static inline float *bs__take(float **at, size_t floats)
{
    float *p = *at;
    *at += floats;
    return p;
}

/* A value as rows of its last axis. */
static inline int64_t bs__features_of(const struct bs_tensor *t)
{
    return t->shape.ndim > 0 ? t->shape.dim[t->shape.ndim - 1] : 1;
}
static inline int64_t bs__rows_of(const struct bs_tensor *t)
{
    return (int64_t)bs_shape_count(&t->shape) / bs__features_of(t);
}

/* Is that result wanted? While lowering, too. */
static inline bool bs__wanted(const struct bs__training_call *c, int which)
{
    return c->step->value[which] >= 0;
}

/* Tokens (N,L,D) that lie densely, as the token kernels want them. */
static inline struct bs__rows bs__dense(const struct bs_tensor *t)
{
    const int64_t features = bs__features_of(t);
    return (struct bs__rows){
        .data = t->data, .row = features, .sample = t->shape.ndim == 3 ? t->shape.dim[1] * features : 0};
}

/* out[i] = sum over p of part[p stride + i], in the order of p, sums in double; factor NULL: 1. */
void bs__merge_parts(const struct bs__cpu *cpu, const float *part, int64_t parts, int64_t stride,
                     const float *factor, int64_t count, float *out);

/* training_planes.c */
bs_status bs__train_instance_norm(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_batch_norm(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_resize(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_resize_scratch(const struct bs__training_call *c);
size_t bs__train_image_scratch(const struct bs__training_call *c);
/* The same over images in blocks (training_blocks.c); the functions above call them. */
size_t bs__train_blocks_scratch(const struct bs__training_call *c);
void bs__blocks_norm(const struct bs__training_call *c);
void bs__blocks_norm_grad(const struct bs__training_call *c);
void bs__blocks_statistics(const struct bs__training_call *c);
void bs__blocks_relu_grad(const struct bs__training_call *c);
void bs__blocks_sum(const struct bs__training_call *c);
void bs__blocks_pool(const struct bs__training_call *c);
void bs__blocks_pool_grad(const struct bs__training_call *c);
void bs__blocks_resize(const struct bs__training_call *c);
size_t bs__blocks_resize_scratch(const struct bs__training_call *c);
/* The reference's loops. */
bs_status bs__train_planes(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_pool(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_channels(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_whole(const struct bs__training_call *c, struct bs_err *err);
/* training_conv.c. Own: the name of the own kernel that computes this convolution; NULL: oneDNN does. */
const char *bs__train_conv_own(const struct bs__training_call *c);
size_t bs__train_conv_scratch(const struct bs__training_call *c);
bs_status bs__train_conv(const struct bs__training_call *c, struct bs_err *err);
/* training_copy.c: what only moves numbers. */
bs_status bs__train_copy(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_insert_grad(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_transpose(const struct bs__training_call *c, struct bs_err *err);
/* training_rows.c */
bs_status bs__train_elements(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_norm(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_norm_grad(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_norm_grad_scratch(const struct bs__training_call *c);
bs_status bs__train_sum_rows(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_sum_rows_scratch(const struct bs__training_call *c);
/* training_linear.c */
bs_status bs__train_linear(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_linear_scratch(const struct bs__training_call *c);
/* training_position.c */
bs_status bs__train_position(const struct bs__training_call *c, struct bs_err *err);
bs_status bs__train_position_grad(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_position_grad_scratch(const struct bs__training_call *c);
/* training_attention.c */
bs_status bs__train_attention(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_attention_scratch(const struct bs__training_call *c);
bs_status bs__train_attention_grad(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_attention_grad_scratch(const struct bs__training_call *c);
/* training_mixer.c */
bs_status bs__train_conv1d(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_conv1d_scratch(const struct bs__training_call *c);
bs_status bs__train_conv1d_grad(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_conv1d_grad_scratch(const struct bs__training_call *c);
bs_status bs__train_scan(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_scan_scratch(const struct bs__training_call *c);
bs_status bs__train_scan_grad(const struct bs__training_call *c, struct bs_err *err);
size_t bs__train_scan_grad_scratch(const struct bs__training_call *c);
bs_status bs__train_rotary(const struct bs__training_call *c, struct bs_err *err);

#endif
