/* What the files of the manifest share: members that are accepted (manifest.c), and its text (manifest_json.c). */
#ifndef BS_MODEL_DATASET_MANIFEST_INTERNAL_H
#define BS_MODEL_DATASET_MANIFEST_INTERNAL_H

#include "model/dataset/manifest.h"
#include "model/weights/json.h"

/* Is every member of a pair what a manifest accepts? */
bs_status bs__manifest_check_pair(const struct bs_manifest_pair *pair, struct bs_err *err) BS_NODISCARD;

/* by_content: without names of files and groups. */
void bs__manifest_write(struct bs_json_writer *w, const struct bs_manifest *m, bool by_content);

#endif
