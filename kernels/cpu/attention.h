/* Attention as BS_OP_ATTENTION in graph.h says, without the score matrix: blocks of keys go past a block of queries, and
   running maxima and sums (float32) make the softmax. Queries lie in the lanes of the vectors. bf16 multiplies bf16 and
   sums float32. bs__attention_plan decides the tasks from the shapes alone, so the bits do not depend on the threads; a task
   is (sample, head, block of queries), with windows (sample, head, window). */
#ifndef BS_KERNELS_CPU_ATTENTION_H
#define BS_KERNELS_CPU_ATTENTION_H

#include "kernels/cpu/simd.h"
#include "kernels/params.h"

struct bs__attention {
    int64_t n, grid_h, grid_w; /* n samples of grid_h * grid_w tokens, row by row */
    int heads, d, window;      /* window 0: global */
    /* q, k, v of all heads side by side: (3, heads, d) per token; of the kernel's element type */
    struct bs__rows qkv;
    const float *pad;           /* (3, heads, d): tokens outside the grid; NULL: zeros */
    const float *rel_h, *rel_w; /* (2h-1, d), (2w-1, d), h x w the window or the grid; both or NULL */
    struct bs__rows dst;        /* (heads, d) per token; of the kernel's element type */
    float *lse;                 /* (n, tokens, heads): log of the sum of exp(logit); NULL: not wanted */
    float *scratch;             /* scratch_floats for every worker, 64-byte aligned */
    /* Filled by bs__attention_plan. */
    int64_t h, w;                     /* of a window or of the grid */
    int64_t windows_y, windows_x;     /* 1 x 1: global */
    int64_t queries_per_task, blocks; /* blocks of queries in a window */
    int keys;                         /* of one block */
    int64_t tasks;
    size_t scratch_floats; /* of one worker; a multiple of 16 */
};

struct bs__attention_kernel {
    const char *name;
    bs__task_fn run, grad; /* grad: NULL for bf16 */
    int lanes, vectors;    /* queries in a vector, vectors multiplied at once */
    bool bf16, pairs;      /* element type; products of bf16 pairs */
};

/* fast_bf16: as bs__linear_select. */
const struct bs__attention_kernel *bs__attention_select(const struct bs__simd *simd, bool bf16,
                                                        bool fast_bf16);
void bs__attention_plan(const struct bs__attention_kernel *kernel, struct bs__attention *c);

/* The gradients of attention without the score matrix: with P = exp(logit - lse) and dS = P (gy v - gy y),
     gv = P^T gy, gk = dS^T q / sqrt d, gq = dS k / sqrt d + the tables' rows, and a row of a table gets dS q.
   A task is (sample, head, window): a chunk of queries at a time passes all keys, block by block, for which P and dS are made
   once. Padding and tables get one part for every task, to be merged in the order of tasks. Float32. */
struct bs__attention_grad {
    struct bs__attention forward; /* planned by bs__attention_grad_plan; dst and lse: what the forward made */
    struct bs__rows gy;           /* (heads, d) per token */
    float *gqkv;                  /* dense, as qkv; NULL: not wanted */
    float *pad;                   /* (tasks, 2, d): k and v of padding; NULL: not wanted */
    float *rel;                   /* (tasks, 2h-1 + 2w-1, d); NULL: not wanted */
    int keys;                     /* of a block */
    int64_t tasks;
    size_t scratch_floats; /* of one worker; a multiple of 16 */
    float *scratch;
};
void bs__attention_grad_plan(const struct bs__attention_kernel *kernel, struct bs__attention_grad *c);

/* A table of (length, d) as (rows, d): linear, half-pixel centres; and the gradient of that, where every value of the table
   sums what it gave. */
void bs__relative_resample(const float *table, int64_t length, int64_t rows, int d, float *to);
void bs__relative_gather(const float *g, int64_t rows, int64_t length, int d, float *table);

/* Relative positions of parameter `name` (length, d), for windows of `side`: resampled to 2 side - 1 where the length
   differs (linear, half-pixel centres), float32, once per model and side. */
bs_status bs__pack_relative(struct bs_params *params, const char *name, int64_t length, int d, int64_t side,
                            const float **table, struct bs_err *err);

#endif
