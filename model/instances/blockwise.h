/* The recipes on maps that are read in strips of rows, for images whose maps do not fit in memory: labels (4 bytes a
   pixel, the caller's) and quantised heights (2 bytes a pixel) are all that is held for the whole image, plus the
   flooding front and strips of some tens of megabytes. bs_instances_from_maps is this with maps in memory, so labels are
   the same pixel by pixel wherever the maps come from. */
#ifndef BS_MODEL_INSTANCES_BLOCKWISE_H
#define BS_MODEL_INSTANCES_BLOCKWISE_H

#include "model/instances/instances.h"

/* Where maps come from; calls come from the calling thread, rows never reach beyond the image. Each channel is read at
   most twice, from top to bottom, neighbouring reads overlapping by the radius of the smoothing. */
struct bs_map_source {
    void *ctx;
    /* Fills out (rows, width) with rows [top, top + rows) of a channel. */
    bs_status (*rows)(void *ctx, int channel, size_t top, size_t rows, float *out, struct bs_err *err);
    /* Optional (NULL: everything is data): fills out (rows, width) with 0 where there is no data. */
    bs_status (*mask)(void *ctx, size_t top, size_t rows, uint8_t *out, struct bs_err *err);
};

/* As bs_instances_from_maps. channels is what the source has. labels (height, width) may hold anything on entry. */
bs_status bs_instances_from_source(const struct bs_map_source *source, int channels, size_t height,
                                   size_t width, const struct bs_instance_params *params, uint32_t *labels,
                                   struct bs_instance_result *result, const struct bs_cancel *cancel,
                                   struct bs_err *err) BS_NODISCARD;

/* Bytes that bs_instances_from_source holds besides labels, front included as far as it can be foreseen (front_fraction of
   the pixels waiting at once; 0.05 is more than images of cells need). */
size_t bs_instances_planned_bytes(size_t height, size_t width, const struct bs_instance_params *params,
                                  double front_fraction);

#endif
