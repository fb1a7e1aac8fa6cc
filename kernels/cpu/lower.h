/* What lowering knows of a graph's values, shared by the images' part (lower.c) and the tokens' part (lower_tokens.c).
   Executor thread only; lives during one compilation. */
#ifndef BS_KERNELS_CPU_LOWER_H
#define BS_KERNELS_CPU_LOWER_H

#include "kernels/cpu/build_tokens.h"

struct bs__value {
    bool deferred; /* done by its only consumer */
    bool made;
    struct bs__image_at image;
    struct bs__rows_at rows;  /* of a value that is tokens */
    struct bs__image_at view; /* of a slice of channels: the blocks of the image it is cut from */
    int uses, consumer;       /* consumer: the last one */
    int norm[BS__MAX_SOURCE]; /* of a norm node: numbers for one image, for two side by side */
    int outputs;              /* how often it is handed out */
    bool feeds_norm;
};

struct bs__lowering {
    struct bs__build build;
    const struct bs_graph *g;
    struct bs__value *value;
    int ninput;
    bool bf16;
};

static inline const struct bs_node *bs__node_of(const struct bs__lowering *l, bs_value v)
{
    return bs_graph_node(l->g, v);
}

/* The first failure sticks; the message ends with the shape of the node's value. */
void bs__lower_fail(struct bs__lowering *l, bs_status code, const char *text, const struct bs_node *n);
/* Name of a parameter whose shape in the file is the graph's; NULL when v is no parameter. */
const char *bs__lower_param(struct bs__lowering *l, bs_value v);
/* The value as one image in memory, made now if it was put off. */
struct bs__image_at *bs__lower_image(struct bs__lowering *l, bs_value v);
/* What to read for a value without making it: a norm's input, a concatenation's parts. */
struct bs__operand bs__lower_operand(struct bs__lowering *l, bs_value v);
/* Is `op` all that ever reads the value? */
bool bs__only_use_is(const struct bs__lowering *l, bs_value v, enum bs_op op);
bool bs__is_last_sigmoid(const struct bs__lowering *l, bs_value v);

/* Convolutions (lower_conv.c). Is the value made as a part of the node that consumes it? */
bool bs__conv_defers(const struct bs__lowering *l, bs_value v);
/* The convolution that makes value v: itself, or the one whose batch norm or ReLU it is; BS_NO_VALUE: none. */
bs_value bs__conv_behind(const struct bs__lowering *l, bs_value v);
/* Makes value v with convolution `at`. */
void bs__lower_conv(struct bs__lowering *l, bs_value at, bs_value v);
/* Makes a last convolution and its sigmoid, once for both. */
void bs__lower_head(struct bs__lowering *l, bs_value v);

#endif
