/* See check.h: the report. */
#include "model/dataset/check_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FINDINGS ((size_t)1000)

const char *bs_finding_name(enum bs_finding_kind kind)
{
    static const char *const names[] = {
        [BS_FINDING_UNREADABLE] = "unreadable",
        [BS_FINDING_PLANE] = "plane",
        [BS_FINDING_SIZES] = "sizes",
        [BS_FINDING_SAMPLES] = "samples",
        [BS_FINDING_CONSTANT] = "constant",
        [BS_FINDING_LABELS] = "labels",
        [BS_FINDING_NOTHING_COUNTS] = "nothing_counts",
        [BS_FINDING_SHARED_IMAGE] = "shared_image",
        [BS_FINDING_TORN_GROUP] = "torn_group",
        [BS_FINDING_NO_OBJECTS] = "no_objects",
        [BS_FINDING_EMPTY] = "empty",
        [BS_FINDING_SMALL] = "small",
        [BS_FINDING_SEMANTIC] = "semantic",
        [BS_FINDING_DUPLICATE] = "duplicate",
    };
    return (size_t)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

void bs_check_report_free(struct bs_check_report *report)
{
    for (size_t i = 0; i < report->count; i++)
        free(report->finding[i].text);
    free(report->finding);
    *report = (struct bs_check_report){0};
}

static bool make_room(struct bs_check_report *r)
{
    if (r->count < r->room)
        return true;
    const size_t room = r->room ? 2 * r->room : 16;
    struct bs_finding *finding = realloc(r->finding, room * sizeof *finding);
    if (!finding)
        return false;
    r->finding = finding;
    r->room = room;
    return true;
}

void bs__find(struct bs__check *c, enum bs_finding_kind kind, bool warning, size_t pair, const char *fmt, ...)
{
    struct bs_check_report *r = c->report;
    const size_t most = c->rule->max_findings ? c->rule->max_findings : MAX_FINDINGS;
    char text[1024];
    va_list args;
    if (c->rc != BS_OK)
        return;
    *(warning ? &r->warnings : &r->problems) += 1;
    if (r->count >= most)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct bs_finding f = {.kind = kind, .warning = warning, .pair = pair};
    if (!make_room(r) || !(f.text = strdup(text))) {
        c->rc = BS_FAIL(c->err, BS_ENOMEM, "no memory for %zu findings about a data set", r->count + 1);
        return;
    }
    r->finding[r->count++] = f;
}
