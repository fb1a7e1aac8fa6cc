/* Checks products and chooses their kernel; see gemm.h. */
#include "kernels/cuda/gemm.h"

#include "kernels/cuda/gemm_arguments.h"

#include <inttypes.h>
#include <stdio.h>

static bs_status check(const struct bs__gemm *c, struct bs_err *err)
{
    const int64_t a_row = c->form == BS__GEMM_OUTER ? c->rows : c->depth;
    const int64_t b_row = c->form == BS__GEMM_LINEAR ? c->depth : c->columns;
    if (c->rows < 1 || c->columns < 1 || c->depth < 1)
        return BS_FAIL(err, BS_EINVAL,
                       "product of %" PRId64 " x %" PRId64 " x %" PRId64 "; all must be at least 1", c->rows,
                       c->columns, c->depth);
    if (c->a_stride < a_row || c->b_stride < b_row || c->y_stride < c->columns ||
        (c->residual && c->residual_stride < c->columns))
        return BS_FAIL(err, BS_EINVAL,
                       "product of %" PRId64 " x %" PRId64 " x %" PRId64 ": rows lie closer (%" PRId64
                       ", %" PRId64 ", %" PRId64 ") than they are long",
                       c->rows, c->columns, c->depth, c->a_stride, c->b_stride, c->y_stride);
    if (c->bias && c->bias_element != c->element && c->bias_element != BS__F32)
        return BS_FAIL(err, BS_EUNSUPPORTED, "product in %s with a bias in %s; %s or f32 is accepted",
                       bs__element_name(c->element), bs__element_name(c->bias_element),
                       bs__element_name(c->element));
    return BS_OK;
}

static bool aligned(bs_address at, int64_t stride, size_t element, size_t bytes)
{
    return at % bytes == 0 && (uint64_t)stride * element % bytes == 0;
}

bs_status bs__cuda_gemm(struct bs__queue *q, const struct bs__gemm *c, struct bs_err *err)
{
    static const char *const forms[] = {"linear", "plain", "outer"};
    const struct bs__cuda_limits *limits = bs__queue_limits(q);
    char name[48];
    bs_status rc = check(c, err);
    if (rc != BS_OK)
        return rc;
    const bool tensor = c->element == BS__F16 || (c->element == BS__BF16 && limits->capability >= 80);
    /* A large tile multiplies more for what it reads; small ones fill the device when there are few. */
    int64_t height = 128, width = tensor ? 128 : 64;
    bool large =
        (c->rows + height - 1) / height * ((c->columns + width - 1) / width) >= limits->multiprocessors;
    if (!large) {
        height /= 2;
        width /= 2;
    }
    const int64_t row_tiles = (c->rows + height - 1) / height,
                  column_tiles = (c->columns + width - 1) / width;
    if (row_tiles > INT32_MAX / column_tiles)
        return BS_FAIL(err, BS_ELIMIT, "product of %" PRId64 " x %" PRId64 " values does not fit one launch",
                       c->rows, c->columns);
    const size_t element = bs__element_bytes(c->element), vector = tensor ? 16 : 4 * element;
    const struct bs__gemm_arguments a = {
        .a = c->a,
        .b = c->b,
        .y = c->y,
        .bias = c->bias,
        .residual = c->residual,
        .a_stride = c->a_stride,
        .b_stride = c->b_stride,
        .y_stride = c->y_stride,
        .residual_stride = c->residual_stride,
        .rows = c->rows,
        .columns = c->columns,
        .depth = c->depth,
        .column_tiles = column_tiles,
        .act = (int32_t)c->act,
        .bias_kind = !c->bias                        ? BS__GEMM_BIAS_NONE
                     : c->bias_element == c->element ? BS__GEMM_BIAS_ELEMENT
                                                     : BS__GEMM_BIAS_FLOAT,
        .a_vectors = aligned(c->a, c->a_stride, element, vector),
        .b_vectors = aligned(c->b, c->b_stride, element, vector),
        .pairs = aligned(c->y, c->y_stride, element, 2 * element),
    };
    snprintf(name, sizeof name, "gemm_%s%s_%d", tensor ? "tensor_" : "", forms[c->form], large ? 128 : 64);
    struct bs__launch launch = {.kernel = name,
                                .element = c->element,
                                .grid = {(unsigned)(row_tiles * column_tiles), 1, 1},
                                .threads = tensor && large ? 256 : 128};
    if (tensor) { /* three parts of 32 of the depth; rows 8 elements apart from each other */
        const size_t a_part = c->form == BS__GEMM_OUTER ? 32 * ((size_t)height + 8) : (size_t)height * 40,
                     b_part = c->form == BS__GEMM_LINEAR ? (size_t)width * 40 : 32 * ((size_t)width + 8);
        launch.shared = 3 * (a_part + b_part) * element;
    }
    return bs__queue_launch(q, &launch, &a, sizeof a, err);
}
