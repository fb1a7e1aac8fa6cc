/* The formula rule, evaluated in double in the order in which golden/README.md writes it; see formula.h. Lines of its
   table are cited by number. */
#include "tests/support/formula.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define K 0x9E3779B97F4A7C15u

static uint64_t fnv1a64(const char *s)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (; *s; s++)
        h = (h ^ (unsigned char)*s) * 0x100000001B3u;
    return h;
}

static uint64_t splitmix64(uint64_t x)
{
    uint64_t z = x + K;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

uint64_t bs_formula_hash(const char *name, uint64_t seed, uint64_t i)
{
    return splitmix64((fnv1a64(name) ^ (seed * K)) + i);
}

/* base: fnv1a64(name) ^ seed * K. */
static double uniform(uint64_t base, uint64_t i)
{
    return (double)(splitmix64(base + i) >> 40) * 0x1p-24;
}

enum form { FORM_SPREAD, FORM_ZERO, FORM_LOG_INDEX, FORM_DT_BIAS, FORM_NONE };

/* How one entry's values are made; FORM_SPREAD: (2u - 1) * width + centre. */
struct recipe {
    enum form form;
    double width, centre;
    int64_t last_dim;
};

static bool is(const char *text, size_t len, const char *name)
{
    return strlen(name) == len && !memcmp(text, name, len);
}

/* Is the part before the last dot, after the dot before it, dt_proj or dt_proj_b? */
static bool parent_is_dt_proj(const char *name, const char *last)
{
    if (last == name)
        return false;
    const char *end = last - 1, *begin = end;
    while (begin > name && begin[-1] != '.')
        begin--;
    const size_t n = (size_t)(end - begin);
    return is(begin, n, "dt_proj") || is(begin, n, "dt_proj_b");
}

static struct recipe weight_recipe(const struct bs_shape *s, bool dt_proj)
{
    const double d0 = s->ndim > 0 ? (double)s->dim[0] : 1, d1 = s->ndim > 1 ? (double)s->dim[1] : 1;
    switch (s->ndim) {
    case 1: /* 10 */
        return (struct recipe){FORM_SPREAD, 0.2, 1, 0};
    case 2: /* 12, 13 */
        return (struct recipe){FORM_SPREAD, sqrt((dt_proj ? 1.0 : 3.0) / d1), 0, 0};
    case 3: /* 14 */
        return (struct recipe){FORM_SPREAD, sqrt(3.0 / (d1 * (double)s->dim[2])), 0, 0};
    case 4: /* 15, 16, 17 */
        if (s->dim[2] == 2)
            return (struct recipe){FORM_SPREAD, sqrt(3.0 / d0), 0, 0};
        return (struct recipe){
            FORM_SPREAD, sqrt((s->dim[2] == 3 ? 6.0 : 3.0) / (d1 * (double)s->dim[2] * (double)s->dim[3])), 0,
            0};
    default:
        return (struct recipe){FORM_NONE, 0, 0, 0};
    }
}

static struct recipe recipe_of(const char *name, const struct bs_shape *s)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    const bool dt_proj = parent_is_dt_proj(name, last);
    if (!strcmp(last, "num_batches_tracked")) /* 1 */
        return (struct recipe){FORM_ZERO, 0, 0, 0};
    if (!strcmp(last, "running_mean")) /* 2 */
        return (struct recipe){FORM_SPREAD, 0.1, 0, 0};
    if (!strcmp(last, "running_var")) /* 3 */
        return (struct recipe){FORM_SPREAD, 0.25, 1, 0};
    if (!strcmp(last, "A_log") || !strcmp(last, "A_b_log")) /* 4 */
        return (struct recipe){FORM_LOG_INDEX, 0.05, 0, s->ndim ? s->dim[s->ndim - 1] : 1};
    if (!strcmp(last, "D") || !strcmp(last, "D_b")) /* 5 */
        return (struct recipe){FORM_SPREAD, 0.1, 1, 0};
    if (!strcmp(last, "bias") && dt_proj) /* 6 */
        return (struct recipe){FORM_DT_BIAS, 0, 0, 0};
    if (!strcmp(last, "pos_embed")) /* 7 */
        return (struct recipe){FORM_SPREAD, 0.2, 0, 0};
    if (!strcmp(last, "cls_token")) /* 8 */
        return (struct recipe){FORM_SPREAD, 0.5, 0, 0};
    if (!strcmp(last, "rel_pos_h") || !strcmp(last, "rel_pos_w")) /* 9 */
        return (struct recipe){FORM_SPREAD, 0.1, 0, 0};
    if (!strcmp(last, "bias")) /* 11 */
        return (struct recipe){FORM_SPREAD, 0.1, 0, 0};
    if (!strcmp(last, "weight"))
        return weight_recipe(s, dt_proj);
    return (struct recipe){FORM_NONE, 0, 0, 0};
}

static float value(const struct recipe *r, uint64_t base, uint64_t i)
{
    const double u = uniform(base, i);
    switch (r->form) {
    case FORM_SPREAD:
        return (float)((2 * u - 1) * r->width + r->centre);
    case FORM_LOG_INDEX:
        return (float)(log((double)(i % (uint64_t)r->last_dim) + 1) + (2 * u - 1) * r->width);
    case FORM_DT_BIAS: {
        const double dt = exp(log(0.001) + u * (log(0.1) - log(0.001)));
        return (float)(dt + log(-expm1(-dt)));
    }
    default:
        return 0;
    }
}

static bs_status find(const char *name, const struct bs_shape *shape, struct recipe *r, struct bs_err *err)
{
    *r = recipe_of(name, shape);
    return r->form == FORM_NONE ? BS_FAIL(err, BS_EUNSUPPORTED, "no formula for %s", name) : BS_OK;
}

bs_status bs_formula_value(const char *name, const struct bs_shape *shape, uint64_t seed, uint64_t i,
                           float *out, struct bs_err *err)
{
    struct recipe r;
    bs_status rc = find(name, shape, &r, err);
    if (rc == BS_OK)
        *out = value(&r, fnv1a64(name) ^ (seed * K), i);
    return rc;
}

bs_status bs_formula_values(const char *name, const struct bs_shape *shape, uint64_t seed, float *out,
                            struct bs_err *err)
{
    struct recipe r;
    const uint64_t base = fnv1a64(name) ^ (seed * K);
    const size_t n = bs_shape_count(shape);
    bs_status rc = find(name, shape, &r, err);
    for (size_t i = 0; rc == BS_OK && i < n; i++)
        out[i] = value(&r, base, i);
    return rc;
}

void bs_formula_image(uint64_t seed, int64_t channels, int64_t height, int64_t width, float *out)
{
    for (int64_t c = 0; c < channels; c++) {
        char name[48];
        snprintf(name, sizeof name, "image.lattice.%lld", (long long)c);
        const uint64_t lattice = fnv1a64(name) ^ (seed * K);
        snprintf(name, sizeof name, "image.noise.%lld", (long long)c);
        const uint64_t noise = fnv1a64(name) ^ (seed * K);
        for (int64_t y = 0; y < height; y++)
            for (int64_t x = 0; x < width; x++) {
                const uint64_t gy = (uint64_t)y / 32, gx = (uint64_t)x / 32, at = gy * 65536 + gx;
                const double fy = (double)(y % 32) / 32, fx = (double)(x % 32) / 32;
                const double sy = (fy * fy) * (3 - 2 * fy), sx = (fx * fx) * (3 - 2 * fx);
                const double v00 = uniform(lattice, at), v01 = uniform(lattice, at + 1);
                const double v10 = uniform(lattice, at + 65536), v11 = uniform(lattice, at + 65537);
                const double a = v00 + sx * (v01 - v00), b = v10 + sx * (v11 - v10);
                const double v = a + sy * (b - a);
                const double n = uniform(noise, (uint64_t)(y * width + x));
                *out++ = (float)((4 * v - 2) + 0.5 * (2 * n - 1));
            }
    }
}
