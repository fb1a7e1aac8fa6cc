/* How the kernels of this folder are told where images and tokens lie. Images are (N,H,W,C), tokens (N,L,D): both are rows (a
   pixel, a token) of elements (channels, features), and rows may lie further apart than they are long, so that a slice of
   channels, or the two parts of a concatenation, are the same memory seen with another address. */
#ifndef BS_KERNELS_CUDA_VIEWS_H
#define BS_KERNELS_CUDA_VIEWS_H

#include "kernels/cuda/launch.h"

/* Row i begins i * stride elements after `at`. The element type is the launch's unless a comment says float. */
struct bs__rows {
    bs_address at;  /* 0: not given, where a comment allows it */
    int64_t stride; /* in elements; at least the length of a row */
};

/* What is done to a value on its way into memory. */
enum bs__activation { BS__PLAIN, BS__RELU, BS__SIGMOID, BS__GELU, BS__SILU };

/* Division of numbers below 2^31 by one number, as a product and a shift: n / by = (n * multiply) >> shift. */
struct bs__divisor {
    uint32_t by, multiply, shift;
};
struct bs__divisor bs__divisor_of(int64_t by);

/* May rows of `columns` elements be read and written four elements at a time? An address of 0 does not object. */
bool bs__in_fours(const struct bs__rows *rows, int64_t columns, size_t element_bytes);
bool bs__aligned(bs_address at, size_t bytes);

/* BS_EINTERNAL, naming kernel and array, where rows of `columns` elements are not given or overlap themselves. */
bs_status bs__need_rows(const char *kernel, const char *what, const struct bs__rows *rows, int64_t columns,
                        struct bs_err *err) BS_NODISCARD;
/* The same where they may be missing. */
bs_status bs__need_rows_if(const char *kernel, const char *what, const struct bs__rows *rows, int64_t columns,
                           struct bs_err *err) BS_NODISCARD;
/* BS_EINTERNAL where a size is not at least `least`. */
bs_status bs__need_size(const char *kernel, const char *what, int64_t size, int64_t least,
                        struct bs_err *err) BS_NODISCARD;
/* BS_EINTERNAL where a value is not above 0. */
bs_status bs__need_positive(const char *kernel, const char *what, float value,
                            struct bs_err *err) BS_NODISCARD;
/* BS_EINTERNAL where an address is 0 or no multiple of `bytes`. */
bs_status bs__need_address(const char *kernel, const char *what, bs_address at, size_t bytes,
                           struct bs_err *err) BS_NODISCARD;

/* ceil(a / b) for positive numbers. */
static inline int64_t bs__pieces(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}
/* BS_ELIMIT where a kernel would have 2^31 items or more; said as double, which does not overflow. */
bs_status bs__need_items(const char *kernel, double items, struct bs_err *err) BS_NODISCARD;

#define BS__ITEM_THREADS 256 /* a block's, in kernels that are launched by bs__launch_items */
/* Queues a kernel with a thread for every `each` of fewer than 2^31 items. */
bs_status bs__launch_items(struct bs__queue *q, const char *kernel, enum bs__element e, int64_t items,
                           int64_t each, const void *arguments, size_t bytes,
                           struct bs_err *err) BS_NODISCARD;

#endif
