/* See plane.h. */
#include "model/image/plane.h"

#include <string.h>

static double white_of(enum bs_sample s)
{
    return s == BS_SAMPLE_U8 ? 255.0 : s == BS_SAMPLE_U16 ? 65535.0 : s == BS_SAMPLE_U32 ? 4294967295.0 : 0.0;
}

#define READ_AS(type)                                                                                        \
    for (size_t i = 0; i < n; i++)                                                                           \
    out[i] = (double)((const type *)p->image->data)[at + i * p->stride_x]

void bs_plane_read(const struct bs_plane *p, size_t y, size_t x, size_t n, double *out)
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

void bs_plane_as_measured(const struct bs_plane *p, double *v, size_t n)
{
    for (size_t i = 0; p->image->white_is_zero && i < n; i++)
        v[i] = white_of(p->image->sample) - v[i];
}

static bool is_plane_axis(char axis)
{
    return axis != 'y' && axis != 'x' && axis != 'c';
}

size_t bs_plane_count(const struct bs_image *image)
{
    size_t count = 1;
    for (int i = 0; i < image->ndim; i++)
        if (is_plane_axis(image->axes[i]))
            count *= image->dim[i];
    return count;
}

/* Several planes where one is expected: the axis that they lie along is named. */
static bs_status several_planes(const struct bs_image *image, struct bs_err *err)
{
    for (int i = 0; i < image->ndim; i++) {
        if (!is_plane_axis(image->axes[i]) || image->dim[i] == 1)
            continue;
        if (image->axes[i] == '?')
            return BS_FAIL(
                err, BS_EINVAL,
                "the file has %zu pages and does not say what they are: state their axis (z, t or c)",
                image->dim[i]);
        return BS_FAIL(err, BS_EINVAL, "the image has %zu planes along %c; one plane at a time is taken",
                       image->dim[i], image->axes[i]);
    }
    return BS_OK;
}

bs_status bs_plane_find(const struct bs_image *image, int64_t index, struct bs_plane *out, struct bs_err *err)
{
    const size_t planes = bs_plane_count(image);
    *out = (struct bs_plane){.image = image, .channels = 1};
    if (index == BS_PLANE_ONLY && planes > 1)
        return several_planes(image, err);
    if (index != BS_PLANE_ONLY && (index < 0 || (uint64_t)index >= planes))
        return BS_FAIL(err, BS_EINVAL, "plane %lld: the image has %zu, so 0 to %zu are accepted",
                       (long long)index, planes, planes - 1);
    size_t stride = 1, rest = index == BS_PLANE_ONLY ? 0 : (size_t)index;
    for (int i = image->ndim - 1; i >= 0; i--) {
        const size_t dim = image->dim[i];
        switch (image->axes[i]) {
        case 'y':
            out->height = dim;
            out->stride_y = stride;
            break;
        case 'x':
            out->width = dim;
            out->stride_x = stride;
            break;
        case 'c':
            out->channels = dim;
            out->stride_c = stride;
            break;
        default:
            out->offset += rest % dim * stride;
            rest /= dim;
        }
        stride *= dim;
    }
    return BS_OK;
}

/* Two channels hold the same samples everywhere. */
static bool channels_equal(const struct bs_plane *p, size_t a, size_t b)
{
    const size_t size = bs_sample_size(p->image->sample);
    const unsigned char *data = p->image->data;
    for (size_t y = 0; y < p->height; y++)
        for (size_t x = 0; x < p->width; x++) {
            size_t at = p->offset + y * p->stride_y + x * p->stride_x;
            if (memcmp(data + (at + a * p->stride_c) * size, data + (at + b * p->stride_c) * size, size) != 0)
                return false;
        }
    return true;
}

static bool channel_constant(const struct bs_plane *p, size_t c)
{
    const size_t size = bs_sample_size(p->image->sample);
    const unsigned char *data = (const unsigned char *)p->image->data + (p->offset + c * p->stride_c) * size,
                        *at;
    for (size_t y = 0; y < p->height; y++)
        for (size_t x = 0; x < p->width; x++) {
            at = data + (y * p->stride_y + x * p->stride_x) * size;
            if (memcmp(at, data, size) != 0)
                return false;
        }
    return true;
}

bs_status bs_plane_choose_channel(struct bs_plane *p, int wanted, struct bs_err *err)
{
    if (p->channels == 1 && wanted > 0)
        return BS_FAIL(err, BS_EINVAL, "channel %d: the image has one channel, so 0 is accepted", wanted);
    if (p->channels == 1)
        return BS_OK;
    if (wanted >= 0) {
        if ((size_t)wanted >= p->channels)
            return BS_FAIL(err, BS_EINVAL, "channel %d: the image has %zu, so 0 to %zu are accepted", wanted,
                           p->channels, p->channels - 1);
        p->offset += (size_t)wanted * p->stride_c;
        return BS_OK;
    }
    size_t colour = p->channels;
    if ((colour == 2 || colour == 4) && channel_constant(p, colour - 1))
        colour--;
    for (size_t c = 1; c < colour; c++)
        if (!channels_equal(p, 0, c))
            return BS_FAIL(
                err, BS_EINVAL,
                "the image has %zu channels that differ; say which one shows the objects (channel 0 to %zu)",
                p->channels, p->channels - 1);
    return BS_OK;
}
