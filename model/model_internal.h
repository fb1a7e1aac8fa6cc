/* What the files of model/ share. */
#ifndef BS_MODEL_MODEL_INTERNAL_H
#define BS_MODEL_MODEL_INTERNAL_H

#include "model/json_fields.h"
#include "model/model.h"
#include "model/weights/safetensors.h"

/* The description in an open file. */
bs_status bs__model_info_of(const struct bs_safetensors *st, struct bs_model_info *info,
                            struct bs_err *err) BS_NODISCARD;

/* The config of the network: "architecture" and the object of that name. bs__arch_read leaves the rest of the description
   to its caller; errors stick to f. (arch_json.c) */
#define BS_MAX_ENCODER_SIZE 16384
void bs__arch_write(struct bs_json_writer *w, const struct bs_arch_config *arch);
void bs__arch_read(struct bs__fields *f, struct bs_arch_config *arch);

#endif
