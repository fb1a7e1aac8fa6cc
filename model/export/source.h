/* The model file that an export starts from: its description and its tensors in the order in which they lie in the file,
   which is that of the checkpoint it was converted from. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_SOURCE_H
#define BS_MODEL_EXPORT_SOURCE_H

#include "model/model.h"
#include "model/weights/safetensors.h"

struct bs__export_source {
    const char *path; /* borrowed */
    struct bs_safetensors *file;
    struct bs_model_info info;
    const struct bs_safetensors_entry **tensor;
    size_t count;
    uint64_t bytes;   /* of all tensors */
    uint64_t largest; /* bytes of one */
};

/* Refuses a file that is no model file, and one that lacks a tensor of its network. Close also after a failure. */
bs_status bs__export_open(const char *path, struct bs__export_source *out, struct bs_err *err) BS_NODISCARD;
void bs__export_close(struct bs__export_source *s);

#endif
