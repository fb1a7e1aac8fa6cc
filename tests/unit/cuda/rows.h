/* Rows with gaps between them (kernels/cuda/views.h) for tests: what lies between two rows belongs to no one, and a kernel that
   uses or changes it is found. Images are (N,H,W,C) here and (N,C,H,W) for the operators' references. */
#ifndef BS_TESTS_UNIT_CUDA_ROWS_H
#define BS_TESTS_UNIT_CUDA_ROWS_H

#include "kernels/cuda/views.h"
#include "kernels/op.h"
#include "tests/unit/cuda/cuda_support.h"

#include <stdlib.h>

/* Rows on the device, in an allocation that ends with the last row. */
struct rows {
    struct bs__rows view;
    enum bs__element element;
    int64_t count, columns, before; /* elements before the first row */
    bool dense;                     /* no gaps: never written until a kernel does */
};
/* How far apart rows are beyond their length, and what stands before the first. */
struct gaps {
    int64_t before, between;
};

/* values: (count, columns). The gaps hold NaN. */
struct rows rows_put(struct cuda_test *t, enum bs__element e, const float *values, int64_t count,
                     int64_t columns, struct gaps gaps);
/* For a kernel to write. */
struct rows rows_room(struct cuda_test *t, enum bs__element e, int64_t count, int64_t columns,
                      struct gaps gaps);
/* Copies back, and fails where a gap was written. */
void rows_get(struct cuda_test *t, const struct rows *r, float *values);

/* Memory of `count` floats, filled (cuda_fill) and rounded; caller frees. */
float *rows_values(enum bs__element e, int64_t count, uint64_t seed, float lo, float hi);
/* The same, zeros. */
float *rows_zeros(int64_t count);
/* 2^-24, 2^-11, 2^-8: the relative error of rounding to an element type. */
double rows_rounding(enum bs__element e);

/* (n, pixels, c) to (n, c, pixels) and back; caller frees. */
float *rows_to_planes(const float *rows, int64_t n, int64_t pixels, int64_t c);
float *rows_from_planes(const float *planes, int64_t n, int64_t pixels, int64_t c);

/* What an operator's reference makes of its inputs, float tensors; caller frees. Fails where the operator refuses. */
float *rows_reference(enum bs_op op, const struct bs_attr *attr, const struct bs_tensor *in, int ninput);
static inline struct bs_tensor rows_tensor(const float *values, struct bs_shape shape)
{
    return (struct bs_tensor){BS_F32, shape, (void *)(uintptr_t)values};
}

#endif
