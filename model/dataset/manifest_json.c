/* The text of a manifest:

     {"format":"bioseg data set","version":1,"channel":0,"ignore_label":255,"pairs":[
       {"image":{"file":"a/cells.tif","sha256":"..."},"labels":{"file":"cremi.h5","volume":"volumes/labels/neuron_ids","sha256":"..."},
        "image_plane":3,"labels_plane":3,"group":"a","part":"train",
        "ignore_label":65535,"ignore":[[top,left,bottom,right],...],"only":[...],"prediction":{...},"done":true}, ...]}

   A file of samples alone has "raw":{"sample":"uint8","axes":"yx","shape":[512,512]} before its hash.
   "channel" left out: by the rule; planes left out: the file has one; hashes left out: not known yet. What says nothing is left
   out, members come in this order, so that the same manifest has one text. */
#include "model/dataset/manifest_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT     "bioseg data set"
#define VERSION    1
#define MAX_VALUES ((size_t)8 << 20)

static void write_raw(struct bs_json_writer *w, const struct bs_raw_image *raw)
{
    if (raw->ndim == 0)
        return;
    bs_json_write_open(w, "raw", '{');
    bs_json_write_string(w, "sample", bs_sample_name(raw->sample));
    bs_json_write_string(w, "axes", raw->axes);
    bs_json_write_open(w, "shape", '[');
    for (int i = 0; i < raw->ndim; i++)
        bs_json_write_int(w, NULL, (int64_t)raw->dim[i]);
    bs_json_write_close(w, ']');
    bs_json_write_close(w, '}');
}

static void write_file(struct bs_json_writer *w, const char *key, const struct bs_manifest_file *f,
                       bool by_content)
{
    if (!f->name)
        return;
    bs_json_write_open(w, key, '{');
    if (!by_content)
        bs_json_write_string(w, "file", f->name);
    if (f->volume)
        bs_json_write_string(w, "volume", f->volume);
    write_raw(w, &f->raw);
    if (*f->sha256)
        bs_json_write_string(w, "sha256", f->sha256);
    bs_json_write_close(w, '}');
}

static void write_boxes(struct bs_json_writer *w, const char *key, const struct bs_manifest_box *box,
                        size_t count)
{
    if (count == 0)
        return;
    bs_json_write_open(w, key, '[');
    for (size_t i = 0; i < count; i++) {
        bs_json_write_open(w, NULL, '[');
        bs_json_write_int(w, NULL, box[i].top);
        bs_json_write_int(w, NULL, box[i].left);
        bs_json_write_int(w, NULL, box[i].bottom);
        bs_json_write_int(w, NULL, box[i].right);
        bs_json_write_close(w, ']');
    }
    bs_json_write_close(w, ']');
}

static void write_pair(struct bs_json_writer *w, const struct bs_manifest_pair *p, bool by_content)
{
    bs_json_write_open(w, NULL, '{');
    write_file(w, "image", &p->image, by_content);
    write_file(w, "labels", &p->labels, by_content);
    if (p->image_plane != BS_PLANE_ONLY)
        bs_json_write_int(w, "image_plane", p->image_plane);
    if (p->labels_plane != BS_PLANE_ONLY)
        bs_json_write_int(w, "labels_plane", p->labels_plane);
    if (!by_content)
        bs_json_write_string(w, "group", p->group);
    bs_json_write_string(w, "part", bs_part_name(p->part));
    if (p->has_ignore_label)
        bs_json_write_int(w, "ignore_label", p->ignore_label);
    write_boxes(w, "ignore", p->ignore, p->nignore);
    write_boxes(w, "only", p->only, p->nonly);
    write_file(w, "prediction", &p->prediction, by_content);
    if (p->done)
        bs_json_write_bool(w, "done", true);
    bs_json_write_close(w, '}');
}

void bs__manifest_write(struct bs_json_writer *w, const struct bs_manifest *m, bool by_content)
{
    bs_json_write_open(w, NULL, '{');
    bs_json_write_string(w, "format", FORMAT);
    bs_json_write_int(w, "version", VERSION);
    if (m->channel != BS_PLANE_CHANNEL_ANY)
        bs_json_write_int(w, "channel", m->channel);
    if (m->has_ignore_label)
        bs_json_write_int(w, "ignore_label", m->ignore_label);
    bs_json_write_open(w, "pairs", '[');
    for (size_t i = 0; i < m->count; i++)
        write_pair(w, &m->pair[i], by_content);
    bs_json_write_close(w, ']');
    bs_json_write_close(w, '}');
}

bs_status bs_manifest_write(const struct bs_manifest *m, char **text, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs__manifest_write(&w, m, false);
    if (!(*text = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "no memory to write a data set of %zu pairs", m->count);
    return BS_OK;
}

/* Reading one object: members that are found are counted, to tell whether there are others; the first error stays. */
struct reader {
    const struct bs_json_value *object;
    size_t found;
    bs_status rc;
    struct bs_err *err;
};

static const struct bs_json_value *member(struct reader *r, const char *key)
{
    const struct bs_json_value *v = r->rc == BS_OK ? bs_json_get(r->object, key) : NULL;
    r->found += v != NULL;
    return v;
}

static void wrong_type(struct reader *r, const char *key, const struct bs_json_value *v, const char *wanted)
{
    r->rc = BS_FAIL(r->err, BS_EINVAL, "\"%s\" is %s, %s is needed", key,
                    v ? bs_json_type_name(bs_json_type_of(v)) : "missing", wanted);
}

/* Leaves *out alone when the member is not there. Returns whether it is. */
static bool read_int(struct reader *r, const char *key, int64_t low, int64_t high, int64_t *out)
{
    const struct bs_json_value *v = member(r, key);
    if (!v)
        return false;
    if (!bs_json_as_int(v, out))
        wrong_type(r, key, v, "an integer");
    else if (*out < low || *out > high)
        r->rc = BS_FAIL(r->err, BS_EINVAL, "\"%s\" is %lld; %lld to %lld are accepted", key, (long long)*out,
                        (long long)low, (long long)high);
    return true;
}

/* Borrowed from the document; NULL when it is not there or no text. */
static const char *read_text(struct reader *r, const char *key, bool required)
{
    const char *text = NULL;
    const struct bs_json_value *v = member(r, key);
    if (r->rc == BS_OK && (v || required) && !bs_json_as_string(v, &text))
        wrong_type(r, key, v, "a text");
    return text;
}

static void read_end(struct reader *r, const char *what)
{
    if (r->rc != BS_OK || r->found == bs_json_count(r->object))
        return;
    r->rc = BS_FAIL(r->err, BS_EINVAL, "%s has members that are not known", what);
}

static void read_raw(struct reader *r, struct bs_raw_image *out)
{
    const struct bs_json_value *v = member(r, "raw");
    if (!v)
        return;
    struct reader in = {.object = v, .err = r->err};
    const char *sample = read_text(&in, "sample", true), *axes = read_text(&in, "axes", true);
    const struct bs_json_value *shape = member(&in, "shape"), *size = bs_json_first(shape);
    size_t type = 0;
    while (sample && type < BS_SAMPLE_COUNT && strcmp(bs_sample_name((enum bs_sample)type), sample) != 0)
        type++;
    bool ok = shape && axes && *axes && strlen(axes) <= BS_IMAGE_MAX_DIM &&
              bs_json_count(shape) == strlen(axes) && bs_json_type_of(shape) == BS_JSON_ARRAY &&
              type < BS_SAMPLE_COUNT;
    for (int i = 0; ok && size; size = bs_json_next(size), i++) {
        int64_t n = 0;
        ok = bs_json_as_int(size, &n) && n > 0;
        out->dim[i] = (uint64_t)n;
    }
    read_end(&in, "\"raw\"");
    if (in.rc == BS_OK && !ok)
        in.rc = BS_FAIL(r->err, BS_EINVAL,
                        "\"raw\" needs a known type as \"sample\" and as many sizes in \"shape\" as \"axes\" "
                        "has letters");
    if (in.rc == BS_OK) {
        out->sample = (enum bs_sample)type;
        out->ndim = (int)strlen(axes);
        (void)snprintf(out->axes, sizeof out->axes, "%s", axes);
    }
    r->rc = in.rc;
}

/* The texts stay in the document: the pair is copied when it is added. */
static void read_file(struct reader *r, const char *key, bool required, struct bs_manifest_file *out)
{
    const struct bs_json_value *v = member(r, key);
    if (r->rc != BS_OK || (!v && !required))
        return;
    if (!v || bs_json_type_of(v) != BS_JSON_OBJECT) {
        wrong_type(r, key, v, "an object");
        return;
    }
    struct reader in = {.object = v, .err = r->err};
    out->name = (char *)read_text(&in, "file", true);
    out->volume = (char *)read_text(&in, "volume", false);
    read_raw(&in, &out->raw);
    const char *hash = read_text(&in, "sha256", false);
    if (hash && strlen(hash) != BS_SHA256_TEXT - 1)
        in.rc = BS_FAIL(in.err, BS_EINVAL, "\"sha256\" has %zu characters; %d are accepted", strlen(hash),
                        BS_SHA256_TEXT - 1);
    else if (hash)
        memcpy(out->sha256, hash, BS_SHA256_TEXT);
    read_end(&in, "a file");
    r->rc = in.rc;
}

static bool read_box(const struct bs_json_value *v, struct bs_manifest_box *out)
{
    int64_t *const side[] = {&out->top, &out->left, &out->bottom, &out->right};
    const struct bs_json_value *number = bs_json_first(v);
    if (bs_json_type_of(v) != BS_JSON_ARRAY || bs_json_count(v) != 4)
        return false;
    for (int i = 0; i < 4; i++, number = bs_json_next(number))
        if (!bs_json_as_int(number, side[i]))
            return false;
    return true;
}

/* The caller frees *out, also on failure. */
static void read_boxes(struct reader *r, const char *key, struct bs_manifest_box **out, size_t *count)
{
    const struct bs_json_value *v = member(r, key);
    *out = NULL;
    *count = 0;
    if (!v)
        return;
    const size_t wanted = bs_json_count(v);
    if (bs_json_type_of(v) != BS_JSON_ARRAY || wanted == 0 || wanted > BS_MANIFEST_MAX_BOXES) {
        r->rc = BS_FAIL(r->err, BS_EINVAL, "\"%s\" is no list of 1 to %zu boxes", key, BS_MANIFEST_MAX_BOXES);
        return;
    }
    if (!(*out = malloc(wanted * sizeof **out))) {
        r->rc = BS_FAIL(r->err, BS_ENOMEM, "no memory for %zu boxes", wanted);
        return;
    }
    for (const struct bs_json_value *box = bs_json_first(v); box; box = bs_json_next(box))
        if (!read_box(box, &(*out)[(*count)++])) {
            r->rc =
                BS_FAIL(r->err, BS_EINVAL,
                        "box %zu of \"%s\" is not [top, left, bottom, right] in whole pixels", *count, key);
            return;
        }
}

static enum bs_part read_part(struct reader *r)
{
    const char *text = read_text(r, "part", true);
    for (int part = BS_PART_TRAIN; text && part <= BS_PART_TEST; part++)
        if (!strcmp(text, bs_part_name((enum bs_part)part)))
            return (enum bs_part)part;
    if (r->rc == BS_OK)
        r->rc = BS_FAIL(r->err, BS_EINVAL,
                        "\"part\" is \"%.40s\"; \"train\", \"validation\" and \"test\" are accepted", text);
    return BS_PART_TRAIN;
}

static bs_status read_pair(const struct bs_json_value *v, struct bs_manifest *m, struct bs_err *err)
{
    struct reader r = {.object = v, .err = err};
    struct bs_manifest_pair p = {.image_plane = BS_PLANE_ONLY, .labels_plane = BS_PLANE_ONLY};
    if (bs_json_type_of(v) != BS_JSON_OBJECT)
        return BS_FAIL(err, BS_EINVAL, "it is %s, an object is needed",
                       bs_json_type_name(bs_json_type_of(v)));
    read_file(&r, "image", true, &p.image);
    read_file(&r, "labels", true, &p.labels);
    (void)read_int(&r, "image_plane", 0, INT64_MAX, &p.image_plane);
    (void)read_int(&r, "labels_plane", 0, INT64_MAX, &p.labels_plane);
    p.group = (char *)read_text(&r, "group", true);
    p.part = read_part(&r);
    p.has_ignore_label = read_int(&r, "ignore_label", INT32_MIN, UINT32_MAX, &p.ignore_label);
    read_boxes(&r, "ignore", &p.ignore, &p.nignore);
    read_boxes(&r, "only", &p.only, &p.nonly);
    read_file(&r, "prediction", false, &p.prediction);
    const struct bs_json_value *done = member(&r, "done");
    if (done && !bs_json_as_bool(done, &p.done))
        wrong_type(&r, "done", done, "true or false");
    read_end(&r, "it");
    if (r.rc == BS_OK)
        r.rc = bs_manifest_add(m, &p, err);
    free(p.ignore);
    free(p.only);
    return r.rc;
}

static bs_status read_pairs(const struct bs_json_value *pairs, struct bs_manifest *m, struct bs_err *err)
{
    size_t number = 0;
    for (const struct bs_json_value *v = bs_json_first(pairs); v; v = bs_json_next(v)) {
        bs_status rc = read_pair(v, m, err);
        if (rc != BS_OK) {
            (void)bs_err_prefix(err, "pair %zu of the data set", number);
            return rc;
        }
        number++;
    }
    return BS_OK;
}

static bs_status read_manifest(const struct bs_json_value *root, struct bs_manifest *m, struct bs_err *err)
{
    struct reader r = {.object = root, .err = err};
    int64_t version = 0, channel = BS_PLANE_CHANNEL_ANY;
    const char *format;
    if (bs_json_type_of(root) != BS_JSON_OBJECT)
        return BS_FAIL(err, BS_EINVAL, "a description of a data set is an object");
    format = read_text(&r, "format", true);
    if (format && strcmp(format, FORMAT) != 0)
        r.rc = BS_FAIL(err, BS_EINVAL, "\"format\" is \"%.40s\"; \"" FORMAT "\" is accepted", format);
    if (!read_int(&r, "version", VERSION, VERSION, &version) && r.rc == BS_OK)
        wrong_type(&r, "version", NULL, "an integer");
    (void)read_int(&r, "channel", 0, INT_MAX, &channel);
    m->channel = (int)channel;
    m->has_ignore_label = read_int(&r, "ignore_label", INT32_MIN, UINT32_MAX, &m->ignore_label);
    const struct bs_json_value *pairs = member(&r, "pairs");
    if (r.rc == BS_OK && (!pairs || bs_json_type_of(pairs) != BS_JSON_ARRAY))
        wrong_type(&r, "pairs", pairs, "a list");
    read_end(&r, "the description of the data set");
    return r.rc == BS_OK ? read_pairs(pairs, m, err) : r.rc;
}

bs_status bs_manifest_parse(const char *text, size_t len, struct bs_manifest *m, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    bs_status rc;
    *m = (struct bs_manifest){.channel = BS_PLANE_CHANNEL_ANY};
    if (len > BS_MANIFEST_MAX_TEXT)
        return BS_FAIL(err, BS_ELIMIT, "a description of a data set of %zu bytes; up to %zu are accepted",
                       len, BS_MANIFEST_MAX_TEXT);
    if ((rc = bs_json_parse(text, len, MAX_VALUES, &doc, err)) == BS_OK)
        rc = read_manifest(bs_json_root(doc), m, err);
    bs_json_free(doc);
    if (rc == BS_OK)
        rc = bs_manifest_check_parts(m, err);
    if (rc != BS_OK)
        bs_manifest_clear(m);
    return rc;
}
