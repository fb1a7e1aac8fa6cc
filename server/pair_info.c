/* A pair's description and its JSON. See pair_info.h. */
#include "server/pair_info.h"

#include "model/weights/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 96

static bool file_valid(const struct bs_file_info *f)
{
    bool ok = (unsigned)f->sample < BS_SAMPLE_COUNT && f->raw <= 1 && f->ndim >= 2 &&
              f->ndim <= BS_IMAGE_MAX_DIM && strnlen(f->axes, sizeof f->axes) == (size_t)f->ndim &&
              strnlen(f->unit, sizeof f->unit) < sizeof f->unit;
    for (int i = 0; ok && i < f->ndim; i++)
        ok = strchr("tzcyx?", f->axes[i]) && f->dim[i] > 0 && f->dim[i] <= INT64_MAX &&
             isfinite(f->pixel_size[i]) && f->pixel_size[i] >= 0;
    return ok;
}

uint64_t bs_file_info_along(const struct bs_file_info *f, char axis)
{
    const char *at = strchr(f->axes, axis);
    if (!at && axis == 'z')
        at = strchr(f->axes, '?');
    return at ? f->dim[at - f->axes] : 1;
}

uint64_t bs_file_info_planes(const struct bs_file_info *f)
{
    uint64_t n = 1;
    for (int i = 0; i < f->ndim; i++)
        if (!strchr("cyx", f->axes[i]))
            n *= f->dim[i]; /* what was in memory cannot overflow */
    return n;
}

void bs_file_info_plane_at(const struct bs_file_info *f, uint64_t index, uint64_t *t, uint64_t *z)
{
    *t = *z = 0;
    for (int i = f->ndim - 1; i >= 0; i--) {
        if (strchr("cyx", f->axes[i]))
            continue;
        *(f->axes[i] == 't' ? t : z) = index % f->dim[i];
        index /= f->dim[i];
    }
}

struct bs_raw_image bs_file_info_raw(const struct bs_file_info *f)
{
    struct bs_raw_image raw = {.ndim = 0};
    if (!f->raw)
        return raw;
    raw.sample = f->sample;
    raw.ndim = f->ndim;
    memcpy(raw.axes, f->axes, sizeof raw.axes);
    memcpy(raw.dim, f->dim, sizeof raw.dim);
    return raw;
}

bool bs_pair_info_valid(const struct bs_pair_info *info)
{
    return file_valid(&info->image) && file_valid(&info->labels) && info->has_prediction <= 1 &&
           (!info->has_prediction || file_valid(&info->prediction)) && info->objects <= INT64_MAX;
}

static void write_file(struct bs_json_writer *w, const char *key, const struct bs_file_info *f)
{
    bs_json_write_open(w, key, '{');
    bs_json_write_string(w, "sample", bs_sample_name(f->sample));
    bs_json_write_string(w, "axes", f->axes);
    bs_json_write_open(w, "shape", '[');
    for (int i = 0; i < f->ndim; i++)
        bs_json_write_int(w, NULL, (int64_t)f->dim[i]);
    bs_json_write_close(w, ']');
    bs_json_write_open(w, "pixel_size", '[');
    for (int i = 0; i < f->ndim; i++)
        bs_json_write_double(w, NULL, f->pixel_size[i]);
    bs_json_write_close(w, ']');
    bs_json_write_string(w, "unit", f->unit);
    if (f->raw)
        bs_json_write_bool(w, "raw", true);
    bs_json_write_close(w, '}');
}

bs_status bs_pair_info_to_json(const struct bs_pair_info *info, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    write_file(&w, "image", &info->image);
    write_file(&w, "labels", &info->labels);
    if (info->has_prediction)
        write_file(&w, "prediction", &info->prediction);
    bs_json_write_int(&w, "objects", (int64_t)info->objects);
    bs_json_write_close(&w, '}');
    *json = bs_json_write_end(&w);
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "out of memory while describing a pair");
}

static bool read_text(const struct bs_json_value *v, char *out, size_t room)
{
    const char *text;
    if (!bs_json_as_string(v, &text) || strlen(text) >= room)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool read_file(const struct bs_json_value *v, struct bs_file_info *f)
{
    const char *sample;
    if (!bs_json_as_string(bs_json_get(v, "sample"), &sample) ||
        !read_text(bs_json_get(v, "axes"), f->axes, sizeof f->axes) ||
        !read_text(bs_json_get(v, "unit"), f->unit, sizeof f->unit))
        return false;
    const struct bs_json_value *is_raw = bs_json_get(v, "raw"); /* files alone do not say it */
    bool raw = false;
    if (is_raw && !bs_json_as_bool(is_raw, &raw))
        return false;
    f->raw = raw;
    int which = 0;
    while (which < BS_SAMPLE_COUNT && strcmp(bs_sample_name((enum bs_sample)which), sample) != 0)
        which++;
    f->sample = (enum bs_sample)which;
    f->ndim = (int)strlen(f->axes);
    const struct bs_json_value *dim = bs_json_first(bs_json_get(v, "shape"));
    const struct bs_json_value *size = bs_json_first(bs_json_get(v, "pixel_size"));
    for (int i = 0; i < f->ndim; i++, dim = bs_json_next(dim), size = bs_json_next(size)) {
        int64_t n;
        if (!dim || !size || !bs_json_as_int(dim, &n) || n < 1 || !bs_json_as_double(size, &f->pixel_size[i]))
            return false;
        f->dim[i] = (uint64_t)n;
    }
    return !dim && !size;
}

bs_status bs_pair_info_from_json(const char *json, struct bs_pair_info *info, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    int64_t objects = -1;
    memset(info, 0, sizeof *info);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc);
    bool ok = read_file(bs_json_get(root, "image"), &info->image) &&
              read_file(bs_json_get(root, "labels"), &info->labels) &&
              bs_json_as_int(bs_json_get(root, "objects"), &objects) && objects >= 0;
    info->objects = (uint64_t)objects;
    info->has_prediction = bs_json_get(root, "prediction") != NULL;
    ok = ok && (!info->has_prediction || read_file(bs_json_get(root, "prediction"), &info->prediction));
    bs_json_free(doc);
    return ok && bs_pair_info_valid(info)
               ? BS_OK
               : BS_FAIL(err, BS_ECORRUPT, "the stored description of a pair is not valid");
}
