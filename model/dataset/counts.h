/* Partial annotation: which pixels of a label image count. What does not count is neither object nor background to a loss. A mask
   (height, width) holds 1 where a pixel does not count. Pure functions; any thread. */
#ifndef BS_MODEL_DATASET_COUNTS_H
#define BS_MODEL_DATASET_COUNTS_H

#include "model/dataset/manifest.h"

/* How far around an object that a person changed background counts, too, in pixels: its outline was looked at from both sides. */
#define BS_TOUCHED_MARGIN 8

/* Adds to the mask what the pair's boxes leave out; a box may reach beyond the image. */
void bs__counts_boxes(const struct bs_manifest_pair *pair, size_t height, size_t width, uint8_t *ignored);

/* Adds to the mask what a person left as the model predicted it: of `labels`, objects that have exactly the pixels of one predicted
   object, and background that was predicted as such, farther than BS_TOUCHED_MARGIN from every pixel that was changed. What
   counts are objects that were added or changed, and where a predicted object was removed or lost pixels. */
bs_status bs__counts_untouched(const uint32_t *labels, const uint32_t *prediction, size_t height,
                               size_t width, uint8_t *ignored, struct bs_err *err) BS_NODISCARD;

#endif
