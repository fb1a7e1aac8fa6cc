#include "kernels/cuda/pointwise.h"

#include <inttypes.h>

/* Groups of four elements of one launch, and elements of one row, at most. */
#define MOST INT64_C(0x7fffffff)

static const struct kind {
    const char *kernel;
    bool two; /* reads z */
} kinds[BS__POINTWISE_COUNT] = {
    [BS__POINTWISE_PLAIN] = {"pointwise_plain", false},
    [BS__POINTWISE_RELU] = {"pointwise_relu", false},
    [BS__POINTWISE_SIGMOID] = {"pointwise_sigmoid", false},
    [BS__POINTWISE_GELU] = {"pointwise_gelu", false},
    [BS__POINTWISE_SILU] = {"pointwise_silu", false},
    [BS__POINTWISE_SCALE] = {"pointwise_scale", false},
    [BS__POINTWISE_ADD] = {"pointwise_add", true},
    [BS__POINTWISE_ADD_RELU] = {"pointwise_add_relu", true},
    [BS__POINTWISE_MUL] = {"pointwise_mul", true},
    [BS__POINTWISE_RELU_GRAD_Y] = {"pointwise_relu_grad", true},
    [BS__POINTWISE_SIGMOID_GRAD_Y] = {"pointwise_sigmoid_grad", true},
    [BS__POINTWISE_GELU_GRAD_X] = {"pointwise_gelu_grad", true},
    [BS__POINTWISE_SILU_GRAD_X] = {"pointwise_silu_grad", true},
};

static bs_status check(const struct kind *kind, const struct bs__pointwise *p, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kind->kernel, "the number of rows", p->rows, 1, err)) != BS_OK ||
        (rc = bs__need_size(kind->kernel, "the number of columns", p->columns, 1, err)) != BS_OK ||
        (rc = bs__need_rows(kind->kernel, "y", &p->y, p->columns, err)) != BS_OK ||
        (rc = bs__need_rows(kind->kernel, "x", &p->x, p->columns, err)) != BS_OK)
        return rc;
    if (p->columns > MOST)
        return BS_FAIL(err, BS_ELIMIT, "%s: rows of %" PRId64 " elements; at most %" PRId64 " are accepted",
                       kind->kernel, p->columns, MOST);
    if (kind->two)
        return bs__need_rows(kind->kernel, "z", &p->z, p->columns, err);
    if (p->z.at != 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: takes no z", kind->kernel);
    return BS_OK;
}

bs_status bs__cuda_pointwise(struct bs__queue *q, enum bs__element e, enum bs__pointwise_kind which,
                             const struct bs__pointwise *given, struct bs_err *err)
{
    BS_ASSERT((unsigned)which < BS__POINTWISE_COUNT);
    const struct kind *kind = &kinds[which];
    struct bs__pointwise p = *given;
    const size_t bytes = bs__element_bytes(e);
    bs_status rc = check(kind, &p, err);
    if (rc != BS_OK)
        return rc;
    /* Without gaps and bias it is one long row. */
    if (p.y.stride == p.columns && p.x.stride == p.columns && (!kind->two || p.z.stride == p.columns) &&
        p.bias == 0 && p.columns <= MOST / p.rows) {
        p.columns *= p.rows;
        p.rows = 1;
        p.y.stride = p.x.stride = p.z.stride = p.columns;
    }
    p.in_fours = bs__in_fours(&p.y, p.columns, bytes) && bs__in_fours(&p.x, p.columns, bytes) &&
                 bs__in_fours(&p.z, p.columns, bytes) && bs__aligned(p.bias, 4 * sizeof(float));
    const int64_t fours = bs__pieces(p.columns, 4);
    int64_t left = p.rows;
    p.by_fours = bs__divisor_of(fours);
    while (left > 0) {
        const int64_t most = MOST / fours;
        p.rows = left < most ? left : most;
        if ((rc = bs__launch_items(q, kind->kernel, e, p.rows * fours, BS__POINTWISE_EACH, &p, sizeof p,
                                   err)) != BS_OK)
            return rc;
        left -= p.rows;
        p.y.at += (bs_address)(p.rows * p.y.stride) * bytes;
        p.x.at += (bs_address)(p.rows * p.x.stride) * bytes;
        if (kind->two)
            p.z.at += (bs_address)(p.rows * p.z.stride) * bytes;
    }
    return BS_OK;
}
