/* Changes to training samples beyond turning and mirroring, all off unless asked for: elastic deformation, blur, gamma, contrast,
   brightness, noise. Each is drawn from a stream of its own for every sample, so that one does not change when another is
   switched on. Pure functions of seed and index; any thread. */
#ifndef BS_MODEL_DATASET_AUGMENT_H
#define BS_MODEL_DATASET_AUGMENT_H

#include "kernels/base/status.h"

#include <stdint.h>

/* Zeros: nothing is changed. Strengths are drawn for each sample, each value within its range equally likely. */
struct bs_augment_rule {
    double elastic;         /* pixels that a control point moves at most along y and x */
    double elastic_spacing; /* pixels between control points; 0 with elastic 0 */
    double blur;            /* standard deviation of a Gaussian in pixels, from 0 to this */
    double gamma; /* intensities between smallest and largest, as 0 to 1, to the power exp(-gamma .. gamma) */
    /* After standardising, so that 1 is the deviation of the image; before, they would be undone by it. */
    double contrast;   /* times 1 - contrast .. 1 + contrast */
    double brightness; /* plus -brightness .. brightness */
    double noise;      /* plus noise of a deviation from 0 to this, pixel by pixel */
};

#define BS_AUGMENT_MIN_SPACING 8.0
#define BS_AUGMENT_MAX_SPACING 512.0
/* Of the spacing: a deformation by cubic B-splines folds nowhere while control points move less than spacing / 2.0464 (Choi and
   Lee 2000, "Injectivity conditions of 2D and 3D uniform cubic B-spline functions"), so that no object comes apart by a fold. */
#define BS_AUGMENT_MAX_ELASTIC 0.4

/* Everything within its range; the error names the member, its value and what is accepted. */
bs_status bs_augment_check(const struct bs_augment_rule *rule, struct bs_err *err) BS_NODISCARD;

/* Where the pixels of a sample come from: displacements at the control points of a uniform cubic B-spline. */
struct bs__elastic {
    double spacing;
    size_t rows, columns; /* of control points */
    float *moved;         /* (2, rows, columns): along y, along x */
};
/* moved stays NULL where nothing is deformed. */
bs_status bs__elastic_create(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, size_t height,
                             size_t width, struct bs__elastic *e, struct bs_err *err) BS_NODISCARD;
void bs__elastic_destroy(struct bs__elastic *e);
/* Displacement of a pixel. */
void bs__elastic_at(const struct bs__elastic *e, size_t row, size_t column, double *dy, double *dx);

/* In place: blur and gamma, before an image (channels, height, width) is standardised. */
bs_status bs__augment_before(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, float *image,
                             size_t channels, size_t height, size_t width, struct bs_err *err) BS_NODISCARD;
/* In place: contrast, brightness and noise, afterwards. */
void bs__augment_after(const struct bs_augment_rule *rule, uint64_t seed, uint64_t index, float *image,
                       size_t count);

#endif
