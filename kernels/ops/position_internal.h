/* Where the rows of a table of positions enter the tokens' grid: what add_position.c and fast backends share. Pure functions. */
#ifndef BS_KERNELS_OPS_POSITION_INTERNAL_H
#define BS_KERNELS_OPS_POSITION_INTERNAL_H

#include "kernels/graph.h"

#include <math.h>

/* The table's grid, and which of its rows belongs to the class token (-1: none). */
struct bs__position_table {
    int64_t h, w, class_row;
};

static inline int64_t bs__square_root(int64_t v)
{
    int64_t side = (int64_t)sqrt((double)v);
    while (side * side > v)
        side--;
    while ((side + 1) * (side + 1) <= v)
        side++;
    return side;
}

static inline struct bs__position_table bs__position_table(const struct bs_attr *attr,
                                                           const struct bs_shape *p)
{
    if (p->ndim == 4)
        return (struct bs__position_table){p->dim[1], p->dim[2], -1};
    int64_t rows = p->dim[1] - (attr->start >= 0), side = bs__square_root(rows);
    return (struct bs__position_table){side, side, attr->start <= 0 ? attr->start : rows / 2};
}

static inline bool bs__position_as_it_is(const struct bs_shape *x, const struct bs_shape *p)
{
    return p->ndim == 3 && p->dim[1] == x->dim[1];
}

/* Where output pixel i of `out` lies among the `in` pixels: the first of four neighbours and their weights. */
static inline int64_t bs__cubic(int64_t i, int64_t in, int64_t out, double weight[4])
{
    static const double a = -0.75;
    double at = (double)in / (double)out * ((double)i + 0.5) - 0.5, first = floor(at);
    for (int k = 0; k < 4; k++) {
        double d = fabs(at - (first - 1 + k));
        weight[k] = d <= 1 ? ((a + 2) * d - (a + 3)) * d * d + 1 : (((d - 5) * d + 8) * d - 4) * a;
    }
    return (int64_t)first - 1;
}

static inline int64_t bs__clamp(int64_t v, int64_t length)
{
    return v < 0 ? 0 : (v >= length ? length - 1 : v);
}

#endif
