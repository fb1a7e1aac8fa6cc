/* See json_scan.h. */
#include "model/dataset/json_scan.h"

#include "model/weights/file_io.h"
#include "model/weights/json.h"

#include <inttypes.h>
#include <stdlib.h>

#define WINDOW ((size_t)1 << 18)
#define END    (-1) /* of the file */
#define BROKEN (-2) /* reading failed; the error is set */

struct bs__json_scan {
    int fd;
    uint64_t size, offset; /* of the file; of the window */
    size_t at, filled;     /* in the window */
    bool opened, first_member, first_element;
    unsigned char window[WINDOW];
};

bs_status bs__json_scan_create(int fd, struct bs__json_scan **out, struct bs_err *err)
{
    *out = NULL;
    uint64_t size;
    bs_status rc = bs__file_size(fd, &size, err);
    if (rc != BS_OK)
        return rc;
    struct bs__json_scan *s = calloc(1, sizeof *s);
    if (!s)
        return BS_FAIL(err, BS_ENOMEM, "no memory to read a JSON file");
    s->fd = fd;
    s->size = size;
    *out = s;
    return BS_OK;
}

void bs__json_scan_destroy(struct bs__json_scan *s)
{
    free(s);
}

static uint64_t place(const struct bs__json_scan *s)
{
    return s->offset + s->at;
}

static int peek(struct bs__json_scan *s, struct bs_err *err)
{
    if (s->at == s->filled) {
        s->offset += s->filled;
        s->at = s->filled = 0;
        uint64_t left = s->size - s->offset;
        size_t bytes = left < WINDOW ? (size_t)left : WINDOW;
        if (bytes == 0)
            return END;
        if (bs__file_read_at(s->fd, s->offset, s->window, bytes, err) != BS_OK)
            return BROKEN;
        s->filled = bytes;
    }
    return s->window[s->at];
}

static bs_status wrong(const struct bs__json_scan *s, int found, const char *wanted, struct bs_err *err)
{
    if (found == BROKEN)
        return err ? err->code : BS_EIO;
    if (found == END)
        return BS_FAIL(err, BS_ECORRUPT, "the JSON text ends at byte %" PRIu64 " where %s should stand",
                       place(s), wanted);
    return BS_FAIL(err, BS_ECORRUPT, "byte %" PRIu64 " of the JSON text is 0x%02x where %s should stand",
                   place(s), (unsigned)found, wanted);
}

/* The first byte that is no white space, not taken. */
static int peek_word(struct bs__json_scan *s, struct bs_err *err)
{
    int c = peek(s, err);
    for (; c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = peek(s, err))
        s->at++;
    return c;
}

static bs_status take(struct bs__json_scan *s, char wanted, struct bs_err *err)
{
    char name[] = {'"', wanted, '"', '\0'};
    int c = peek_word(s, err);
    if (c != wanted)
        return wrong(s, c, name, err);
    s->at++;
    return BS_OK;
}

/* A string whose opening quote is taken; text (may be NULL) gets what fits of it. */
static bs_status take_string(struct bs__json_scan *s, char *text, size_t room, struct bs_err *err)
{
    bool escaped = false;
    size_t len = 0;
    for (;;) {
        int c = peek(s, err);
        if (c < 0x20)
            return wrong(s, c, "the rest of a string", err);
        s->at++;
        if (c == '"' && !escaped)
            break;
        escaped = c == '\\' && !escaped;
        if (text && len + 1 < room)
            text[len++] = (char)c;
    }
    if (text)
        text[len] = '\0';
    return BS_OK;
}

static bool ends_scalar(int c)
{
    return c < 0 || c == ',' || c == ']' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Passes over one value. */
static bs_status skip(struct bs__json_scan *s, struct bs_err *err)
{
    char open[BS_JSON_MAX_DEPTH];
    int depth = 0;
    do {
        int c = peek_word(s, err);
        if (c < 0)
            return wrong(s, c, "a value", err);
        if (c == '"') {
            s->at++;
            bs_status rc = take_string(s, NULL, 0, err);
            if (rc != BS_OK)
                return rc;
        } else if (c == '[' || c == '{') {
            if (depth == BS_JSON_MAX_DEPTH)
                return BS_FAIL(err, BS_ELIMIT,
                               "brackets nest over %d deep at byte %" PRIu64 " of the JSON text",
                               BS_JSON_MAX_DEPTH, place(s));
            open[depth++] = c == '[' ? ']' : '}';
            s->at++;
        } else if (c == ']' || c == '}') {
            if (depth == 0 || open[depth - 1] != c)
                return wrong(s, c, "another bracket or a value", err);
            depth--;
            s->at++;
        } else if (c == ',' || c == ':') {
            if (depth == 0)
                return wrong(s, c, "a value", err);
            s->at++;
        } else {
            while (!ends_scalar(c = peek(s, err)) && c != ':')
                s->at++;
            if (c == BROKEN)
                return wrong(s, c, "", err);
        }
    } while (depth > 0);
    return BS_OK;
}

/* Before the next member or element: takes the comma, or sees the closing bracket. */
static bs_status separate(struct bs__json_scan *s, bool *first, char close, bool *more, struct bs_err *err)
{
    int c = peek_word(s, err);
    if (c == close) {
        s->at++;
        *more = false;
        return BS_OK;
    }
    *more = true;
    bs_status rc = *first ? BS_OK : take(s, ',', err);
    *first = false;
    return rc;
}

bs_status bs__json_scan_member(struct bs__json_scan *s, char *key, size_t room, bool *is_array, bool *more,
                               struct bs_err *err)
{
    bs_status rc;
    if (!s->opened) {
        if ((rc = take(s, '{', err)) != BS_OK)
            return rc;
        s->opened = s->first_member = true;
    }
    if ((rc = separate(s, &s->first_member, '}', more, err)) != BS_OK)
        return rc;
    if (!*more) {
        int c = peek_word(s, err);
        return c == END ? BS_OK : wrong(s, c, "the end of the text", err);
    }
    if ((rc = take(s, '"', err)) != BS_OK || (rc = take_string(s, key, room, err)) != BS_OK ||
        (rc = take(s, ':', err)) != BS_OK)
        return rc;
    *is_array = peek_word(s, err) == '[';
    if (!*is_array)
        return skip(s, err);
    s->at++;
    s->first_element = true;
    return BS_OK;
}

bs_status bs__json_scan_element(struct bs__json_scan *s, struct bs__json_range *element, bool *more,
                                struct bs_err *err)
{
    bs_status rc = separate(s, &s->first_element, ']', more, err);
    if (rc != BS_OK || !*more)
        return rc;
    int c = peek_word(s, err);
    if (c < 0)
        return wrong(s, c, "a value", err);
    element->offset = place(s);
    if ((rc = skip(s, err)) != BS_OK)
        return rc;
    element->bytes = place(s) - element->offset;
    return BS_OK;
}
