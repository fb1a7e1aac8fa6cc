/* Exact Euclidean distance transform in linear time, in integers (Meijster, Roerdink and Hesselink, 2000): distances
   down the columns first, then along each row the lower envelope of the parabolas (x - i)^2 + g(i)^2.
   An image without any zero is measured from a single zero above its first pixel, at (-1, 0), as the reference and SciPy
   do. Pure; any thread. */
#include "model/instances/instances_internal.h"

#include "kernels/base/checked.h"

#include <math.h>
#include <stdlib.h>

/* Scratch of one row. */
struct envelope {
    size_t *apex;  /* column of each parabola of the envelope */
    size_t *start; /* first column where it is the lowest */
};

static uint64_t square(uint64_t a)
{
    return a * a;
}

static uint64_t parabola(const uint32_t *g, size_t x, size_t apex)
{
    return square(x > apex ? x - apex : apex - x) + square(g[apex]);
}

/* The last column where the parabola of i is not above that of u, right of it. The caller has made sure that there is one
   from column 0 on, so the division rounds down. */
static int64_t separation(const uint32_t *g, size_t i, size_t u)
{
    int64_t a = (int64_t)(square(u) + square(g[u])), b = (int64_t)(square(i) + square(g[i]));
    return (a - b) / (2 * (int64_t)(u - i));
}

static void row_distances(const uint32_t *g, size_t w, struct envelope e, float *out)
{
    size_t last = 0;
    e.apex[0] = e.start[0] = 0;
    bool empty = false;
    for (size_t u = 1; u < w; u++) {
        while (parabola(g, e.start[last], e.apex[last]) > parabola(g, e.start[last], u)) {
            if (last == 0) {
                empty = true;
                break;
            }
            last--;
        }
        if (empty) {
            empty = false;
            e.apex[0] = u;
            e.start[0] = 0;
            continue;
        }
        int64_t from = 1 + separation(g, e.apex[last], u);
        if (from < (int64_t)w) {
            last++;
            e.apex[last] = u;
            e.start[last] = (size_t)from;
        }
    }
    for (size_t x = w; x-- > 0;) {
        out[x] = (float)sqrt((double)parabola(g, x, e.apex[last]));
        if (x == e.start[last] && last > 0)
            last--;
    }
}

/* g = rows to the nearest zero of the same column, far where there is none; false without any zero. */
static bool column_distances(const uint8_t *in, size_t h, size_t w, uint32_t far, uint32_t *g)
{
    bool any = false;
    for (size_t y = 0; y < h; y++)
        for (size_t x = 0; x < w; x++) {
            size_t p = y * w + x;
            if (in[p] == 0) {
                g[p] = 0;
                any = true;
            } else {
                g[p] = y > 0 && g[p - w] < far ? g[p - w] + 1 : far;
            }
        }
    for (size_t y = h - 1; y-- > 0;)
        for (size_t x = 0; x < w; x++) {
            size_t p = y * w + x;
            if (g[p + w] < g[p])
                g[p] = g[p + w] + 1;
        }
    return any;
}

bs_status bs__distance_transform(const uint8_t *in, size_t h, size_t w, float *out,
                                 const struct bs_cancel *cancel, struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint32_t *g = NULL;
    struct envelope e = {0};
    size_t pixels;

    if ((rc = bs__pixels(h, w, &pixels, err)) != BS_OK || pixels == 0)
        return rc;
    /* Squares of sides must fit 63 bits together, and h + w a column distance. */
    if (h > (1u << 30) || w > (1u << 30))
        return BS_FAIL(err, BS_ELIMIT, "distance transform of %zu x %zu: sides may have at most %u pixels", h,
                       w, 1u << 30);
    g = calloc(pixels, sizeof *g);
    e.apex = malloc(w * sizeof *e.apex);
    e.start = malloc(w * sizeof *e.start);
    if (!g || !e.apex || !e.start) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the distance transform of %zu x %zu pixels", h, w);
        goto cleanup;
    }
    bool any = column_distances(in, h, w, (uint32_t)(h + w), g);
    for (size_t y = 0; y < h; y++) {
        if (bs_cancel_requested(cancel)) {
            rc = bs__cancelled(err);
            goto cleanup;
        }
        if (any)
            row_distances(g + y * w, w, e, out + y * w);
        else
            for (size_t x = 0; x < w; x++)
                out[y * w + x] = (float)sqrt((double)(square(y + 1) + square(x)));
    }
cleanup:
    free(g);
    free(e.apex);
    free(e.start);
    return rc;
}

bs_status bs_distance_transform(const uint8_t *in, size_t h, size_t w, float *out, struct bs_err *err)
{
    return bs__distance_transform(in, h, w, out, NULL, err);
}
