/* Standardisation as torch_em.transform.raw has it: (v - mean) / (std + 1e-7) with the population's deviation; and the range
   of 0 to 255 as micro-sam makes it: (v - min) / (max - min + 1e-7) * 255 without its fraction. Sums are
   kept in double and relative to the first sample, so that one pass is exact enough for 16-bit images of any size.
   Pure functions over rows; any thread, one at a time per plane. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

#define EPSILON 1e-7

static void add(struct bs__sums *s, const float *v, size_t n)
{
    double sum = 0, squares = 0;
    size_t i = 0;
    for (; s->count == 0 && i < n; i++)
        if (!isnan(v[i])) {
            s->min = s->max = v[i];
            s->origin = v[i];
            s->count = 1;
        }
    for (; i < n; i++)
        if (!isnan(v[i])) {
            double d = v[i] - s->origin;
            sum += d;
            squares += d * d;
            s->min = v[i] < s->min ? v[i] : s->min;
            s->max = v[i] > s->max ? v[i] : s->max;
            s->count++;
        }
    s->sum += sum;
    s->squares += squares;
}

struct bs__statistics bs__sums_statistics(const struct bs__sums *s)
{
    struct bs__statistics out = {.count = s->count, .min = s->min, .max = s->max};
    if (s->count == 0)
        return out;
    double mean = s->sum / (double)s->count, var = s->squares / (double)s->count - mean * mean;
    out.mean = s->origin + mean;
    out.std = var > 0 ? sqrt(var) : 0;
    return out;
}

struct bs__statistics bs__statistics_of(const float *v, size_t n)
{
    struct bs__sums s = {0};
    add(&s, v, n);
    return bs__sums_statistics(&s);
}

/* Samples that no network can use are refused with their place. no data is NaN by now; whether it may be there at all is
   what has_no_data says. */
static bs_status check_row(const struct bs__plane *p, size_t y, struct bs_err *err)
{
    const struct bs__box *box = &p->place.box;
    bool nan_is_no_data = p->has_no_data && isnan(p->no_data);
    for (size_t x = 0; x < p->source_w; x++) {
        double v;
        if (isfinite(p->row[x]) && fabs(p->row[x]) <= 3e38)
            continue;
        bs__plane_raw_row(p, y, x, 1, &v);
        if (isnan(v) && !nan_is_no_data)
            return BS_FAIL(
                err, BS_EINVAL,
                "the sample at row %zu, column %zu is NaN; state a no-data value of NaN to leave it out",
                box->top + y, box->left + x);
        if (!isnan(v) && !(p->has_no_data && v == p->no_data))
            return BS_FAIL(err, BS_EINVAL,
                           "the sample at row %zu, column %zu is %g; finite 32-bit floats are accepted",
                           box->top + y, box->left + x, v);
    }
    return BS_OK;
}

bs_status bs__plane_statistics(struct bs__plane *p, const struct bs_cancel *cancel,
                               struct bs__statistics *out, struct bs_err *err)
{
    struct bs__sums sums = {0};
    bs_status rc = bs__plane_add(p, cancel, &sums, err);
    *out = bs__sums_statistics(&sums);
    return rc;
}

bs_status bs__plane_add(struct bs__plane *p, const struct bs_cancel *cancel, struct bs__sums *sums,
                        struct bs_err *err)
{
    bs_status rc = BS_OK;
    enum bs_sample sample = p->view.image->sample;
    float *row = malloc(p->w * sizeof *row);
    if (!row)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a row of %zu samples", p->w);
    for (size_t y = 0; (sample == BS_SAMPLE_F32 || sample == BS_SAMPLE_F64) && y < p->source_h; y++) {
        bs__plane_source_row(p, y, 0, p->source_w, p->row);
        if ((rc = check_row(p, y, err)) != BS_OK)
            goto cleanup;
    }
    for (size_t y = 0; y < p->h; y++) {
        if (y % 256 == 0 && bs_cancel_requested(cancel)) {
            rc = BS_FAIL(err, BS_ECANCELLED, "cancelled while the image was standardised");
            goto cleanup;
        }
        bs__plane_row(p, y, 0, p->w, row);
        add(sums, row, p->w);
    }
cleanup:
    free(row);
    return rc;
}

void bs__normalise(float *v, size_t n, enum bs_normalisation rule, struct bs__statistics s)
{
    const double divisor = s.std + EPSILON;
    const float range = s.max - s.min + (float)EPSILON;
    switch (rule) {
    case BS_NORMALISE_STANDARDISE:
        for (size_t i = 0; i < n; i++)
            v[i] = isnan(v[i]) ? 0 : (float)((v[i] - s.mean) / divisor);
        break;
    case BS_NORMALISE_NONE:
        for (size_t i = 0; i < n; i++)
            v[i] = isnan(v[i]) ? 0 : v[i];
        break;
    case BS_NORMALISE_RANGE_255:
        for (size_t i = 0; i < n; i++)
            v[i] = floorf(((isnan(v[i]) ? (float)s.mean : v[i]) - s.min) / range * 255);
        break;
    }
}
