/* What can be said of a model before it segments anything: its size, the work and the memory of a tile, where it comes
   from. For registries and people who choose a model.

   Two parts, because they are known in different places: bs_model_card reads a description only (any thread, no weights,
   no device; milliseconds); bs_model_card_plan compiles on the device of an open model (executor thread; the first call of
   a shape packs weights, later ones find the executable kept) and takes no arena. */
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
    size_t weight_bytes; /* packed weights that the model holds after compiling */
    size_t window_bytes; /* the tile itself, the network's input and its maps */
    size_t peak_bytes;   /* the sum */
    char algorithms[256];
};
/* BS_EINVAL: batch outside 1 to 64. */
bs_status bs_model_card_plan(struct bs_model *model, int batch, enum bs_precision precision,
                             struct bs_model_card_plan *plan, struct bs_err *err) BS_NODISCARD;

#endif
