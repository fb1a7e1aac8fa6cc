/* Token linear: y = act(norm(x) W^T + b) + r, rows x in -> rows x out, with own kernels of every instruction set.
   bs__linear_plan decides the tasks from the shapes alone, so the bits do not depend on the threads; then
   bs__parallel(threads, c.tasks, kernel->run, &c) runs them. Weights are packed once per model (bs__pack_linear). */
#ifndef BS_KERNELS_CPU_LINEAR_H
#define BS_KERNELS_CPU_LINEAR_H

#include "kernels/cpu/simd.h"
#include "kernels/params.h"

/* Where the rows of a matrix lie, in elements of its type; the start is given beside it. Features of a row lie in vectors
   of `lanes` (simd.h), `vector` elements apart: lanes (or 0) for plain rows, the size of a block for blocked images
   (row = lanes, vector = H*W*lanes: tokens written straight into an image). Vectors of a blocked destination are written
   whole, zeros behind the last feature; of plain rows nothing is touched outside [0, out). */
struct bs__rows {
    int64_t row, sample, vector;
    bool f32; /* float32 although the kernel's element type is bf16: a residual stream, a head */
};

enum bs__row_norm { BS__ROWS_AS_THEY_ARE, BS__ROWS_LAYER_NORM, BS__ROWS_RMS_NORM };
enum bs__row_act { BS__ROWS_LINEAR, BS__ROWS_GELU };

struct bs__linear {
    int64_t samples, rows; /* rows of one sample; one sample where all rows are equally far apart */
    int in, out;
    const void *x;
    struct bs__rows x_rows;
    enum bs__row_norm norm;               /* of x, over its features, while reading; biased variance */
    const float *norm_weight, *norm_bias; /* (in); norm_bias of layer norm only */
    float eps;
    const void *weights; /* of bs__pack_linear, for the same kernel */
    const float *bias;   /* (out), needs no padding; NULL: none */
    enum bs__row_act act;
    const void *residual; /* NULL: none; may be dst */
    struct bs__rows residual_rows;
    void *dst;
    struct bs__rows dst_rows;
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

/* Packed weights: (panel of out, in, out in panel), or with pairs (panel, pair of in, out in panel, 2); zeros behind. */
size_t bs__linear_weight_bytes(const struct bs__linear_kernel *kernel, int in, int out);
void bs__linear_pack(const struct bs__linear_kernel *kernel, const float *weights, int in, int out,
                     void *dst);
/* The same for parameter `name` with out * in values in C order, once per model. */
bs_status bs__pack_linear(const struct bs__linear_kernel *kernel, struct bs_params *params, const char *name,
                          int in, int out, const void **packed, struct bs_err *err);

#endif
