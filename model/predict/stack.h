/* A stack or a time series, plane by plane: every plane goes through the same network by itself, so that memory is that of
   one plane; then ids become unique over the stack, or, where planes are linked, objects of neighbouring planes along z
   that overlap enough get one id ("linked 2D": model/instances/link.h has the rule). A plane's labels are those that it has
   when it is segmented alone, but for their numbers. Runs on the device's executor thread. */
#ifndef BS_MODEL_PREDICT_STACK_H
#define BS_MODEL_PREDICT_STACK_H

#include "model/predict/segment.h"

/* Whether the image has an axis t or z, of whatever size. */
bool bs_image_is_stack(const struct bs_image *image);

/* What labels of the image with these parameters will have: planes, rows and columns, and bytes. BS_EINVAL: the region or
   linking does not fit the image; BS_ELIMIT: more bytes than max_bytes. */
bs_status bs_stack_plan(const struct bs_image *image, const struct bs_segment_params *params,
                        size_t max_bytes, struct bs_stack *stack, size_t *height, size_t *width,
                        struct bs_err *err) BS_NODISCARD;

/* Where the arrays of a stack go: memory of the caller's, in the order of the stack's axes. */
struct bs_stack_output {
    uint32_t *labels; /* (planes, h, w) */
    float *maps;      /* (planes, channels, h, w); NULL: not wanted */
};

/* result->labels and result->maps stay NULL. Progress counts the tiles of all planes; kept maps are those of all planes. */
bs_status bs_segment_stack(struct bs_model *model, const struct bs_image *image,
                           const struct bs_segment_params *params, const struct bs_stack_output *output,
                           struct bs_segment_maps *kept, const struct bs_segment_progress *progress,
                           const struct bs_cancel *cancel, struct bs_segment_result *result,
                           struct bs_err *err) BS_NODISCARD;

#endif
