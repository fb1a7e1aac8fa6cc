/* What model.c and model_info.c share. */
#ifndef BS_MODEL_MODEL_INTERNAL_H
#define BS_MODEL_MODEL_INTERNAL_H

#include "model/model.h"
#include "model/weights/safetensors.h"

/* The description in an open file. */
bs_status bs__model_info_of(const struct bs_safetensors *st, struct bs_model_info *info,
                            struct bs_err *err) BS_NODISCARD;

#endif
