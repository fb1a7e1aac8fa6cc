/* Token linear: y = act(norm(x) W^T + b) + r, rows x in -> rows x out, with own kernels of every instruction set.
   bs__linear_plan decides the tasks from the shapes alone, so the bits do not depend on the threads; then
   bs__parallel(threads, c.tasks, kernel->run, &c) runs them. Weights are packed once per model (bs__pack_linear). */
#ifndef BS_KERNELS_CPU_LINEAR_H
#define BS_KERNELS_CPU_LINEAR_H

#include "kernels/cpu/simd.h"
#include "kernels/params.h"

/* Rows are float32 or bf16 whatever the kernel's type (a bf16 kernel may read and add to a float32 stream); a float32
   kernel takes float32 rows only. Nothing of dst is touched but its `out` features. */
struct bs__linear {
    int64_t n, rows; /* samples and rows of each; one sample where all rows are equally far apart */
    int in, out;
    struct bs__rows x;
    enum bs__row_norm norm;               /* of x over its features, while reading; biased variance */
    const float *norm_weight, *norm_bias; /* (in); need no padding. RMS norm has no bias */
    float eps;
    const void *weights; /* of bs__pack_linear, for the same kernel */
    const float *bias;   /* (out), needs no padding; NULL: none */
    enum bs__row_act act;
    struct bs__rows residual; /* added at last; data NULL: none; may be dst */
    struct bs__rows dst;
    float *scratch; /* scratch_floats for every worker, 64-byte aligned */
    /* Filled by bs__linear_plan. */
    int64_t rows_per_task, row_tasks; /* of one sample */
    int panels_per_task, column_tasks;
    bool direct; /* x is read where it lies */
    int64_t tasks;
    size_t scratch_floats; /* of one worker; a multiple of 16 */
};

/* One compiled kernel and the weights it wants. */
struct bs__linear_kernel {
    const char *name; /* "avx512", "avx512_bf16": for plans and keys of packed weights */
    bs__task_fn run;
    int lanes, panel; /* output features side by side in packed weights */
    bool bf16, pairs; /* element type; two input features side by side, for products of bf16 pairs */
};

/* fast_bf16: the processor multiplies bf16 pairs itself (struct bs__cpu has it); else bf16 is widened to float32. */
const struct bs__linear_kernel *bs__linear_select(const struct bs__simd *simd, bool bf16, bool fast_bf16);
void bs__linear_plan(const struct bs__linear_kernel *kernel, struct bs__linear *c);
/* The same, with at least so many tasks where the product has as many: few rows with many input features. */
void bs__linear_plan_tasks(const struct bs__linear_kernel *kernel, int64_t tasks, struct bs__linear *c);

/* Packed weights: (panel of out, in, out in panel), or with pairs (panel, pair of in, out in panel, 2); zeros behind. */
size_t bs__linear_weight_bytes(const struct bs__linear_kernel *kernel, int in, int out);
void bs__linear_pack(const struct bs__linear_kernel *kernel, const float *weights, int in, int out,
                     void *dst);
/* The same for parameter `name` with out * in values in C order, once per model. */
bs_status bs__pack_linear(const struct bs__linear_kernel *kernel, struct bs_params *params, const char *name,
                          int in, int out, const void **packed, struct bs_err *err);

#endif
