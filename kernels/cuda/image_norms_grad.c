#include "kernels/cuda/image_norms_grad.h"

#include <inttypes.h>

static size_t padded(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

/* Partial moments are gone when partial sums come: both use the same room. */
static size_t partial_bytes(int64_t samples, int64_t pixels, int64_t channels)
{
    return (size_t)(3 * samples * bs__columns_slabs(samples, pixels, channels) * channels) * sizeof(float);
}

size_t bs__cuda_image_norm_grad_workspace(int64_t samples, int64_t pixels, int64_t channels)
{
    return padded(bs__cuda_image_norm_statistics(samples, channels)) +
           padded((size_t)(2 * samples * channels) * sizeof(float)) +
           partial_bytes(samples, pixels, channels);
}

static bs_status differentiate(struct bs__queue *q, const char *kernel, enum bs__element e,
                               struct bs__image_norm_grad n, struct bs_err *err)
{
    const size_t bytes = bs__element_bytes(e);
    struct bs__columns geometry;
    bs_status rc;
    if ((rc = bs__columns_of(kernel, n.samples, n.pixels, n.channels, &geometry, err)) != BS_OK ||
        (rc = bs__need_rows_if(kernel, "gx", &n.gx, n.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &n.x, n.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "gy", &n.gy, n.channels, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the workspace", n.workspace, 16, err)) != BS_OK ||
        (rc = bs__check_image_norm(kernel, n.groups, n.channels, n.pixels, n.eps, n.w, n.b, err)) != BS_OK)
        return rc;
    const bs_address means = n.workspace + padded(bs__cuda_image_norm_statistics(n.samples, n.channels));
    struct bs__image_grad g = {
        .gx = n.gx,
        .x = n.x,
        .gy = n.gy,
        .w = n.w,
        .b = n.b,
        .statistics = n.statistics,
        .means = means,
        .partial = means + padded((size_t)(2 * n.samples * n.channels) * sizeof(float)),
        .groups = n.groups,
        .relu = n.relu,
        .in_fours = bs__in_fours(&n.gx, n.channels, bytes) && bs__in_fours(&n.x, n.channels, bytes) &&
                    bs__in_fours(&n.gy, n.channels, bytes),
        .geometry = geometry,
        .by_groups = bs__divisor_of(n.groups),
        .by_channels = bs__divisor_of(n.channels / n.groups),
    };
    if (n.statistics == 0) {
        struct bs__image_moments m = {.x = n.x,
                                      .partial = g.partial,
                                      .statistics = n.workspace,
                                      .groups = n.groups,
                                      .eps = n.eps,
                                      .geometry = geometry};
        g.statistics = n.workspace;
        if ((rc = bs__cuda_image_moments(q, e, &m, err)) != BS_OK)
            return rc;
    }
    if ((rc = bs__launch_columns(q, "image_grad_sums", e, &geometry, &g, sizeof g, err)) != BS_OK)
        return rc;
    struct bs__column_totals t = {.partial = g.partial,
                                  .out = {n.gb, n.gw},
                                  .parts = n.samples * geometry.slabs,
                                  .columns = n.channels};
    if ((n.gb != 0 || n.gw != 0) && (rc = bs__cuda_column_totals(q, &t, err)) != BS_OK)
        return rc;
    if (n.gx.at == 0)
        return BS_OK;
    struct bs__launch l = {
        .kernel = "image_grad_means",
        .element = BS__F32,
        .grid = {(unsigned)bs__pieces(n.samples * n.groups, BS__COLUMNS_BLOCK / 32), 1, 1},
        .threads = BS__COLUMNS_BLOCK,
    };
    if ((rc = bs__queue_launch(q, &l, &g, sizeof g, err)) != BS_OK)
        return rc;
    return bs__launch_columns(q, "image_grad_apply", e, &geometry, &g, sizeof g, err);
}

bs_status bs__cuda_instance_norm_grad(struct bs__queue *q, enum bs__element e,
                                      const struct bs__image_norm_grad *given, struct bs_err *err)
{
    struct bs__image_norm_grad n = *given;
    n.groups = n.channels;
    return differentiate(q, "instance_norm_grad", e, n, err);
}

bs_status bs__cuda_group_norm_grad(struct bs__queue *q, enum bs__element e,
                                   const struct bs__image_norm_grad *n, struct bs_err *err)
{
    return differentiate(q, "group_norm_grad", e, *n, err);
}
