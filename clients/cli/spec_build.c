/* The request made from the options, checked by the server's own description of the model. See spec_args.h. */
#include "clients/cli/spec_args.h"

#include "clients/cli/message.h"
#include "clients/cli/parameters.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

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
    if (isalpha((unsigned char)at[1])) {
        ref->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_ALIAS;
        ref->alias = (char *)(uintptr_t)(at + 1); /* protobuf-c has no const */
        return BS_OK;
    }
    long long version = strtoll(at + 1, &end, 10);
    if (!isdigit((unsigned char)at[1]) || *end || errno || version < 1)
        return BS_FAIL(err, BS_EINVAL,
                       "the version '%s' of model %s is neither a number from 1 nor a name like production",
                       at + 1, name);
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

static bs_status unknown_parameter(const Bioseg__V1__Model *model, const char *name, struct bs_err *err)
{
    char known[320] = "";
    size_t n = 0;
    for (size_t i = 0; i < model->n_parameters && n < sizeof known; i++)
        n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", model->parameters[i]->name);
    return BS_FAIL(err, BS_EINVAL, "model %s has no parameter '%s'; it has: %s", model->name, name, known);
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
    const Bioseg__V1__ParameterSpec *spec =
        bs__parameter_find(model->parameters, model->n_parameters, out->name[i]);
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
    return bs__parameter_set(spec, value, &out->value[i], err);
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
    if (args->pages) {
        Bioseg__V1__Axis *axis = &out->axis[out->image.n_axes];
        out->pages[0] = args->pages;
        bioseg__v1__axis__init(axis);
        axis->name = out->pages;
        out->axes[out->image.n_axes++] = axis;
        out->image.axes = out->axes;
    }
}

static void build_planes(const struct bs__spec_args *args, struct bs__spec *out)
{
    out->spec.plane_mode = args->planes;
    out->spec.separate_planes = args->separate_planes;
    if (!args->has_region)
        return;
    bioseg__v1__region__init(&out->region);
    out->region.y = args->region[0];
    out->region.x = args->region[1];
    out->region.height = args->region[2];
    out->region.width = args->region[3];
    out->region.z = args->region[4];
    out->region.depth = args->region[5];
    out->region.t = args->region[6];
    out->region.duration = args->region[7];
    out->spec.region = &out->region;
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
    build_planes(args, out);
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
