/* A model: weights in a safetensors file that describes itself (architecture, preprocessing, recipe, provenance), bound
   to a device, with its executables cached by (padded shape, batch, precision).
   bs_model_info is plain data. A bs_model belongs to the device's executor thread, except bs_model_info_get. */
#ifndef BS_MODEL_MODEL_H
#define BS_MODEL_MODEL_H

#include "kernels/executable.h"
#include "model/arch/arch.h"
#include "model/instances/instances.h"

/* What a network expects of samples, before the preprocessing that belongs to its encoder. */
enum bs_normalisation {
    BS_NORMALISE_STANDARDISE, /* (v - mean) / std of the image */
    BS_NORMALISE_NONE,        /* as they are */
    BS_NORMALISE_RANGE_255, /* smallest to 0, largest to 255, whole numbers: as Segment Anything's encoder wants images */
};

/* What a model file says of itself: stored as JSON under the key "bioseg" of the safetensors metadata. */
struct bs_model_info {
    struct bs_arch_config arch;
    enum bs_recipe recipe; /* what the output channels mean */
    enum bs_normalisation normalisation;
    int training_patch;                 /* side in pixels; 0 unknown */
    double pixel_size_um;               /* of the training images; 0 unknown */
    struct bs_instance_params defaults; /* post-processing defaults of this model */
    bool trained;                       /* false: UNTRAINED, every result warns */
    uint64_t parameters;
    char description[256], licence[64], source[256];
    char assumed[256]; /* what convert could not know, "key=value,..."; empty when nothing */
};

/* Reads the description of a model file without loading weights. */
bs_status bs_model_info_read(const char *path, struct bs_model_info *info, struct bs_err *err) BS_NODISCARD;
/* JSON of the description (the value of the metadata key "bioseg") and back; text is bounded and strictly checked. */
bs_status bs_model_info_to_json(const struct bs_model_info *info, char **json,
                                struct bs_err *err) BS_NODISCARD;
bs_status bs_model_info_from_json(const char *json, size_t len, struct bs_model_info *info,
                                  struct bs_err *err) BS_NODISCARD;

struct bs_model;

/* Opens a safetensors model file by descriptor-based reads (never mapped: a file truncated meanwhile gives BS_EIO, not
   a signal). Checks that every parameter the architecture needs is there with its shape. */
bs_status bs_model_open(const char *path, struct bs_device *dev, struct bs_model **out,
                        struct bs_err *err) BS_NODISCARD;
void bs_model_close(struct bs_model *m); /* accepts NULL */
const struct bs_model_info *bs_model_info_get(const struct bs_model *m);
struct bs_device *bs_model_device(const struct bs_model *m);

/* The executable for an exact (already padded) shape; compiled on first use, kept (least recently used goes beyond a
   small number). Borrowed: valid until the next call or close. */
bs_status bs_model_executable(struct bs_model *m, int64_t batch, int64_t h, int64_t w,
                              enum bs_precision precision, struct bs_executable **out,
                              struct bs_err *err) BS_NODISCARD;
/* Its parameters (borrowed): tiled prediction compiles graphs of its own over them. */
struct bs_params *bs_model_params(const struct bs_model *m);

/* Bytes held now: packed weights and the arenas that are allocated. Exact; what a compiled executable will take at its
   next run does not count (bs_executable_arena_bytes says that). */
size_t bs_model_resident_bytes(struct bs_model *m);
/* Gives back the arenas; packed weights and compiled executables stay, so that the next run is as fast as any. Returns the
   bytes given back. */
size_t bs_model_trim(struct bs_model *m);

/* The tile that a model is made for, as the side of a square with halo: the training patch, at most the encoder's size; that
   size where the patch is unknown (512 for a network without one). *network: the side of what the network then sees. */
void bs_model_tile(const struct bs_model_info *info, int64_t *tile, int64_t *network);

#endif
