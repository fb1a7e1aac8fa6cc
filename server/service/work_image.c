/* What a request says of its image, and of which part of it: ImageDescription, region and planes, checked against each
   other. A file's own axes are known to the worker only, which checks all of it again. Any thread. */
#include "server/service/service_internal.h"

#include "kernels/base/checked.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static bs_status sample_type(Bioseg__V1__SampleType type, enum bs_sample *out, struct bs_err *err)
{
    static const enum bs_sample samples[] = {
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT8] = BS_SAMPLE_U8,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT16] = BS_SAMPLE_U16,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32] = BS_SAMPLE_U32,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT8] = BS_SAMPLE_I8,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT16] = BS_SAMPLE_I16,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT32] = BS_SAMPLE_I32,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT32] = BS_SAMPLE_F32,
        [BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT64] = BS_SAMPLE_F64,
    };
    if ((unsigned)type == 0 || (unsigned)type >= sizeof samples / sizeof samples[0])
        return BS_FAIL(err, BS_EINVAL,
                       "image.sample_type is missing; raw samples need one of uint8, uint16, uint32, int8, "
                       "int16, int32, float32, float64");
    *out = samples[type];
    return BS_OK;
}

/* Micrometres per unit; 0: not a unit of length that we know. */
static double micrometres(const char *unit)
{
    static const struct {
        const char *name;
        double um;
    } units[] = {{"um", 1},         {"\xc2\xb5m", 1}, {"\xce\xbcm", 1}, {"micron", 1}, {"micrometer", 1},
                 {"micrometre", 1}, {"nm", 1e-3},     {"mm", 1e3},      {"m", 1e6}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].name) == 0)
            return units[i].um;
    }
    return 0;
}

static bs_status pixel_size(const Bioseg__V1__Axis *axis, double *size, struct bs_err *err)
{
    *size = 0;
    if (axis->pixel_size == 0)
        return BS_OK;
    if (!(axis->pixel_size > 0) || !isfinite(axis->pixel_size))
        return BS_FAIL(err, BS_EINVAL,
                       "the pixel size of axis %.8s is %g; a positive number is accepted, or 0 for unknown",
                       axis->name, axis->pixel_size);
    double um = micrometres(axis->unit);
    if (um == 0)
        return BS_FAIL(err, BS_EINVAL,
                       "the unit of axis %.8s is \"%.32s\"; um, nm, mm and m are accepted with a pixel size",
                       axis->name, axis->unit);
    *size = axis->pixel_size * um;
    return BS_OK;
}

/* Letters, sizes and pixel size of the axes into the request. */
static bs_status axes(const Bioseg__V1__ImageDescription *image, struct bs_job_request *q, struct bs_err *err)
{
    double y = 0, x = 0, z = 0;
    bs_status rc = BS_OK;
    if (image->n_axes > BS_IMAGE_MAX_DIM)
        return BS_FAIL(err, BS_EINVAL, "image.axes has %zu axes; at most %d are accepted", image->n_axes,
                       BS_IMAGE_MAX_DIM);
    for (size_t i = 0; i < image->n_axes && rc == BS_OK; i++) {
        const Bioseg__V1__Axis *a = image->axes[i];
        if (strlen(a->name) != 1 || !strchr("tzcyx", a->name[0]))
            return BS_FAIL(err, BS_EINVAL, "axis %zu is named \"%.16s\"; t, z, c, y and x are accepted", i,
                           a->name);
        if (strchr(q->axes, a->name[0]))
            return BS_FAIL(err, BS_EINVAL, "image.axes names %s twice", a->name);
        if (q->raw && a->size == 0)
            return BS_FAIL(err, BS_EINVAL, "axis %s has size 0; at least 1 is needed", a->name);
        if (a->size > (uint64_t)1 << 40)
            return BS_FAIL(err, BS_ELIMIT, "axis %s has size %" PRIu64 "; at most %" PRIu64 " is accepted",
                           a->name, a->size, (uint64_t)1 << 40);
        q->axes[i] = a->name[0];
        q->axes[i + 1] = 0;
        q->dim[i] = (size_t)a->size;
        if (a->name[0] == 'y')
            rc = pixel_size(a, &y, err);
        else if (a->name[0] == 'x')
            rc = pixel_size(a, &x, err);
        else if (a->name[0] == 'z')
            rc = pixel_size(a, &z, err);
        else if (a->name[0] == 'c' && a->pixel_size != 0)
            rc = BS_FAIL(err, BS_EINVAL, "axis c has a pixel size; channels have none");
    }
    if (rc != BS_OK)
        return rc;
    if (y > 0 && x > 0 && fabs(y - x) > 0.01 * x)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the pixel is %g by %g um; only square pixels are supported in this version of bioseg",
                       y, x);
    q->ndim = (int)image->n_axes;
    q->pixel_size = x > 0 ? x : y;
    q->spacing = z;
    return BS_OK;
}

static bs_status raw_image(const Bioseg__V1__ImageDescription *image, uint64_t total_bytes,
                           struct bs_job_request *q, struct bs_err *err)
{
    const char *y = strchr(q->axes, 'y'), *x = strchr(q->axes, 'x');
    size_t bytes;
    bs_status rc;
    if ((rc = sample_type(image->sample_type, &q->sample, err)) != BS_OK)
        return rc;
    if (!y || !x || x != y + 1 || (x[1] && strcmp(x + 1, "c") != 0))
        return BS_FAIL(
            err, BS_EINVAL,
            "the image has axes \"%s\"; yx, yxc and cyx are accepted, and with t and z before y e.g. "
            "zyx, tzyxc and tczyx",
            q->axes);
    bytes = bs_sample_size(q->sample);
    for (int i = 0; i < q->ndim; i++) {
        if (!bs_mul(bytes, q->dim[i], &bytes))
            return BS_FAIL(err, BS_ELIMIT, "the image's size overflows");
    }
    if (total_bytes && bytes != total_bytes)
        return BS_FAIL(err, BS_EINVAL, "the image as described has %zu bytes, but %" PRIu64 " bytes are sent",
                       bytes, total_bytes);
    return BS_OK;
}

static bs_status file_image(const Bioseg__V1__ImageDescription *image, struct bs_job_request *q,
                            struct bs_err *err)
{
    if (image->sample_type)
        return BS_FAIL(err, BS_EINVAL,
                       "image.sample_type is given for a file, which states its own; leave it out");
    for (size_t i = 0; i < image->n_axes; i++) {
        const Bioseg__V1__Axis *a = image->axes[i];
        bool pages = !strchr("yx", a->name[0]);
        if (a->size != 0)
            return BS_FAIL(err, BS_EINVAL, "axis %s has a size, but the sizes of a file are the file's own",
                           a->name);
        if (pages && q->pages)
            return BS_FAIL(err, BS_EINVAL,
                           "the pages of a file are said to be %c and %s; at most one of t, z and c is "
                           "accepted",
                           q->pages, a->name);
        if (pages)
            q->pages = a->name[0];
    }
    if (q->spacing > 0 && !(q->pixel_size > 0))
        return BS_FAIL(err, BS_EINVAL,
                       "axis z has a pixel size, axes y and x have none; for a file they are given together");
    return BS_OK;
}

static bs_status channel_names(const Bioseg__V1__ImageDescription *image, const struct bs_job_request *q,
                               struct bs_err *err)
{
    const char *c = strchr(q->axes, 'c');
    if (image->n_channel_names == 0)
        return BS_OK;
    if (!q->raw)
        return BS_FAIL(err, BS_EUNSUPPORTED, "channel names for files" BS__LATER);
    size_t channels = c ? q->dim[c - q->axes] : 1;
    if (image->n_channel_names != channels)
        return BS_FAIL(err, BS_EINVAL, "image.channel_names has %zu names for %zu channels",
                       image->n_channel_names, channels);
    return BS_OK;
}

bs_status bs__work_image(const Bioseg__V1__ImageDescription *image, uint64_t total_bytes,
                         struct bs_job_request *q, struct bs_err *err)
{
    bs_status rc;
    if (!image || image->encoding == BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_UNSPECIFIED)
        return BS_FAIL(err, BS_EINVAL,
                       "image.encoding is missing; IMAGE_ENCODING_RAW and IMAGE_ENCODING_FILE are accepted");
    q->raw = image->encoding == BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW;
    if ((rc = axes(image, q, err)) != BS_OK)
        return rc;
    rc = q->raw ? raw_image(image, total_bytes, q, err) : file_image(image, q, err);
    if (rc == BS_OK)
        rc = channel_names(image, q, err);
    if (!q->raw) { /* the file states them */
        q->ndim = 0;
        q->axes[0] = 0;
    }
    return rc;
}

/* Against the axes of a raw image; a file's are known to the worker only, which checks all of it again. */
static bs_status check_range(const struct bs_job_request *q, char axis, uint64_t first, uint64_t count,
                             struct bs_err *err)
{
    const char *at = q->raw ? strchr(q->axes, axis) : NULL;
    if (first > INT64_MAX || count > INT64_MAX)
        return BS_FAIL(err, BS_EINVAL, "the region reaches beyond any image along %c", axis);
    if (q->raw && !at && (first != 0 || count > 1))
        return BS_FAIL(err, BS_EINVAL, "the region has planes along %c, the image (axes %s) has no such axis",
                       axis, q->axes);
    if (at && (first >= q->dim[at - q->axes] || count > q->dim[at - q->axes] - first))
        return BS_FAIL(err, BS_EINVAL,
                       "the region has %" PRIu64 " from %c = %" PRIu64 " on; the image has %zu along %c",
                       count, axis, first, q->dim[at - q->axes], axis);
    return BS_OK;
}

static bs_status region(const Bioseg__V1__SegmentSpec *spec, struct bs_job_request *q, struct bs_err *err)
{
    const Bioseg__V1__Region *r = spec->region;
    bs_status rc;
    if (!r)
        return BS_OK;
    if ((rc = check_range(q, 'y', r->y, r->height, err)) != BS_OK ||
        (rc = check_range(q, 'x', r->x, r->width, err)) != BS_OK ||
        (rc = check_range(q, 'z', r->z, r->depth, err)) != BS_OK ||
        (rc = check_range(q, 't', r->t, r->duration, err)) != BS_OK)
        return rc;
    q->params.region = (struct bs_region){.y = r->y,
                                          .x = r->x,
                                          .height = r->height,
                                          .width = r->width,
                                          .z = r->z,
                                          .depth = r->depth,
                                          .t = r->t,
                                          .duration = r->duration};
    return BS_OK;
}

static bs_status planes(const Bioseg__V1__SegmentSpec *spec, struct bs_job_request *q, struct bs_err *err)
{
    q->params.planes = spec->plane_mode == BIOSEG__V1__PLANE_MODE__PLANE_MODE_LINKED ? BS_PLANES_LINKED
                                                                                     : BS_PLANES_INDEPENDENT;
    q->params.separate_planes = spec->separate_planes;
    if (q->params.planes == BS_PLANES_LINKED && q->params.separate_planes)
        return BS_FAIL(err, BS_EINVAL,
                       "planes are to be linked and separate at once; one of the two is accepted");
    if (q->params.planes == BS_PLANES_LINKED && q->raw && !strchr(q->axes, 'z'))
        return BS_FAIL(err, BS_EINVAL,
                       "linked planes need an axis z; the image has axes %s (points of time are not linked)",
                       q->axes);
    return BS_OK;
}

bs_status bs__work_part(const Bioseg__V1__SegmentSpec *spec, struct bs_job_request *q, struct bs_err *err)
{
    bs_status rc = region(spec, q, err);
    return rc == BS_OK ? planes(spec, q, err) : rc;
}
