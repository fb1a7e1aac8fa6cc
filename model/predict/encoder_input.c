/* See encoder_input.h. Resampling is separable: along x into a scratch image, then along y. */
#include "model/predict/encoder_input.h"

#include "kernels/base/checked.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const double bs_sam_mean[BS_SAM_CHANNELS] = {123.675, 116.28, 103.53};
const double bs_sam_std[BS_SAM_CHANNELS] = {58.395, 57.12, 57.375};

/* out[i] = sum of weight[first .. first + count) times in[start ..]. */
struct tap {
    int64_t start;
    size_t first;
    int count;
};

struct axis {
    int64_t in, out;
    struct tap *tap; /* NULL: the same size, values pass */
    double *weight;
};

struct bs_encoder_input {
    struct bs_encoder_input_options options;
    int64_t h, w;             /* of the image */
    int64_t shown_h, shown_w; /* of the network's input */
    struct axis y, x, back_y, back_x;
    double *scratch; /* rows of the source at the target's width */
};

static void axis_close(struct axis *a)
{
    free(a->tap);
    free(a->weight);
}

/* Half-pixel centres. Beyond the border the border pixel stands for all; with antialias what lies beyond is left out and the
   rest weighs more, which is the same where nothing shrinks. */
static bs_status axis_open(struct axis *a, int64_t in, int64_t out, bool antialias, struct bs_err *err)
{
    *a = (struct axis){.in = in, .out = out};
    if (in == out)
        return BS_OK;
    double step = (double)in / (double)out, support = antialias && step > 1 ? step : 1;
    size_t most = (size_t)(2 * support) + 3, used = 0, values;
    if (!bs_mul((size_t)out, most, &values) || !(a->tap = calloc((size_t)out, sizeof *a->tap)) ||
        !(a->weight = calloc(values, sizeof *a->weight)))
        return BS_FAIL(err, BS_ENOMEM, "no memory to resample %lld samples to %lld", (long long)in,
                       (long long)out);
    for (int64_t i = 0; i < out; i++) {
        double centre = ((double)i + 0.5) * step - 0.5, sum = 0;
        int64_t first = (int64_t)ceil(centre - support), last = (int64_t)floor(centre + support);
        struct tap *t = &a->tap[i];
        t->start = first < 0 ? 0 : first;
        t->first = used;
        for (int64_t k = t->start; k <= last && k < in; k++, t->count++) {
            double weight = 1 - fabs((double)k - centre) / support;
            a->weight[used++] = weight > 0 ? weight : 0;
            sum += weight > 0 ? weight : 0;
        }
        for (size_t k = t->first; k < used; k++)
            a->weight[k] /= sum;
    }
    return BS_OK;
}

static double along(const struct axis *a, int64_t i, const float *v)
{
    const struct tap *t = &a->tap[i];
    double sum = 0;
    for (int k = 0; k < t->count; k++)
        sum += a->weight[t->first + (size_t)k] * v[t->start + k];
    return sum;
}

/* One channel, in (y->in rows of in_stride) to out (y->out rows of out_stride): (v - mean) / std of the resampled. */
static void resample(const struct axis *y, const struct axis *x, const float *in, int64_t in_stride,
                     float *out, int64_t out_stride, double mean, double std, double *scratch)
{
    for (int64_t j = 0; j < y->in; j++)
        for (int64_t i = 0; i < x->out; i++)
            scratch[j * x->out + i] =
                x->tap ? along(x, i, in + j * in_stride) : (double)in[j * in_stride + i];
    for (int64_t j = 0; j < y->out; j++)
        for (int64_t i = 0; i < x->out; i++) {
            double sum = 0;
            if (y->tap)
                for (int k = 0; k < y->tap[j].count; k++)
                    sum +=
                        y->weight[y->tap[j].first + (size_t)k] * scratch[(y->tap[j].start + k) * x->out + i];
            else
                sum = scratch[j * x->out + i];
            out[j * out_stride + i] = (float)((sum - mean) / std);
        }
}

/* The reference's rounding. */
static int64_t scaled(int64_t side, int64_t longest, int64_t target)
{
    return (int64_t)((double)side * ((double)target / (double)longest) + 0.5);
}

bs_status bs_encoder_input_create(const struct bs_encoder_input_options *o, int64_t h, int64_t w,
                                  struct bs_encoder_input **out, struct bs_err *err)
{
    bs_status rc;
    *out = NULL;
    BS_ASSERT(h > 0 && w > 0 && o->net_h > 0 && o->net_w > 0 && (!o->resize || o->net_h == o->net_w));
    struct bs_encoder_input *e = calloc(1, sizeof *e);
    if (!e)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the input of an encoder");
    *e = (struct bs_encoder_input){.options = *o, .h = h, .w = w, .shown_h = h, .shown_w = w};
    if (o->resize) {
        int64_t longest = h > w ? h : w;
        e->shown_h = scaled(h, longest, o->net_h);
        e->shown_w = scaled(w, longest, o->net_w);
        if (e->shown_h < 1 || e->shown_w < 1) {
            rc = BS_FAIL(err, BS_EINVAL,
                         "an image of %lld x %lld pixels would keep no row or column when its longest side "
                         "becomes %lld",
                         (long long)h, (long long)w, (long long)o->net_h);
            goto cleanup;
        }
    } else if (h > o->net_h || w > o->net_w) {
        if (!o->crop_larger) {
            rc = BS_FAIL(err, BS_EINVAL,
                         "an input of %lld x %lld pixels is larger than the encoder's %lld x %lld",
                         (long long)h, (long long)w, (long long)o->net_h, (long long)o->net_w);
            goto cleanup;
        }
        e->shown_h = h < o->net_h ? h : o->net_h;
        e->shown_w = w < o->net_w ? w : o->net_w;
    }
    int64_t in_h = o->resize ? h : e->shown_h, in_w = o->resize ? w : e->shown_w;
    if ((rc = axis_open(&e->y, in_h, e->shown_h, true, err)) != BS_OK ||
        (rc = axis_open(&e->x, in_w, e->shown_w, true, err)) != BS_OK ||
        (rc = axis_open(&e->back_y, e->shown_h, h, false, err)) != BS_OK ||
        (rc = axis_open(&e->back_x, e->shown_w, w, false, err)) != BS_OK)
        goto cleanup;
    size_t forth, back;
    if (!bs_mul((size_t)in_h, (size_t)e->shown_w, &forth) || !bs_mul((size_t)e->shown_h, (size_t)w, &back) ||
        !bs_mul(forth > back ? forth : back, sizeof *e->scratch, &forth) || !(e->scratch = malloc(forth))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to resize an image of %lld x %lld pixels", (long long)h,
                     (long long)w);
        goto cleanup;
    }
    *out = e;
    e = NULL;
cleanup:
    bs_encoder_input_destroy(e);
    return rc;
}

void bs_encoder_input_destroy(struct bs_encoder_input *e)
{
    if (!e)
        return;
    axis_close(&e->y);
    axis_close(&e->x);
    axis_close(&e->back_y);
    axis_close(&e->back_x);
    free(e->scratch);
    free(e);
}

void bs_encoder_input_shown(const struct bs_encoder_input *e, int64_t *h, int64_t *w)
{
    *h = e->shown_h;
    *w = e->shown_w;
}

void bs_encoder_input_fill(struct bs_encoder_input *e, const float *image, int image_channels, int channels,
                           float *out)
{
    const struct bs_encoder_input_options *o = &e->options;
    const size_t plane = (size_t)(e->h * e->w), net = (size_t)(o->net_h * o->net_w);
    BS_ASSERT(image_channels == 1 || image_channels == channels);
    BS_ASSERT(!o->sam_statistics || channels == BS_SAM_CHANNELS);
    memset(out, 0, (size_t)channels * net * sizeof *out);
    for (int c = 0; c < channels; c++) {
        float *to = out + (size_t)c * net;
        if (c > 0 && image_channels == 1 && !o->sam_statistics)
            memcpy(to, out, net * sizeof *to);
        else
            resample(&e->y, &e->x, image + (image_channels == 1 ? 0 : (size_t)c * plane), e->w, to, o->net_w,
                     o->sam_statistics ? bs_sam_mean[c] : 0, o->sam_statistics ? bs_sam_std[c] : 1,
                     e->scratch);
    }
}

void bs_encoder_input_maps(struct bs_encoder_input *e, const float *maps, int channels, float *out)
{
    const struct bs_encoder_input_options *o = &e->options;
    for (int c = 0; c < channels; c++)
        resample(&e->back_y, &e->back_x, maps + (size_t)c * (size_t)(o->net_h * o->net_w), o->net_w,
                 out + (size_t)c * (size_t)(e->h * e->w), e->w, 0, 1, e->scratch);
}
