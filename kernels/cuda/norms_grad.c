#include "kernels/cuda/norms_grad.h"

#include <inttypes.h>

#define MOST_BLOCKS INT64_C(0x7fffffff)

static size_t statistics_bytes(int64_t rows)
{
    return ((size_t)(3 * rows) * sizeof(float) + 15) / 16 * 16;
}

size_t bs__cuda_row_norm_grad_workspace(int64_t rows, int64_t columns)
{
    return statistics_bytes(rows) +
           (size_t)(2 * bs__columns_slabs(1, rows, columns) * columns) * sizeof(float);
}

static bs_status check(const char *what, const struct bs__row_norm_grad *n, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(what, "the number of rows", n->rows, 1, err)) != BS_OK ||
        (rc = bs__need_size(what, "the number of columns", n->columns, 1, err)) != BS_OK ||
        (rc = bs__need_rows_if(what, "gx", &n->gx, n->columns, err)) != BS_OK ||
        (rc = bs__need_rows_if(what, "the gradient of the sum", &n->gsum, n->columns, err)) != BS_OK ||
        (rc = bs__need_rows(what, "the value", n->sum.at ? &n->sum : &n->x, n->columns, err)) != BS_OK ||
        (rc = bs__need_rows(what, "gy", &n->gy, n->columns, err)) != BS_OK ||
        (rc = bs__need_rows_if(what, "the gradient from elsewhere", &n->also, n->columns, err)) != BS_OK ||
        (rc = bs__need_address(what, "the weight", n->w, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_positive(what, "eps", n->eps, err)) != BS_OK)
        return rc;
    if (n->sum.at != 0 && n->x.at != 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: the value is given twice", what);
    if (n->gw == 0 && n->gb == 0)
        return BS_OK;
    if (n->gx.at == n->gy.at)
        return BS_FAIL(err, BS_EINTERNAL, "%s: gx over gy, which the gradient of the weight needs", what);
    return bs__need_address(what, "the workspace", n->workspace, 16, err);
}

static bs_status launch(struct bs__queue *q, const char *what, enum bs__element e, struct bs__row_norm_grad n,
                        struct bs_err *err)
{
    const size_t bytes = bs__element_bytes(e);
    const bool sums = n.gw != 0 || n.gb != 0;
    bs_status rc = check(what, &n, err);
    if (rc != BS_OK)
        return rc;
    n.statistics = sums ? n.workspace : 0;
    n.partial = sums ? n.workspace + statistics_bytes(n.rows) : 0;
    if (sums && (rc = bs__columns_of(what, 1, n.rows, n.columns, &n.geometry, err)) != BS_OK)
        return rc;
    n.in_fours = bs__in_fours(&n.gx, n.columns, bytes) && bs__in_fours(&n.gsum, n.columns, sizeof(float)) &&
                 bs__in_fours(&n.x, n.columns, bytes) && bs__in_fours(&n.sum, n.columns, sizeof(float)) &&
                 bs__in_fours(&n.gy, n.columns, bytes) && bs__in_fours(&n.also, n.columns, sizeof(float)) &&
                 bs__aligned(n.w, 4 * sizeof(float));
    const bool by_warp = n.columns <= 1280;
    const int64_t blocks = by_warp ? bs__pieces(n.rows, BS__NORM_WARPS) : n.rows;
    if (blocks > MOST_BLOCKS)
        return BS_FAIL(err, BS_ELIMIT, "%s: %" PRId64 " rows; at most %" PRId64 " are accepted", what, n.rows,
                       MOST_BLOCKS);
    struct bs__launch l = {
        .kernel = n.columns <= 256 ? "row_norm_grad_256" : (by_warp ? "row_norm_grad_1280" : "row_norm_grad"),
        .element = e,
        .grid = {(unsigned)blocks, 1, 1},
        .threads = by_warp ? BS__NORM_WARPS * 32 : BS__NORM_BLOCK,
    };
    if ((rc = bs__queue_launch(q, &l, &n, sizeof n, err)) != BS_OK || !sums)
        return rc;
    if ((rc = bs__launch_columns(q, "row_norm_grad_sums", e, &n.geometry, &n, sizeof n, err)) != BS_OK)
        return rc;
    struct bs__column_totals t = {
        .partial = n.partial, .out = {n.gb, n.gw}, .parts = n.geometry.slabs, .columns = n.columns};
    return bs__cuda_column_totals(q, &t, err);
}

bs_status bs__cuda_layer_norm_grad(struct bs__queue *q, enum bs__element e,
                                   const struct bs__row_norm_grad *given, struct bs_err *err)
{
    struct bs__row_norm_grad n = *given;
    n.centred = 1;
    return launch(q, "layer_norm_grad", e, n, err);
}

bs_status bs__cuda_rms_norm_grad(struct bs__queue *q, enum bs__element e,
                                 const struct bs__row_norm_grad *given, struct bs_err *err)
{
    struct bs__row_norm_grad n = *given;
    n.centred = 0;
    return launch(q, "rms_norm_grad", e, n, err);
}
