/* Elastic deformation: see augment.h. Displacement of the pixel at distances (u, v) from its control points, in units of the spacing:

     d(y, x) = sum over i, j = 0..3 of B_i(u) B_j(v) d_ij,   B the uniform cubic B-spline

   with each d_ij drawn evenly from a square. */
#include "model/dataset/augment.h"

#include "model/dataset/random.h"

#include <math.h>
#include <stdlib.h>

#define PURPOSE_ELASTIC 16u

bs_status bs__elastic_create(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, size_t height,
                             size_t width, struct bs__elastic *e, struct bs_err *err)
{
    *e = (struct bs__elastic){.spacing = rule->elastic_spacing};
    if (rule->elastic <= 0)
        return BS_OK;
    e->rows = (size_t)((double)height / e->spacing) + 4;
    e->columns = (size_t)((double)width / e->spacing) + 4;
    const size_t count = 2 * e->rows * e->columns;
    if (!(e->moved = malloc(count * sizeof *e->moved)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for an elastic deformation of %zu points", count / 2);
    struct bs_random r = bs_random_of(seed, PURPOSE_ELASTIC, index);
    for (size_t i = 0; i < count; i++)
        e->moved[i] = (float)(rule->elastic * (2 * bs_random_unit(&r) - 1));
    return BS_OK;
}

void bs__elastic_destroy(struct bs__elastic *e)
{
    free(e->moved);
    e->moved = NULL;
}

static void weights(double u, double b[4])
{
    const double rest = 1 - u;
    b[0] = rest * rest * rest / 6;
    b[1] = (3 * u * u * u - 6 * u * u + 4) / 6;
    b[2] = (-3 * u * u * u + 3 * u * u + 3 * u + 1) / 6;
    b[3] = u * u * u / 6;
}

void bs__elastic_at(const struct bs__elastic *e, size_t row, size_t column, double *dy, double *dx)
{
    const double y = (double)row / e->spacing, x = (double)column / e->spacing;
    const size_t top = (size_t)y, left = (size_t)x;
    const float *along_y = e->moved + top * e->columns + left, *along_x = along_y + e->rows * e->columns;
    double by[4], bx[4];
    weights(y - (double)top, by);
    weights(x - (double)left, bx);
    *dy = *dx = 0;
    for (size_t i = 0; i < 4; i++)
        for (size_t j = 0; j < 4; j++) {
            *dy += by[i] * bx[j] * (double)along_y[i * e->columns + j];
            *dx += by[i] * bx[j] * (double)along_x[i * e->columns + j];
        }
}
