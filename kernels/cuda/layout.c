#include "kernels/cuda/layout.h"

/* Up to so many channels a thread moves a whole pixel. */
#define FEW 16

static bs_status check_planes(const char *kernel, const struct bs__planes *p, int64_t row, struct bs_err *err)
{
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", p->samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels", p->channels, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of pixels", p->pixels, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels in memory", row, p->channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the image", &p->image, row, err)) != BS_OK ||
        (rc = bs__need_address(kernel, "the array of planes", p->planes, sizeof(float), err)) != BS_OK)
        return rc;
    return bs__need_items(kernel, (double)p->samples * (double)p->pixels * (double)bs__pieces(row, 4), err);
}

static bs_status launch_planes(struct bs__queue *q, enum bs__element e, struct bs__planes p, int64_t row,
                               const char *few, const char *many, struct bs_err *err)
{
    bs_status rc = check_planes(many, &p, row, err);
    if (rc != BS_OK)
        return rc;
    const int64_t pixel_tiles = bs__pieces(p.pixels, BS__LAYOUT_TILE),
                  channel_tiles = bs__pieces(row, BS__LAYOUT_TILE);
    p.in_fours = bs__in_fours(&p.image, row, bs__element_bytes(e));
    p.by_pixels = bs__divisor_of(p.pixels);
    p.by_pixel_tiles = bs__divisor_of(pixel_tiles);
    p.by_channel_tiles = bs__divisor_of(channel_tiles);
    if (row <= FEW)
        return bs__launch_items(q, few, e, p.samples * p.pixels, 1, &p, sizeof p, err);
    return bs__launch_items(q, many, e, p.samples * pixel_tiles * channel_tiles * BS__ITEM_THREADS, 1, &p,
                            sizeof p, err);
}

bs_status bs__cuda_image_from_planes(struct bs__queue *q, enum bs__element e, const struct bs__planes *p,
                                     struct bs_err *err)
{
    return launch_planes(q, e, *p, p->padded, "image_from_few_planes", "image_from_planes", err);
}

bs_status bs__cuda_planes_from_image(struct bs__queue *q, enum bs__element e, const struct bs__planes *p,
                                     struct bs_err *err)
{
    return launch_planes(q, e, *p, p->channels, "few_planes_from_image", "planes_from_image", err);
}

bs_status bs__cuda_copy(struct bs__queue *q, enum bs__element to, enum bs__element from,
                        const struct bs__copy *given, struct bs_err *err)
{
    static const char *const kernels[] = {
        [BS__F32] = "copy_from_f32", [BS__F16] = "copy_from_f16", [BS__BF16] = "copy_from_bf16"};
    const char *kernel = kernels[from];
    struct bs__copy c = *given;
    const size_t to_bytes = bs__element_bytes(to), from_bytes = bs__element_bytes(from);
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of batches", c.batches, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of rows", c.rows, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of columns", c.columns, 1, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the target", &c.to, c.columns, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the source", &c.from, c.columns, err)) != BS_OK ||
        (rc = bs__need_items(kernel, (double)c.batches * (double)c.rows * (double)bs__pieces(c.columns, 4),
                             err)) != BS_OK)
        return rc;
    if (c.batches == 1)
        c.to_batch = c.from_batch = 0;
    /* Without gaps it is one long row. */
    if (c.to.stride == c.columns && c.from.stride == c.columns) {
        c.columns *= c.rows;
        c.rows = 1;
        c.to.stride = c.from.stride = c.columns;
    }
    c.in_fours = bs__in_fours(&c.to, c.columns, to_bytes) && bs__in_fours(&c.from, c.columns, from_bytes) &&
                 c.to_batch % 4 == 0 && c.from_batch % 4 == 0;
    const int64_t fours = bs__pieces(c.columns, 4);
    c.by_fours = bs__divisor_of(fours);
    c.by_rows = bs__divisor_of(c.rows);
    return bs__launch_items(q, kernel, to, c.batches * c.rows * fours, BS__COPY_EACH, &c, sizeof c, err);
}

bs_status bs__cuda_pixel_shuffle(struct bs__queue *q, enum bs__element e,
                                 const struct bs__pixel_shuffle *given, struct bs_err *err)
{
    static const char kernel[] = "pixel_shuffle";
    struct bs__pixel_shuffle s = *given;
    const size_t bytes = bs__element_bytes(e);
    bs_status rc;
    if ((rc = bs__need_size(kernel, "the number of samples", s.samples, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the height", s.h, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the width", s.w, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the number of channels", s.channels, 1, err)) != BS_OK ||
        (rc = bs__need_size(kernel, "the kernel", s.k, 1, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the image", &s.y, s.channels, err)) != BS_OK ||
        (rc = bs__need_rows(kernel, "the matrix", &s.x, (int64_t)s.k * s.k * s.channels, err)) != BS_OK)
        return rc;
    const int64_t fours = bs__pieces(s.channels, 4);
    if ((rc = bs__need_items(kernel,
                             (double)s.samples * (double)s.h * (double)s.w * (double)s.k * (double)s.k *
                                 (double)fours,
                             err)) != BS_OK)
        return rc;
    s.in_fours = bs__in_fours(&s.y, s.channels, bytes) && bs__in_fours(&s.x, s.channels, bytes) &&
                 bs__aligned(s.bias, 4 * sizeof(float));
    s.by_fours = bs__divisor_of(fours);
    s.by_width = bs__divisor_of(s.w * s.k);
    s.by_k = bs__divisor_of(s.k);
    return bs__launch_items(q, kernel, e, s.samples * s.h * s.w * s.k * s.k * fours, 1, &s, sizeof s, err);
}
