/* The tile grid and the samples of one window. Windows all have one size, so that one executable serves them; those at
   the far edges are moved inwards, and a window that touches the image's edge begins exactly there, so that the zero
   padding of convolutions falls where it falls for the whole image. Every origin is then a multiple of the divisor, because
   window, halo and padded image are. Pure functions; any thread, one at a time per plane. */
#include "model/predict/predict_internal.h"

#include <stdlib.h>
#include <string.h>

int64_t bs__window_count(int64_t n, int64_t window, int64_t halo)
{
    int64_t stride = window - 2 * halo;
    return n <= window ? 1 : 1 + (n - window + stride - 1) / stride;
}

struct bs__window bs__window_at(int64_t n, int64_t window, int64_t halo, int64_t k)
{
    int64_t stride = window - 2 * halo, last = bs__window_count(n, window, halo) - 1;
    if (last == 0)
        return (struct bs__window){0, 0, n};
    int64_t origin = k * stride;
    return (struct bs__window){.origin = origin < n - window ? origin : n - window,
                               .from = k == 0 ? 0 : (k - 1) * stride + window - halo,
                               .to = k == last ? n : origin + window - halo};
}

int64_t bs__reflect(int64_t i, int64_t n)
{
    if (n == 1)
        return 0;
    int64_t period = 2 * (n - 1);
    i %= period;
    if (i < 0)
        i += period;
    return i < n ? i : period - i;
}

bs_status bs__window_read(struct bs__plane *p, int64_t y, int64_t x, int64_t h, int64_t w, bool clip,
                          float *out, struct bs_err *err)
{
    int64_t top = 0, left = 0, bottom = (int64_t)p->h, right = (int64_t)p->w;
    if (clip) {
        top = y > 0 ? y : 0;
        left = x > 0 ? x : 0;
        bottom = y + h < bottom ? y + h : bottom;
        right = x + w < right ? x + w : right;
    }
    int64_t first = INT64_MAX, last = -1; /* columns of the plane that the window shows */
    for (int64_t i = 0; i < w; i++) {
        int64_t column = left + bs__reflect(x + i - left, right - left);
        first = column < first ? column : first;
        last = column > last ? column : last;
    }
    float *row = malloc((size_t)(last - first + 1) * sizeof *row);
    if (!row)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a row of %lld samples", (long long)(last - first + 1));
    for (int64_t j = 0; j < h; j++) {
        int64_t from = top + bs__reflect(y + j - top, bottom - top);
        float *to = out + j * w;
        /* A reflected row was read before, or will be: rows inside the window are copied, not resampled again. */
        if (from != y + j && from >= y && from < y + j) {
            memcpy(to, out + (from - y) * w, (size_t)w * sizeof *to);
            continue;
        }
        bs__plane_row(p, (size_t)from, (size_t)first, (size_t)(last - first + 1), row);
        for (int64_t i = 0; i < w; i++)
            to[i] = row[left + bs__reflect(x + i - left, right - left) - first];
    }
    free(row);
    return BS_OK;
}
