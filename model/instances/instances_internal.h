/* What the files of model/instances share. Data passes in this order:

       recipes.c              parameters; maps in memory as a source of strips
       blockwise.c            either recipe, strip by strip: seeds and mask by thresholds, heights to levels
         gaussian.c           smooths the distance maps, the same in strips as at once
         components.c         seeds get ids
         watershed.c          ids flood the mask; defines the order of ties
         size_filter.c        small objects go, ids close up
       objects.c              the table of objects
       link.c                 objects of one plane that go on in the next
       targets.c              the other way round: labels to the maps that a network learns, with
         distance_transform.c and find_boundaries.c
       evaluate.c             agreement of two label images

   The public functions of instances.h are thin covers of what is declared here. All pure; any thread. */
#ifndef BS_MODEL_INSTANCES_INTERNAL_H
#define BS_MODEL_INSTANCES_INTERNAL_H

#include "model/instances/instances.h"

#include <math.h>

/* A pixel number has 40 bits in the flooding queue; labels alone would take 4 TiB at this limit. */
#define BS__MAX_PIXELS ((size_t)1 << 40)

/* Heights are quantised to this many levels. */
#define BS__LEVELS 65536

/* In a label image that is being flooded: a pixel that no object may take. Never an id. */
#define BS__OUTSIDE UINT32_MAX

/* Pixels of an image, within BS__MAX_PIXELS. */
bs_status bs__pixels(size_t h, size_t w, size_t *pixels, struct bs_err *err) BS_NODISCARD;

static inline bs_status bs__cancelled(struct bs_err *err)
{
    return BS_FAIL(err, BS_ECANCELLED, "cancelled");
}

/* Components of the nonzero pixels, in place: flags on entry, ids 1..count on return. */
bs_status bs__components_in_place(uint32_t *labels, size_t h, size_t w, uint32_t *count,
                                  const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

/* One half of a symmetric smoothing kernel; tap[0] is the middle. */
struct bs__kernel {
    int radius;
    float *tap; /* radius + 1; free() */
};
bs_status bs__gaussian_kernel(double sigma, struct bs__kernel *kernel, struct bs_err *err) BS_NODISCARD;
/* Smooths rows [top, bottom) of an image of h rows into out. in holds the rows from in_top on and reaches radius rows
   beyond [top, bottom) on either side, or to the border of the image. row is scratch of w samples.
   A row's result does not depend on how the image is cut into strips. */
bs_status bs__gaussian_rows(const struct bs__kernel *kernel, const float *in, size_t in_top, size_t h,
                            size_t w, size_t top, size_t bottom, float *row, float *out,
                            const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

bs_status bs__distance_transform(const uint8_t *in, size_t h, size_t w, float *out,
                                 const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

/* The range of heights that the levels divide: of finite heights inside the mask. Starts as {INFINITY, -INFINITY}. */
struct bs__range {
    float low, high;
};

static inline void bs__range_add(struct bs__range *range, float height)
{
    if (!isfinite(height))
        return;
    if (height < range->low)
        range->low = height;
    if (height > range->high)
        range->high = height;
}

/* level = (height - low) * scale, cut to whole levels. */
struct bs__quantiser {
    double low, scale;
};

static inline struct bs__quantiser bs__quantiser_of(const struct bs__range *range)
{
    double extent = (double)range->high - (double)range->low;
    return (struct bs__quantiser){range->low, extent > 0 ? (BS__LEVELS - 1) / extent : 0};
}

/* NaN is the highest level. */
static inline uint16_t bs__level(const struct bs__quantiser *q, float height)
{
    double level = q->scale > 0 ? ((double)height - q->low) * q->scale : 0;
    if (level < 0)
        return 0;
    return level <= BS__LEVELS - 1 ? (uint16_t)level : BS__LEVELS - 1;
}

/* Floods from the seeds in labels (0 free, BS__OUTSIDE a wall); order as defined in watershed.c. */
bs_status bs__flood(const uint16_t *level, size_t h, size_t w, uint32_t *labels,
                    const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

/* Removes the objects (ids 1..max_id) of fewer than min_size pixels and numbers the others consecutively in their old
   order; BS__OUTSIDE becomes 0. */
bs_status bs__size_filter(uint32_t *labels, size_t pixels, uint32_t max_id, int64_t min_size, uint32_t *count,
                          uint32_t *removed, const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

bs_status bs__params_check(const struct bs_instance_params *params, struct bs_err *err) BS_NODISCARD;

#endif
