#include "kernels/cuda/conv_direct.h"

#include <inttypes.h>

#define MOST INT64_C(0x7fffffff)

void bs__conv_direct_pack(const float *weight, int64_t out, int64_t in, int64_t kernel_h, int64_t kernel_w,
                          float *packed)
{
    const int64_t taps = kernel_h * kernel_w;
    for (int64_t tap = 0; tap < taps; tap++)
        for (int64_t c = 0; c < in; c++)
            for (int64_t o = 0; o < out; o++)
                *packed++ = weight[(o * in + c) * taps + tap];
}

static bs_status check(const char *kernel, const struct bs__conv_direct *c, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", c->samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels", c->in, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels that come out", c->out, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the kernel's height", c->kernel_h, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the kernel's width", c->kernel_w, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the stride", c->stride, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the padding", c->pad, 0, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the height", c->h, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the width", c->w_pixels, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the padded height", c->h + 2 * (int64_t)c->pad, c->kernel_h, err)) !=
            BS_OK ||
        (rc = bs__need_size(kernel, "the padded width", c->w_pixels + 2 * (int64_t)c->pad, c->kernel_w,
                            err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "y", &c->y, c->out, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "x", &c->x, c->in, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the weight", c->w, sizeof(float), err)) != BS_OK)
        return rc;
    if (c->activation != BS__PLAIN && c->activation != BS__RELU)
        return BS_FAIL(err, BS_EINTERNAL, "%s: activation %" PRId32 "; none and ReLU are accepted", kernel,
                       c->activation);
    /* Places in a padded image and the length of a sum are counted in 32 bits. */
    const double reach = (double)(c->h > c->w_pixels ? c->h : c->w_pixels) + 2.0 * (double)c->pad;
    if (reach > (double)(MOST / 4) ||
        (double)c->kernel_h * (double)c->kernel_w * (double)c->in > (double)(MOST / 4))
        return BS_FAIL(err, BS_ELIMIT,
                       "%s: %" PRId64 "x%" PRId64 " pixels, a kernel of %" PRId32 "x%" PRId32 " and %" PRId64
                       " channels are too many",
                       kernel, c->h, c->w_pixels, c->kernel_h, c->kernel_w, c->in);
    return BS_OK;
}

bs_status bs__cuda_conv_direct(struct bs__queue *q, enum bs__element e, const struct bs__conv_direct *given,
                               struct bs_err *err)
{
    static const char kernel[] = "conv_direct";
    struct bs__conv_direct c = *given;
    bs_status rc = check(kernel, &c, err);
    if (rc != BS_OK)
        return rc;
    c.out_h = (c.h + 2 * (int64_t)c.pad - c.kernel_h) / c.stride + 1;
    c.out_w = (c.w_pixels + 2 * (int64_t)c.pad - c.kernel_w) / c.stride + 1;
    const bool few = c.out <= BS__CONV_FEW_OUT;
    const int pixels = few ? BS__CONV_FEW_PIXELS : BS__CONV_PIXELS,
              out = few ? BS__CONV_FEW_OUT : BS__CONV_OUT;
    const int64_t tiles = bs__pieces(c.out, out);
    if ((rc = bs__need_items(kernel, (double)c.samples * (double)c.out_h * (double)c.out_w, err)) != BS_OK)
        return rc;
    const int64_t all = c.samples * c.out_h * c.out_w;
    if ((rc = bs__need_items(kernel, (double)bs__pieces(all, pixels) * (double)tiles, err)) != BS_OK)
        return rc;
    c.in_fours = bs__in_fours(&c.y, c.out, bs__element_bytes(e));
    c.by_width = bs__divisor_of(c.out_w);
    c.by_height = bs__divisor_of(c.out_h);
    c.by_in = bs__divisor_of(c.in);
    c.by_kernel_w = bs__divisor_of(c.kernel_w);
    c.by_tiles = bs__divisor_of(tiles);
    struct bs__launch l = {
        .kernel = few ? "conv_direct_few" : kernel,
        .element = e,
        .grid = {(unsigned)(bs__pieces(all, pixels) * tiles), 1, 1},
        .threads = BS__CONV_THREADS,
        .shared = 2 * sizeof(float) * BS__CONV_DEPTH * (size_t)(pixels + 4 + out),
    };
    return bs__queue_launch(q, &l, &c, sizeof c, err);
}
