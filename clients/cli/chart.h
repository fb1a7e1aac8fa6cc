/* Curves as inline SVG for a report: axes with round numbers, as many series as there are, one step marked. Looks the same on paper.
   Pure but for the text written to; one thread. */
#ifndef BS_CLIENTS_CLI_CHART_H
#define BS_CLIENTS_CLI_CHART_H

#include "clients/cli/html.h"

/* Points in the order of x; what is no number is left out. */
struct bs__chart_series {
    const char *name;   /* for the legend */
    const char *colour; /* a literal, "#1f6feb" */
    const double *x, *y;
    size_t count;
    bool
        dots; /* each point has one: validations; else means of neighbours where there are more than can be seen */
};

struct bs__chart {
    const char *title, *x_label;
    const struct bs__chart_series *series;
    size_t nseries;
    bool logarithmic;   /* y, where every value is above 0 */
    double mark;        /* a vertical line at this x; NaN: none */
    const char *marked; /* what it is */
};

/* Writes nothing but a sentence when there is no point. */
void bs__chart_write(struct bs__html *w, const struct bs__chart *c);

#endif
