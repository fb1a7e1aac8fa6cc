/* The formats, one function each, that export.c picks from: they write to the target's descriptor from its start, and whatever they leave there
   after a failure is thrown away. Internal to model/export. One thread. */
#ifndef BS_MODEL_EXPORT_EXPORT_INTERNAL_H
#define BS_MODEL_EXPORT_EXPORT_INTERNAL_H

#include "model/export/export.h"
#include "model/export/source.h"

struct bs__export_target {
    int fd;
    const char *path; /* that it will have */
};

bs_status bs__write_state_dict(const struct bs__export_source *s, const struct bs__export_target *target,
                               const struct bs_export_options *options, struct bs_err *err) BS_NODISCARD;
bs_status bs__write_trainer(const struct bs__export_source *s, const struct bs__export_target *target,
                            const struct bs_export_options *options, struct bs_err *err) BS_NODISCARD;
bs_status bs__write_onnx(const struct bs__export_source *s, const struct bs__export_target *target,
                         const struct bs_export_options *options, struct bs_err *err) BS_NODISCARD;
bs_status bs__write_package(const struct bs__export_source *s, const struct bs__export_target *target,
                            const struct bs_export_options *options, struct bs_err *err) BS_NODISCARD;

#endif
