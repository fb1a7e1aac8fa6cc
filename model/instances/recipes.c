/* The paper's two recipes on maps in memory, their default parameters and what parameters may be. Pure; any thread. */
#include "model/instances/blockwise.h"
#include "model/instances/instances_internal.h"

#include <math.h>
#include <string.h>

struct bs_instance_params bs_instance_params_default(enum bs_recipe recipe)
{
    return (struct bs_instance_params){
        .recipe = recipe,
        .threshold1 = 0.5,
        .threshold2 = 0.5,
        .center_distance_threshold = 0.5,
        .boundary_distance_threshold = 0.6,
        .foreground_threshold = 0.5,
        .distance_smoothing = 1.0,
        .min_size = 50,
    };
}

bs_status bs__params_check(const struct bs_instance_params *p, struct bs_err *err)
{
    if (p->recipe != BS_RECIPE_BOUNDARIES && p->recipe != BS_RECIPE_DISTANCES)
        return BS_FAIL(err, BS_EINVAL, "recipe %d: boundaries (0) and distances (1) are known",
                       (int)p->recipe);
    const struct {
        const char *name;
        double value;
    } threshold[] = {
        {"threshold1", p->threshold1},
        {"threshold2", p->threshold2},
        {"center_distance_threshold", p->center_distance_threshold},
        {"boundary_distance_threshold", p->boundary_distance_threshold},
        {"foreground_threshold", p->foreground_threshold},
    };
    for (size_t i = 0; i < sizeof threshold / sizeof *threshold; i++)
        if (!isfinite(threshold[i].value))
            return BS_FAIL(err, BS_EINVAL, "%s is %g: a finite number is needed", threshold[i].name,
                           threshold[i].value);
    if (!(p->distance_smoothing >= 0 && p->distance_smoothing <= 100))
        return BS_FAIL(err, BS_EINVAL, "distance_smoothing %g is not in [0, 100]", p->distance_smoothing);
    if (p->min_size < 0)
        return BS_FAIL(err, BS_EINVAL, "min_size %lld is negative: 0 or more pixels are accepted",
                       (long long)p->min_size);
    return BS_OK;
}

/* Maps in memory as a source of strips. */
struct memory {
    const float *maps; /* (channels, h, w) */
    const uint8_t *mask;
    size_t h, w;
};

static bs_status memory_rows(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err)
{
    (void)err;
    const struct memory *m = ctx;
    memcpy(out, m->maps + ((size_t)channel * m->h + top) * m->w, rows * m->w * sizeof *out);
    return BS_OK;
}

static bs_status memory_mask(void *ctx, size_t top, size_t rows, uint8_t *out, struct bs_err *err)
{
    (void)err;
    const struct memory *m = ctx;
    memcpy(out, m->mask + top * m->w, rows * m->w);
    return BS_OK;
}

bs_status bs_instances_from_maps(const float *maps, int channels, size_t height, size_t width,
                                 const uint8_t *mask, const struct bs_instance_params *params,
                                 uint32_t *labels, struct bs_instance_result *result,
                                 const struct bs_cancel *cancel, struct bs_err *err)
{
    struct memory memory = {maps, mask, height, width};
    struct bs_map_source source = {&memory, memory_rows, mask ? memory_mask : NULL};
    return bs_instances_from_source(&source, channels, height, width, params, labels, result, cancel, err);
}
