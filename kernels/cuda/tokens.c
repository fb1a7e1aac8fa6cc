#include "kernels/cuda/tokens.h"

#include <inttypes.h>

static bs_status check(const char *kernel, int64_t samples, int64_t tokens, int64_t features,
                       const struct bs__rows *y, const struct bs__rows *x, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of tokens", tokens, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of features", features, 1, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", y, features, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", x, features, err)) != BS_OK)
        return rc;
    return bs__need_items(kernel, (double)samples * (double)tokens * (double)bs__pieces(features, 4), err);
}

bs_status bs__cuda_insert_token(struct bs__queue *q, enum bs__element e, const struct bs__insert_token *given,
                                struct bs_err *err)
{
    static const char kernel[] = "insert_token";
    struct bs__insert_token t = *given;
    const size_t bytes = bs__element_bytes(e);
    const int64_t fours = bs__pieces(t.features, 4);
    bs_status rc;
    if ((rc = check(kernel, t.samples, t.tokens + 1, t.features, &t.y, &t.x, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the token", t.token, sizeof(float), err)) != BS_OK)
        return rc;
    if (t.place < 0 || t.place > t.tokens)
        return BS_FAIL(err, BS_EINTERNAL, "%s: before token %" PRId64 " of %" PRId64, kernel, t.place,
                       t.tokens);
    t.in_fours = bs__in_fours(&t.y, t.features, bytes) && bs__in_fours(&t.x, t.features, bytes) &&
                 bs__aligned(t.token, 4 * sizeof(float));
    t.by_fours = bs__divisor_of(fours);
    t.by_tokens = bs__divisor_of(t.tokens + 1);
    return bs__launch_items(q, kernel, e, t.samples * (t.tokens + 1) * fours, 1, &t, sizeof t, err);
}

bs_status bs__cuda_add_position(struct bs__queue *q, enum bs__element e, const struct bs__add_position *given,
                                struct bs_err *err)
{
    static const char kernel[] = "add_position";
    struct bs__add_position p = *given;
    const size_t bytes = bs__element_bytes(e);
    const int64_t fours = bs__pieces(p.features, 4);
    bs_status rc;
    if ((rc = check(kernel, p.samples, p.tokens, p.features, &p.y, &p.x, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the table", p.table, sizeof(float), err)) != BS_OK)
        return rc;
    p.in_fours = bs__in_fours(&p.y, p.features, bytes) && bs__in_fours(&p.x, p.features, bytes) &&
                 bs__aligned(p.table, 4 * sizeof(float));
    p.by_fours = bs__divisor_of(fours);
    p.by_tokens = bs__divisor_of(p.tokens);
    return bs__launch_items(q, kernel, e, p.samples * p.tokens * fours, 1, &p, sizeof p, err);
}

bs_status bs__cuda_rotary(struct bs__queue *q, enum bs__element e, const struct bs__rotary *given,
                          struct bs_err *err)
{
    static const char kernel[] = "rotary";
    struct bs__rotary r = *given;
    const size_t bytes = bs__element_bytes(e);
    const int64_t fours = bs__pieces(r.features, 4);
    bs_status rc;
    if ((rc = check(kernel, r.samples, r.tokens, r.features, &r.y, &r.x, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the table of cosines", r.cosine, sizeof(float), err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the table of sines", r.sine, sizeof(float), err)) != BS_OK)
        return rc;
    if (r.features % 2 != 0)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %" PRId64 " features are no pairs", kernel, r.features);
    if (r.turned < 0 || r.turned > r.tokens)
        return BS_FAIL(err, BS_EINTERNAL, "%s: %" PRId64 " of %" PRId64 " tokens are turned", kernel,
                       r.turned, r.tokens);
    r.in_fours = bs__in_fours(&r.y, r.features, bytes) && bs__in_fours(&r.x, r.features, bytes) &&
                 bs__aligned(r.cosine, 4 * sizeof(float)) && bs__aligned(r.sine, 4 * sizeof(float));
    r.by_fours = bs__divisor_of(fours);
    r.by_tokens = bs__divisor_of(r.tokens);
    return bs__launch_items(q, kernel, e, r.samples * r.tokens * fours, 1, &r, sizeof r, err);
}
