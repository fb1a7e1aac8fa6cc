/* Planes of files as training takes them: images as float, labels as 32-bit ids; what cannot be one is said with its place. Pure
   functions; any thread. */
#ifndef BS_MODEL_DATASET_PLANE_DATA_H
#define BS_MODEL_DATASET_PLANE_DATA_H

#include "model/image/plane.h"

/* Samples of a channel as they were measured into image (height, width). BS_EINVAL names the first that is not finite. */
bs_status bs__plane_image(const struct bs_plane *p, float *image, struct bs_err *err) BS_NODISCARD;

/* Ids into labels (height, width). Any sample type that holds whole numbers from 0 to 4,294,967,295; BS_EINVAL names the first
   that is none. ignore_label (NULL: there is none): where it stands labels become 0 and ignored (height, width) 1, which is left alone
   elsewhere. */
bs_status bs__plane_labels(const struct bs_plane *p, const int64_t *ignore_label, uint32_t *labels,
                           uint8_t *ignored, struct bs_err *err) BS_NODISCARD;

#endif
