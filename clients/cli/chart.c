/* Curves as inline SVG. See chart.h. */
#include "clients/cli/chart.h"

#include <math.h>

#define WIDTH  760.0
#define HEIGHT 260.0
#define LEFT   64.0
#define RIGHT  16.0
#define TOP    30.0
#define BOTTOM 40.0
#define MOST   600 /* points of a line: about one for each pixel */

struct frame {
    double x0, x1, y0, y1; /* of the data; y of its logarithm where the axis is logarithmic */
    bool logarithmic;
};

static double scaled(const struct frame *f, double y)
{
    return f->logarithmic ? log10(y) : y;
}

static double at_x(const struct frame *f, double x)
{
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

/* y as scaled. */
static double at_y(const struct frame *f, double y)
{
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

static bool usable(const struct bs__chart_series *s, size_t i, bool logarithmic)
{
    return isfinite(s->x[i]) && isfinite(s->y[i]) && (!logarithmic || s->y[i] > 0);
}

/* False when there is no point. */
static bool measure(const struct bs__chart *c, struct frame *f)
{
    *f = (struct frame){INFINITY, -INFINITY, INFINITY, -INFINITY, c->logarithmic};
    for (size_t k = 0; k < c->nseries; k++)
        for (size_t i = 0; i < c->series[k].count; i++) {
            const struct bs__chart_series *s = &c->series[k];
            if (!usable(s, i, c->logarithmic))
                continue;
            f->x0 = fmin(f->x0, s->x[i]);
            f->x1 = fmax(f->x1, s->x[i]);
            f->y0 = fmin(f->y0, scaled(f, s->y[i]));
            f->y1 = fmax(f->y1, scaled(f, s->y[i]));
        }
    if (f->x0 > f->x1)
        return false;
    if (f->x0 == f->x1)
        f->x1 = f->x0 + 1;
    /* Some room, and a flat line in the middle. */
    const bool flat = f->y1 - f->y0 <= 1e-9 * fmax(fabs(f->y0), fabs(f->y1));
    const double room = flat ? fmax(0.05 * fabs(f->y1), 1e-12) : 0.05 * (f->y1 - f->y0);
    f->y0 -= room;
    f->y1 += room;
    return true;
}

/* 1, 2 or 5 times a power of ten: about `count` of them in the range. */
static double round_step(double range, double count)
{
    const double rough = range / count, power = pow(10, floor(log10(rough))), part = rough / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static void write_grid(struct bs__html *w, const struct bs__chart *c, const struct frame *f)
{
    const double xs = fmax(round_step(f->x1 - f->x0, 6), 1), ys = round_step(f->y1 - f->y0, 4);
    const long long first_y = (long long)ceil(f->y0 / ys), last_y = (long long)floor(f->y1 / ys);
    for (long long i = first_y; i <= last_y; i++) {
        const double y = (double)i * ys;
        bs__html_raw(w, "<line class=\"grid\" x1=\"");
        bs__html_format(w, "%.1f", LEFT);
        bs__html_raw(w, "\" x2=\"");
        bs__html_format(w, "%.1f", WIDTH - RIGHT);
        bs__html_raw(w, "\" y1=\"");
        bs__html_format(w, "%.1f", at_y(f, y));
        bs__html_raw(w, "\" y2=\"");
        bs__html_format(w, "%.1f", at_y(f, y));
        bs__html_raw(w, "\"/><text class=\"tick\" text-anchor=\"end\" x=\"");
        bs__html_format(w, "%.1f", LEFT - 6);
        bs__html_raw(w, "\" y=\"");
        bs__html_format(w, "%.1f", at_y(f, y) + 4);
        bs__html_raw(w, "\">");
        bs__html_format(w, "%.3g", f->logarithmic ? pow(10, y) : y);
        bs__html_raw(w, "</text>");
    }
    const long long first_x = (long long)ceil(f->x0 / xs), last_x = (long long)floor(f->x1 / xs);
    for (long long i = first_x; i <= last_x; i++) {
        const double x = (double)i * xs;
        bs__html_raw(w, "<text class=\"tick\" text-anchor=\"middle\" x=\"");
        bs__html_format(w, "%.1f", at_x(f, x));
        bs__html_raw(w, "\" y=\"");
        bs__html_format(w, "%.1f", HEIGHT - BOTTOM + 16);
        bs__html_raw(w, "\">");
        bs__html_format(w, "%.0f", x);
        bs__html_raw(w, "</text>");
    }
    bs__html_raw(w, "<text class=\"tick\" text-anchor=\"middle\" x=\"");
    bs__html_format(w, "%.1f", (LEFT + WIDTH - RIGHT) / 2);
    bs__html_raw(w, "\" y=\"");
    bs__html_format(w, "%.1f", HEIGHT - 6);
    bs__html_raw(w, "\">");
    bs__html_text(w, c->x_label);
    bs__html_raw(w, "</text>");
}

/* A line; where there are more points than can be seen, means of neighbours. */
static void write_line(struct bs__html *w, const struct bs__chart_series *s, const struct frame *f)
{
    const size_t share = s->dots ? 1 : (s->count + MOST - 1) / MOST;
    bs__html_raw(w, "<polyline fill=\"none\" stroke-width=\"1.6\" stroke=\"");
    bs__html_text(w, s->colour);
    bs__html_raw(w, "\" points=\"");
    for (size_t start = 0; start < s->count; start += share) {
        double x = 0, y = 0, n = 0;
        for (size_t i = start; i < s->count && i < start + share; i++)
            if (usable(s, i, f->logarithmic)) {
                x += s->x[i];
                y += s->y[i];
                n++;
            }
        if (n > 0)
            bs__html_format(w, "%.1f,%.1f ", at_x(f, x / n), at_y(f, scaled(f, y / n)));
    }
    bs__html_raw(w, "\"/>");
    for (size_t i = 0; s->dots && i < s->count; i++) {
        if (!usable(s, i, f->logarithmic))
            continue;
        bs__html_raw(w, "<circle r=\"2.5\" fill=\"");
        bs__html_text(w, s->colour);
        bs__html_raw(w, "\" cx=\"");
        bs__html_format(w, "%.1f", at_x(f, s->x[i]));
        bs__html_raw(w, "\" cy=\"");
        bs__html_format(w, "%.1f", at_y(f, scaled(f, s->y[i])));
        bs__html_raw(w, "\"/>");
    }
}

static void write_mark(struct bs__html *w, const struct bs__chart *c, const struct frame *f)
{
    if (!(c->mark >= f->x0 && c->mark <= f->x1))
        return;
    const bool right = at_x(f, c->mark) > WIDTH / 2;
    bs__html_raw(w, "<line class=\"mark\" x1=\"");
    bs__html_format(w, "%.1f", at_x(f, c->mark));
    bs__html_raw(w, "\" x2=\"");
    bs__html_format(w, "%.1f", at_x(f, c->mark));
    bs__html_raw(w, "\" y1=\"");
    bs__html_format(w, "%.1f", TOP);
    bs__html_raw(w, "\" y2=\"");
    bs__html_format(w, "%.1f", HEIGHT - BOTTOM);
    bs__html_raw(w, right ? "\"/><text class=\"tick\" text-anchor=\"end\" x=\""
                          : "\"/><text class=\"tick\" x=\"");
    bs__html_format(w, "%.1f", at_x(f, c->mark) + (right ? -5 : 5));
    bs__html_raw(w, "\" y=\"");
    bs__html_format(w, "%.1f", TOP + 11);
    bs__html_raw(w, "\">");
    bs__html_text(w, c->marked);
    bs__html_raw(w, "</text>");
}

static void write_legend(struct bs__html *w, const struct bs__chart *c)
{
    bs__html_raw(w, "<p class=\"legend\">");
    for (size_t k = 0; k < c->nseries; k++) {
        bs__html_raw(w, "<span style=\"color:");
        bs__html_text(w, c->series[k].colour);
        bs__html_raw(w, "\">&#9644;</span> ");
        bs__html_text(w, c->series[k].name);
        bs__html_raw(w, " &ensp;");
    }
    bs__html_raw(w, c->logarithmic ? "(logarithmic)</p>" : "</p>");
}

void bs__chart_write(struct bs__html *w, const struct bs__chart *c)
{
    struct frame f;
    bs__html_raw(w, "<figure><figcaption>");
    bs__html_text(w, c->title);
    bs__html_raw(w, "</figcaption>");
    if (!measure(c, &f)) {
        bs__html_raw(w, "<p>Nothing was told yet.</p></figure>\n");
        return;
    }
    bs__html_raw(w, "<svg role=\"img\" viewBox=\"0 0 760 260\" aria-label=\"");
    bs__html_text(w, c->title);
    bs__html_raw(w, "\">");
    write_grid(w, c, &f);
    for (size_t k = 0; k < c->nseries; k++)
        write_line(w, &c->series[k], &f);
    write_mark(w, c, &f);
    bs__html_raw(w, "</svg>");
    write_legend(w, c);
    bs__html_raw(w, "</figure>\n");
}
