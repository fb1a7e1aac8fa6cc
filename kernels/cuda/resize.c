#include "kernels/cuda/resize.h"

#include <inttypes.h>

#define MOST_SIDE 32767 /* so that resize.cu finds places in 32 bits */

static bs_status check_side(const char *kernel, const char *what, int64_t side, struct bs_err *err)
{
    if (side > MOST_SIDE)
        return BS_FAIL(err, BS_ELIMIT, "%s: %s is %" PRId64 "; at most %d is accepted", kernel, what, side,
                       MOST_SIDE);
    return bs__need_size(kernel, what, side, 1, err);
}

/* An item per four channels of the h x w pixels that are written. */
static bs_status launch(struct bs__queue *q, const char *kernel, enum bs__element e, struct bs__resize r,
                        int64_t h, int64_t w, struct bs_err *err)
{
    const size_t bytes = bs__element_bytes(e);
    const int64_t fours = bs__pieces(r.channels, 4);
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", r.samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels", r.channels, 1, err)) != BS_OK ||
        (rc = check_side(kernel, "the height", r.h, err)) != BS_OK ||
        (rc = check_side(kernel, "the width", r.w, err)) != BS_OK ||
        (rc = check_side(kernel, "the new height", r.out_h, err)) != BS_OK ||
        (rc = check_side(kernel, "the new width", r.out_w, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", &r.y, r.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &r.x, r.channels, err)) != BS_OK ||
        (rc = bs__need_items(kernel, (double)r.samples * (double)h * (double)w * (double)fours, err)) !=
            BS_OK)
        return rc;
    r.in_fours = bs__in_fours(&r.y, r.channels, bytes) && bs__in_fours(&r.x, r.channels, bytes);
    r.by_fours = bs__divisor_of(fours);
    r.by_width = bs__divisor_of(w);
    r.by_height = bs__divisor_of(h);
    return bs__launch_items(q, kernel, e, r.samples * h * w * fours, 1, &r, sizeof r, err);
}

bs_status bs__cuda_resize_bilinear(struct bs__queue *q, enum bs__element e, const struct bs__resize *r,
                                   struct bs_err *err)
{
    return launch(q, "resize_bilinear", e, *r, r->out_h, r->out_w, err);
}

bs_status bs__cuda_resize_bilinear_grad(struct bs__queue *q, enum bs__element e, const struct bs__resize *r,
                                        struct bs_err *err)
{
    return launch(q, "resize_bilinear_grad", e, *r, r->h, r->w, err);
}
