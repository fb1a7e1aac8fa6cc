/* Warnings that go with a result, and the pixel size that several of them need. Pure functions; any thread. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void bs__warn(struct bs_segment_result *r, const char *code, const char *fmt, ...)
{
    if (r->nwarning == BS_MAX_WARNINGS)
        return;
    struct bs_warning *w = &r->warning[r->nwarning++];
    va_list ap;
    va_start(ap, fmt);
    snprintf(w->code, sizeof w->code, "%s", code);
    vsnprintf(w->text, sizeof w->text, fmt, ap);
    va_end(ap);
}

double bs__unit_um(const char *unit)
{
    static const struct {
        const char *unit;
        double um;
    } units[] = {{"um", 1},  {"nm", 1e-3}, {"mm", 1e3},     {"cm", 1e4},
                 {"m", 1e6}, {"pm", 1e-6}, {"inch", 25400}, {"in", 25400}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].unit) == 0)
            return units[i].um;
    return 0;
}

double bs__pixel_um(const struct bs_image *image, bool *not_square)
{
    const double um = bs__unit_um(image->unit);
    int iy = bs_image_axis(image, 'y'), ix = bs_image_axis(image, 'x');
    double y = iy >= 0 ? image->pixel_size[iy] : 0, x = ix >= 0 ? image->pixel_size[ix] : 0;
    *not_square = false;
    if (!(um > 0 && x > 0 && y > 0 && isfinite(x) && isfinite(y)))
        return 0;
    /* One per cent: what rounding to rational numbers in a TIFF can do, and no more. */
    *not_square = fabs(x - y) > 0.01 * fmax(x, y);
    return *not_square ? 0 : sqrt(x * y) * um;
}
