/* Resampling to the network's scale and labels back. Bilinear with half-pixel centres; when the image shrinks, the
   triangle widens by the same factor, so that thin structures are averaged and do not flicker away. Samples without data
   take no part. Any thread, one at a time per plane. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bs_status bs__resampler_open(struct bs__resampler *r, size_t in, size_t out, struct bs_err *err)
{
    return bs__resampler_open_part(r, in, 0, out, 0, (double)in / (double)out, err);
}

bs_status bs__resampler_open_part(struct bs__resampler *r, size_t in, size_t first_in, size_t out,
                                  size_t first_out, double step, struct bs_err *err)
{
    double support = step > 1 ? step : 1;
    size_t most = (size_t)(2 * support) + 3, used = 0;
    *r = (struct bs__resampler){.in = in, .out = out};
    r->tap = calloc(out, sizeof *r->tap);
    r->weight = r->tap ? calloc(out, most * sizeof *r->weight) : NULL;
    if (!r->tap || !r->weight) {
        bs__resampler_close(r);
        return BS_FAIL(err, BS_ENOMEM, "no memory to resample %zu samples to %zu", in, out);
    }
    for (size_t i = 0; i < out; i++) {
        double centre = ((double)(first_out + i) + 0.5) * step - 0.5 - (double)first_in, sum = 0;
        int64_t first = (int64_t)ceil(centre - support), last = (int64_t)floor(centre + support);
        struct bs__tap *t = &r->tap[i];
        first = first < 0 ? 0 : first;
        last = last >= (int64_t)in ? (int64_t)in - 1 : last;
        if (first > last)
            first = last;
        t->start = (uint32_t)first;
        t->first = used;
        for (int64_t k = first; k <= last && t->count < most; k++) {
            double weight = 1 - fabs((double)k - centre) / support;
            r->weight[used++] = (float)(weight > 0 ? weight : 0);
            sum += weight > 0 ? weight : 0;
            t->count++;
        }
        for (size_t k = 0; k < t->count; k++)
            r->weight[t->first + k] =
                sum > 0 ? (float)(r->weight[t->first + k] / sum) : 1.0f / (float)t->count;
    }
    return BS_OK;
}

void bs__resampler_close(struct bs__resampler *r)
{
    free(r->tap);
    free(r->weight);
    *r = (struct bs__resampler){0};
}

void bs__plane_row(struct bs__plane *p, size_t y, size_t x0, size_t n, float *out)
{
    if (!p->along_x.tap) {
        bs__plane_source_row(p, y, x0, n, p->row);
        for (size_t x = 0; x < n; x++)
            out[x] = (float)p->row[x];
        return;
    }
    /* Rows first, into value and weight per source column; columns then. */
    const struct bs__tap *ty = &p->along_y.tap[y], *tx = &p->along_x.tap[x0], *last = tx + n - 1;
    size_t left = tx->start, columns = last->start + last->count - left;
    double *value = p->sums, *weight = p->sums + columns;
    memset(value, 0, 2 * columns * sizeof *value);
    for (uint32_t k = 0; k < ty->count; k++) {
        double wy = p->along_y.weight[ty->first + k];
        bs__plane_source_row(p, ty->start + k, left, columns, p->row);
        for (size_t x = 0; x < columns; x++)
            if (!isnan(p->row[x])) {
                value[x] += wy * p->row[x];
                weight[x] += wy;
            }
    }
    for (size_t x = 0; x < n; x++, tx++) {
        double v = 0, sum = 0;
        for (uint32_t k = 0; k < tx->count; k++) {
            double wx = p->along_x.weight[tx->first + k];
            v += wx * value[tx->start - left + k];
            sum += wx * weight[tx->start - left + k];
        }
        /* Less than half of the weight on data: no data here. */
        out[x] = sum > 0.5 ? (float)(v / sum) : NAN;
    }
}

/* Where sample `out` of an axis of `size` samples lies in a part of an axis of `in_size` samples. */
static size_t nearest(size_t out, size_t size, size_t in_size, size_t part_first, size_t part_size)
{
    size_t k = (size_t)(((double)out + 0.5) * (double)in_size / (double)size);
    k = k > part_first ? k - part_first : 0;
    return k < part_size ? k : part_size - 1;
}

bs_status bs__labels_resize(const uint32_t *in, size_t in_h, size_t in_w, uint32_t *out, size_t h, size_t w,
                            uint32_t *count, struct bs_err *err)
{
    const struct bs__crop crop = {.region = {0, 0, h, w}, .maps = {0, 0, in_h, in_w}};
    const struct bs__plane plane = {.source_h = h, .source_w = w, .h = in_h, .w = in_w};
    return bs__labels_crop(in, &crop, &plane, out, count, err);
}

bs_status bs__labels_crop(const uint32_t *in, const struct bs__crop *crop, const struct bs__plane *plane,
                          uint32_t *out, uint32_t *count, struct bs_err *err)
{
    const size_t in_h = crop->maps.h, in_w = crop->maps.w, h = crop->region.h, w = crop->region.w;
    size_t *from_x = malloc(w * sizeof *from_x);
    uint32_t *renamed = calloc((size_t)*count + 1, sizeof *renamed), next = 0;
    if (!from_x || !renamed) {
        free(from_x);
        free(renamed);
        return BS_FAIL(err, BS_ENOMEM, "no memory to bring %zu x %zu labels back to size", in_h, in_w);
    }
    for (size_t x = 0; x < w; x++)
        from_x[x] = nearest(crop->region.left + x, plane->source_w, plane->w, crop->maps.left, in_w);
    for (size_t y = 0; y < h; y++) {
        const uint32_t *row =
            in + nearest(crop->region.top + y, plane->source_h, plane->h, crop->maps.top, in_h) * in_w;
        for (size_t x = 0; x < w; x++) {
            uint32_t id = row[from_x[x]];
            out[y * w + x] = id;
            renamed[id <= *count ? id : 0] = 1;
        }
    }
    /* An object can vanish when labels shrink or are cut: ids must stay 1..count without holes. */
    for (uint32_t id = 1; id <= *count; id++)
        renamed[id] = renamed[id] ? ++next : 0;
    renamed[0] = 0;
    for (size_t i = 0; next != *count && i < h * w; i++)
        out[i] = renamed[out[i] <= *count ? out[i] : 0];
    *count = next;
    free(from_x);
    free(renamed);
    return BS_OK;
}
