/* The samples of an image that go into the network: one channel of one plane (model/image/plane.h) at the network's scale, with
   what carries no information as NaN. A view: the image is borrowed. Any thread. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdlib.h>

void bs__plane_raw_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out)
{
    bs_plane_read(&p->view, y, x, n, out);
}

void bs__plane_source_row(const struct bs__plane *p, size_t y, size_t x, size_t n, double *out)
{
    bs_plane_read(&p->view, y, x, n, out);
    if (p->has_no_data)
        for (size_t i = 0; i < n; i++)
            if (out[i] == p->no_data)
                out[i] = NAN; /* a no-data value of NaN needs nothing: NaN is no data from here on */
    bs_plane_as_measured(&p->view, out, n);
}

bs_status bs__plane_open(struct bs__plane *p, const struct bs_image *image,
                         const struct bs_segment_params *params, double scale, struct bs_err *err)
{
    return bs__plane_open_at(p, image, params, scale, NULL, err);
}

/* Where the plane stands among those of the image. */
static int64_t index_of(const struct bs_image *image, const struct bs__place *at)
{
    size_t index = 0;
    for (int i = 0; i < image->ndim; i++) {
        char axis = image->axes[i];
        if (axis != 'y' && axis != 'x' && axis != 'c')
            index = index * image->dim[i] + (axis == 't' ? at->t : axis == 'z' ? at->z : 0);
    }
    return (int64_t)index;
}

/* The part of the plane that the place names. */
static void look_at(struct bs__plane *p, const struct bs__place *at)
{
    struct bs_plane *v = &p->view;
    p->place = at ? *at : (struct bs__place){0};
    if (p->place.box.h == 0)
        p->place.box = (struct bs__box){0, 0, v->height, v->width};
    const struct bs__box *box = &p->place.box;
    BS_ASSERT(box->top + box->h <= v->height && box->left + box->w <= v->width);
    v->offset += box->top * v->stride_y + box->left * v->stride_x;
    v->height = box->h;
    v->width = box->w;
}

bs_status bs__plane_open_at(struct bs__plane *p, const struct bs_image *image,
                            const struct bs_segment_params *params, double scale, const struct bs__place *at,
                            struct bs_err *err)
{
    bs_status rc = BS_OK;
    *p = (struct bs__plane){.has_no_data = params->has_no_data, .no_data = params->no_data};
    if ((rc = bs_plane_find(image, at ? index_of(image, at) : BS_PLANE_ONLY, &p->view, err)) != BS_OK)
        return rc;
    look_at(p, at);
    p->source_h = p->view.height;
    p->source_w = p->view.width;
    if (p->source_h == 0 || p->source_w == 0)
        return BS_FAIL(err, BS_EINVAL, "an image of %zu x %zu pixels cannot be segmented", p->source_h,
                       p->source_w);
    if (p->source_h > INT32_MAX / 2 || p->source_w > INT32_MAX / 2)
        return BS_FAIL(err, BS_ELIMIT, "a side of %zu x %zu pixels is over the limit of %d", p->source_h,
                       p->source_w, INT32_MAX / 2);
    if ((rc = bs_plane_choose_channel(&p->view, params->channel, err)) != BS_OK)
        return rc;
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
