/* From a checkpoint (PyTorch, or plain safetensors) to a model file that describes itself: `bioseg convert`.
   Checkpoints come from anywhere: call this in a child process that has entered the sandbox (sandbox.h). One thread. */
#ifndef BS_MODEL_WEIGHTS_CONVERT_H
#define BS_MODEL_WEIGHTS_CONVERT_H

#include "model/model.h"

enum bs_convert_answer { BS_CONVERT_NOT_GIVEN, BS_CONVERT_NO, BS_CONVERT_YES };

/* What the caller knows; the rest comes from the checkpoint or is assumed and recorded as such. */
struct bs_convert_options {
    bool has_recipe, has_final_activation, has_normalisation, has_min_size;
    enum bs_recipe recipe;
    bool sigmoid; /* the final activation; false: none */
    enum bs_normalisation normalisation;
    /* Of ViM-UNets and UNETRs alone, whose files do not tell; with other networks they are refused. */
    enum bs_convert_answer class_token_first, divide_by_directions, resize_input, sam_statistics;
    /* For the encoder of Segment Anything or Vision Mamba alone: a decoder with this many outputs, values as training
       begins with (PyTorch's), from decoder_seed; the model is then UNTRAINED. 0: not asked for, and such a file refused. */
    int untrained_decoder;
    uint64_t decoder_seed;
    int64_t min_size;                           /* default of the post-processing, pixels */
    int training_patch;                         /* 0: not given */
    double pixel_size_um;                       /* 0: not given */
    const char *description, *licence, *source; /* NULL: not given */
};

#define BS_CONVERT_MAX_SKIPPED 32

struct bs_convert_report {
    struct bs_model_info info; /* as written */
    char format[32];           /* of the input: "PyTorch", "safetensors" */
    char key[32]; /* where in a PyTorch file the model was: "model_state", ...; empty at the top */
    size_t tensors;
    size_t left_out; /* of the checkpoint, because the network has no use for them (SAM's mask decoder) */
    uint64_t bytes;  /* of tensors written */
    size_t nskipped; /* classes and functions that the file names and nobody touched; the first are here */
    char skipped[BS_CONVERT_MAX_SKIPPED][160];
};

/* Refuses, and writes nothing, when the architecture cannot be recovered or a weight is not finite. */
bs_status bs_convert_checkpoint(const char *in, const char *out, const struct bs_convert_options *options,
                                struct bs_convert_report *report, struct bs_err *err) BS_NODISCARD;

#endif
