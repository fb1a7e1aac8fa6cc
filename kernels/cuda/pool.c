#include "kernels/cuda/pool.h"

#include <inttypes.h>

static bs_status check(const char *kernel, int64_t samples, int64_t h, int64_t w, int64_t channels, int32_t k,
                       struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels", channels, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the window's side", k, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the height", h, k, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the width", w, k, err)) != BS_OK)
        return rc;
    if (k > INT16_MAX)
        return BS_FAIL(err, BS_ELIMIT, "%s: windows of %" PRId32 "; at most %d are accepted", kernel, k,
                       INT16_MAX);
    return bs__need_items(kernel,
                          (double)samples * (double)bs__pieces(h, k) * (double)bs__pieces(w, k) *
                              (double)bs__pieces(channels, 4),
                          err);
}

bs_status bs__cuda_max_pool(struct bs__queue *q, enum bs__element e, const struct bs__max_pool *given,
                            struct bs_err *err)
{
    static const char kernel[] = "max_pool";
    struct bs__max_pool p = *given;
    const size_t bytes = bs__element_bytes(e);
    bs_status rc;
    if ((rc = check(kernel, p.samples, p.h, p.w, p.channels, p.k, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", &p.y, p.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &p.x, p.channels, err)) != BS_OK)
        return rc;
    const int64_t out_h = p.h / p.k, out_w = p.w / p.k, fours = bs__pieces(p.channels, 4);
    p.in_fours = bs__in_fours(&p.y, p.channels, bytes) && bs__in_fours(&p.x, p.channels, bytes);
    p.by_fours = bs__divisor_of(fours);
    p.by_width = bs__divisor_of(out_w);
    p.by_height = bs__divisor_of(out_h);
    return bs__launch_items(q, kernel, e, p.samples * out_h * out_w * fours, 1, &p, sizeof p, err);
}

bs_status bs__cuda_max_pool_grad(struct bs__queue *q, enum bs__element e,
                                 const struct bs__max_pool_grad *given, struct bs_err *err)
{
    static const char kernel[] = "max_pool_grad";
    struct bs__max_pool_grad p = *given;
    const size_t bytes = bs__element_bytes(e);
    bs_status rc;
    if ((rc = check(kernel, p.samples, p.h, p.w, p.channels, p.k, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "gx", &p.gx, p.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &p.x, p.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "gy", &p.gy, p.channels, err)) != BS_OK)
        return rc;
    const int64_t windows_h = bs__pieces(p.h, p.k), windows_w = bs__pieces(p.w, p.k),
                  fours = bs__pieces(p.channels, 4);
    p.in_fours = bs__in_fours(&p.gx, p.channels, bytes) && bs__in_fours(&p.x, p.channels, bytes) &&
                 bs__in_fours(&p.gy, p.channels, bytes);
    p.by_fours = bs__divisor_of(fours);
    p.by_width = bs__divisor_of(windows_w);
    p.by_height = bs__divisor_of(windows_h);
    return bs__launch_items(q, kernel, e, p.samples * windows_h * windows_w * fours, 1, &p, sizeof p, err);
}
