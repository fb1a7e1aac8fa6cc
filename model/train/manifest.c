/* See manifest.h. */
#include "model/train/manifest.h"

#include "model/json_fields.h"

#include <stdlib.h>
#include <string.h>

#define FORMAT          1
#define MAX_CHANNELS    1024
#define MAX_PLANES      (INT64_C(1) << 31)
#define VALUES_PER_PAIR 16
#define VALUES_BESIDE   16

static const char *const part_names[] = {
    [BS_PART_TRAIN] = "train", [BS_PART_VALIDATION] = "validation", [BS_PART_TEST] = "test"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

bs_status bs_manifest_to_json(const struct bs_manifest *m, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    *json = NULL;
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_int(&w, "format", FORMAT);
    bs_json_write_string(&w, "hash", m->hash);
    bs_json_write_int(&w, "channels", m->channels);
    bs_json_write_open(&w, "pairs", '[');
    for (size_t i = 0; i < m->count; i++) {
        const struct bs_manifest_pair *p = &m->pair[i];
        bs_json_write_open(&w, NULL, '{');
        bs_json_write_string(&w, "name", p->name);
        bs_json_write_string(&w, "part", part_names[p->part]);
        bs_json_write_string(&w, "image", p->image);
        bs_json_write_string(&w, "labels", p->labels);
        if (p->plane >= 0)
            bs_json_write_int(&w, "plane", p->plane);
        bs_json_write_close(&w, '}');
    }
    bs_json_write_close(&w, ']');
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of %zu images", m->count);
    return BS_OK;
}

/* These become names of files: hex digits and nothing else. */
static void read_hash(struct bs__fields *f, const char *key, char *out)
{
    const char *text = NULL;
    const struct bs_json_value *v = bs__field(f, key, true);
    if (!v)
        return;
    if (!bs_json_as_string(v, &text)) {
        bs__field_wrong_type(f, key, v, "a string");
        return;
    }
    if (strlen(text) != BS_MANIFEST_HASH_LEN || strspn(text, "0123456789abcdef") != BS_MANIFEST_HASH_LEN) {
        f->rc = BS_FAIL(f->err, BS_EINVAL, "dataset: %s is \"%.80s\"; %d hex digits are needed", key, text,
                        BS_MANIFEST_HASH_LEN);
        return;
    }
    memcpy(out, text, BS_MANIFEST_HASH_LEN + 1);
}

static bs_status read_pair(const struct bs_json_value *v, size_t index, struct bs_manifest_pair *p,
                           struct bs_err *err)
{
    struct bs__fields f = {.of = "dataset", .object = v, .err = err};
    const char *name = "";
    p->plane = -1;
    if (bs_json_type_of(v) != BS_JSON_OBJECT)
        return BS_FAIL(err, BS_EINVAL, "dataset: pair %zu is %s, an object is needed", index,
                       bs_json_type_name(bs_json_type_of(v)));
    const struct bs_json_value *text = bs__field(&f, "name", true);
    if (text && !bs_json_as_string(text, &name))
        bs__field_wrong_type(&f, "name", text, "a string");
    p->part = (enum bs_part)bs__read_name(&f, "part", true, part_names, COUNT(part_names), 0);
    read_hash(&f, "image", p->image);
    read_hash(&f, "labels", p->labels);
    bs__read_int64(&f, "plane", false, 0, MAX_PLANES, &p->plane);
    bs__read_end(&f, "a pair");
    if (f.rc == BS_OK && !(p->name = strdup(name)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of a dataset");
    return f.rc;
}

static int by_image(const void *left, const void *right)
{
    const struct bs_manifest_pair *a = *(const struct bs_manifest_pair *const *)left,
                                  *b = *(const struct bs_manifest_pair *const *)right;
    const int order = strcmp(a->image, b->image);
    return order ? order : (a->plane > b->plane) - (a->plane < b->plane);
}

static int by_name(const void *left, const void *right)
{
    const struct bs_manifest_pair *a = *(const struct bs_manifest_pair *const *)left,
                                  *b = *(const struct bs_manifest_pair *const *)right;
    return a->part != b->part ? (a->part > b->part) - (a->part < b->part) : strcmp(a->name, b->name);
}

/* What validates must not have been trained on, nor what judges. */
static bs_status check_parts(const struct bs_manifest *m, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const struct bs_manifest_pair **sorted = malloc((m->count + 1) * sizeof *sorted);
    if (!sorted)
        return BS_FAIL(err, BS_ENOMEM, "no memory to check a dataset of %zu images", m->count);
    for (size_t i = 0; i < m->count; i++)
        sorted[i] = &m->pair[i];
    qsort(sorted, m->count, sizeof *sorted, by_image);
    for (size_t i = 1; i < m->count && rc == BS_OK; i++)
        if (!by_image(&sorted[i - 1], &sorted[i]) && sorted[i - 1]->part != sorted[i]->part)
            rc = BS_FAIL(err, BS_EINVAL, "dataset: %.100s (%s) and %.100s (%s) are the same image",
                         sorted[i - 1]->name, part_names[sorted[i - 1]->part], sorted[i]->name,
                         part_names[sorted[i]->part]);
    qsort(sorted, m->count, sizeof *sorted, by_name);
    for (size_t i = 1; i < m->count && rc == BS_OK; i++)
        if (!by_name(&sorted[i - 1], &sorted[i]))
            rc = BS_FAIL(err, BS_EINVAL, "dataset: %.200s is there twice in part %s", sorted[i]->name,
                         part_names[sorted[i]->part]);
    free(sorted);
    return rc;
}

static bs_status read_pairs(struct bs__fields *f, struct bs_manifest *out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    const struct bs_json_value *list = bs__field(f, "pairs", true);
    if (list && bs_json_type_of(list) != BS_JSON_ARRAY)
        bs__field_wrong_type(f, "pairs", list, "an array");
    bs__read_end(f, "it");
    if (f->rc != BS_OK)
        return f->rc;
    const size_t count = bs_json_count(list);
    if (count > BS_MANIFEST_MAX_PAIRS)
        return BS_FAIL(err, BS_ELIMIT, "dataset: %zu pairs, at most %zu are accepted", count,
                       BS_MANIFEST_MAX_PAIRS);
    if (!(out->pair = calloc(count + 1, sizeof *out->pair)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the list of %zu images", count);
    for (const struct bs_json_value *v = bs_json_first(list); v && rc == BS_OK; v = bs_json_next(v)) {
        rc = read_pair(v, out->count, &out->pair[out->count], err);
        out->count += rc == BS_OK;
    }
    return rc == BS_OK ? check_parts(out, err) : rc;
}

bs_status bs_manifest_from_json(const char *json, size_t len, struct bs_manifest *out, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    int64_t format = 0, channels = 0;
    memset(out, 0, sizeof *out);
    bs_status rc =
        bs_json_parse(json, len, BS_MANIFEST_MAX_PAIRS * VALUES_PER_PAIR + VALUES_BESIDE, &doc, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "dataset");
        return rc;
    }
    struct bs__fields f = {.of = "dataset", .object = bs_json_root(doc), .err = err};
    bs__read_int64(&f, "format", true, FORMAT, FORMAT, &format);
    read_hash(&f, "hash", out->hash);
    bs__read_int64(&f, "channels", true, 1, MAX_CHANNELS, &channels);
    out->channels = (int)channels;
    rc = read_pairs(&f, out, err);
    if (rc != BS_OK)
        bs_manifest_clear(out);
    bs_json_free(doc);
    return rc;
}

void bs_manifest_clear(struct bs_manifest *m)
{
    for (size_t i = 0; i < m->count; i++)
        free(m->pair[i].name);
    free(m->pair);
    memset(m, 0, sizeof *m);
}
