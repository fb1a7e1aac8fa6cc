/* What can be said of a model before it segments anything: its size, the work and the memory of a tile, where it comes
   from. For registries and people who choose a model.

   Both parts need the description only, no weights. bs_model_card is a pure function (any thread; milliseconds).
   bs_model_card_plan depends on the device's backend: it compiles there without reading, packing or touching weights or an
   arena, and keeps nothing (executor thread; milliseconds to a second for the largest). */
#ifndef BS_MODEL_CARD_H
#define BS_MODEL_CARD_H

#include "model/model.h"

struct bs_model_card {
    uint64_t parameters;   /* buffers not counted */
    uint64_t weight_bytes; /* of them in float32, as a device holds them at least */
    int64_t tile;    /* side of the tile that the figures are for, in pixels of the image, halo included */
    int64_t network; /* side of what the network then sees: the encoder's size, or the tile itself */
    double flops;    /* of one tile; a multiply-add counts as two */
    bool trained;    /* false: UNTRAINED */
    /* Provenance, of the model file; empty where it does not say. */
    const char *description, *source, *licence, *assumed; /* borrowed from the info */
};
bs_status bs_model_card(const struct bs_model_info *info, struct bs_model_card *card,
                        struct bs_err *err) BS_NODISCARD;

/* Planned memory of a batch of the card's tiles on one device. */
struct bs_model_card_plan {
    int64_t tile, network;
    int batch;
    enum bs_precision precision;
    size_t arena_bytes;  /* activations and workspace, as placed */
    size_t weight_bytes; /* weights as this backend packs them for tiles of this size */
    size_t window_bytes; /* the tile itself, the network's input and its maps */
    size_t peak_bytes;   /* the sum */
    char algorithms[256];
};
/* BS_EINVAL: batch outside 1 to 64. */
bs_status bs_model_card_plan(const struct bs_model_info *info, struct bs_device *dev, int batch,
                             enum bs_precision precision, struct bs_model_card_plan *plan,
                             struct bs_err *err) BS_NODISCARD;

#endif
