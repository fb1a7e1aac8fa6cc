/* The options that say what to do with an image. See spec_args.h. */
#include "clients/cli/spec_args.h"

#include "clients/cli/message.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_SET = 0x200,
    OPT_CHANNEL,
    OPT_MIN_SIZE,
    OPT_MIN_SIZE_UM2,
    OPT_TILE,
    OPT_HALO,
    OPT_NO_DATA,
    OPT_PIXEL_SIZE,
    OPT_TARGET_PIXEL_SIZE,
    OPT_SCALE,
    OPT_STATISTICS,
    OPT_PRECISION
};

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "What to do:", 20},
    {"model", 'm', "NAME[@VERSION]", 0,
     "the model (`bioseg models list` shows them); without a version the newest", 21},
    {"set", OPT_SET, "NAME=VALUE", 0,
     "a parameter of the model (`bioseg models describe NAME` lists them); repeatable", 22},
    {"min-size", OPT_MIN_SIZE, "PIXELS", 0, "remove objects smaller than this", 22},
    {"min-size-um2", OPT_MIN_SIZE_UM2, "AREA", 0, "the same in square micrometres; needs the pixel size", 22},
    {NULL, 0, NULL, 0, "About the image:", 30},
    {"channel", OPT_CHANNEL, "N", 0, "which channel, from 0; needed when there are several different ones",
     31},
    {"pixel-size", OPT_PIXEL_SIZE, "UM", 0, "side of a pixel in micrometres, instead of what the file says",
     31},
    {"no-data", OPT_NO_DATA, "VALUE", 0, "samples of this value (or nan) carry no information", 31},
    {NULL, 0, NULL, 0, "How it is computed:", 40},
    {"scale", OPT_SCALE, "FACTOR", 0, "resize for the network; labels come in the original size", 41},
    {"target-pixel-size", OPT_TARGET_PIXEL_SIZE, "UM", 0, "resize to this pixel size instead", 41},
    {"tile", OPT_TILE, "PIXELS", 0, "side of a tile (default: whole image if it fits)", 41},
    {"halo", OPT_HALO, "PIXELS", 0, "context around a tile (default: what the network needs)", 41},
    {"statistics", OPT_STATISTICS, "image|block", 0,
     "standardise over the whole image (default) or each block", 41},
    {"precision", OPT_PRECISION, "fp32|bf16", 0, "arithmetic of the network (default: fp32)", 41},
    {0},
};

static double number(struct argp_state *state, const char *option, const char *arg, double min, double max)
{
    char *end;
    errno = 0;
    double v = strtod(arg, &end);
    if (end == arg || *end || !(v >= min && v <= max))
        argp_error(state, "%s %s is not a number from %g to %g", option, arg, min, max);
    return v;
}

static uint32_t pixels(struct argp_state *state, const char *option, const char *arg, uint32_t max)
{
    char *end;
    errno = 0;
    unsigned long v = strtoul(arg, &end, 10);
    if (!isdigit((unsigned char)arg[0]) || *end || errno || v > max)
        argp_error(state, "%s %s is not a whole number from 0 to %" PRIu32, option, arg, max);
    return (uint32_t)v;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct bs__spec_args *a = state->input;
    char *end;
    switch (key) {
    case 'm':
        a->model = arg;
        return 0;
    case OPT_SET:
    case OPT_MIN_SIZE:
        if (a->nset == BS__MAX_SET)
            argp_error(state, "more than %d parameters", BS__MAX_SET);
        if (key == OPT_MIN_SIZE) {
            (void)pixels(state, "--min-size", arg, 1u << 30);
            /* Kept as the parameter that it is; the text lives as long as the arguments do. */
            a->set[a->nset++] = arg;
            return 0;
        }
        if (!strchr(arg, '=') || arg[0] == '=')
            argp_error(state, "--set %s is not NAME=VALUE", arg);
        a->set[a->nset++] = arg;
        return 0;
    case OPT_MIN_SIZE_UM2:
        a->min_size_um2 = number(state, "--min-size-um2", arg, 0, 1e12);
        return 0;
    case OPT_CHANNEL:
        a->channel = arg;
        return 0;
    case OPT_PIXEL_SIZE:
        a->pixel_size = number(state, "--pixel-size", arg, 1e-6, 1e6);
        return 0;
    case OPT_NO_DATA:
        a->no_data = strtod(arg, &end);
        if (end == arg || *end)
            argp_error(state, "--no-data %s is not a number", arg);
        a->has_no_data = true;
        return 0;
    case OPT_SCALE:
        a->scale = number(state, "--scale", arg, 0.05, 20);
        return 0;
    case OPT_TARGET_PIXEL_SIZE:
        a->target_pixel_size = number(state, "--target-pixel-size", arg, 1e-6, 1e6);
        return 0;
    case OPT_TILE:
        a->tile = pixels(state, "--tile", arg, 1u << 20);
        return 0;
    case OPT_HALO:
        a->halo = pixels(state, "--halo", arg, 1u << 16);
        a->has_halo = true;
        return 0;
    case OPT_STATISTICS:
        if (strcmp(arg, "image") != 0 && strcmp(arg, "block") != 0)
            argp_error(state, "--statistics %s is neither image nor block", arg);
        a->statistics = arg[0] == 'i' ? BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_IMAGE
                                      : BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_BLOCK;
        return 0;
    case OPT_PRECISION:
        if (strcmp(arg, "fp32") != 0 && strcmp(arg, "bf16") != 0)
            argp_error(state, "--precision %s is neither fp32 nor bf16", arg);
        a->precision =
            arg[0] == 'f' ? BIOSEG__V1__PRECISION__PRECISION_FP32 : BIOSEG__V1__PRECISION__PRECISION_BF16;
        return 0;
    case ARGP_KEY_END:
        if (!a->model)
            argp_error(state, "which model? give -m NAME; `bioseg models list` shows what the server has");
        if (a->scale > 0 && a->target_pixel_size > 0)
            argp_error(state, "--scale and --target-pixel-size exclude each other");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp bs__spec_argp = {.options = options, .parser = parse};

bs_status bs__model_ref_parse(const char *text, char name[65], Bioseg__V1__ModelRef *ref, struct bs_err *err)
{
    const char *at = strrchr(text, '@');
    size_t n = at ? (size_t)(at - text) : strlen(text);
    if (n == 0 || n > 64)
        return BS_FAIL(err, BS_EINVAL,
                       "'%s' is not a model: expected NAME or NAME@VERSION, the name of 1 to 64 characters",
                       text);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)text[i] <= ' ' || (unsigned char)text[i] > 0x7e)
            return BS_FAIL(err, BS_EINVAL, "'%s' is not a model's name: it may have A-Z a-z 0-9 . _ -", text);
    memcpy(name, text, n);
    name[n] = '\0';
    bioseg__v1__model_ref__init(ref);
    ref->name = name;
    if (!at)
        return BS_OK;
    char *end;
    errno = 0;
    long long version = strtoll(at + 1, &end, 10);
    if (!isdigit((unsigned char)at[1]) || *end || errno || version < 1)
        return BS_FAIL(err, BS_EINVAL, "the version '%s' of model %s is not a number from 1", at + 1, name);
    ref->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    ref->version = version;
    return BS_OK;
}

bs_status bs__model_get(struct bs__rpc_client *client, const char *text, enum bs__model_detail detail,
                        double timeout, Bioseg__V1__GetModelResponse **out, struct bs_err *err)
{
    char name[65];
    Bioseg__V1__ModelRef ref;
    Bioseg__V1__GetModelRequest request = BIOSEG__V1__GET_MODEL_REQUEST__INIT;
    ProtobufCMessage *response = NULL;
    bs_status rc = bs__model_ref_parse(text, name, &ref, err);
    if (rc != BS_OK)
        return rc;
    request.model = &ref;
    request.with_card = detail != BS__MODEL_PARAMETERS;
    request.with_plans = detail == BS__MODEL_PLANS;
    rc = bs__unary(client, BS__METHOD("Models", "Get"), timeout, &request.base,
                   &bioseg__v1__get_model_response__descriptor, &response, err);
    *out = (Bioseg__V1__GetModelResponse *)response;
    if (rc == BS_OK && !(*out)->model) {
        bioseg__v1__get_model_response__free_unpacked(*out, NULL);
        *out = NULL;
        rc = BS_FAIL(err, BS_ECORRUPT, "the server's answer holds no model");
    }
    return rc;
}

static const Bioseg__V1__ParameterSpec *find_spec(const Bioseg__V1__Model *model, const char *name)
{
    for (size_t i = 0; i < model->n_parameters; i++)
        if (strcmp(model->parameters[i]->name, name) == 0)
            return model->parameters[i];
    return NULL;
}

static bs_status unknown_parameter(const Bioseg__V1__Model *model, const char *name, struct bs_err *err)
{
    char known[320] = "";
    size_t n = 0;
    for (size_t i = 0; i < model->n_parameters && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", model->parameters[i]->name);
    return BS_FAIL(err, BS_EINVAL, "model %s has no parameter '%s'; it has: %s", model->name, name, known);
}

static bs_status set_number(const Bioseg__V1__ParameterSpec *spec, const char *text,
                            Bioseg__V1__ParameterValue *v, struct bs_err *err)
{
    char *end;
    double x = strtod(text, &end);
    bool whole = spec->type == BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_INT;
    if (end == text || *end || !(x >= spec->minimum && x <= spec->maximum) || (whole && x != floor(x)))
        return BS_FAIL(err, BS_EINVAL, "parameter %s = '%s': accepted is %s number from %.10g to %.10g%s%s",
                       spec->name, text, whole ? "a whole" : "a", spec->minimum, spec->maximum,
                       spec->unit[0] ? " " : "", spec->unit);
    v->kind_case = BIOSEG__V1__PARAMETER_VALUE__KIND_NUMBER;
    v->number = x;
    return BS_OK;
}

static bs_status set_flag(const Bioseg__V1__ParameterSpec *spec, const char *text,
                          Bioseg__V1__ParameterValue *v, struct bs_err *err)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no", "off", "0"};
    v->kind_case = BIOSEG__V1__PARAMETER_VALUE__KIND_FLAG;
    for (size_t i = 0; i < 4; i++)
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            v->flag = strcmp(text, yes[i]) == 0;
            return BS_OK;
        }
    return BS_FAIL(err, BS_EINVAL, "parameter %s = '%s': accepted is true or false", spec->name, text);
}

static bs_status set_choice(const Bioseg__V1__ParameterSpec *spec, const char *text,
                            Bioseg__V1__ParameterValue *v, struct bs_err *err)
{
    char known[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < spec->n_choices; i++) {
        if (strcmp(text, spec->choices[i]) == 0) {
            v->kind_case = BIOSEG__V1__PARAMETER_VALUE__KIND_CHOICE;
            v->choice = spec->choices[i];
            return BS_OK;
        }
        if (n < sizeof known)
            n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", spec->choices[i]);
    }
    return BS_FAIL(err, BS_EINVAL, "parameter %s = '%s': accepted is one of %s", spec->name, text, known);
}

static bs_status set_parameter(const char *assignment, const Bioseg__V1__Model *model, struct bs__spec *out,
                               size_t i, struct bs_err *err)
{
    const char *equals = strchr(assignment, '=');
    /* --min-size N arrives as its bare value. */
    const char *name = equals ? assignment : "min_size", *value = equals ? equals + 1 : assignment;
    size_t n = equals ? (size_t)(equals - assignment) : strlen(name);
    if (n >= sizeof out->name[i])
        return BS_FAIL(err, BS_EINVAL,
                       "'%.80s...' is not a parameter's name: it has more than %zu characters", assignment,
                       sizeof out->name[i] - 1);
    memcpy(out->name[i], name, n);
    out->name[i][n] = '\0';
    const Bioseg__V1__ParameterSpec *spec = find_spec(model, out->name[i]);
    if (!spec)
        return unknown_parameter(model, out->name[i], err);
    for (size_t k = 0; k < i; k++)
        if (strcmp(out->name[k], out->name[i]) == 0)
            return BS_FAIL(err, BS_EINVAL, "parameter %s is given twice", out->name[i]);
    bioseg__v1__parameter_value__init(&out->value[i]);
    bioseg__v1__segment_spec__parameters_entry__init(&out->entry[i]);
    out->entry[i].key = out->name[i];
    out->entry[i].value = &out->value[i];
    out->entries[i] = &out->entry[i];
    if (spec->type == BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL)
        return set_flag(spec, value, &out->value[i], err);
    if (spec->type == BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_ENUM)
        return set_choice(spec, value, &out->value[i], err);
    return set_number(spec, value, &out->value[i], err);
}

static int compare_entries(const void *a, const void *b)
{
    const Bioseg__V1__SegmentSpec__ParametersEntry *const *x = a, *const *y = b;
    return strcmp((*x)->key, (*y)->key);
}

static void build_image(const struct bs__spec_args *args, struct bs__spec *out)
{
    static char y[] = "y", x[] = "x", um[] = "um";
    bioseg__v1__image_description__init(&out->image);
    out->image.encoding = BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_FILE;
    if (args->pixel_size > 0) {
        for (int i = 0; i < 2; i++) {
            bioseg__v1__axis__init(&out->axis[i]);
            out->axis[i].name = i ? x : y;
            out->axis[i].pixel_size = args->pixel_size;
            out->axis[i].unit = um;
            out->axes[i] = &out->axis[i];
        }
        out->image.axes = out->axes;
        out->image.n_axes = 2;
    }
}

static void build_channel(const struct bs__spec_args *args, Bioseg__V1__SegmentSpec *spec)
{
    if (!args->channel)
        return;
    char *end;
    unsigned long index = strtoul(args->channel, &end, 10);
    if (isdigit((unsigned char)args->channel[0]) && !*end && index <= UINT32_MAX) {
        spec->channel_case = BIOSEG__V1__SEGMENT_SPEC__CHANNEL_CHANNEL_INDEX;
        spec->channel_index = (uint32_t)index;
    } else {
        spec->channel_case = BIOSEG__V1__SEGMENT_SPEC__CHANNEL_CHANNEL_NAME;
        spec->channel_name = (char *)args->channel;
    }
}

bs_status bs__spec_build(const struct bs__spec_args *args, const Bioseg__V1__Model *model, bool table,
                         bool maps, struct bs__spec *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    Bioseg__V1__SegmentSpec *spec = &out->spec;
    bioseg__v1__segment_spec__init(spec);
    bioseg__v1__model_ref__init(&out->model);
    out->model.name = model->name;
    out->model.selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    out->model.version = model->version;
    spec->model = &out->model;
    for (size_t i = 0; i < args->nset; i++) {
        bs_status rc = set_parameter(args->set[i], model, out, i, err);
        if (rc != BS_OK)
            return rc;
    }
    qsort(out->entries, args->nset, sizeof(void *), compare_entries);
    spec->parameters = out->entries;
    spec->n_parameters = args->nset;
    build_channel(args, spec);
    build_image(args, out);
    if (args->has_no_data) {
        spec->no_data_presence_case = BIOSEG__V1__SEGMENT_SPEC__NO_DATA_PRESENCE_NO_DATA;
        spec->no_data = args->no_data;
    }
    if (args->scale > 0) {
        spec->scaling_case = BIOSEG__V1__SEGMENT_SPEC__SCALING_SCALE;
        spec->scale = args->scale;
    } else if (args->target_pixel_size > 0) {
        spec->scaling_case = BIOSEG__V1__SEGMENT_SPEC__SCALING_TARGET_PIXEL_SIZE_UM;
        spec->target_pixel_size_um = args->target_pixel_size;
    }
    spec->min_size_um2 = args->min_size_um2;
    spec->statistics_scope = args->statistics;
    spec->precision = args->precision;
    if (args->tile || args->has_halo) {
        bioseg__v1__tiling__init(&out->tiling);
        out->tiling.tile_px = args->tile;
        if (args->has_halo) {
            out->tiling.halo_presence_case = BIOSEG__V1__TILING__HALO_PRESENCE_HALO_PX;
            out->tiling.halo_px = args->halo;
        }
        spec->tiling = &out->tiling;
    }
    out->output[spec->n_outputs++] = BIOSEG__V1__OUTPUT__OUTPUT_LABELS;
    if (maps)
        out->output[spec->n_outputs++] = BIOSEG__V1__OUTPUT__OUTPUT_MAPS;
    if (table)
        out->output[spec->n_outputs++] = BIOSEG__V1__OUTPUT__OUTPUT_OBJECT_TABLE;
    spec->outputs = out->output;
    return BS_OK;
}

bs_status bs__spec_fingerprint(const struct bs__spec *spec, const Bioseg__V1__Model *model,
                               const char *format, bool overlay, char out[BS__SHA256_TEXT],
                               struct bs_err *err)
{
    size_t a = bioseg__v1__segment_spec__get_packed_size(&spec->spec);
    size_t b = bioseg__v1__image_description__get_packed_size(&spec->image);
    char tail[160];
    int c = snprintf(tail, sizeof tail, "|%s|%s|%d", model->sha256, format, overlay);
    if (c < 0 || (size_t)c >= sizeof tail)
        return BS_FAIL(err, BS_ECORRUPT, "the server's hash of model %s is too long", model->name);
    uint8_t *data = malloc(a + b + (size_t)c);
    if (!data)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the hash of the parameters");
    bioseg__v1__segment_spec__pack(&spec->spec, data);
    bioseg__v1__image_description__pack(&spec->image, data + a);
    memcpy(data + a + b, tail, (size_t)c);
    bs_status rc = bs__sha256_hex(data, a + b + (size_t)c, out, err);
    free(data);
    return rc;
}
