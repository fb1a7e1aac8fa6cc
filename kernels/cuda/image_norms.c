#include "kernels/cuda/image_norms.h"

#include <inttypes.h>

size_t bs__cuda_image_norm_statistics(int64_t samples, int64_t channels)
{
    return (size_t)(3 * samples * channels) * sizeof(float);
}

static size_t padded(size_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

size_t bs__cuda_image_norm_workspace(int64_t samples, int64_t pixels, int64_t channels)
{
    const int64_t slabs = bs__columns_slabs(samples, pixels, channels);
    return padded(bs__cuda_image_norm_statistics(samples, channels)) +
           (size_t)(3 * samples * slabs * channels) * sizeof(float);
}

bs_status bs__cuda_image_moments(struct bs__queue *q, enum bs__element e,
                                 const struct bs__image_moments *given, struct bs_err *err)
{
    struct bs__image_moments m = *given;
    m.in_fours = bs__in_fours(&m.x, m.geometry.columns, bs__element_bytes(e));
    m.by_groups = bs__divisor_of(m.groups);
    m.by_channels = bs__divisor_of(m.geometry.columns / m.groups);
    bs_status rc = bs__launch_columns(q, "image_moments", e, &m.geometry, &m, sizeof m, err);
    if (rc != BS_OK)
        return rc;
    struct bs__launch merge = {
        .kernel = "image_moments_merge",
        .element = BS__F32,
        .grid = {(unsigned)bs__pieces(m.geometry.samples * m.groups, BS__COLUMNS_BLOCK / 32), 1, 1},
        .threads = BS__COLUMNS_BLOCK,
    };
    return bs__queue_launch(q, &merge, &m, sizeof m, err);
}

static bs_status apply(struct bs__queue *q, enum bs__element e, struct bs__image_apply a, struct bs_err *err)
{
    const size_t bytes = bs__element_bytes(e);
    a.in_fours =
        bs__in_fours(&a.y, a.geometry.columns, bytes) && bs__in_fours(&a.x, a.geometry.columns, bytes);
    return bs__launch_columns(q, "image_apply", e, &a.geometry, &a, sizeof a, err);
}

bs_status bs__check_image_norm(const char *kernel, int64_t groups, int64_t channels, int64_t pixels,
                               float eps, bs_address w, bs_address b, struct bs_err *err)
{
    if (groups < 1 || channels % groups != 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %" PRId64 " channels in %" PRId64 " groups", kernel, channels,
                       groups);
    if (channels > INT32_MAX)
        return BS_FAIL(err, BS_ELIMIT, "%s: %" PRId64 " channels; fewer are accepted", kernel, channels);
    if (pixels * (channels / groups) < 2)
        return BS_FAIL(err, BS_EINTERNAL, "%s: a single value has no variance", kernel);
    if ((w == 0) != (b == 0))
        return BS_FAIL(err, BS_EINTERNAL, "%s: of weight and bias one is not given", kernel);
    return bs__need_positive(kernel, "eps", eps, err);
}

static bs_status normalise(struct bs__queue *q, const char *kernel, enum bs__element e,
                           struct bs__image_norm n, struct bs_err *err)
{
    struct bs__columns geometry;
    bs_status rc;
    if ((rc = bs__columns_of(kernel, n.samples, n.pixels, n.channels, &geometry, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", &n.y, n.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &n.x, n.channels, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the workspace", n.workspace, 16, err)) != BS_OK ||
        (rc = bs__check_image_norm(kernel, n.groups, n.channels, n.pixels, n.eps, n.w, n.b, err)) != BS_OK)
        return rc;
    const bs_address own = n.workspace + padded(bs__cuda_image_norm_statistics(n.samples, n.channels));
    struct bs__image_moments m = {
        .x = n.x,
        .partial = own,
        .statistics = n.statistics ? n.statistics : n.workspace,
        .groups = n.groups,
        .eps = n.eps,
        .geometry = geometry,
    };
    if ((rc = bs__cuda_image_moments(q, e, &m, err)) != BS_OK)
        return rc;
    struct bs__image_apply a = {
        .y = n.y,
        .x = n.x,
        .statistics = m.statistics,
        .w = n.w,
        .b = n.b,
        .groups = n.groups,
        .relu = n.relu,
        .geometry = geometry,
        .by_channels = bs__divisor_of(n.channels / n.groups),
    };
    return apply(q, e, a, err);
}

bs_status bs__cuda_instance_norm(struct bs__queue *q, enum bs__element e, const struct bs__image_norm *given,
                                 struct bs_err *err)
{
    struct bs__image_norm n = *given;
    n.groups = n.channels;
    return normalise(q, "instance_norm", e, n, err);
}

bs_status bs__cuda_group_norm(struct bs__queue *q, enum bs__element e, const struct bs__image_norm *n,
                              struct bs_err *err)
{
    return normalise(q, "group_norm", e, *n, err);
}

bs_status bs__cuda_batch_norm(struct bs__queue *q, enum bs__element e, const struct bs__batch_norm *n,
                              struct bs_err *err)
{
    static const char kernel[] = "batch_norm";
    struct bs__image_apply a = {
        .y = n->y,
        .x = n->x,
        .w = n->w,
        .b = n->b,
        .mean = n->mean,
        .variance = n->variance,
        .eps = n->eps,
        .relu = n->relu,
    };
    bs_status rc;
    if ((rc = bs__columns_of(kernel, 1, n->rows, n->channels, &a.geometry, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", &n->y, n->channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &n->x, n->channels, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the weight", n->w, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the bias", n->b, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the mean", n->mean, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the variance", n->variance, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_positive(kernel, "eps", n->eps, err)) != BS_OK)
        return rc;
    return apply(q, e, a, err);
}
