/* The JSON reader; see json.h. One loop with an explicit stack of open containers, so that nesting in the text never
   becomes nesting of calls. */
#include "model/weights/json.h"

#include "kernels/base/arena.h"
#include "model/weights/utf8.h"

#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBER 64 /* characters of one number */

struct bs_json_value {
    enum bs_json_type type;
    const char *key;            /* in an object */
    struct bs_json_value *next; /* sibling */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const char *string;
        struct {
            struct bs_json_value *first, *last;
            size_t count;
        } list; /* array, object */
    } u;
};

struct bs_json {
    struct bs_arena *arena;
    struct bs_json_value *root;
};

struct parser {
    const unsigned char *text;
    size_t len, at;
    size_t values, max_values;
    struct bs_json *doc;
    locale_t plain; /* "C": a decimal point is a point */
    struct bs_json_value *open[BS_JSON_MAX_DEPTH];
    int depth;
    struct bs_err *err;
};

#define BAD(p, ...)      BS_FAIL((p)->err, BS_ECORRUPT, "JSON, byte %zu: " __VA_ARGS__)
#define OUT_OF_MEMORY(p) BS_FAIL((p)->err, BS_ENOMEM, "no memory for a JSON text of %zu bytes", (p)->len)

static void skip_space(struct parser *p)
{
    while (p->at < p->len && (p->text[p->at] == ' ' || p->text[p->at] == '\n' || p->text[p->at] == '\r' ||
                              p->text[p->at] == '\t'))
        p->at++;
}

static int peek(const struct parser *p)
{
    return p->at < p->len ? p->text[p->at] : -1;
}

static bool hex4(const struct parser *p, size_t at, unsigned *out)
{
    unsigned v = 0;
    if (p->len - at < 4)
        return false;
    for (size_t i = at; i < at + 4; i++) {
        unsigned char c = p->text[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
                         : c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10
                         : c >= 'A' && c <= 'F' ? c - (unsigned)'A' + 10
                                                : 16;
        if (digit == 16)
            return false;
        v = v * 16 + digit;
    }
    *out = v;
    return true;
}

static size_t put_utf8(char *to, unsigned code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        to[0] = (char)(0xC0 | code >> 6);
        to[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        to[0] = (char)(0xE0 | code >> 12);
        to[1] = (char)(0x80 | (code >> 6 & 0x3F));
        to[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    to[0] = (char)(0xF0 | code >> 18);
    to[1] = (char)(0x80 | (code >> 12 & 0x3F));
    to[2] = (char)(0x80 | (code >> 6 & 0x3F));
    to[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

/* At the character after a backslash; writes the meaning to *to and moves on. */
static bs_status parse_escape(struct parser *p, char *to, size_t *written)
{
    static const char from[] = "\"\\/bfnrt", meaning[] = "\"\\/\b\f\n\r\t";
    const int c = peek(p);
    const char *simple = c > 0 ? strchr(from, c) : NULL;
    if (simple) {
        *to = meaning[simple - from];
        *written = 1;
        p->at++;
        return BS_OK;
    }
    unsigned code, low;
    if (c != 'u' || !hex4(p, p->at + 1, &code))
        return BAD(p, "not an escape sequence", p->at);
    if (code == 0)
        return BAD(p, "a string holds a NUL", p->at);
    p->at += 5;
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code > 0xDBFF || p->len - p->at < 6 || p->text[p->at] != '\\' || p->text[p->at + 1] != 'u' ||
            !hex4(p, p->at + 2, &low) || low < 0xDC00 || low > 0xDFFF)
            return BAD(p, "half a surrogate pair", p->at);
        p->at += 6;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    *written = put_utf8(to, code);
    return BS_OK;
}

static bs_status parse_string(struct parser *p, const char **out)
{
    if (peek(p) != '"')
        return BAD(p, "a string is expected", p->at);
    size_t end = ++p->at;
    while (end < p->len && p->text[end] != '"')
        end += p->text[end] == '\\' ? 2 : 1;
    if (end >= p->len)
        return BAD(p, "a string without end", p->at);
    /* No escape is shorter than what it means. */
    char *to = bs_arena_alloc(p->doc->arena, end - p->at + 1);
    if (!to)
        return OUT_OF_MEMORY(p);
    *out = to;
    while (p->text[p->at] != '"') {
        size_t n = 0;
        if (p->text[p->at] == '\\') {
            p->at++;
            bs_status rc = parse_escape(p, to, &n);
            if (rc != BS_OK)
                return rc;
        } else {
            if (p->text[p->at] < 0x20)
                return BAD(p, "a control character in a string", p->at);
            if (!(n = bs__utf8_sequence(p->text + p->at, end - p->at)))
                return BAD(p, "not UTF-8", p->at);
            memcpy(to, p->text + p->at, n);
            p->at += n;
        }
        to += n;
    }
    p->at++;
    return BS_OK;
}

static size_t digits(const struct parser *p, size_t at)
{
    size_t n = 0;
    while (at + n < p->len && p->text[at + n] >= '0' && p->text[at + n] <= '9')
        n++;
    return n;
}

static bs_status parse_number(struct parser *p, struct bs_json_value *v)
{
    char copy[MAX_NUMBER + 1];
    size_t at = p->at, n;
    bool integer = true;
    if (at < p->len && p->text[at] == '-')
        at++;
    if (!(n = digits(p, at)) || (n > 1 && p->text[at] == '0'))
        return BAD(p, "not a value", p->at);
    at += n;
    if (at < p->len && p->text[at] == '.') {
        integer = false;
        if (!(n = digits(p, at + 1)))
            return BAD(p, "digits are missing after the decimal point", p->at);
        at += 1 + n;
    }
    if (at < p->len && (p->text[at] == 'e' || p->text[at] == 'E')) {
        integer = false;
        at++;
        if (at < p->len && (p->text[at] == '+' || p->text[at] == '-'))
            at++;
        if (!(n = digits(p, at)))
            return BAD(p, "digits are missing in the exponent", p->at);
        at += n;
    }
#ifndef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
    if (at - p->at > MAX_NUMBER)
        return BAD(p, "a number of more than %d characters", p->at, MAX_NUMBER);
#endif
    memcpy(copy, p->text + p->at, at - p->at);
    copy[at - p->at] = 0;
    errno = 0;
    if (integer) {
        v->type = BS_JSON_INT;
        v->u.integer = strtoll(copy, NULL, 10);
        if (errno)
            return BAD(p, "%.24s... does not fit 64 bits", p->at, copy);
    } else {
        v->type = BS_JSON_DOUBLE;
        v->u.number = strtod_l(copy, NULL, p->plain);
        if (v->u.number > 1.7e308 || v->u.number < -1.7e308)
            return BAD(p, "%s is too large", p->at, copy);
    }
    p->at = at;
    return BS_OK;
}

static bool take_word(struct parser *p, const char *word)
{
    size_t n = strlen(word);
    if (p->len - p->at < n || memcmp(p->text + p->at, word, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* A scalar, or the opening bracket of a container. */
static bs_status parse_value(struct parser *p, struct bs_json_value *v)
{
    switch (peek(p)) {
    case '"':
        v->type = BS_JSON_STRING;
        return parse_string(p, &v->u.string);
    case '{':
    case '[':
        if (p->depth == BS_JSON_MAX_DEPTH)
            return BAD(p, "nested deeper than %d", p->at, BS_JSON_MAX_DEPTH);
        v->type = peek(p) == '{' ? BS_JSON_OBJECT : BS_JSON_ARRAY;
        p->open[p->depth++] = v;
        p->at++;
        return BS_OK;
    case 't':
    case 'f':
        v->type = BS_JSON_BOOL;
        v->u.boolean = peek(p) == 't';
        return take_word(p, v->u.boolean ? "true" : "false") ? BS_OK : BAD(p, "not a value", p->at);
    case 'n':
        v->type = BS_JSON_NULL;
        return take_word(p, "null") ? BS_OK : BAD(p, "not a value", p->at);
    default:
        return parse_number(p, v);
    }
}

static int by_key(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorting finds repeated keys without letting a large object cost quadratic time. */
static bs_status refuse_repeated_keys(struct parser *p, const struct bs_json_value *object)
{
    bs_status rc = BS_OK;
    const size_t n = object->u.list.count;
    const char **keys = NULL;
    if (n < 2)
        return BS_OK;
    if (!(keys = calloc(n, sizeof *keys)))
        return OUT_OF_MEMORY(p);
    size_t i = 0;
    for (const struct bs_json_value *v = object->u.list.first; v; v = v->next)
        keys[i++] = v->key;
    qsort(keys, n, sizeof *keys, by_key);
    for (i = 1; i < n && rc == BS_OK; i++)
        if (!strcmp(keys[i - 1], keys[i]))
            rc = BAD(p, "the key \"%.100s\" is there twice", p->at, keys[i]);
    free(keys);
    return rc;
}

static void append(struct bs_json_value *list, struct bs_json_value *v)
{
    if (list->u.list.last)
        list->u.list.last->next = v;
    else
        list->u.list.first = v;
    list->u.list.last = v;
    list->u.list.count++;
}

/* One member of the innermost open container, or the end of it. */
static bs_status step(struct parser *p)
{
    struct bs_json_value *in = p->depth ? p->open[p->depth - 1] : NULL;
    const char *key = NULL;
    bs_status rc;
    skip_space(p);
    if (in) {
        const bool object = in->type == BS_JSON_OBJECT;
        if (peek(p) == (object ? '}' : ']')) {
            p->at++;
            p->depth--;
            return object ? refuse_repeated_keys(p, in) : BS_OK;
        }
        if (in->u.list.count) {
            if (peek(p) != ',')
                return BAD(p, "a comma or the end of the %s is expected", p->at, object ? "object" : "array");
            p->at++;
            skip_space(p);
        }
        if (object) {
            if ((rc = parse_string(p, &key)) != BS_OK)
                return rc;
            skip_space(p);
            if (peek(p) != ':')
                return BAD(p, "a colon is expected", p->at);
            p->at++;
            skip_space(p);
        }
    }
    if (p->values++ == p->max_values)
        return BS_FAIL(p->err, BS_ELIMIT, "JSON: more than %zu values", p->max_values);
    struct bs_json_value *v = bs_arena_alloc(p->doc->arena, sizeof *v);
    if (!v)
        return OUT_OF_MEMORY(p);
    v->key = key;
    if ((rc = parse_value(p, v)) != BS_OK)
        return rc;
    if (in)
        append(in, v);
    else
        p->doc->root = v;
    return BS_OK;
}

bs_status bs_json_parse(const char *text, size_t len, size_t max_values, struct bs_json **out,
                        struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct parser p = {.text = (const unsigned char *)text, .len = len, .max_values = max_values, .err = err};
    *out = NULL;
    p.doc = calloc(1, sizeof *p.doc);
    p.plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    /* Every value costs at least one byte of text, every string its length and a NUL, rounded up to 16. */
    if (!p.doc || !p.plain || len > SIZE_MAX / 256 ||
        !(p.doc->arena = bs_arena_create(len * (sizeof(struct bs_json_value) + 64) + 4096))) {
        rc = OUT_OF_MEMORY(&p);
        goto cleanup;
    }
    do {
        if ((rc = step(&p)) != BS_OK)
            goto cleanup;
    } while (p.depth);
    skip_space(&p);
    if (p.at != len) {
        rc = BAD(&p, "something follows the end of the value", p.at);
        goto cleanup;
    }
    *out = p.doc;
    p.doc = NULL;
cleanup:
    bs_json_free(p.doc);
    if (p.plain)
        freelocale(p.plain);
    return rc;
}

void bs_json_free(struct bs_json *doc)
{
    if (!doc)
        return;
    bs_arena_destroy(doc->arena);
    free(doc);
}

const struct bs_json_value *bs_json_root(const struct bs_json *doc)
{
    return doc->root;
}

enum bs_json_type bs_json_type_of(const struct bs_json_value *v)
{
    return v->type;
}

const char *bs_json_type_name(enum bs_json_type type)
{
    static const char *const name[] = {
        [BS_JSON_NULL] = "null",       [BS_JSON_BOOL] = "true or false", [BS_JSON_INT] = "an integer",
        [BS_JSON_DOUBLE] = "a number", [BS_JSON_STRING] = "a string",    [BS_JSON_ARRAY] = "an array",
        [BS_JSON_OBJECT] = "an object"};
    return name[type];
}

static bool is_list(const struct bs_json_value *v)
{
    return v && (v->type == BS_JSON_ARRAY || v->type == BS_JSON_OBJECT);
}

const struct bs_json_value *bs_json_first(const struct bs_json_value *v)
{
    return is_list(v) ? v->u.list.first : NULL;
}

const struct bs_json_value *bs_json_next(const struct bs_json_value *v)
{
    return v->next;
}

size_t bs_json_count(const struct bs_json_value *v)
{
    return is_list(v) ? v->u.list.count : 0;
}

const char *bs_json_key(const struct bs_json_value *v)
{
    return v->key;
}

const struct bs_json_value *bs_json_get(const struct bs_json_value *v, const char *key)
{
    if (!v || v->type != BS_JSON_OBJECT)
        return NULL;
    for (const struct bs_json_value *m = v->u.list.first; m; m = m->next)
        if (!strcmp(m->key, key))
            return m;
    return NULL;
}

bool bs_json_as_bool(const struct bs_json_value *v, bool *out)
{
    if (!v || v->type != BS_JSON_BOOL)
        return false;
    *out = v->u.boolean;
    return true;
}

bool bs_json_as_int(const struct bs_json_value *v, int64_t *out)
{
    if (!v || v->type != BS_JSON_INT)
        return false;
    *out = v->u.integer;
    return true;
}

bool bs_json_as_double(const struct bs_json_value *v, double *out)
{
    if (!v || (v->type != BS_JSON_DOUBLE && v->type != BS_JSON_INT))
        return false;
    *out = v->type == BS_JSON_INT ? (double)v->u.integer : v->u.number;
    return true;
}

bool bs_json_as_string(const struct bs_json_value *v, const char **out)
{
    if (!v || v->type != BS_JSON_STRING)
        return false;
    *out = v->u.string;
    return true;
}
