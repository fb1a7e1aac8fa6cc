/* What torch_em's trainer leaves in a checkpoint about how the model was trained ("init"). Internal to model/weights. */
#ifndef BS_MODEL_WEIGHTS_TORCH_HINTS_H
#define BS_MODEL_WEIGHTS_TORCH_HINTS_H

#include "model/weights/pickle.h"
#include "model/weights/torch_checkpoint.h"

/* Fills what is there; whatever has another form than expected is left out, never an error. */
void bs__torch_hints_read(const struct bs__pickle_value *root, struct bs_torch_hints *out);

#endif
