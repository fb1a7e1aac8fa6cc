/* The picture one shows a colleague: the grey image, contrast stretched, with every object outlined in a colour of
   its own. Pure; any thread. */
#ifndef BS_MODEL_IMAGE_OVERLAY_H
#define BS_MODEL_IMAGE_OVERLAY_H

#include "kernels/base/status.h"

#include <stdint.h>

/* plane (h, w) of raw intensities (NaN: no data, drawn black), labels (h, w), zoom >= 1 enlarges small images so that an outline does not
   cover what it outlines -> rgb (h * zoom, w * zoom, 3), allocated by the caller. */
bs_status bs_overlay_render(const float *plane, const uint32_t *labels, size_t height, size_t width, int zoom,
                            uint8_t *rgb, struct bs_err *err) BS_NODISCARD;

/* The zoom that makes the longer side about 1000 pixels, at most 4. */
int bs_overlay_zoom(size_t height, size_t width);

#endif
