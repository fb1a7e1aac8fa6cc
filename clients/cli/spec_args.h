/* What to do with an image, as the options of `segment` and `jobs submit` say it, and the request made from them.
   Names and values of model parameters are checked by the server's own description of the model, so that a new model
   needs no new command line. */
#ifndef BS_CLIENTS_CLI_SPEC_ARGS_H
#define BS_CLIENTS_CLI_SPEC_ARGS_H

#include "clients/cli/outputs.h"
#include "clients/cli/rpc_client.h"

#include "bioseg/v1/models.pb-c.h"
#include "bioseg/v1/segmentation.pb-c.h"

#include <argp.h>

#define BS__MAX_SET     64
#define BS__MAX_OUTPUTS 3

struct bs__spec_args {
    const char *model; /* NAME or NAME@VERSION; borrowed, as all strings here */
    size_t nset;
    const char *set[BS__MAX_SET]; /* "name=value" */
    const char *channel;
    bool has_no_data, has_halo;
    double no_data;
    double min_size_um2, scale, target_pixel_size, pixel_size;
    uint32_t tile, halo;
    bool has_region, separate_planes;
    uint64_t region[8]; /* y, x, height, width, z, depth, t, duration */
    char pages;         /* 't', 'z' or 'c'; 0: the file says what its pages are */
    Bioseg__V1__PlaneMode planes;
    Bioseg__V1__StatisticsScope statistics;
    Bioseg__V1__Precision precision;
};

/* Child parser; its input is a struct bs__spec_args (zeroed). */
extern const struct argp bs__spec_argp;

/* The messages of a request; they point into each other and into args and model, so it is filled once and not moved. */
struct bs__spec {
    Bioseg__V1__SegmentSpec spec;
    Bioseg__V1__ImageDescription image;
    Bioseg__V1__ModelRef model;
    Bioseg__V1__Tiling tiling;
    Bioseg__V1__Region region;
    Bioseg__V1__Axis axis[3], *axes[3];
    char pages[2];
    Bioseg__V1__ParameterValue value[BS__MAX_SET];
    Bioseg__V1__SegmentSpec__ParametersEntry entry[BS__MAX_SET], *entries[BS__MAX_SET];
    char name[BS__MAX_SET][64];
    Bioseg__V1__Output output[BS__MAX_OUTPUTS];
};

/* "NAME", "NAME@VERSION" or "NAME@ALIAS" into ref; name is where the name goes, an alias stays in text. */
bs_status bs__model_ref_parse(const char *text, char name[65], Bioseg__V1__ModelRef *ref,
                              struct bs_err *err) BS_NODISCARD;
/* How much bs__model_get asks for. */
enum bs__model_detail { BS__MODEL_PARAMETERS, BS__MODEL_CARD, BS__MODEL_PLANS };
/* Asks the server for the model. The caller frees with bioseg__v1__get_model_response__free_unpacked. */
bs_status bs__model_get(struct bs__rpc_client *client, const char *text, enum bs__model_detail detail,
                        double timeout, Bioseg__V1__GetModelResponse **out, struct bs_err *err) BS_NODISCARD;

/* BS_EINVAL names the parameter, its value and what the server accepts. The version is the one of `model`. */
bs_status bs__spec_build(const struct bs__spec_args *args, const Bioseg__V1__Model *model, bool table,
                         bool maps, struct bs__spec *out, struct bs_err *err) BS_NODISCARD;
/* A hash of everything that decides a result but the image: model file, parameters, kind of outputs. */
bs_status bs__spec_fingerprint(const struct bs__spec *spec, const Bioseg__V1__Model *model,
                               const char *format, bool overlay, char out[BS__SHA256_TEXT],
                               struct bs_err *err) BS_NODISCARD;

#endif
