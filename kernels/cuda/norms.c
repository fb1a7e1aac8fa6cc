#include "kernels/cuda/norms.h"

#include <inttypes.h>

#define MOST_BLOCKS INT64_C(0x7fffffff)

static bs_status launch(struct bs__queue *q, const char *what, enum bs__element e, struct bs__row_norm n,
                        struct bs_err *err)
{
    const size_t bytes = bs__element_bytes(e);
    bs_status rc;
    if ((rc = bs__need_size(what, "the number of rows", n.rows, 1, err)) != BS_OK ||
        (rc = bs__need_size(what, "the number of columns", n.columns, 1, err)) != BS_OK ||
        (rc = bs__need_rows(what, "y", &n.y, n.columns, err)) != BS_OK ||
        (rc = bs__need_rows(what, "x", &n.x, n.columns, err)) != BS_OK ||
        (rc = bs__need_rows_if(what, "the residual", &n.residual, n.columns, err)) != BS_OK ||
        (rc = bs__need_rows_if(what, "the sum", &n.residual_out, n.columns, err)) != BS_OK ||
        (rc = bs__need_address(what, "the weight", n.w, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_positive(what, "eps", n.eps, err)) != BS_OK)
        return rc;
    n.in_fours = bs__in_fours(&n.y, n.columns, bytes) && bs__in_fours(&n.x, n.columns, bytes) &&
                 bs__in_fours(&n.residual, n.columns, sizeof(float)) &&
                 bs__in_fours(&n.residual_out, n.columns, sizeof(float)) &&
                 bs__aligned(n.w, 4 * sizeof(float)) && bs__aligned(n.b, 4 * sizeof(float));
    const bool by_warp = n.columns <= 1280;
    const int64_t blocks = by_warp ? bs__pieces(n.rows, BS__NORM_WARPS) : n.rows;
    if (blocks > MOST_BLOCKS)
        return BS_FAIL(err, BS_ELIMIT, "%s: %" PRId64 " rows; at most %" PRId64 " are accepted", what, n.rows,
                       MOST_BLOCKS);
    struct bs__launch l = {
        .kernel = n.columns <= 256 ? "row_norm_256" : (by_warp ? "row_norm_1280" : "row_norm"),
        .element = e,
        .grid = {(unsigned)blocks, 1, 1},
        .threads = by_warp ? BS__NORM_WARPS * 32 : BS__NORM_BLOCK,
    };
    return bs__queue_launch(q, &l, &n, sizeof n, err);
}

bs_status bs__cuda_layer_norm(struct bs__queue *q, enum bs__element e, const struct bs__row_norm *given,
                              struct bs_err *err)
{
    struct bs__row_norm n = *given;
    n.centred = 1;
    return launch(q, "layer_norm", e, n, err);
}

bs_status bs__cuda_rms_norm(struct bs__queue *q, enum bs__element e, const struct bs__row_norm *given,
                            struct bs_err *err)
{
    struct bs__row_norm n = *given;
    n.centred = 0;
    n.b = 0;
    return launch(q, "rms_norm", e, n, err);
}
