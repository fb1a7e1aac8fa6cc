/* A pair's description and its JSON. See pair_info.h. */
#include "server/pair_info.h"

#include "model/weights/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 64

static bool file_valid(const struct bs_file_info *f)
{
    bool ok = (unsigned)f->sample < BS_SAMPLE_COUNT && f->ndim >= 2 && f->ndim <= BS_IMAGE_MAX_DIM &&
              strnlen(f->axes, sizeof f->axes) == (size_t)f->ndim &&
              strnlen(f->unit, sizeof f->unit) < sizeof f->unit;
    for (int i = 0; ok && i < f->ndim; i++)
        ok = strchr("tzcyx?", f->axes[i]) && f->dim[i] > 0 && f->dim[i] <= INT64_MAX &&
             isfinite(f->pixel_size[i]) && f->pixel_size[i] >= 0;
    return ok;
}

bool bs_pair_info_valid(const struct bs_pair_info *info)
{
    return file_valid(&info->image) && file_valid(&info->labels) && info->objects <= INT64_MAX;
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
    bs_json_write_close(w, '}');
}

bs_status bs_pair_info_to_json(const struct bs_pair_info *info, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    write_file(&w, "image", &info->image);
    write_file(&w, "labels", &info->labels);
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
    bs_json_free(doc);
    return ok && bs_pair_info_valid(info)
               ? BS_OK
               : BS_FAIL(err, BS_ECORRUPT, "the stored description of a pair is not valid");
}
