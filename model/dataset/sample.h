/* Training samples: a window cut from an image and its labels, turned and mirrored, standardised, with the target that the
   network learns. Sample i of seed s is a pure function of the source: any thread may make any sample, in any order. */
#ifndef BS_MODEL_DATASET_SAMPLE_H
#define BS_MODEL_DATASET_SAMPLE_H

#include "model/dataset/augment.h"
#include "model/instances/instances.h"

#include <stdint.h>

/* One image with its labels, both borrowed from the source until it is released. */
struct bs_pair {
    const float *image;     /* (channels, height, width) */
    const uint32_t *labels; /* (height, width), 0 = background */
    const uint8_t *ignored; /* (height, width), nonzero: the pixel does not count; NULL: all count */
    size_t channels, height, width;
    void *held; /* the source's own */
};

/* Where pairs come from. Both functions are called from several threads at once. */
struct bs_pair_source {
    void *ctx;
    size_t count;    /* at least 1 */
    size_t channels; /* of every image */
    bool partial;    /* some pairs have pixels that do not count */
    bs_status (*load)(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err);
    void (*release)(void *ctx, struct bs_pair *pair); /* may be NULL */
};

/* Channels of a recipe's target without a mask: 2 (foreground, boundary) or 3 (foreground, distance to the centre, inverted distance to the boundary). */
int bs_target_channels(enum bs_recipe target);

struct bs_sample_rule {
    size_t height,
        width; /* of the window; smaller images are filled up with 0 below and on the right, as in torch_em */
    bool flips;         /* mirror either axis, each with probability 1/2 */
    bool quarter_turns; /* turn by 0, 90, 180 or 270 degrees */
    enum bs_recipe target;
    int64_t target_min_size; /* distances: objects below are no objects; the paper's 25 */
    int64_t min_objects;     /* windows with fewer that count are drawn again; 0: every window is taken */
    /* The target gets one more channel, last: 1 where a pixel counts, 0 where it does not; there the others are 0, too. Without it
       a pair with pixels that do not count is refused. What is filled up beyond an image counts as background. */
    bool mask;
    struct bs_augment_rule augment; /* zeros: none */
};
/* bs_target_channels, and the mask. */
size_t bs_sample_target_channels(const struct bs_sample_rule *rule);
/* 512 x 512, flips and quarter turns, distances with 25, one object, nothing else. */
struct bs_sample_rule bs_sample_rule_default(void);

#define BS_SAMPLE_ATTEMPTS                                                                                   \
    500 /* windows that are tried for one sample; every tenth time another image is taken */

/* Makes sample `index` of a seed into image (channels, height, width) and target (bs_sample_target_channels, height, width);
   labels (height, width) may be NULL. Every source's pair comes once in `count` consecutive samples, in an order that changes
   each round. The target is computed after turning, mirroring and deforming. BS_EPRECONDITION when no window has enough objects. */
bs_status bs_sample_make(const struct bs_pair_source *source, const struct bs_sample_rule *rule,
                         uint64_t seed, uint64_t index, float *image, float *target, uint32_t *labels,
                         struct bs_err *err) BS_NODISCARD;

#endif
