/* Which samples of an image go into the network. The rule: one channel is taken; colour whose channels are all equal (a
   grey image saved as RGB, an opaque alpha channel not counted) is taken as grey; anything else asks, because nobody but
   the user knows which stain shows the objects. A view: the image is borrowed. Any thread. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double white_of(enum bs_sample s)
{
    return s == BS_SAMPLE_U8 ? 255.0 : s == BS_SAMPLE_U16 ? 65535.0 : s == BS_SAMPLE_U32 ? 4294967295.0 : 0.0;
}

#define READ_AS(type)                                                                                        \
    for (size_t i = 0; i < n; i++)                                                                           \
    out[i] = (double)((const type *)p->image->data)[at + i * p->stride_x]

void bs__plane_raw_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out)
{
    size_t at = p->offset + y * p->stride_y + x * p->stride_x;
    switch (p->image->sample) {
    case BS_SAMPLE_U8:
        READ_AS(uint8_t);
        break;
    case BS_SAMPLE_U16:
        READ_AS(uint16_t);
        break;
    case BS_SAMPLE_U32:
        READ_AS(uint32_t);
        break;
    case BS_SAMPLE_I8:
        READ_AS(int8_t);
        break;
    case BS_SAMPLE_I16:
        READ_AS(int16_t);
        break;
    case BS_SAMPLE_I32:
        READ_AS(int32_t);
        break;
    case BS_SAMPLE_F32:
        READ_AS(float);
        break;
    case BS_SAMPLE_F64:
        READ_AS(double);
        break;
    case BS_SAMPLE_COUNT:
        break;
    }
}

void bs__plane_source_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out)
{
    bs__plane_raw_row(p, y, x, n, out);
    if (p->has_no_data)
        for (size_t i = 0; i < n; i++)
            if (out[i] == p->no_data)
                out[i] = NAN; /* a no-data value of NaN needs nothing: NaN is no data from here on */
    if (p->image->white_is_zero)
        for (size_t i = 0; i < n; i++)
            out[i] = white_of(p->image->sample) - out[i];
}

/* Two channels hold the same samples everywhere. */
static bool channels_equal(const struct bs__plane *p, size_t step, int a, int b)
{
    size_t size = bs_sample_size(p->image->sample);
    const unsigned char *data = p->image->data;
    for (size_t y = 0; y < p->source_h; y++)
        for (size_t x = 0; x < p->source_w; x++) {
            size_t at = y * p->stride_y + x * p->stride_x;
            if (memcmp(data + (at + (size_t)a * step) * size, data + (at + (size_t)b * step) * size, size) !=
                0)
                return false;
        }
    return true;
}

static bool channel_constant(const struct bs__plane *p, size_t step, int c)
{
    size_t size = bs_sample_size(p->image->sample);
    const unsigned char *data = p->image->data, *first = data + (size_t)c * step * size;
    for (size_t y = 0; y < p->source_h; y++)
        for (size_t x = 0; x < p->source_w; x++)
            if (memcmp(data + (y * p->stride_y + x * p->stride_x + (size_t)c * step) * size, first, size) !=
                0)
                return false;
    return true;
}

static bs_status choose_channel(struct bs__plane *p, size_t channels, size_t step, int wanted,
                                struct bs_err *err)
{
    if (wanted >= 0) {
        if ((size_t)wanted >= channels)
            return BS_FAIL(err, BS_EINVAL, "channel %d: the image has %zu, so 0 to %zu are accepted", wanted,
                           channels, channels - 1);
        p->offset += (size_t)wanted * step;
        return BS_OK;
    }
    size_t colour = channels;
    if ((channels == 2 || channels == 4) && channel_constant(p, step, (int)channels - 1))
        colour--;
    for (size_t c = 1; c < colour; c++)
        if (!channels_equal(p, step, 0, (int)c))
            return BS_FAIL(
                err, BS_EINVAL,
                "the image has %zu channels that differ; say which one shows the objects (channel 0 to %zu)",
                channels, channels - 1);
    return BS_OK;
}

bs_status bs__plane_open(struct bs__plane *p, const struct bs_image *image,
                         const struct bs_segment_params *params, double scale, struct bs_err *err)
{
    size_t stride[BS_IMAGE_MAX_DIM], channels = 1, step = 0;
    bs_status rc = BS_OK;
    *p = (struct bs__plane){.image = image, .has_no_data = params->has_no_data, .no_data = params->no_data};
    stride[image->ndim - 1] = 1;
    for (int i = image->ndim - 2; i >= 0; i--)
        stride[i] = stride[i + 1] * image->dim[i + 1];
    for (int i = 0; i < image->ndim; i++) {
        switch (image->axes[i]) {
        case 'y':
            p->source_h = image->dim[i];
            p->stride_y = stride[i];
            break;
        case 'x':
            p->source_w = image->dim[i];
            p->stride_x = stride[i];
            break;
        case 'c':
            channels = image->dim[i];
            step = stride[i];
            break;
        case '?':
            if (image->dim[i] > 1)
                return BS_FAIL(
                    err, BS_EINVAL,
                    "the file has %zu pages and does not say what they are: state their axis (z, t or c)",
                    image->dim[i]);
            break;
        default:
            if (image->dim[i] > 1)
                return BS_FAIL(err, BS_EINVAL,
                               "the image has %zu planes along %c; one plane at a time is segmented",
                               image->dim[i], image->axes[i]);
        }
    }
    if (p->source_h == 0 || p->source_w == 0)
        return BS_FAIL(err, BS_EINVAL, "an image of %zu x %zu pixels cannot be segmented", p->source_h,
                       p->source_w);
    if (p->source_h > INT32_MAX / 2 || p->source_w > INT32_MAX / 2)
        return BS_FAIL(err, BS_ELIMIT, "a side of %zu x %zu pixels is over the limit of %d", p->source_h,
                       p->source_w, INT32_MAX / 2);
    if (channels > 1 && (rc = choose_channel(p, channels, step, params->channel, err)) != BS_OK)
        return rc;
    if (channels == 1 && params->channel > 0)
        return BS_FAIL(err, BS_EINVAL, "channel %d: the image has one channel, so 0 is accepted",
                       params->channel);
    double h = round((double)p->source_h * scale), w = round((double)p->source_w * scale);
    if (h < 1 || w < 1 || h * w > (double)bs_image_default_limits.max_pixels)
        return BS_FAIL(err, BS_EINVAL,
                       "scale %g makes %.0f x %.0f pixels of the image; 1 to %zu pixels are accepted", scale,
                       h, w, bs_image_default_limits.max_pixels);
    p->h = (size_t)h;
    p->w = (size_t)w;
    p->row = malloc(p->source_w * sizeof *p->row);
    p->sums = malloc(2 * p->source_w * sizeof *p->sums);
    if (!p->row || !p->sums)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a row of %zu samples", p->source_w);
    else if (p->h != p->source_h || p->w != p->source_w) {
        if ((rc = bs__resampler_open(&p->along_y, p->source_h, p->h, err)) == BS_OK)
            rc = bs__resampler_open(&p->along_x, p->source_w, p->w, err);
    }
    if (rc != BS_OK)
        bs__plane_close(p);
    return rc;
}

void bs__plane_close(struct bs__plane *p)
{
    bs__resampler_close(&p->along_y);
    bs__resampler_close(&p->along_x);
    free(p->row);
    free(p->sums);
    p->row = p->sums = NULL;
}
