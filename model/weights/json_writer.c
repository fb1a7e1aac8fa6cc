/* Writing JSON piece by piece into a growing text; see json.h. */
#include "model/weights/json.h"

#include "kernels/base/checked.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct bs_json_writer *w, const char *text, size_t n)
{
    size_t need;
    if (w->failed)
        return;
    if (!bs_add(w->len, n, &need) || !bs_add(need, 1, &need) || need > SIZE_MAX / 2) {
        w->failed = true;
        return;
    }
    if (need > w->cap) {
        size_t cap = w->cap ? w->cap : 256;
        while (cap < need)
            cap *= 2;
        char *grown = realloc(w->text, cap);
        if (!grown) {
            w->failed = true;
            return;
        }
        w->text = grown;
        w->cap = cap;
    }
    memcpy(w->text + w->len, text, n);
    w->len += n;
    w->text[w->len] = 0;
}

static void put_quoted(struct bs_json_writer *w, const char *text)
{
    put(w, "\"", 1);
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        char escaped[8];
        if (c == '"' || c == '\\')
            put(w, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\%c", c));
        else if (c < 0x20)
            put(w, escaped, (size_t)snprintf(escaped, sizeof escaped, "\\u%04x", c));
        else
            put(w, text, 1);
    }
    put(w, "\"", 1);
}

static void begin(struct bs_json_writer *w, const char *key)
{
    if (w->comma)
        put(w, ",", 1);
    w->comma = true;
    if (key) {
        put_quoted(w, key);
        put(w, ":", 1);
    }
}

void bs_json_write_open(struct bs_json_writer *w, const char *key, char bracket)
{
    begin(w, key);
    put(w, &bracket, 1);
    w->comma = false;
}

void bs_json_write_close(struct bs_json_writer *w, char bracket)
{
    put(w, &bracket, 1);
    w->comma = true;
}

void bs_json_write_string(struct bs_json_writer *w, const char *key, const char *value)
{
    begin(w, key);
    put_quoted(w, value);
}

void bs_json_write_int(struct bs_json_writer *w, const char *key, int64_t value)
{
    char text[32];
    begin(w, key);
    put(w, text, (size_t)snprintf(text, sizeof text, "%" PRId64, value));
}

void bs_json_write_double(struct bs_json_writer *w, const char *key, double value)
{
    char text[40];
    int n = 0;
    for (int precision = 15; precision <= 17; precision++) {
        n = snprintf(text, sizeof text, "%.*g", precision, value);
        if (strtod(text, NULL) == value)
            break;
    }
    /* Some locales write a comma. */
    char *comma = strchr(text, ',');
    if (comma)
        *comma = '.';
    begin(w, key);
    put(w, text, (size_t)n);
}

void bs_json_write_bool(struct bs_json_writer *w, const char *key, bool value)
{
    begin(w, key);
    put(w, value ? "true" : "false", value ? 4 : 5);
}

char *bs_json_write_end(struct bs_json_writer *w)
{
    char *text = w->text;
    if (w->failed) {
        free(text);
        text = NULL;
    }
    *w = (struct bs_json_writer){0};
    return text;
}
