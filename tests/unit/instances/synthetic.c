/* Discs as a pure function of position; see synthetic.h. */
#include "tests/unit/instances/synthetic.h"

#include <math.h>

double synthetic_random(uint64_t seed, uint64_t a, uint64_t b)
{
    uint64_t z = seed * 0x9E3779B97F4A7C15u + a * 0xD1B54A32D192ED03u + b * 0x8CB92BA72F3D8DD7u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (double)((z ^ z >> 31) >> 40) * 0x1p-24;
}

/* One cell's disc. */
struct disc {
    double y, x;
    double inverse; /* 1 / radius^2; huge when there is none */
};

static struct disc disc_of(const struct synthetic *s, int64_t row, int64_t column)
{
    double c = s->cell;
    uint64_t a = (uint64_t)(row + 1), b = (uint64_t)(column + 1);
    double radius = c * (0.25 + 0.25 * synthetic_random(s->seed + 2, a, b));
    struct disc d = {((double)row + 0.3 + 0.4 * synthetic_random(s->seed, a, b)) * c,
                     ((double)column + 0.3 + 0.4 * synthetic_random(s->seed + 1, a, b)) * c,
                     1 / (radius * radius)};
    if (synthetic_random(s->seed + 3, a, b) < 0.1)
        d.inverse = 1e30;
    return d;
}

/* 1 in the middle of the nearest disc, 0 on its rim, negative outside, -1 far away. */
static double depth_at(const struct disc around[3][3], double y, double x)
{
    double nearest = 4;
    for (int i = 0; i < 3; i++)
        for (int k = 0; k < 3; k++) {
            const struct disc *d = &around[i][k];
            double dy = y - d->y, dx = x - d->x, squared = (dy * dy + dx * dx) * d->inverse;
            nearest = squared < nearest ? squared : nearest;
        }
    return 1 - sqrt(nearest);
}

static double value(const struct synthetic *s, int channel, double depth, double noise)
{
    if (channel == 0)
        return depth > 0 ? 0.9 + noise : 0.1 + noise;
    if (s->recipe == BS_RECIPE_BOUNDARIES)
        return fmax(0, 1 - fabs(depth) * 5) * 0.8 + noise;
    return depth > 0 ? 1 - depth + noise : 1 + noise;
}

static bs_status rows_of(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err)
{
    (void)err;
    const struct synthetic *s = ctx;
    for (size_t y = top; y < top + rows; y++) {
        struct disc around[3][3];
        int64_t row = (int64_t)(y / s->cell), column = -1;
        for (size_t x = 0; x < s->width; x++) {
            if (column != (int64_t)(x / s->cell)) {
                column = (int64_t)(x / s->cell);
                for (int i = 0; i < 3; i++)
                    for (int k = 0; k < 3; k++)
                        around[i][k] = disc_of(s, row + i - 1, column + k - 1);
            }
            double noise = 0.1 * synthetic_random(s->seed + 10 + (uint64_t)channel, y, x) - 0.05;
            out[(y - top) * s->width + x] =
                (float)value(s, channel, depth_at(around, (double)y, (double)x), noise);
        }
    }
    return BS_OK;
}

struct bs_map_source synthetic_source(struct synthetic *s)
{
    return (struct bs_map_source){s, rows_of, NULL};
}
