/* Gaussian smoothing: first down the columns, then along the rows, in single precision,
       out[i] = t[0] x[i] + sum_{k=1..r} t[k] (x[i-k] + x[i+k]),   t[k] ~ exp(-k^2 / (2 sigma^2)),  t sums to one,
   radius r = 3 sigma rounded up (at least 1), the border mirrored without repeating the edge sample.

   Rounding is the reference's to the last bit, because thresholds follow: each term is added by a fused multiply-add, and
   past the last whole group of eight samples whose window is inside the image the first product is the fused one. A
   processor without the instruction gets the same from the C library. (Beyond sigma 4 the reference does not fuse; there
   the last bit may differ.) Pure; any thread. */
#include "model/instances/instances_internal.h"

#include <math.h>
#include <stdlib.h>

#define MAX_SIGMA 1000.0

/* Sample i of a line of n samples that goes on by mirroring: period 2 (n - 1). */
static size_t mirror(ptrdiff_t i, size_t n)
{
    if (n <= 1)
        return 0;
    ptrdiff_t period = 2 * ((ptrdiff_t)n - 1);
    i %= period;
    if (i < 0)
        i += period;
    return (size_t)(i < (ptrdiff_t)n ? i : period - i);
}

bs_status bs__gaussian_kernel(double sigma, struct bs__kernel *kernel, struct bs_err *err)
{
    if (!(sigma > 0 && sigma <= MAX_SIGMA))
        return BS_FAIL(err, BS_EINVAL, "smoothing sigma %g is not in (0, %g]", sigma, MAX_SIGMA);
    int radius = (int)ceil(3.0 * sigma);
    if (radius < 1)
        radius = 1;
    float *tap = malloc(((size_t)radius + 1) * sizeof *tap);
    if (!tap)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a smoothing kernel of radius %d", radius);
    double exponent = 0.5 * (1.0 / (sigma * sigma)), sum = 1.0;
    for (int k = 1; k <= radius; k++)
        sum += 2.0 * exp(-(double)k * k * exponent);
    double scale = 1.0 / sum;
    for (int k = 0; k <= radius; k++)
        tap[k] = (float)(exp(-(double)k * k * exponent) * scale);
    kernel->radius = radius;
    kernel->tap = tap;
    return BS_OK;
}

#if defined(__x86_64__)
#define FUSED_INSTRUCTIONS __attribute__((target("avx2,fma")))
#define INLINE             static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif

/* Whole groups of eight. */
INLINE size_t whole(size_t n)
{
    return n - n % 8;
}

INLINE void column_row(const struct bs__kernel *kernel, const float *in, size_t in_top, size_t h, size_t w,
                       size_t y, float *restrict row)
{
    const float *tap = kernel->tap, *middle = in + (y - in_top) * w;
    size_t r = (size_t)kernel->radius;
    size_t plain = y < r || h - y <= r ? w : whole(w);
    for (size_t x = 0; x < plain; x++)
        row[x] = tap[0] * middle[x];
    for (int k = 1; k <= kernel->radius; k++) {
        const float *up = in + (mirror((ptrdiff_t)y - k, h) - in_top) * w;
        const float *down = in + (mirror((ptrdiff_t)y + k, h) - in_top) * w;
        for (size_t x = 0; x < plain; x++)
            row[x] = fmaf(tap[k], up[x] + down[x], row[x]);
        for (size_t x = plain; x < w; x++)
            row[x] = k == 1 ? fmaf(tap[0], middle[x], tap[1] * (up[x] + down[x]))
                            : fmaf(tap[k], up[x] + down[x], row[x]);
    }
}

/* Samples [first, last) of a row, whose windows are inside it. */
INLINE void inner_samples(const struct bs__kernel *kernel, const float *restrict row, size_t first,
                          size_t last, float *restrict out)
{
    const float *tap = kernel->tap;
    size_t plain = first + whole(last - first);
    for (size_t x = first; x < plain; x++)
        out[x] = tap[0] * row[x];
    for (size_t x = plain; x < last; x++)
        out[x] = fmaf(tap[0], row[x], tap[1] * (row[x - 1] + row[x + 1]));
    for (size_t k = 1; k <= (size_t)kernel->radius; k++) {
        size_t end = k == 1 ? plain : last;
        for (size_t x = first; x < end; x++)
            out[x] = fmaf(tap[k], row[x - k] + row[x + k], out[x]);
    }
}

/* Samples [first, last) of a row, whose windows may reach beyond it. */
INLINE void border_samples(const struct bs__kernel *kernel, const float *row, size_t first, size_t last,
                           size_t w, float *out)
{
    const float *tap = kernel->tap;
    for (size_t x = first; x < last; x++) {
        float sum = tap[0] * row[x];
        for (int k = 1; k <= kernel->radius; k++)
            sum = fmaf(tap[k], row[mirror((ptrdiff_t)x - k, w)] + row[mirror((ptrdiff_t)x + k, w)], sum);
        out[x] = sum;
    }
}

INLINE void smooth_row(const struct bs__kernel *kernel, const float *in, size_t in_top, size_t h, size_t w,
                       size_t y, float *row, float *out)
{
    size_t r = (size_t)kernel->radius;
    column_row(kernel, in, in_top, h, w, y, row);
    if (w <= 2 * r) {
        border_samples(kernel, row, 0, w, w, out);
        return;
    }
    border_samples(kernel, row, 0, r, w, out);
    inner_samples(kernel, row, r, w - r, out);
    border_samples(kernel, row, w - r, w, w, out);
}

static void smooth_row_portable(const struct bs__kernel *kernel, const float *in, size_t in_top, size_t h,
                                size_t w, size_t y, float *row, float *out)
{
    smooth_row(kernel, in, in_top, h, w, y, row, out);
}

#ifdef FUSED_INSTRUCTIONS
FUSED_INSTRUCTIONS static void smooth_row_fused(const struct bs__kernel *kernel, const float *in,
                                                size_t in_top, size_t h, size_t w, size_t y, float *row,
                                                float *out)
{
    smooth_row(kernel, in, in_top, h, w, y, row, out);
}

static bool have_fused_instructions(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}
#else
#define smooth_row_fused smooth_row_portable
static bool have_fused_instructions(void)
{
    return false;
}
#endif

bs_status bs__gaussian_rows(const struct bs__kernel *kernel, const float *in, size_t in_top, size_t h,
                            size_t w, size_t top, size_t bottom, float *row, float *out,
                            const struct bs_cancel *cancel, struct bs_err *err)
{
    bool fused = have_fused_instructions();
    for (size_t y = top; y < bottom; y++) {
        if (bs_cancel_requested(cancel))
            return bs__cancelled(err);
        if (fused)
            smooth_row_fused(kernel, in, in_top, h, w, y, row, out + (y - top) * w);
        else
            smooth_row_portable(kernel, in, in_top, h, w, y, row, out + (y - top) * w);
    }
    return BS_OK;
}

bs_status bs_gaussian(const float *in, size_t h, size_t w, double sigma, float *out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs__kernel kernel = {0};
    float *row = NULL;
    size_t pixels;

    if ((rc = bs__pixels(h, w, &pixels, err)) != BS_OK ||
        (rc = bs__gaussian_kernel(sigma, &kernel, err)) != BS_OK)
        goto cleanup;
    if (pixels == 0)
        goto cleanup;
    if (!(row = malloc(w * sizeof *row))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a row of %zu samples", w);
        goto cleanup;
    }
    rc = bs__gaussian_rows(&kernel, in, 0, h, w, 0, h, row, out, NULL, err);
cleanup:
    free(row);
    free(kernel.tap);
    return rc;
}
