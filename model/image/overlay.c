/* Outlines over the stretched image; see overlay.h. */
#include "model/image/overlay.h"

#include "kernels/base/checked.h"

#include <math.h>
#include <stdlib.h>

#define HISTOGRAM_BINS   4096
#define CLIPPED_FRACTION 0.003 /* of the pixels at each end: hot pixels must not decide the contrast */
#define FILL             0.16f /* how much of its colour an object's inside takes */

int bs_overlay_zoom(size_t height, size_t width)
{
    size_t longer = height > width ? height : width;
    int zoom = longer ? (int)(1000 / longer) : 1;
    return zoom < 1 ? 1 : zoom > 4 ? 4 : zoom;
}

/* Intensities that become black and white. */
static bs_status contrast_limits(const float *plane, size_t count, float *low, float *high,
                                 struct bs_err *err)
{
    float min = INFINITY, max = -INFINITY;
    size_t finite = 0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(plane[i]))
            continue;
        finite++;
        min = fminf(min, plane[i]);
        max = fmaxf(max, plane[i]);
    }
    if (!finite || !(max > min)) {
        *low = finite ? min : 0;
        *high = *low + 1;
        return BS_OK;
    }
    size_t *bins = calloc(HISTOGRAM_BINS, sizeof *bins);
    if (!bins)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the histogram of an overlay");
    double per_bin = ((double)max - min) / HISTOGRAM_BINS;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(plane[i]))
            continue;
        size_t b = (size_t)(((double)plane[i] - min) / per_bin);
        bins[b < HISTOGRAM_BINS ? b : HISTOGRAM_BINS - 1]++;
    }
    size_t allowed = (size_t)((double)finite * CLIPPED_FRACTION), seen = 0, first = 0,
           last = HISTOGRAM_BINS - 1;
    while (first < last && (seen += bins[first]) <= allowed)
        first++;
    seen = 0;
    while (last > first && (seen += bins[last]) <= allowed)
        last--;
    *low = (float)(min + per_bin * (double)first);
    *high = (float)(min + per_bin * (double)(last + 1));
    free(bins);
    return BS_OK;
}

/* A colour per id, the same in every picture: hues one golden angle apart, so that neighbours in id differ most. */
static void colour_of(uint32_t id, float rgb[3])
{
    double hue = fmod((double)id * 0.61803398874989485, 1.0) * 6.0;
    float light = id & 1 ? 0.62f : 0.54f;
    float chroma = (1.0f - fabsf(2.0f * light - 1.0f)) * 0.95f;
    float second = chroma * (float)(1.0 - fabs(fmod(hue, 2.0) - 1.0));
    static const unsigned char order[6][3] = {{0, 1, 2}, {1, 0, 2}, {2, 0, 1},
                                              {2, 1, 0}, {1, 2, 0}, {0, 2, 1}};
    float level[3] = {chroma, second, 0};
    const unsigned char *o = order[(int)hue % 6];
    for (int c = 0; c < 3; c++)
        rgb[c] = level[o[c]] + light - chroma / 2;
}

/* Whether an object pixel touches something else: outlines run inside their object, so that touching objects show two. */
static int on_outline(const uint32_t *labels, size_t h, size_t w, size_t y, size_t x, int zoom, int sub_y,
                      int sub_x)
{
    uint32_t id = labels[y * w + x];
    if (sub_y == 0 && y > 0 && labels[(y - 1) * w + x] != id)
        return 1;
    if (sub_y == zoom - 1 && y + 1 < h && labels[(y + 1) * w + x] != id)
        return 1;
    if (sub_x == 0 && x > 0 && labels[y * w + x - 1] != id)
        return 1;
    return sub_x == zoom - 1 && x + 1 < w && labels[y * w + x + 1] != id;
}

bs_status bs_overlay_render(const float *plane, const uint32_t *labels, size_t height, size_t width, int zoom,
                            uint8_t *rgb, struct bs_err *err)
{
    size_t count;
    if (!bs_mul(height, width, &count) || count == 0)
        return BS_FAIL(err, BS_EINVAL, "an overlay needs an image; this one is %zu x %zu", height, width);
    if (zoom < 1 || zoom > 16)
        return BS_FAIL(err, BS_EINVAL, "overlay zoom %d is not within 1 and 16", zoom);
    float low = 0, high = 1;
    bs_status rc = contrast_limits(plane, count, &low, &high, err);
    if (rc != BS_OK)
        return rc;
    size_t out_w = width * (size_t)zoom;
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++) {
            float v = plane[y * width + x], colour[3] = {0, 0, 0};
            float grey = isfinite(v) ? (v - low) / (high - low) : 0;
            grey = sqrtf(grey < 0   ? 0
                         : grey > 1 ? 1
                                    : grey); /* a gamma of 2 shows dim objects beside bright ones */
            uint32_t id = labels[y * width + x];
            if (id)
                colour_of(id, colour);
            for (int sy = 0; sy < zoom; sy++)
                for (int sx = 0; sx < zoom; sx++) {
                    float part =
                        id ? (on_outline(labels, height, width, y, x, zoom, sy, sx) ? 1.0f : FILL) : 0.0f;
                    uint8_t *p =
                        rgb + ((y * (size_t)zoom + (size_t)sy) * out_w + x * (size_t)zoom + (size_t)sx) * 3;
                    for (int c = 0; c < 3; c++)
                        p[c] = (uint8_t)lrintf(255.0f * (grey * (1 - part) + colour[c] * part));
                }
        }
    return BS_OK;
}
