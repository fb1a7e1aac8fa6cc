/* Appends steps over tokens; the counterpart of build.h. lower_tokens.c decides what to append. Functions that make a value
   fill its place; the caller sets samples, tokens, features and the element type. */
#ifndef BS_KERNELS_CPU_BUILD_TOKENS_H
#define BS_KERNELS_CPU_BUILD_TOKENS_H

#include "kernels/cpu/build.h"
#include "kernels/cpu/program_tokens.h"

/* Rows of a shape: (N, L, D), with other ranks one sample of all but the last axis; nothing made yet. */
struct bs__rows_at bs__rows_of(const struct bs_shape *s, bool bf16);
/* A buffer for the value, rows on whole cache lines where they are long. */
void bs__make_rows(struct bs__build *b, struct bs__rows_at *r);
/* C order float32 of the host. */
void bs__host_rows(struct bs__rows_at *r, enum bs__rows_place place, int index);

/* Parts of a step over tokens, for build_tokens.c and build_mixer.c. */
struct bs__step *bs__new_token_step(struct bs__build *b, enum bs__step_kind kind);
/* The step reads or writes r; NULL: nothing there. */
void bs__bind_rows(struct bs__build *b, struct bs__token_step *t, int at, const struct bs__rows_at *r);
/* Makes the value where it has no place yet, and lets the step write it; NULL: nothing there. */
void bs__bind_new_rows(struct bs__build *b, struct bs__token_step *t, int at, struct bs__rows_at *r);
void bs__name_token_step(struct bs__step *s, const char *what, const struct bs__rows_at *from,
                         const struct bs__rows_at *to, const char *how);

/* Rows of `pass`, whose own rows are ignored; NULL: not there. */
struct bs__row_operands {
    struct bs__rows_at *a, *b, *sum, *dst;
    const float *table; /* in place of b: a row of features for each token, the same for all samples */
};
void bs__add_row_pass(struct bs__build *b, const struct bs__row_operands *o, struct bs__row_pass pass,
                      const char *name);
void bs__add_patches(struct bs__build *b, int host, const struct bs_shape *image, int patch, int stride,
                     struct bs__rows_at *to);
void bs__add_tokens_from_image(struct bs__build *b, struct bs__image_at *from, struct bs__rows_at *to);
void bs__add_image_from_tokens(struct bs__build *b, struct bs__rows_at *from, struct bs__image_at *to,
                               bool want_stats);

/* norm, norm_weight, norm_bias, eps, bias and act of k are read. residual: NULL: none. */
void bs__add_linear(struct bs__build *b, struct bs__rows_at *from, const char *weights, struct bs__linear k,
                    struct bs__rows_at *residual, struct bs__rows_at *to);

struct bs__relative {
    const char *name[2]; /* of the tables for rows and for columns; NULL: none */
    int64_t length[2];
};
/* heads, window, grid_h, grid_w and pad of k are read. */
void bs__add_attention(struct bs__build *b, struct bs__rows_at *from, struct bs__attention k,
                       const struct bs__relative *relative, struct bs__rows_at *to);

/* One direction of a convolution. */
struct bs__conv1d_of {
    const char *weights, *bias; /* bias NULL: none */
    bool reverse;
    struct bs__rows_at *to;
};
void bs__add_conv1d(struct bs__build *b, struct bs__rows_at *from, int kernel, bool silu,
                    const struct bs__conv1d_of *direction, int ndirection);

/* One direction of a scan: delta, or low and the projection's weights. */
struct bs__scan_of {
    struct bs__rows_at *u, *delta, *low, *b, *c;
    const char *delta_weights, *a_log, *skip, *delta_bias;
    bool reverse;
};
/* z NULL: no gate. */
void bs__add_scan(struct bs__build *b, const struct bs__scan_of *direction, int ndirection, int states,
                  bool softplus, float scale, struct bs__rows_at *z, struct bs__rows_at *to);

#endif
