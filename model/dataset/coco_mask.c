/* See coco_mask.h. An outline is followed on a grid five times as fine as the pixels. Where it steps over the middle of
   a column of pixels, everything below in that column changes sides; so a column's crossings, in order, are the ends of
   its runs. */
#include "model/dataset/coco_mask.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define FINE 5 /* steps a pixel */
/* Steps of one outline at most; the longest sensible one goes around every pixel of a row. */
#define MAX_STEPS ((int64_t)1 << 28)

struct crossing {
    int32_t column, row; /* row: first one below; may be the height */
};

struct crossings {
    struct crossing *at;
    size_t count, room;
};

static bs_status add_crossing(struct crossings *c, int64_t column, int64_t row, struct bs_err *err)
{
    if (c->count == c->room) {
        size_t room = c->room ? 2 * c->room : 256;
        struct crossing *at = realloc(c->at, room * sizeof *at);
        if (!at)
            return BS_FAIL(err, BS_ENOMEM, "no memory for an outline with %zu crossings", c->count);
        c->at = at;
        c->room = room;
    }
    c->at[c->count++] = (struct crossing){.column = (int32_t)column, .row = (int32_t)row};
    return BS_OK;
}

struct place {
    int64_t x, y; /* on the fine grid */
};

/* One step of the outline. It crosses the middle of a column when it leaves the third of that column's five places for
   the next one, or comes back. */
static bs_status step(const struct bs__canvas *canvas, struct crossings *c, struct place from,
                      struct place to, struct bs_err *err)
{
    int64_t left = from.x < to.x ? from.x : to.x, upper = from.y < to.y ? from.y : to.y;
    if (from.x == to.x || left < 0 || left % FINE != FINE / 2 || left / FINE >= canvas->width)
        return BS_OK;
    double row = ceil(((double)upper + 0.5) / FINE - 0.5);
    row = row < 0 ? 0 : row;
#ifndef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
    row = row > (double)canvas->height ? (double)canvas->height : row;
#endif
    return add_crossing(c, left / FINE, (int64_t)row, err);
}

/* Half a step up and cut towards zero: how the original rounds. */
static int64_t rounded(double v)
{
    return (int64_t)(v + 0.5);
}

/* Follows one side of the outline. It is walked from its lower end in the longer direction whichever way it runs, so
   that two outlines that share a side share its places. */
static bs_status follow(const struct bs__canvas *canvas, struct crossings *c, struct place from,
                        struct place to, struct place *last, struct bs_err *err)
{
    int64_t dx = llabs(to.x - from.x), dy = llabs(to.y - from.y), steps = dx >= dy ? dx : dy;
    bool flat = dx >= dy, backwards = flat ? from.x > to.x : from.y > to.y;
    struct place first = backwards ? to : from, end = backwards ? from : to;
    double slope = steps == 0 ? 0.0 : (double)(flat ? end.y - first.y : end.x - first.x) / (double)steps;
    for (int64_t i = 0; i <= steps; i++) {
        int64_t t = backwards ? steps - i : i;
        struct place now = flat ? (struct place){first.x + t, rounded((double)first.y + slope * (double)t)}
                                : (struct place){rounded((double)first.x + slope * (double)t), first.y + t};
        bs_status rc = step(canvas, c, *last, now, err);
        if (rc != BS_OK)
            return rc;
        *last = now;
    }
    return BS_OK;
}

static int by_column_then_row(const void *left, const void *right)
{
    const struct crossing *a = left, *b = right;
    if (a->column != b->column)
        return a->column < b->column ? -1 : 1;
    return a->row < b->row ? -1 : a->row > b->row;
}

static void fill_columns(const struct bs__canvas *canvas, struct crossings *c)
{
    if (c->count)
        qsort(c->at, c->count, sizeof *c->at, by_column_then_row);
    /* A closed outline crosses a column an even number of times. */
    for (size_t i = 0; i + 1 < c->count; i += 2)
        for (int64_t row = c->at[i].row; row < c->at[i + 1].row; row++)
            canvas->labels[row * canvas->width + c->at[i].column] = canvas->id;
}

static bs_status to_fine(const struct bs__canvas *canvas, const double *corner, size_t index,
                         struct place *out, struct bs_err *err)
{
    double reach_x = 2.0 * (double)canvas->width, reach_y = 2.0 * (double)canvas->height;
    if (!(fabs(corner[0]) <= reach_x && fabs(corner[1]) <= reach_y)) /* also when it is no number */
        return BS_FAIL(err, BS_EINVAL,
                       "corner %zu of an outline is at (%g, %g), far outside the image of %" PRId64
                       "x%" PRId64 " pixels",
                       index, corner[0], corner[1], canvas->width, canvas->height);
    *out = (struct place){rounded(FINE * corner[0]), rounded(FINE * corner[1])};
    return BS_OK;
}

bs_status bs__coco_draw_polygon(const struct bs__canvas *canvas, const double *corners, size_t count,
                                struct bs_err *err)
{
    struct crossings c = {0};
    struct place first, from, to, last;
    int64_t steps = 0;
    bs_status rc;
    if (count < 3)
        return BS_FAIL(err, BS_EINVAL, "an outline has %zu corners; at least 3 are needed", count);
    if ((rc = to_fine(canvas, corners, 0, &first, err)) != BS_OK)
        return rc;
    from = last = first;
    for (size_t i = 1; i <= count; i++, from = to) {
        to = first;
        if (i < count && (rc = to_fine(canvas, corners + 2 * i, i, &to, err)) != BS_OK)
            goto cleanup;
        steps += llabs(to.x - from.x) + llabs(to.y - from.y) + 1;
        if (steps > MAX_STEPS) {
            rc = BS_FAIL(err, BS_ELIMIT, "an outline is over %" PRId64 " pixels long", MAX_STEPS / FINE);
            goto cleanup;
        }
        if ((rc = follow(canvas, &c, from, to, &last, err)) != BS_OK)
            goto cleanup;
    }
    fill_columns(canvas, &c);

cleanup:
    free(c.at);
    return rc;
}

/* Draws one run of the pixels that are counted column by column. */
static void draw_run(const struct bs__canvas *canvas, int64_t at, int64_t length)
{
    int64_t column = at / canvas->height, row = at % canvas->height;
    for (int64_t i = 0; i < length; i++) {
        canvas->labels[row * canvas->width + column] = canvas->id;
        if (++row == canvas->height) {
            row = 0;
            column++;
        }
    }
}

/* Takes runs one after the other; what both notations have in common. */
struct runs {
    const struct bs__canvas *canvas;
    int64_t at; /* pixels covered so far */
    size_t index;
};

static bs_status next_run(struct runs *r, int64_t length, struct bs_err *err)
{
    int64_t pixels = r->canvas->height * r->canvas->width;
    if (length < 0 || length > pixels - r->at)
        return BS_FAIL(err, BS_EINVAL,
                       "run %zu is %" PRId64 " pixels long; %" PRId64 " of the image's %" PRId64 " are left",
                       r->index, length, pixels - r->at, pixels);
    if (r->index++ % 2 == 1)
        draw_run(r->canvas, r->at, length);
    r->at += length;
    return BS_OK;
}

static bs_status end_runs(const struct runs *r, struct bs_err *err)
{
    int64_t pixels = r->canvas->height * r->canvas->width;
    if (r->at == pixels)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "the runs cover %" PRId64 " pixels; the image has %" PRId64, r->at,
                   pixels);
}

bs_status bs__coco_draw_runs(const struct bs__canvas *canvas, const int64_t *runs, size_t count,
                             struct bs_err *err)
{
    struct runs r = {.canvas = canvas};
    for (size_t i = 0; i < count; i++) {
        bs_status rc = next_run(&r, runs[i], err);
        if (rc != BS_OK)
            return rc;
    }
    return end_runs(&r, err);
}

/* One number: characters from '0' on hold five bits each, lowest first, bit 32 says that more follow, and the highest bit of
   the last one is the sign. */
static bs_status next_number(const char **text, int64_t *out, struct bs_err *err)
{
    uint64_t value = 0;
    int shift = 0;
    for (;; (*text)++) {
        int bits = (unsigned char)**text - '0';
        if (bits < 0 || bits > 63 || shift > 35)
            return BS_FAIL(err, BS_EINVAL, "compressed runs end within a number or hold a wrong character");
        value |= (uint64_t)(bits & 31) << shift;
        shift += 5;
        if (bits & 32)
            continue;
        (*text)++;
        *out = bits & 16 ? (int64_t)value - ((int64_t)1 << shift) : (int64_t)value;
        return BS_OK;
    }
}

bs_status bs__coco_draw_text(const struct bs__canvas *canvas, const char *text, struct bs_err *err)
{
    struct runs r = {.canvas = canvas};
    int64_t before = 0, previous = 0; /* the run before the last, the last */
    while (*text) {
        int64_t number = 0, length;
        bs_status rc = next_number(&text, &number, err);
        if (rc != BS_OK)
            return rc;
        /* The first three numbers are lengths, later ones differences to the run two places before. */
        length = r.index > 2 ? number + before : number;
        if ((rc = next_run(&r, length, err)) != BS_OK)
            return rc;
        before = previous;
        previous = length;
    }
    return end_runs(&r, err);
}
