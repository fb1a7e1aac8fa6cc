/* What lowering knows of a graph's values, and how steps are appended. A value is rows: the pixels of an image with its channels,
   or tokens with their features; rows lie `stride` elements apart, so that slices and the parts of a concatenation are views.
   In the half precisions the residual stream of tokens (sums, positions, a token put in) stays float32.
   Executor thread only; lives during one compilation. */
#ifndef BS_KERNELS_CUDA_LOWER_H
#define BS_KERNELS_CUDA_LOWER_H

#include "kernels/cuda/program.h"

struct bs__gpu_weight; /* pack.h */

/* Where rows lie: in a buffer of the plan. */
struct bs__gpu_place {
    int buffer;
    int64_t offset, stride; /* in elements */
    enum bs__element element;
};

struct bs__gpu_value {
    bool made, converted;
    struct bs__gpu_place place, copy; /* copy: the same as the other element type, once that was asked for */
    int uses, outputs;                /* how often it is read, and handed out */
    bs_value consumer;                /* the last that reads it */
    bs_value concat;                  /* a concatenation that reads it; BS_NO_VALUE: none */
};

struct bs__gpu_lowering {
    struct bs__gpu *gpu;
    const struct bs_graph *g;
    struct bs_params *params;
    struct bs_program *program;
    struct bs__gpu_program *self;
    struct bs__gpu_value *value;
    enum bs__element element; /* of the precision */
    int step_room, buffer_room;
    int counts[BS__GPU_STEP_KINDS];
    char why_own[112]; /* why the own kernel attends (the last one), in brackets; "" where it does not */
    bs_status rc;      /* the first failure sticks; later calls do nothing */
    struct bs_err *err;
};

static inline const struct bs_node *bs__gpu_node(const struct bs__gpu_lowering *l, bs_value v)
{
    return bs_graph_node(l->g, v);
}

/* Rows of a shape and their length: pixels and channels of 4 dimensions, else what stands before the last one and that. */
int64_t bs__gpu_columns(const struct bs_shape *s);
int64_t bs__gpu_rows(const struct bs_shape *s);

/* Fails with the shape of the node's value and the operator's name behind the text. */
void bs__gpu_fail(struct bs__gpu_lowering *l, bs_status code, const char *text, const struct bs_node *n);
/* The only one that reads the value; BS_NO_VALUE when it is handed out or read twice. */
bs_value bs__gpu_only_consumer(const struct bs__gpu_lowering *l, bs_value v);
/* The only consumer if it is of that kind and not made yet; else BS_NO_VALUE. */
bs_value bs__gpu_followed_by(const struct bs__gpu_lowering *l, bs_value v, enum bs_op op);

/* build.c. A new buffer, alive from the next step on; BS__NO_BUFFER after a failure. */
int bs__gpu_add_buffer(struct bs__gpu_lowering *l, size_t bytes);
/* A new step to fill in; valid until the next one. Never NULL: after a failure one that nobody runs. */
struct bs__gpu_step *bs__gpu_add_step(struct bs__gpu_lowering *l, enum bs__gpu_step_kind kind,
                                      enum bs__element element, const char *text, ...) BS_PRINTF(4, 5);
/* Lets rows, or an address, among the arguments of the newest step be those of a place. */
void bs__gpu_bind_rows(struct bs__gpu_lowering *l, struct bs__gpu_step *s, struct bs__rows *rows,
                       const struct bs__gpu_place *p);
void bs__gpu_bind(struct bs__gpu_lowering *l, struct bs__gpu_step *s, bs_address *field,
                  const struct bs__gpu_place *p);
/* Memory that only this step uses. bytes 0: none is bound. */
void bs__gpu_bind_workspace(struct bs__gpu_lowering *l, struct bs__gpu_step *s, bs_address *field,
                            size_t bytes);
/* Packed rows of their own. */
struct bs__gpu_place bs__gpu_room(struct bs__gpu_lowering *l, int64_t rows, int64_t columns,
                                  enum bs__element e);
/* Copies (batches, rows, columns), also from one element type to another. */
void bs__gpu_add_copy(struct bs__gpu_lowering *l, const char *text, const struct bs__gpu_place *to,
                      int64_t to_batch, const struct bs__gpu_place *from, int64_t from_batch, int64_t batches,
                      int64_t rows, int64_t columns);

/* lower.c. Where a value lies that was made before. */
const struct bs__gpu_place *bs__gpu_value_at(struct bs__gpu_lowering *l, bs_value v);
/* The same as an element type: itself or a copy. */
const struct bs__gpu_place *bs__gpu_value_as(struct bs__gpu_lowering *l, bs_value v, enum bs__element e);
/* The same, packed (stride is the row's length). */
struct bs__gpu_place bs__gpu_value_packed(struct bs__gpu_lowering *l, bs_value v, enum bs__element e);
/* Gives a value its place: inside the concatenation that reads it, if one does, else packed. Then it is made. */
const struct bs__gpu_place *bs__gpu_make(struct bs__gpu_lowering *l, bs_value v, enum bs__element e);

/* lower_images.c, lower_conv.c, lower_tokens.c, lower_mixer.c, lower_grad.c: make value v; false when the operator is none of theirs. */
bool bs__gpu_lower_image_node(struct bs__gpu_lowering *l, bs_value v);
bool bs__gpu_lower_conv_node(struct bs__gpu_lowering *l, bs_value v);
bool bs__gpu_lower_token_node(struct bs__gpu_lowering *l, bs_value v);
bool bs__gpu_lower_mixer_node(struct bs__gpu_lowering *l, bs_value v);
bool bs__gpu_lower_grad_node(struct bs__gpu_lowering *l, bs_value v);
/* lower_tokens.c: makes v, a sum of tokens, together with the norm that reads it; false where there is none. */
bool bs__gpu_lower_sum(struct bs__gpu_lowering *l, bs_value v);
/* A view of another value: the same rows, from a column on. */
void bs__gpu_make_view(struct bs__gpu_lowering *l, bs_value v, bs_value of, int64_t first_column);

/* A product of rows with a weight (columns, depth), as a linear layer is: y = act(x w^T + bias) + residual. */
struct bs__gpu_product {
    const struct bs__gpu_place *x, *y, *residual; /* of one element type; residual NULL: none */
    int64_t rows, columns, depth;
    bs_address w;                      /* (columns, depth) of x's element type */
    const struct bs__gpu_weight *bias; /* (columns), packed as who multiplies wants it; NULL: none */
    enum bs__gemm_act act;
};
/* build_library.c. By cuBLASLt, else by the own kernel. */
void bs__gpu_add_product(struct bs__gpu_lowering *l, const struct bs__gpu_product *p, const char *text);

/* A convolution that cuDNN may do; false: it cannot, and nothing was added. x is packed; v becomes a packed image. */
struct bs__gpu_convolution {
    struct bs__cudnn_convolution of;
    const struct bs__gpu_place *x;
    bs_value v;
    struct bs__gpu_weight *weight, *bias; /* their forms and element types are set here */
};
bool bs__gpu_add_library_convolution(struct bs__gpu_lowering *l, struct bs__gpu_convolution *c);

/* The same of attention: by cuDNN where that pays; false: the own kernel serves, and l->why_own says why. c's addresses are set as far
   as they are known, qkv lies at x and y is where v is made. */
bool bs__gpu_add_library_attention(struct bs__gpu_lowering *l, const struct bs__cuda_attention *c,
                                   const struct bs__gpu_place *qkv, const struct bs__gpu_place *y,
                                   const char *text);

#endif
