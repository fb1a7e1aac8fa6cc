#include "kernels/cuda/conv1d.h"

#include <inttypes.h>

#define FAST_TAPS 4

bs_status bs__conv1d_prepare(struct bs__conv1d *c, enum bs__element e, struct bs_err *err)
{
    static const char kernel[] = "conv1d";
    bs_status rc;
    if ((rc = bs__need_size(kernel, "samples", c->samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "tokens", c->length, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "features", c->features, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "taps", c->taps, 1, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &c->x, c->features, err)) != BS_OK)
        return rc;
    if (c->directions < 1 || c->directions > 2)
        return BS_FAIL(err, BS_EINTERNAL, "conv1d: %d directions", c->directions);
    if (c->length > INT32_MAX / 2 || c->taps > INT32_MAX / 2)
        return BS_FAIL(err, BS_ELIMIT, "conv1d: %" PRId64 " tokens and %d taps; at most %d are accepted",
                       c->length, c->taps, INT32_MAX / 2);
    c->pieces = bs__pieces(c->length, BS__CONV1D_TOKENS);
    if ((double)c->samples * (double)c->pieces * c->features > INT32_MAX)
        return BS_FAIL(err, BS_ELIMIT,
                       "conv1d: %" PRId64 " samples of %" PRId64
                       " tokens, %d features are too many at once for a GPU",
                       c->samples, c->length, c->features);
    c->four_taps = c->taps == FAST_TAPS;
    c->in_fours = bs__in_fours(&c->x, c->features, bs__element_bytes(e));
    for (int i = 0; i < c->directions; i++) {
        struct bs__conv1d_direction *d = &c->direction[i];
        if ((rc = bs__need_address(kernel, "the weights", d->weights, sizeof(float), err)) != BS_OK)
            return rc;
        c->four_taps = c->four_taps && bs__aligned(d->weights, FAST_TAPS * sizeof(float));
        c->in_fours = c->in_fours && bs__in_fours(&d->y, c->features, bs__element_bytes(e));
    }
    c->in_fours = c->in_fours && c->four_taps;
    return BS_OK;
}

bs_status bs__cuda_conv1d(struct bs__queue *q, enum bs__element e, const struct bs__conv1d *given,
                          struct bs_err *err)
{
    struct bs__conv1d c = *given;
    bs_status rc = bs__conv1d_prepare(&c, e, err);
    for (int i = 0; rc == BS_OK && i < c.directions; i++)
        rc = bs__need_rows("conv1d", "y", &c.direction[i].y, c.features, err);
    if (rc != BS_OK)
        return rc;
    const int64_t blocks =
        bs__pieces(c.samples * c.pieces * (c.in_fours ? c.features / 4 : c.features), BS__CONV1D_THREADS);
    const struct bs__launch launch = {
        .kernel = "conv1d", .element = e, .grid = {(unsigned)blocks, 1, 1}, .threads = BS__CONV1D_THREADS};
    return bs__queue_launch(q, &launch, &c, sizeof c, err);
}
