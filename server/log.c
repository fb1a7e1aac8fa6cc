/* Log lines; see log.h. A line is built on the stack and written with one write(), so that lines never mix. */
#include "server/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 2048

struct bs_log {
    int fd;
    enum bs_log_format format;
    enum bs_log_level least;
};

struct line {
    size_t n;
    char text[LINE_BYTES];
};

struct bs_log *bs_log_create(int fd, enum bs_log_format format, enum bs_log_level least)
{
    struct bs_log *log = calloc(1, sizeof *log);
    if (log)
        *log = (struct bs_log){fd, format, least};
    return log;
}

void bs_log_destroy(struct bs_log *log)
{
    free(log);
}

/* Room for the closing quote, brace and newline is always kept. */
static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof l->text - 4 - l->n;
    if (n > room)
        n = room;
    memcpy(l->text + l->n, s, n);
    l->n += n;
}

static void put_text(struct line *l, const char *s)
{
    put(l, s, strlen(s));
}

/* Quoted for JSON and for key=value alike; control characters cannot forge a line. */
static void put_quoted(struct line *l, const char *s)
{
    put_text(l, "\"");
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        char escaped[8];
        if (c == '"' || c == '\\')
            snprintf(escaped, sizeof escaped, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            snprintf(escaped, sizeof escaped, "\\u%04x", c);
        else
            snprintf(escaped, sizeof escaped, "%c", c);
        if (l->n + strlen(escaped) + 8 > sizeof l->text)
            break;
        put_text(l, escaped);
    }
    put_text(l, "\"");
}

static bool plain(const char *s)
{
    return *s &&
           strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._/:+-") == strlen(s);
}

static void put_field(struct line *l, bool json, const struct bs_log_field *f)
{
    char number[24];
    if (json) {
        put_text(l, ",");
        put_quoted(l, f->key);
        put_text(l, ":");
    } else {
        put_text(l, " ");
        put_text(l, f->key);
        put_text(l, "=");
    }
    if (f->is_number) {
        snprintf(number, sizeof number, "%" PRId64, f->number);
        put_text(l, number);
    } else if (!f->text) {
        put_text(l, "\"\"");
    } else if (!json && plain(f->text)) {
        put_text(l, f->text);
    } else {
        put_quoted(l, f->text);
    }
}

void bs_log_write(struct bs_log *log, enum bs_log_level level, const char *event,
                  const struct bs_log_field *fields, size_t nfield)
{
    static const char *const names[] = {"debug", "info", "warning", "error"};
    if (!log || level < log->least)
        return;
    struct line l = {.n = 0};
    bool json = log->format == BS_LOG_FORMAT_JSON;
    struct timespec now;
    struct tm utc;
    char stamp[40], when[56];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    strftime(stamp, sizeof stamp, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(when, sizeof when, "%s.%03dZ", stamp, (int)(now.tv_nsec / 1000000));
    put_text(&l, json ? "{\"time\":\"" : "");
    put_text(&l, when);
    put_text(&l, json ? "\",\"level\":\"" : " ");
    put_text(&l, names[level]);
    put_text(&l, json ? "\",\"event\":" : " ");
    put_quoted(&l, event);
    for (size_t i = 0; i < nfield; i++)
        put_field(&l, json, &fields[i]);
    if (json)
        l.text[l.n++] = '}';
    l.text[l.n++] = '\n';
    ssize_t written = write(log->fd, l.text, l.n);
    (void)written; /* there is nowhere to complain to */
}
