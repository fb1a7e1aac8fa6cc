/* One plane of an image in, network maps and instance labels out: choose channel, normalise, scale, predict (whole or in tiles with
   halo), watershed, measure. This is the work that a segmentation job is; server/worker calls it, so do golden_check and
   the tests. Stacks are in stack.h. Runs on the device's executor thread. */
#ifndef BS_MODEL_PREDICT_SEGMENT_H
#define BS_MODEL_PREDICT_SEGMENT_H

#include "model/image/image.h"
#include "model/model.h"

/* What mean and deviation are taken over: a plane; each tile; the region with its surroundings as if there were nothing
   else (a plane without a region); all planes of a stack together. */
enum bs_statistics_scope {
    BS_STATISTICS_IMAGE,
    BS_STATISTICS_BLOCK,
    BS_STATISTICS_REGION,
    BS_STATISTICS_STACK,
    BS_STATISTICS_SCOPES
};
const char *bs_statistics_name(enum bs_statistics_scope scope);

enum bs_planes { BS_PLANES_INDEPENDENT, BS_PLANES_LINKED };

/* A box of an image, half open; a size of 0 is all that is left from the first one on, so that zeros are all of it. */
struct bs_region {
    uint64_t y, x, height, width;
    uint64_t z, depth, t, duration;
};
bool bs_region_is_all(const struct bs_region *region);

struct bs_segment_params {
    struct bs_instance_params instances;
    double min_size_um2; /* > 0: replaces min_size; needs the pixel size */
    int channel; /* -1: by rule (one channel; or colour with equal channels; else an error that asks) */
    /* Side of a tile without halo. 0: whole image if it fits the budget, else the largest that fits; networks with an encoder
       of fixed size: what makes the tile with its halo as large as the training patch. */
    int64_t tile;
    int64_t
        halo; /* -1: the receptive radius; with an encoder of fixed size an eighth of the tile with its halo */
    /* Networks with an encoder of fixed size only: */
    bool whole_image;        /* images up to that size go through at once, resized or padded to it */
    bool resample_positions; /* tiles are not brought to that size, positions are brought to the tile's */
    int batch;               /* tiles at a time; 0: chosen */
    enum bs_statistics_scope statistics;
    enum bs_precision precision;
    bool has_no_data;
    double no_data; /* samples equal to it (NaN: all NaN) carry no information and are never labelled */
    double
        scale; /* image is resized by it before prediction, labels back; 0: from pixel sizes if asked, 1: none */
    size_t memory_budget; /* bytes for one executable; 0: half of what is available */
    struct bs_region region;
    /* Of stacks (stack.h): */
    enum bs_planes planes;
    bool separate_planes;    /* ids begin at 1 in every plane */
    double link_overlap;     /* least intersection over union of what is linked */
    int64_t linked_min_size; /* pixels over all planes; linked objects below it are removed */
};

/* The table of parameters a model understands, with range, default and help text: clients build forms from it, the
   command line its --help, and the server validates by it. */
enum bs_param_type { BS_PARAM_FLOAT, BS_PARAM_INT, BS_PARAM_BOOL, BS_PARAM_ENUM };
struct bs_param_spec {
    const char *name;  /* "center_distance_threshold" */
    const char *title; /* "Centre distance threshold" */
    const char *help;
    enum bs_param_type type;
    double min, max, step;
    double default_value;
    const char *unit;    /* "px", "um^2", "" */
    const char *choices; /* ENUM: "a|b|c" */
    bool advanced;
};
/* Specs for a model; returns the number, at most cap. Strings are static. */
int bs_segment_param_specs(const struct bs_model_info *info, struct bs_param_spec *out, int cap);
struct bs_segment_params bs_segment_params_default(const struct bs_model_info *info);
/* Sets one by name; BS_EINVAL names the offending value and the accepted range. */
bs_status bs_segment_params_set(const struct bs_model_info *info, struct bs_segment_params *p,
                                const char *name, double value, struct bs_err *err) BS_NODISCARD;

/* Structured warnings: a code for programs, a sentence for people. */
#define BS_MAX_WARNINGS 8
struct bs_warning {
    char code[32]; /* "scale_mismatch", "objects_removed", "untrained_model", "tiled", ... */
    char text[224];
};

/* Which planes the labels have. */
struct bs_stack {
    int naxes;      /* 0: one plane without axes t and z */
    char axes[3];   /* "t", "z", "tz" or "zt", as the image has them */
    size_t dim[2];  /* along axes */
    size_t planes;  /* their product, at least 1 */
    size_t t, z;    /* of the image, where the first plane lies */
    size_t nt, nz;  /* from there on */
    double spacing; /* of planes along z in um, 0 unknown */
};

struct bs_segment_result {
    size_t height, width;
    struct bs_stack stack;
    bool linked;             /* planes are linked */
    struct bs_region region; /* with its sizes; zeros: all of the image */
    int channels;            /* of maps */
    float *maps;             /* (channels, h, w), NULL unless keep_maps */
    uint32_t *labels; /* (h, w), ids 1..count; NULL of a stack, whose labels went to the caller's memory */
    uint32_t count;
    struct bs_object *objects; /* count rows */
    double pixel_size;         /* square pixel side in um, 0 unknown */
    bool tiled;
    int64_t tile, halo; /* as used */
    double
        magnification; /* of objects in the network relative to training, as far as the tile's size decides it; 1: equal */
    bool kept_maps; /* the network did not run */
    int nwarning;
    struct bs_warning warning[BS_MAX_WARNINGS];
    double seconds_network, seconds_instances;
    uint64_t plan_hash;
    char algorithms[256];
};
void bs_segment_result_free(struct bs_segment_result *r);

/* What the network made of an image, besides the maps themselves: enough to make labels again without it. Plain data. */
struct bs_segment_network {
    uint64_t map_h, map_w; /* of the maps, at the network's scale */
    int32_t channels;
    uint32_t tiled, blocks, encoder;
    int64_t window_h, window_w, halo_h, halo_w, rows, columns; /* of tiles */
    double magnification;
    uint64_t plan_hash;
    char algorithms[256];
    uint64_t planes; /* of a stack, one after the other; 1 otherwise */
};

/* Maps that outlive the call: float32 (planes, channels, map_h, map_w) in a file, at least once read or written in full. */
struct bs_segment_maps {
    int fd;    /* borrowed; -1: none */
    bool made; /* on entry: fd holds maps of this image, model and network parameters, and network describes
                          them; the network does not run. Else: maps are to be written there. */
    uint64_t
        max_bytes; /* more is not written; then network.map_h stays 0 and a warning says so ("maps_not_kept") */
    struct bs_segment_network network;
    size_t plane, planes; /* which of how many the call is about; planes 0: the only one */
};

/* A finished part of the foreground map (the first one), at the network's scale. */
struct bs_segment_core {
    size_t map_h, map_w;             /* of the whole map, of the region where there is one */
    size_t image_h, image_w;         /* of the image, or the region */
    size_t t, z;                     /* the plane, in the image */
    size_t top, left, bottom, right; /* of the part, half open */
    const float *foreground;         /* its first sample, 0 to 1 */
    size_t stride;                   /* samples from row to row */
};

/* Progress after every tile (and with done = 0 while a tiled image's norms are measured), on the executor thread. */
struct bs_segment_progress {
    void *ctx;
    void (*tile)(void *ctx, int done, int total);
    /* Optional (NULL: nobody looks): a tile's part of the map, during the call only; tile() counts it afterwards. */
    void (*core)(void *ctx, const struct bs_segment_core *core);
};

/* Whether the parameter of that name decides what the network makes of an image; else only what is made of its maps. */
bool bs_segment_param_of_network(const char *name);
/* The name of a parameter that decides what the network makes of an image and differs between a and b; NULL: none does, and
   maps made for one serve the other. */
const char *bs_segment_params_network_differs(const struct bs_segment_params *a,
                                              const struct bs_segment_params *b);
/* The parameters of the network from `network`, the others from `others`. */
struct bs_segment_params bs_segment_params_join(const struct bs_segment_params *network,
                                                const struct bs_segment_params *others);

/* image must be one plane: axes "yx", or "yxc"/"cyx" of which a channel is chosen. Of a region the labels are those of the
   region, objects lie where they lie in the image. */
bs_status bs_segment(struct bs_model *model, const struct bs_image *image,
                     const struct bs_segment_params *params, bool keep_maps,
                     const struct bs_segment_progress *progress, const struct bs_cancel *cancel,
                     struct bs_segment_result *result, struct bs_err *err) BS_NODISCARD;
/* The same with maps that are kept (NULL: none). Labels from kept maps are those of a run with the network, byte by byte.
   BS_ECORRUPT when what is kept does not fit the image. */
bs_status bs_segment_keeping(struct bs_model *model, const struct bs_image *image,
                             const struct bs_segment_params *params, bool keep_maps,
                             struct bs_segment_maps *maps, const struct bs_segment_progress *progress,
                             const struct bs_cancel *cancel, struct bs_segment_result *result,
                             struct bs_err *err) BS_NODISCARD;

/* Admission: bytes bs_segment will need at its peak for an image of this size with these parameters. */
bs_status bs_segment_planned_bytes(struct bs_model *model, size_t height, size_t width,
                                   const struct bs_segment_params *params, size_t *bytes,
                                   struct bs_err *err) BS_NODISCARD;

#endif
