/* See annotation.h. The text:

     {"ignore_label":255,"annotated":[[y,x,height,width,z,depth,t,duration],...],"ignored":[...],"predicted":true,"done":true} */
#include "server/annotation.h"

#include "model/weights/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define NUMBERS    8 /* of a region */
#define MAX_VALUES (2 * BS_ANNOTATION_MAX_REGIONS * (NUMBERS + 1) + 16)

void bs_annotation_clear(struct bs_annotation *a)
{
    free(a->annotated);
    free(a->ignored);
    memset(a, 0, sizeof *a);
}

/* ---- sizes ---- */

static bs_status resolve_range(const char *what, size_t index, const char *along, uint64_t first,
                               uint64_t *count, uint64_t n, struct bs_err *err)
{
    if (*count == 0 && first < n)
        *count = n - first;
    if (first >= n || *count > n - first)
        return BS_FAIL(err, BS_EINVAL,
                       "annotation.%s[%zu] has %" PRIu64 " %s from %" PRIu64 " on; the labels have %" PRIu64,
                       what, index, *count, along, first, n);
    return BS_OK;
}

static bs_status resolve(const char *what, struct bs_region *r, size_t count, const struct bs_file_info *f,
                         struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (size_t i = 0; i < count && rc == BS_OK; i++)
        if ((rc = resolve_range(what, i, "rows", r[i].y, &r[i].height, bs_file_info_along(f, 'y'), err)) ==
                BS_OK &&
            (rc = resolve_range(what, i, "columns", r[i].x, &r[i].width, bs_file_info_along(f, 'x'), err)) ==
                BS_OK &&
            (rc = resolve_range(what, i, "planes", r[i].z, &r[i].depth, bs_file_info_along(f, 'z'), err)) ==
                BS_OK)
            rc = resolve_range(what, i, "points of time", r[i].t, &r[i].duration, bs_file_info_along(f, 't'),
                               err);
    return rc;
}

bs_status bs_annotation_resolve(struct bs_annotation *a, const struct bs_file_info *labels,
                                struct bs_err *err)
{
    bs_status rc = resolve("annotated", a->annotated, a->nannotated, labels, err);
    return rc == BS_OK ? resolve("ignored", a->ignored, a->nignored, labels, err) : rc;
}

/* ---- text ---- */

static void write_regions(struct bs_json_writer *w, const char *key, const struct bs_region *r, size_t count)
{
    if (count == 0)
        return;
    bs_json_write_open(w, key, '[');
    for (size_t i = 0; i < count; i++) {
        const uint64_t number[NUMBERS] = {r[i].y, r[i].x,     r[i].height, r[i].width,
                                          r[i].z, r[i].depth, r[i].t,      r[i].duration};
        bs_json_write_open(w, NULL, '[');
        for (int k = 0; k < NUMBERS; k++)
            bs_json_write_int(w, NULL, (int64_t)number[k]);
        bs_json_write_close(w, ']');
    }
    bs_json_write_close(w, ']');
}

bs_status bs_annotation_to_json(const struct bs_annotation *a, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    if (a->has_ignore_label)
        bs_json_write_int(&w, "ignore_label", a->ignore_label);
    write_regions(&w, "annotated", a->annotated, a->nannotated);
    write_regions(&w, "ignored", a->ignored, a->nignored);
    if (a->predicted)
        bs_json_write_bool(&w, "predicted", true);
    if (a->done)
        bs_json_write_bool(&w, "done", true);
    bs_json_write_close(&w, '}');
    *json = bs_json_write_end(&w);
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "out of memory while describing where labels count");
}

static bool read_region(const struct bs_json_value *v, struct bs_region *r)
{
    uint64_t *const number[NUMBERS] = {&r->y, &r->x,     &r->height, &r->width,
                                       &r->z, &r->depth, &r->t,      &r->duration};
    const struct bs_json_value *n = bs_json_first(v);
    if (bs_json_count(v) != NUMBERS)
        return false;
    for (int k = 0; k < NUMBERS; k++, n = bs_json_next(n)) {
        int64_t value;
        if (!bs_json_as_int(n, &value) || value < 0)
            return false;
        *number[k] = (uint64_t)value;
    }
    return true;
}

static bool read_regions(const struct bs_json_value *root, const char *key, struct bs_region **out,
                         size_t *count)
{
    const struct bs_json_value *list = bs_json_get(root, key);
    const size_t n = bs_json_count(list);
    if (n == 0)
        return list == NULL;
    if (n > BS_ANNOTATION_MAX_REGIONS || !(*out = calloc(n, sizeof **out)))
        return false;
    for (const struct bs_json_value *v = bs_json_first(list); v; v = bs_json_next(v))
        if (!read_region(v, &(*out)[(*count)++]))
            return false;
    return true;
}

static bool read_flag(const struct bs_json_value *root, const char *key, bool *out)
{
    const struct bs_json_value *v = bs_json_get(root, key);
    return !v || bs_json_as_bool(v, out);
}

bs_status bs_annotation_from_json(const char *json, struct bs_annotation *a, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    memset(a, 0, sizeof *a);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc), *label = bs_json_get(root, "ignore_label");
    a->has_ignore_label = label != NULL;
    const bool ok = bs_json_type_of(root) == BS_JSON_OBJECT &&
                    (!label || bs_json_as_int(label, &a->ignore_label)) &&
                    read_regions(root, "annotated", &a->annotated, &a->nannotated) &&
                    read_regions(root, "ignored", &a->ignored, &a->nignored) &&
                    read_flag(root, "predicted", &a->predicted) && read_flag(root, "done", &a->done);
    bs_json_free(doc);
    return ok ? BS_OK
              : BS_FAIL(err, BS_ECORRUPT, "what is stored of where the labels of a pair count is not valid");
}

/* ---- a plane ---- */

void bs_annotation_plane_clear(struct bs_annotation_plane *p)
{
    free(p->only);
    free(p->ignore);
    memset(p, 0, sizeof *p);
}

static bool within(uint64_t at, uint64_t first, uint64_t count)
{
    return at >= first && at - first < count;
}

static bool boxes_of(const struct bs_region *r, size_t count, uint64_t t, uint64_t z,
                     struct bs_manifest_box **out, size_t *n)
{
    if (count && !(*out = malloc(count * sizeof **out)))
        return false;
    for (size_t i = 0; i < count; i++)
        if (within(t, r[i].t, r[i].duration) && within(z, r[i].z, r[i].depth))
            (*out)[(*n)++] = (struct bs_manifest_box){.top = (int64_t)r[i].y,
                                                      .left = (int64_t)r[i].x,
                                                      .bottom = (int64_t)(r[i].y + r[i].height),
                                                      .right = (int64_t)(r[i].x + r[i].width)};
    return true;
}

bs_status bs_annotation_plane(const struct bs_annotation *a, const struct bs_file_info *labels,
                              uint64_t index, struct bs_annotation_plane *out, struct bs_err *err)
{
    uint64_t t, z;
    memset(out, 0, sizeof *out);
    bs_file_info_plane_at(labels, index, &t, &z);
    if (!boxes_of(a->annotated, a->nannotated, t, z, &out->only, &out->nonly) ||
        !boxes_of(a->ignored, a->nignored, t, z, &out->ignore, &out->nignore)) {
        bs_annotation_plane_clear(out);
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu regions", a->nannotated + a->nignored);
    }
    out->nothing = a->nannotated && out->nonly == 0;
    return BS_OK;
}
