/* See yaml.h. libyaml's events are written as JSON, which the strict reader then takes. */
#include "model/weights/yaml.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define MAX_KEY 256

struct level {
    bool mapping, have_key;
    char key[MAX_KEY];
};
struct reading {
    yaml_parser_t parser;
    struct bs_json_writer json;
    struct level level[BS_JSON_MAX_DEPTH];
    int depth;
    bool done; /* the document's one value is there */
    locale_t plain;
    struct bs_err *err;
};

static bs_status at(const struct reading *r, const yaml_event_t *e, const char *what)
{
    return BS_FAIL(r->err, BS_EINVAL, "YAML, line %zu: %s", e->start_mark.line + 1, what);
}

/* The key under which the next value stands; NULL in lists and at the top. */
static const char *key(struct reading *r)
{
    struct level *l = r->depth ? &r->level[r->depth - 1] : NULL;
    if (!l || !l->mapping)
        return NULL;
    l->have_key = false;
    return l->key;
}

static bool wants_key(const struct reading *r)
{
    return r->depth && r->level[r->depth - 1].mapping && !r->level[r->depth - 1].have_key;
}

static bool one_of(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (!strcmp(text, *words))
            return true;
    return false;
}

static void plain_scalar(struct reading *r, const char *text)
{
    static const char *const none[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const yes[] = {"true", "True", "TRUE", NULL};
    static const char *const no[] = {"false", "False", "FALSE", NULL};
    const char *digits = text + (*text == '-' || *text == '+');
    const size_t ndigits = strspn(digits, "0123456789");
    char *end = NULL;
    if (one_of(text, none)) {
        bs_json_write_string(&r->json, key(r),
                             ""); /* the writer has no null, and no field here means anything by one */
    } else if (one_of(text, yes) || one_of(text, no)) {
        bs_json_write_bool(&r->json, key(r), one_of(text, yes));
    } else if (ndigits && ndigits < 18 && !digits[ndigits]) {
        bs_json_write_int(&r->json, key(r), strtoll(text, NULL, 10));
    } else if (strspn(text, "+-.0123456789eE") == strlen(text) && (ndigits || *digits == '.')) {
        const double v = strtod_l(text, &end, r->plain);
        if (end != text && !*end && isfinite(v))
            bs_json_write_double(&r->json, key(r), v);
        else
            bs_json_write_string(&r->json, key(r), text);
    } else {
        bs_json_write_string(&r->json, key(r), text);
    }
}

static bs_status scalar(struct reading *r, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    const size_t len = e->data.scalar.length;
    if (e->data.scalar.anchor || e->data.scalar.tag)
        return at(r, e, "anchors and tags are not accepted");
    if (memchr(text, 0, len))
        return at(r, e, "a text with a NUL is not accepted");
    if (wants_key(r)) {
        struct level *l = &r->level[r->depth - 1];
        if (len >= MAX_KEY)
            return at(r, e, "a key is too long");
        memcpy(l->key, text, len + 1);
        l->have_key = true;
    } else if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE) {
        plain_scalar(r, text);
    } else {
        bs_json_write_string(&r->json, key(r), text);
    }
    return BS_OK;
}

static bs_status begin(struct reading *r, const yaml_event_t *e, bool mapping)
{
    const bool marked = mapping ? e->data.mapping_start.anchor || e->data.mapping_start.tag
                                : e->data.sequence_start.anchor || e->data.sequence_start.tag;
    if (marked)
        return at(r, e, "anchors and tags are not accepted");
    if (wants_key(r))
        return at(r, e, "a key must be a text");
    if (r->depth == BS_JSON_MAX_DEPTH)
        return at(r, e, "too deeply nested");
    bs_json_write_open(&r->json, key(r), mapping ? '{' : '[');
    r->level[r->depth++] = (struct level){.mapping = mapping};
    return BS_OK;
}

static bs_status take(struct reading *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_ALIAS_EVENT:
        return at(r, e, "aliases are not accepted");
    case YAML_DOCUMENT_START_EVENT:
        return r->done ? at(r, e, "a second document is not accepted") : BS_OK;
    case YAML_DOCUMENT_END_EVENT:
        r->done = true;
        return BS_OK;
    case YAML_SCALAR_EVENT:
        return scalar(r, e);
    case YAML_MAPPING_START_EVENT:
    case YAML_SEQUENCE_START_EVENT:
        return begin(r, e, e->type == YAML_MAPPING_START_EVENT);
    case YAML_MAPPING_END_EVENT:
    case YAML_SEQUENCE_END_EVENT:
        bs_json_write_close(&r->json, e->type == YAML_MAPPING_END_EVENT ? '}' : ']');
        r->depth--;
        return BS_OK;
    default:
        return BS_OK;
    }
}

bs_status bs__yaml_parse(const char *text, size_t len, size_t max_values, struct bs_json **out,
                         struct bs_err *err)
{
    bs_status rc = BS_OK;
    char *json = NULL;
    struct reading r = {.err = err, .plain = newlocale(LC_ALL_MASK, "C", (locale_t)0)};
    *out = NULL;
    if (!r.plain)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read YAML");
    if (!yaml_parser_initialize(&r.parser)) {
        freelocale(r.plain);
        return BS_FAIL(err, BS_ENOMEM, "no memory to read YAML");
    }
    yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, len);
    for (bool more = true; rc == BS_OK && more;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&r.parser, &event)) {
            rc = BS_FAIL(err, r.parser.error == YAML_MEMORY_ERROR ? BS_ENOMEM : BS_ECORRUPT,
                         "YAML, line %zu: %.120s", r.parser.problem_mark.line + 1,
                         r.parser.problem ? r.parser.problem : "it cannot be read");
            break;
        }
        rc = take(&r, &event);
        more = event.type != YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    const bool empty = r.json.len == 0 && !r.json.failed;
    json = bs_json_write_end(&r.json);
    if (rc == BS_OK && empty)
        rc = BS_FAIL(err, BS_EINVAL, "YAML: there is nothing in it");
    if (rc == BS_OK && !json)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to read YAML");
    if (rc == BS_OK)
        rc = bs_json_parse(json, strlen(json), max_values, out, err);
    free(json);
    yaml_parser_delete(&r.parser);
    freelocale(r.plain);
    return rc;
}
