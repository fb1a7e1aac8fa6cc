/* From network maps to objects: the paper's two recipes with their size filter, and the table of objects.
   All functions are pure and deterministic whatever the thread count; images are (height, width) in C order.
   Source: torch_em.util.segmentation (watershed_from_components, watershed_from_center_and_boundary_distances). */
#ifndef BS_MODEL_INSTANCES_INSTANCES_H
#define BS_MODEL_INSTANCES_INSTANCES_H

#include "kernels/base/cancel.h"
#include "kernels/base/status.h"

#include <stdint.h>

enum bs_recipe {
    BS_RECIPE_BOUNDARIES, /* maps: foreground, boundary */
    BS_RECIPE_DISTANCES,  /* maps: foreground, centre distance, (inverted) boundary distance */
};

struct bs_instance_params {
    enum bs_recipe recipe;
    /* boundaries */
    double threshold1; /* seeds: components of (foreground - boundary) above it; default 0.5 */
    double threshold2; /* watershed mask: foreground above it; default 0.5 */
    /* distances */
    double center_distance_threshold;   /* 0.5 */
    double boundary_distance_threshold; /* 0.6, the paper's (the library's default is 0.5) */
    double foreground_threshold;        /* 0.5 */
    double distance_smoothing;          /* sigma; 1.0, the paper's (the library's default is 1.6) */
    int64_t min_size; /* pixels; segments below it are removed and ids made consecutive; default 50 */
};
/* The paper's values. */
struct bs_instance_params bs_instance_params_default(enum bs_recipe recipe);

struct bs_instance_result {
    uint32_t count; /* ids are 1..count */
    uint32_t removed_by_size;
};

/* maps (channels, h, w) -> labels (h, w), 0 = background. mask (h, w; may be NULL): 0 = no data, never labelled. */
bs_status bs_instances_from_maps(const float *maps, int channels, size_t height, size_t width,
                                 const uint8_t *mask, const struct bs_instance_params *params,
                                 uint32_t *labels, struct bs_instance_result *result,
                                 const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;

/* One row of the object table; y and x are pixel coordinates of pixel centres. */
struct bs_object {
    uint32_t id;
    uint64_t area; /* pixels */
    double centroid_y, centroid_x;
    uint32_t top, left, bottom, right; /* bounding box, half open */
    double mean_intensity;             /* of the raw samples; NaN without an image */
    uint32_t t, z, z_end; /* planes of a stack that it lies in, half open along z; zeros otherwise */
    double centroid_z;    /* in planes */
};
/* Table of labels with ids 1..count into objects[count]; intensity (h, w) may be NULL. */
bs_status bs_objects_measure(const uint32_t *labels, size_t height, size_t width, uint32_t count,
                             const float *intensity, struct bs_object *objects,
                             struct bs_err *err) BS_NODISCARD;

/* Building blocks (each in its own file of this folder), public because golden_check and training use them too. */
/* Components, 8-neighbourhood, ids in row-major order of first pixel. Binary (nonzero) or equal-valued; 0 is background. */
bs_status bs_components_binary(const uint8_t *in, size_t h, size_t w, uint32_t *out, uint32_t *count,
                               struct bs_err *err) BS_NODISCARD;
bs_status bs_components_labels(const uint32_t *in, size_t h, size_t w, uint32_t *out, uint32_t *count,
                               struct bs_err *err) BS_NODISCARD;
/* In place: objects (ids 1..max_id, each labels value at most that) of fewer than min_size pixels become 0, the others
   are numbered consecutively in their old order; *count of them. */
bs_status bs_labels_remove_small(uint32_t *labels, size_t pixels, uint32_t max_id, int64_t min_size,
                                 uint32_t *count, struct bs_err *err) BS_NODISCARD;
/* Gaussian, radius 3 sigma rounded up, mirror border without repeating the edge sample, kernel renormalised, separable. */
bs_status bs_gaussian(const float *in, size_t h, size_t w, double sigma, float *out,
                      struct bs_err *err) BS_NODISCARD;
/* Exact Euclidean distance of every nonzero pixel to the nearest zero. */
bs_status bs_distance_transform(const uint8_t *in, size_t h, size_t w, float *out,
                                struct bs_err *err) BS_NODISCARD;
/* scikit-image's find_boundaries: mode thick or inner. */
enum bs_boundary_mode { BS_BOUNDARY_THICK, BS_BOUNDARY_INNER };
bs_status bs_find_boundaries(const uint32_t *labels, size_t h, size_t w, enum bs_boundary_mode mode,
                             uint8_t *out, struct bs_err *err) BS_NODISCARD;
/* Seeded watershed, 4-neighbourhood, heights quantised to 65,536 levels; inside a level first come first served in
   the order defined in watershed.c, the same for every thread count. labels holds the seeds on entry. */
bs_status bs_watershed(const float *height_map, size_t h, size_t w, const uint8_t *mask, uint32_t *labels,
                       const struct bs_cancel *cancel, struct bs_err *err) BS_NODISCARD;
/* Training targets (torch_em.transform.label): (2,h,w) foreground+boundary; (3,h,w) foreground, centre, inverted boundary distance. */
bs_status bs_target_boundaries(const uint32_t *labels, size_t h, size_t w, uint8_t *out,
                               struct bs_err *err) BS_NODISCARD;
bs_status bs_target_distances(const uint32_t *labels, size_t h, size_t w, int64_t min_size, float *out,
                              struct bs_err *err) BS_NODISCARD;

#endif
