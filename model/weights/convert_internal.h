/* The two halves of a conversion: tensors (convert.c) and the description that is written beside them
   (convert_describe.c). Internal to model/weights. */
#ifndef BS_MODEL_WEIGHTS_CONVERT_INTERNAL_H
#define BS_MODEL_WEIGHTS_CONVERT_INTERNAL_H

#include "model/weights/convert.h"
#include "model/weights/torch_checkpoint.h"

/* What the input says of its model. */
struct bs__convert_known {
    const struct bs_state_entry *state; /* names and shapes */
    size_t count;
    const struct bs_torch_hints *hints; /* NULL: none */
    bool micro_sam, untrained;          /* with micro-sam's decoder; with one that is not trained */
    const char *description;            /* of a model file of ours; NULL: of none */
};

/* From the input, the caller's options and, where both are silent, assumptions that info->assumed names. */
bs_status bs__convert_describe(const struct bs__convert_known *known,
                               const struct bs_convert_options *options, struct bs_model_info *info,
                               struct bs_err *err) BS_NODISCARD;

#endif
