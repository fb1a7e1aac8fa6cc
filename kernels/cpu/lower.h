/* What lowering knows of a graph's values, shared by the images' part (lower.c) and the tokens' part (lower_tokens.c).
   Executor thread only; lives during one compilation. */
#ifndef BS_KERNELS_CPU_LOWER_H
#define BS_KERNELS_CPU_LOWER_H

#include "kernels/cpu/build.h"

struct bs__value {
    bool deferred; /* done by its only consumer */
    bool made;
    struct bs__image_at image;
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

#endif
