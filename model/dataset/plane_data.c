/* See plane_data.h. */
#include "model/dataset/plane_data.h"

#include <math.h>
#include <stdlib.h>

static bs_status row_of(const struct bs_plane *p, double **row, struct bs_err *err)
{
    *row = malloc(p->width * sizeof **row);
    return *row ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for a row of %zu samples", p->width);
}

bs_status bs__plane_image(const struct bs_plane *p, float *image, struct bs_err *err)
{
    double *row;
    bs_status rc = row_of(p, &row, err);
    for (size_t y = 0; y < p->height && rc == BS_OK; y++) {
        bs_plane_read(p, y, 0, p->width, row);
        bs_plane_as_measured(p, row, p->width);
        for (size_t x = 0; x < p->width && rc == BS_OK; x++, image++) {
            *image = (float)row[x];
            if (!isfinite(*image))
                rc = BS_FAIL(err, BS_EINVAL,
                             "the sample at row %zu, column %zu is %g; finite 32-bit floats are accepted", y,
                             x, row[x]);
        }
    }
    free(row);
    return rc;
}

bs_status bs__plane_labels(const struct bs_plane *p, const int64_t *ignore_label, uint32_t *labels,
                           uint8_t *ignored, struct bs_err *err)
{
    double *row;
    bs_status rc = row_of(p, &row, err);
    for (size_t y = 0; y < p->height && rc == BS_OK; y++) {
        bs_plane_read(p, y, 0, p->width, row);
        for (size_t x = 0; x < p->width && rc == BS_OK; x++) {
            const size_t at = y * p->width + x;
            labels[at] = 0;
            if (ignore_label && row[x] == (double)*ignore_label)
                ignored[at] = 1;
            else if (row[x] >= 0 && row[x] <= (double)UINT32_MAX && row[x] == floor(row[x]))
                labels[at] = (uint32_t)row[x];
            else
                rc = BS_FAIL(err, BS_EINVAL,
                             "the label at row %zu, column %zu is %.9g; whole numbers from 0 to %u are "
                             "accepted",
                             y, x, row[x], UINT32_MAX);
        }
    }
    free(row);
    return rc;
}
