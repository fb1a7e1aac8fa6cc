/* Encoders that others trained, as tensors of a UNETR or ViM-UNet: which tensors of a checkpoint are taken, under which
   names, and, where the caller wants it, an untrained decoder. Internal to model/weights. One thread. */
#ifndef BS_MODEL_WEIGHTS_IMPORT_H
#define BS_MODEL_WEIGHTS_IMPORT_H

#include "model/arch/arch.h"

#define BS__IMPORT_INITIAL SIZE_MAX

struct bs__import_entry {
    const char *name; /* in the model file; owned by the import */
    struct bs_shape shape;
    size_t source;  /* index in the checkpoint, or BS__IMPORT_INITIAL: values as training begins with */
    double bound;   /* of initial values: uniform between -bound and bound, or, with bound 0, */
    float constant; /* all the same */
};

struct bs__import {
    struct bs__import_entry *entry;
    size_t count;
    size_t left_out; /* tensors of the checkpoint that the network has no use for (SAM's mask decoder) */
    bool decoder_of_micro_sam;
    bool untrained; /* the decoder's values are initial */
    uint64_t seed;
    struct bs_arena *arena; /* names */
};

/* What a checkpoint has and the caller asks for. */
struct bs__import_request {
    const struct bs_state_entry *state;
    size_t count;
    size_t decoder;   /* first entry of micro-sam's decoder_state; count: none */
    int out_channels; /* of an untrained decoder for an encoder alone; 0: not asked for */
    uint64_t seed;
};

/* Names of a complete network pass as they are. BS_EINVAL: an encoder without a decoder and none asked for, or one asked for
   and there is one. Close also after a failure. */
bs_status bs__import_open(const struct bs__import_request *request, struct bs__import *out,
                          struct bs_err *err) BS_NODISCARD;
void bs__import_close(struct bs__import *im);
/* The values of an entry with source BS__IMPORT_INITIAL. */
void bs__import_initial(const struct bs__import *im, size_t i, float *dst);

#endif
