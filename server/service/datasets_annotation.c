/* bioseg.v1.Annotation, and what is said of a pair's files, from messages and back. Any thread. */
#include "server/service/datasets_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- from messages ---- */

static bs_status take_regions(const char *what, Bioseg__V1__Region *const *list, size_t n,
                              struct bs_region **out, size_t *count, struct bs_err *err)
{
    if (n > BS_ANNOTATION_MAX_REGIONS)
        return BS_FAIL(err, BS_EINVAL, "annotation.%s has %zu regions; at most %d are accepted", what, n,
                       BS_ANNOTATION_MAX_REGIONS);
    if (n && !(*out = malloc(n * sizeof **out)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu regions", n);
    for (*count = 0; *count < n; ++*count) {
        const Bioseg__V1__Region *r = list[*count];
        (*out)[*count] = (struct bs_region){.y = r->y,
                                            .x = r->x,
                                            .height = r->height,
                                            .width = r->width,
                                            .z = r->z,
                                            .depth = r->depth,
                                            .t = r->t,
                                            .duration = r->duration};
    }
    return BS_OK;
}

bs_status bs__annotation_take(const Bioseg__V1__Annotation *m, bool has_prediction, struct bs_annotation *a,
                              struct bs_err *err)
{
    bs_status rc;
    memset(a, 0, sizeof *a);
    if (m && m->origin != BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_UNSPECIFIED &&
        m->origin != BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_DRAWN &&
        m->origin != BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_PREDICTED)
        return BS_FAIL(err, BS_EINVAL, "annotation.origin is %d, which is not known", (int)m->origin);
    a->predicted = m && m->origin == BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_PREDICTED;
    if (has_prediction && !a->predicted)
        return BS_FAIL(
            err, BS_EINVAL,
            "a prediction belongs to the labels, but annotation.origin is not LABEL_ORIGIN_PREDICTED");
    if (!m)
        return BS_OK;
    a->done = m->done;
    if (m->ignore_case == BIOSEG__V1__ANNOTATION__IGNORE_IGNORE_LABEL) {
        a->has_ignore_label = true;
        a->ignore_label = m->ignore_label;
        if (a->ignore_label < INT32_MIN || a->ignore_label > UINT32_MAX || a->ignore_label == 0)
            return BS_FAIL(err, BS_EINVAL,
                           "annotation.ignore_label is %" PRId64
                           "; %d to %u is accepted, but not 0, which is background",
                           a->ignore_label, INT32_MIN, UINT32_MAX);
    }
    rc = take_regions("annotated", m->annotated, m->n_annotated, &a->annotated, &a->nannotated, err);
    return rc == BS_OK ? take_regions("ignored", m->ignored, m->n_ignored, &a->ignored, &a->nignored, err)
                       : rc;
}

bs_status bs__pair_file_take(const char *what, const Bioseg__V1__ImageDescription *d, uint64_t bytes,
                             struct bs_raw_image *raw, struct bs_err *err)
{
    struct bs_job_request q = {.ndim = 0};
    memset(raw, 0, sizeof *raw);
    if (!d)
        return BS_OK;
    if (d->encoding != BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW) {
        if (d->n_axes || d->sample_type || d->n_channel_names)
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "%s names axes, a sample type or channels, which the file states itself; other "
                           "ones" BS__LATER,
                           what);
        return BS_OK;
    }
    if (d->n_channel_names)
        return BS_FAIL(err, BS_EUNSUPPORTED, "%s: names of channels" BS__LATER, what);
    if (bs__work_image(d, bytes, &q, err) != BS_OK)
        return bs_err_prefix(err, "%s", what);
    raw->sample = q.sample;
    raw->ndim = q.ndim;
    memcpy(raw->axes, q.axes, sizeof raw->axes);
    for (int i = 0; i < q.ndim; i++)
        raw->dim[i] = q.dim[i];
    return bs_raw_image_check(raw, err) == BS_OK ? BS_OK : bs_err_prefix(err, "%s", what);
}

void bs__pair_file_sizes(const Bioseg__V1__ImageDescription *d, struct bs_file_info *f)
{
    if (!f->raw || !d)
        return;
    for (int i = 0; i < f->ndim && (size_t)i < d->n_axes; i++) {
        f->pixel_size[i] = d->axes[i]->pixel_size;
        if (d->axes[i]->name[0] == 'x')
            (void)snprintf(f->unit, sizeof f->unit, "%s", d->axes[i]->unit);
    }
}

struct bs_raw_image bs__raw_of(const struct bs_file_info *f)
{
    return bs_file_info_raw(f);
}

/* ---- to messages ---- */

static bool give_regions(struct bs_arena *arena, const struct bs_region *r, size_t n,
                         Bioseg__V1__Region ***out, size_t *count)
{
    Bioseg__V1__Region *each = bs_arena_array(arena, n + 1, sizeof *each);
    if (!each || !(*out = bs_arena_array(arena, n + 1, sizeof **out)))
        return false;
    for (size_t i = 0; i < n; i++) {
        bioseg__v1__region__init(&each[i]);
        each[i].y = r[i].y;
        each[i].x = r[i].x;
        each[i].height = r[i].height;
        each[i].width = r[i].width;
        each[i].z = r[i].z;
        each[i].depth = r[i].depth;
        each[i].t = r[i].t;
        each[i].duration = r[i].duration;
        (*out)[i] = &each[i];
    }
    *count = n;
    return true;
}

Bioseg__V1__Annotation *bs__annotation_message(struct bs_arena *arena, const char *json)
{
    struct bs_annotation a;
    struct bs_err ignored;
    Bioseg__V1__Annotation *m = NULL;
    if (!json || strcmp(json, "{}") == 0)
        return NULL;
    /* What a newer bioseg wrote and this one does not know stays empty. */
    if (bs_annotation_from_json(json, &a, &ignored) == BS_OK && (m = bs_arena_alloc(arena, sizeof *m))) {
        bioseg__v1__annotation__init(m);
        if (a.has_ignore_label) {
            m->ignore_case = BIOSEG__V1__ANNOTATION__IGNORE_IGNORE_LABEL;
            m->ignore_label = a.ignore_label;
        }
        m->origin = a.predicted ? BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_PREDICTED
                                : BIOSEG__V1__LABEL_ORIGIN__LABEL_ORIGIN_DRAWN;
        m->done = a.done;
        if (!give_regions(arena, a.annotated, a.nannotated, &m->annotated, &m->n_annotated) ||
            !give_regions(arena, a.ignored, a.nignored, &m->ignored, &m->n_ignored))
            m = NULL;
    }
    bs_annotation_clear(&a);
    return m;
}
