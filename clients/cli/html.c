/* Writing HTML. See html.h. */
#include "clients/cli/html.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

static void append(struct bs__html *w, const char *bytes, size_t n)
{
    if (w->failed)
        return;
    if (w->len + n + 1 > w->cap) {
        size_t cap = 2 * (w->len + n + 1) + 4096;
        char *more = realloc(w->text, cap);
        if (!more) {
            w->failed = true;
            return;
        }
        w->text = more;
        w->cap = cap;
    }
    memcpy(w->text + w->len, bytes, n);
    w->len += n;
    w->text[w->len] = '\0';
}

void bs__html_raw(struct bs__html *w, const char *markup)
{
    append(w, markup, strlen(markup));
}

/* Bytes of the character at p; 0: it is no UTF-8 (RFC 3629). p ends with NUL, which ends every look ahead. */
static size_t character(const unsigned char *p)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : p[0] >= 0xe0 && p[0] < 0xf0 ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return n;
}

void bs__html_text(struct bs__html *w, const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (p && *p) {
        const char *instead = NULL;
        size_t n = character(p);
        switch (*p) {
        case '&':
            instead = "&amp;";
            break;
        case '<':
            instead = "&lt;";
            break;
        case '>':
            instead = "&gt;";
            break;
        case '"':
            instead = "&quot;";
            break;
        case '\'':
            instead = "&#39;";
            break;
        default:
            if (n == 0 || (*p < ' ' && *p != '\n') || *p == 0x7f)
                instead = REPLACEMENT;
        }
        if (instead)
            bs__html_raw(w, instead);
        else
            append(w, (const char *)p, n);
        p += n ? n : 1;
    }
}

void bs__html_format(struct bs__html *w, const char *format, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) {
        text = NULL;
        w->failed = true;
    }
    va_end(args);
    bs__html_text(w, text);
    free(text);
}

char *bs__html_end(struct bs__html *w, size_t *size)
{
    if (w->failed) {
        free(w->text);
        w->text = NULL;
        w->len = 0;
    }
    *size = w->len;
    return w->text;
}
