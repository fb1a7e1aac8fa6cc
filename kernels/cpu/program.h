/* A lowered graph as the CPU backend holds it: steps over buffers, each step a kernel's arguments with buffer numbers in
   place of addresses. Written by lower.c, run by steps.c on the executor thread. */
#ifndef BS_KERNELS_CPU_PROGRAM_H
#define BS_KERNELS_CPU_PROGRAM_H

#include "kernels/backend.h"
#include "kernels/cpu/onednn.h"
#include "kernels/cpu/simd.h"

struct bs__cpu {
    const struct bs__simd *simd;
    struct bs__dnnl *dnnl;
    int threads;
    bool allow_winograd, fast_bf16;
};

enum bs__step_kind {
    BS__STEP_LOAD,  /* host tensor to blocked image */
    BS__STEP_STORE, /* blocked image to host tensor, sigmoid on the way */
    BS__STEP_HEAD,  /* 1x1 convolution to few channels, straight to a host tensor */
    BS__STEP_WINOGRAD,
    BS__STEP_LATTICE,   /* 3x3 convolution of a doubled image, */
    BS__STEP_SMOOTH,    /* and the filter that ends it */
    BS__STEP_DIRECT,    /* oneDNN */
    BS__STEP_POINTWISE, /* 1x1 convolution, or one tap of a transposed one */
    BS__STEP_APPLY,     /* norm, activation, arithmetic, copy */
    BS__STEP_MOMENTS,
    BS__STEP_POOL,
    BS__STEP_RESIZE,
    BS__STEP_JOIN, /* concatenation whose parts do not end at a block */
    BS__STEP_NORM, /* moments to mean, scale and shift */
    /* Over tokens; see program_tokens.h. */
    BS__STEP_ROWS,
    BS__STEP_PATCHES,
    BS__STEP_TOKENS_FROM_IMAGE,
    BS__STEP_IMAGE_FROM_TOKENS,
    BS__STEP_LINEAR,
    BS__STEP_ATTENTION,
    BS__STEP_CONV1D,
    BS__STEP_SCAN,
    BS__STEP_KINDS
};

#define BS__NO_BUFFER (-1)

/* Where a norm takes its numbers from: moments of up to two images side by side, or running statistics. */
struct bs__norm_step {
    enum bs_op op;
    float eps;
    int groups, channels[BS__MAX_SOURCE], nsource;
    int stats[BS__MAX_SOURCE];
    int64_t stats_room[BS__MAX_SOURCE]; /* channels of a sample in these, and the first one to take */
    int stats_first[BS__MAX_SOURCE];
    const float *weight, *bias, *mean, *var; /* of all channels; NULL: none */
    int64_t n;
};

struct bs__token_step;

struct bs__step {
    enum bs__step_kind kind;
    int source[BS__MAX_SOURCE], norm[BS__MAX_SOURCE]; /* buffers */
    size_t norm_offset[BS__MAX_SOURCE];               /* floats */
    size_t source_offset[BS__MAX_SOURCE];             /* bytes; of images and what reads blocks of them */
    int dst, scratch, part, stats;
    int64_t nparts, tasks;
    int host; /* index of the input or output */
    int second_host;
    union {
        struct bs__winograd winograd;
        struct bs__lattice lattice;
        struct bs__pointwise pointwise;
        struct bs__head head;
        struct bs__pass pass;
        struct bs__norm_step norm_of;
        struct {
            struct bs__dnnl_conv *conv;
            const void *weights;
            const float *bias;
        } direct;
        struct {
            int channels[BS__MAX_SOURCE];
            int first, of_blocks; /* of the first source: channel to begin with, blocks it has */
            int64_t n, pixels;
        } join;
        struct bs__token_step *token; /* owned by the program */
    };
    int stats_channels; /* padded */
    int64_t stats_n;
    double flops; /* of the operators that dominate, a multiply-add as two; 0: not counted */
    char text[112];
};

struct bs__training;

/* Small constants that live as long as the program: biases, tables. */
struct bs__owned {
    struct bs__owned *next;
};

struct bs__cpu_program {
    struct bs__cpu *cpu;
    const struct bs__simd_type *type;
    size_t element;
    bool bf16;
    bool pairs; /* 1x1 convolutions and those of doubled images by bs__simd_pairs */
    struct bs__step *step;
    struct bs__owned *owned;
    struct bs__training *training; /* a graph of training, which has steps of its own; NULL: none */
};

/* Moments of one channel of one sample after all parts are merged; what norms read. */
struct bs__channel_stats {
    double mean, var;
    double count;
};

bs_status bs__cpu_lower(void *dev, const struct bs_graph *g, struct bs_params *params,
                        enum bs_precision precision, struct bs_program **out, struct bs_err *err);
bs_status bs__cpu_run_step(void *dev, struct bs_program *program, int step, const struct bs_run *run,
                           struct bs_err *err);
/* Runs a step over tokens (steps_tokens.c). */
void bs__cpu_run_token_step(const struct bs__cpu *cpu, const struct bs_program *program,
                            const struct bs__step *s, const struct bs_run *run);
void bs__cpu_destroy_program(void *dev, struct bs_program *program);

/* Packed weights (pack.c); shared through the parameter set, so built once per model. Channels are padded with zeros to
   whole blocks; an input that is a concatenation is padded part by part. */
struct bs__conv_weights {
    const char *name;
    int out, in[BS__MAX_SOURCE], nsource, kernel_h, kernel_w;
    const double *scale; /* per output channel; NULL: none */
    const char *norm;    /* with scale: names the norm it comes from */
    float eps;
};
bs_status bs__pack_winograd(const struct bs__cpu *cpu, struct bs_params *params,
                            const struct bs__conv_weights *w, bool bf16, bool transformed, const void **out,
                            struct bs_err *err);
bs_status bs__pack_pointwise(const struct bs__cpu *cpu, struct bs_params *params,
                             const struct bs__conv_weights *w, bool bf16, const void **out,
                             struct bs_err *err);
/* Tap (y, x) of a transposed convolution, whose weights are (in, out, k, k). */
bs_status bs__pack_tap(const struct bs__cpu *cpu, struct bs_params *params, const struct bs__conv_weights *w,
                       int y, int x, bool bf16, const void **out, struct bs_err *err);
bs_status bs__pack_direct(const struct bs__cpu *cpu, struct bs_params *params,
                          const struct bs__conv_weights *w, struct bs__dnnl_conv *conv, const void **out,
                          struct bs_err *err);

#endif
