/* Prometheus text; see metrics.h. The format is described in Prometheus' "Exposition formats", section text-based. */
#include "server/http/metrics.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 128

struct bs_metrics_writer {
    char *text;
    size_t n, cap;
    char family[MAX_NAME]; /* whose samples come now */
    bs_status failed;      /* the first failure; nothing is written afterwards */
};

struct bs_metrics_writer *bs_metrics_create(void)
{
    return calloc(1, sizeof(struct bs_metrics_writer));
}

void bs_metrics_destroy(struct bs_metrics_writer *m)
{
    if (!m)
        return;
    free(m->text);
    free(m);
}

static void put(struct bs_metrics_writer *m, const char *text, size_t n)
{
    if (m->failed != BS_OK)
        return;
    if (n > BS_METRICS_MAX_BYTES - m->n) {
        m->failed = BS_ELIMIT;
        return;
    }
    if (n > m->cap - m->n) {
        size_t cap = m->cap ? m->cap : 4096;
        while (cap - m->n < n)
            cap *= 2;
        char *bigger = realloc(m->text, cap);
        if (!bigger) {
            m->failed = BS_ENOMEM;
            return;
        }
        m->text = bigger;
        m->cap = cap;
    }
    memcpy(m->text + m->n, text, n);
    m->n += n;
}

static void put_text(struct bs_metrics_writer *m, const char *text)
{
    put(m, text, strlen(text));
}

/* Backslash and line feed become \\ and \n; inside quotes the quote too. */
static void put_escaped(struct bs_metrics_writer *m, const char *text, bool quoted)
{
    for (; *text; text++) {
        if (*text == '\\')
            put_text(m, "\\\\");
        else if (*text == '\n')
            put_text(m, "\\n");
        else if (*text == '"' && quoted)
            put_text(m, "\\\"");
        else
            put(m, text, 1);
    }
}

static bool is_name(const char *name, bool colons)
{
    size_t n = strlen(name);
    if (n == 0 || n >= MAX_NAME || (name[0] >= '0' && name[0] <= '9'))
        return false;
    for (const char *c = name; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z');
        if (!letter && !(*c >= '0' && *c <= '9') && *c != '_' && !(colons && *c == ':'))
            return false;
    }
    return true;
}

static void put_value(struct bs_metrics_writer *m, double value)
{
    char text[64];
    if (isnan(value))
        put_text(m, "NaN");
    else if (isinf(value))
        put_text(m, value > 0 ? "+Inf" : "-Inf");
    else {
        /* Whole numbers that a double holds exactly are written as such; 17 digits bring every other one back. */
        bool whole = fabs(value) <= 9007199254740992.0 && floor(value) == value;
        snprintf(text, sizeof text, whole ? "%.0f" : "%.17g", value);
        put_text(m, text);
    }
}

void bs_metrics_family(struct bs_metrics_writer *m, enum bs_metric_type type, const char *name,
                       const char *help)
{
    BS_ASSERT(is_name(name, true));
    snprintf(m->family, sizeof m->family, "%s", name);
    put_text(m, "# HELP ");
    put_text(m, name);
    put_text(m, " ");
    put_escaped(m, help, false);
    put_text(m, "\n# TYPE ");
    put_text(m, name);
    put_text(m, type == BS_METRIC_COUNTER ? " counter\n" : " gauge\n");
}

void bs_metrics_sample(struct bs_metrics_writer *m, const struct bs_metric_label *labels, size_t nlabel,
                       double value)
{
    BS_ASSERT(m->family[0]);
    put_text(m, m->family);
    for (size_t i = 0; i < nlabel; i++) {
        BS_ASSERT(is_name(labels[i].name, false));
        put_text(m, i ? "," : "{");
        put_text(m, labels[i].name);
        put_text(m, "=\"");
        put_escaped(m, labels[i].value, true);
        put_text(m, "\"");
    }
    put_text(m, nlabel ? "} " : " ");
    put_value(m, value);
    put_text(m, "\n");
}

void bs_metrics_single(struct bs_metrics_writer *m, enum bs_metric_type type, const char *name,
                       const char *help, double value)
{
    bs_metrics_family(m, type, name, help);
    bs_metrics_sample(m, NULL, 0, value);
}

bs_status bs_metrics_text(const struct bs_metrics_writer *m, const char **text, size_t *n, struct bs_err *err)
{
    if (m->failed == BS_ENOMEM)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the metrics");
    if (m->failed != BS_OK)
        return BS_FAIL(err, BS_ELIMIT, "the metrics have more than %zu bytes", BS_METRICS_MAX_BYTES);
    *text = m->text ? m->text : "";
    *n = m->n;
    return BS_OK;
}
