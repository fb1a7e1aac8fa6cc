/* Element types, shapes and plain host tensors: the vocabulary shared by graph, backends and models.
   A bs_tensor borrows its data. Any thread. */
#ifndef BS_KERNELS_TENSOR_H
#define BS_KERNELS_TENSOR_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_MAX_DIM 5
/* Elements of one tensor; 4 TiB of float32, so that byte counts of whole graphs cannot overflow. */
#define BS_MAX_ELEMENTS ((size_t)1 << 40)

enum bs_dtype {
    BS_F32,
    BS_BF16,
    BS_F16,
    BS_F64,
    BS_I64,
    BS_I32,
    BS_I16,
    BS_I8,
    BS_U8,
    BS_BOOL,
    BS_DTYPE_COUNT
};

/* Bytes of one element. */
size_t bs_dtype_size(enum bs_dtype t);
/* "f32", "bf16", ... as in messages. */
const char *bs_dtype_name(enum bs_dtype t);

/* Dimensions from the slowest to the fastest; images are (N, C, H, W). ndim 0 is a scalar. */
struct bs_shape {
    int ndim;
    int64_t dim[BS_MAX_DIM];
};

#define BS_SHAPE(...)                                                                                        \
    ((struct bs_shape){.ndim = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)),                    \
                       .dim = {__VA_ARGS__}})

bool bs_shape_equal(const struct bs_shape *a, const struct bs_shape *b);
/* Is it a shape that we handle: at most BS_MAX_DIM dimensions, each at least 1 (BS_EINVAL), at most BS_MAX_ELEMENTS
   elements (BS_ELIMIT)? `what` begins the message. */
bs_status bs_shape_check(const char *what, const struct bs_shape *s, struct bs_err *err) BS_NODISCARD;
/* Number of elements; BS_ASSERTs that it fits (shapes from outside are checked before they become a bs_shape). */
size_t bs_shape_count(const struct bs_shape *s);
#define BS_SHAPE_TEXT 112 /* long enough for any shape */
/* Writes "1x64x512x512" ("scalar" for ndim 0) into buf and returns it. */
const char *bs_shape_text(const struct bs_shape *s, char *buf, size_t len);

/* A dense C-order tensor in host memory; borrows data. */
struct bs_tensor {
    enum bs_dtype dtype;
    struct bs_shape shape;
    void *data;
};

/* Round to nearest even, NaN kept. */
uint16_t bs_f32_to_bf16(float v);
uint16_t bs_f32_to_f16(float v); /* beyond 65504: infinity */
float bs_bf16_to_f32(uint16_t v);
float bs_f16_to_f32(uint16_t v);

#endif
