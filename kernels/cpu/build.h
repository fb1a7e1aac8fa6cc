/* Appends steps to a program under construction: one function per kind of step, each choosing task sizes, workspace and
   packed weights. The first failure sticks (like building a graph). lower.c decides what to append. */
#ifndef BS_KERNELS_CPU_BUILD_H
#define BS_KERNELS_CPU_BUILD_H

#include "kernels/cpu/program.h"

/* An image in the arena. */
struct bs__image_at {
    int64_t n, h, w;
    int channels;
    int buffer;
    int stats; /* buffer of channel statistics, or BS__NO_BUFFER */
    /* A view of some blocks of a larger image and of its statistics; of_blocks 0: an image of its own. */
    int first_block, of_blocks;
};

/* What a step reads: up to two images side by side, and the norm to apply on the way. */
struct bs__operand {
    int count;
    struct bs__image_at *image[BS__MAX_SOURCE];
    int norm;
};

struct bs__build {
    struct bs__cpu *cpu;
    struct bs_params *params;
    struct bs_program *program;
    struct bs__cpu_program *self;
    int step_room, buffer_room;
    int counts[BS__STEP_KINDS];
    bs_status rc;
    struct bs_err *err;
};

/* A convolution's weights and what follows it. bias: of `out` values, or NULL. */
struct bs__conv {
    const char *weights;
    const float *bias;
    const double *scale; /* of a batch norm that goes into the weights; NULL: none */
    const char *norm;    /* with scale: its running variance, and eps; for the name of the packed form */
    float eps;
    int out, kernel_h, kernel_w, stride, pad;
    int64_t out_h, out_w;
    bool relu, want_stats;
};

/* Zeroed memory that lives as long as the program; NULL (and a failed build) when there is none. */
void *bs__own(struct bs__build *b, size_t bytes);
/* Reads a parameter of `count` values into memory of the program, padded with zeros to `room`. */
float *bs__own_param(struct bs__build *b, const char *name, size_t count, size_t room);
int bs__blocks(const struct bs__build *b, int channels);

/* Parts of a step, for build_*.c. A new step has no buffers; touch says that the last step uses one. */
struct bs__step *bs__new_step(struct bs__build *b, enum bs__step_kind kind);
int bs__new_buffer(struct bs__build *b, size_t bytes);
void bs__touch(struct bs__build *b, int buffer);
int bs__make_scratch(struct bs__build *b, size_t floats_per_worker);
int bs__read_image(struct bs__build *b, const struct bs__image_at *i);
int bs__make_image(struct bs__build *b, struct bs__image_at *i);
/* The step also gathers moments of the image it writes, in nparts parts. */
void bs__gather(struct bs__build *b, struct bs__step *s, struct bs__image_at *image, int64_t nparts);
/* Blocks from one sample to the next, and where in its buffer the image begins (bytes): of views other than its own. */
int64_t bs__sample_blocks(const struct bs__build *b, const struct bs__image_at *i);
size_t bs__view_offset(const struct bs__build *b, const struct bs__image_at *i);
/* Weights of a convolution with `in` input channels in one image. */
struct bs__conv_weights bs__weights_of(const struct bs__conv *c, int in);
/* Shortens split->run to the tiles there are and splits the rest. Few runs: threads share one by output channels; which
   thread does what changes no result. Returns the number of tasks. */
int64_t bs__split_tiles(const struct bs__build *b, int64_t tiles, int64_t n, int out_chunks,
                        struct bs__split *split);
int bs__operand_blocks(const struct bs__build *b, const struct bs__operand *from);
/* Says in the plan hash and in profiles what a step is. */
void bs__name_step(struct bs__step *s, const char *what, const struct bs__image_at *from,
                   const struct bs__image_at *to, const char *how);

void bs__add_load(struct bs__build *b, int host, struct bs__image_at *to, bool want_stats);
void bs__add_store(struct bs__build *b, struct bs__image_at *from, int host, bool sigmoid);
/* logits, probability: indices of the outputs before and after a sigmoid, or -1. */
void bs__add_head(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c, int logits,
                  int probability);
void bs__add_winograd(struct bs__build *b, const struct bs__operand *from, const struct bs__conv *c,
                      struct bs__image_at *to);
/* A 3x3 convolution of `from` doubled bilinearly (build_doubled.c), and whether that beats doubling it. */
void bs__add_doubled(struct bs__build *b, const struct bs__image_at *from, const struct bs__conv *c,
                     struct bs__image_at *to);
bool bs__doubled_pays(int64_t h, int64_t w);
void bs__add_direct(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                    struct bs__image_at *to);
void bs__add_pointwise(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                       struct bs__image_at *to);
void bs__add_transposed(struct bs__build *b, struct bs__image_at *from, const struct bs__conv *c,
                        struct bs__image_at *to);
/* Also takes a norm, and writes two images side by side where the first ends at a block. */
void bs__add_apply(struct bs__build *b, const struct bs__operand *from, enum bs__pointwise_op op,
                   struct bs__image_at *other, struct bs__image_at *to, bool want_stats);
/* No views. first: channel of the first image to begin with, for a slice that does not begin at a block. */
void bs__add_join(struct bs__build *b, const struct bs__operand *from, int first, struct bs__image_at *to);
void bs__add_pool(struct bs__build *b, struct bs__image_at *from, int kernel, struct bs__image_at *to,
                  bool want_stats);
void bs__add_resize(struct bs__build *b, struct bs__image_at *from, struct bs__image_at *to, bool want_stats);
/* The filter that ends the convolution of a doubled image, with its bias and ReLU. */
void bs__add_smooth(struct bs__build *b, struct bs__image_at *lattice, const struct bs__conv *c,
                    struct bs__image_at *to);
/* Makes sure that the image has statistics. */
void bs__add_moments(struct bs__build *b, struct bs__image_at *image);
/* k: op, eps, groups and parameters; sources are filled in here. Returns the buffer of the norm. */
int bs__add_norm(struct bs__build *b, const struct bs__operand *from, struct bs__norm_step k);

#endif
