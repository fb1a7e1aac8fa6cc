/* What a request asks for, checked: SegmentSpec and ImageDescription into the request that the engine and the queue
   understand. Everything that this version cannot do is refused here by name. Any thread. */
#include "server/service/service_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MAX_PARAMETERS 32

/* ---- the model ---- */

bs_status bs__model_find(struct bs_services *s, const Bioseg__V1__ModelRef *ref,
                         struct bs_model_record *record, struct bs_err *err)
{
    bs_status rc;
    int64_t version = 0;
    if (!ref || !ref->name[0])
        return BS_FAIL(err, BS_EINVAL, "model is missing; Models.List tells what there is");
    if ((rc = bs__check_name("model.name", ref->name, err)) != BS_OK)
        return rc;
    if (ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_ALIAS &&
        (rc = bs__check_name("model.alias", ref->alias, err)) != BS_OK)
        return rc;
    if (ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_VERSION) {
        version = ref->version;
        if (version < 1)
            return BS_FAIL(err, BS_EINVAL, "model.version is %" PRId64 "; versions begin at 1", version);
    }
    if (ref->selector_case == BIOSEG__V1__MODEL_REF__SELECTOR_ALIAS) {
        rc = bs_store_model_by_alias(s->store, ref->name, ref->alias, record, err);
        if (rc == BS_ENOTFOUND)
            return BS_FAIL(err, BS_ENOTFOUND,
                           "there is no model \"%s\" with an alias \"%s\"; Models.List tells what there is",
                           ref->name, ref->alias);
        return rc;
    }
    rc = version ? bs_store_model_get(s->store, ref->name, version, record, err)
                 : bs_store_model_by_alias(s->store, ref->name, NULL, record, err);
    if (rc == BS_ENOTFOUND && version)
        return BS_FAIL(err, BS_ENOTFOUND,
                       "there is no version %" PRId64 " of a model \"%s\"; Models.List tells what there is",
                       version, ref->name);
    if (rc == BS_ENOTFOUND)
        return BS_FAIL(err, BS_ENOTFOUND, "there is no model \"%s\"; Models.List tells what there is",
                       ref->name);
    return rc;
}

bs_status bs__model_info(const struct bs_model_record *record, struct bs_model_info *info, struct bs_err *err)
{
    return bs_model_info_from_json(record->info_json, strlen(record->info_json), info, err);
}

/* ---- parameters ---- */

/* Names that a request has set already, so that no value is silently replaced. */
struct setter {
    const struct bs_model_info *info;
    struct bs_segment_params *params;
    const char *seen[MAX_PARAMETERS];
    int n;
};

static bs_status set(struct setter *s, const char *name, double value, struct bs_err *err)
{
    for (int i = 0; i < s->n; i++) {
        if (strcmp(s->seen[i], name) == 0)
            return BS_FAIL(err, BS_EINVAL, "%s is given twice: as a field and in parameters", name);
    }
    if (s->n == MAX_PARAMETERS)
        return BS_FAIL(err, BS_ELIMIT, "more than %d parameters", MAX_PARAMETERS);
    s->seen[s->n++] = name;
    return bs_segment_params_set(s->info, s->params, name, value, err);
}

/* Position of a choice in "a|b|c"; -1 when it is none. */
static int choice_index(const char *choices, const char *choice)
{
    size_t n = strlen(choice);
    for (int i = 0; choices; i++) {
        const char *bar = strchr(choices, '|');
        size_t length = bar ? (size_t)(bar - choices) : strlen(choices);
        if (length == n && strncmp(choices, choice, n) == 0)
            return i;
        choices = bar ? bar + 1 : NULL;
    }
    return -1;
}

static bs_status parameter(struct setter *s, const struct bs_param_spec *specs, int nspec, const char *name,
                           const Bioseg__V1__ParameterValue *value, struct bs_err *err)
{
    const struct bs_param_spec *spec = NULL;
    for (int i = 0; i < nspec; i++) {
        if (strcmp(specs[i].name, name) == 0)
            spec = &specs[i];
    }
    if (!spec || !value) /* the model's own words for what it does not know */
        return !spec ? set(s, name, 0, err) : BS_FAIL(err, BS_EINVAL, "parameters: %s has no value", name);
    switch (value->kind_case) {
    case BIOSEG__V1__PARAMETER_VALUE__KIND_NUMBER:
        if (spec->type == BS_PARAM_FLOAT || spec->type == BS_PARAM_INT)
            return set(s, spec->name, value->number, err);
        break;
    case BIOSEG__V1__PARAMETER_VALUE__KIND_FLAG:
        if (spec->type == BS_PARAM_BOOL)
            return set(s, spec->name, value->flag, err);
        break;
    case BIOSEG__V1__PARAMETER_VALUE__KIND_CHOICE:
        if (spec->type == BS_PARAM_ENUM) {
            int index = choice_index(spec->choices, value->choice);
            if (index < 0)
                return BS_FAIL(err, BS_EINVAL, "%s is \"%.40s\"; one of %s is accepted", name, value->choice,
                               spec->choices);
            return set(s, spec->name, index, err);
        }
        break;
    default:
        return BS_FAIL(err, BS_EINVAL, "parameters: %s has no value", name);
    }
    return BS_FAIL(err, BS_EINVAL, "%s must be given as %s", name,
                   spec->type == BS_PARAM_ENUM   ? "choice"
                   : spec->type == BS_PARAM_BOOL ? "flag"
                                                 : "number");
}

static bs_status parameters(const Bioseg__V1__SegmentSpec *spec, struct setter *s, struct bs_err *err)
{
    struct bs_param_spec specs[MAX_PARAMETERS];
    int n = bs_segment_param_specs(s->info, specs, MAX_PARAMETERS);
    for (size_t i = 0; i < spec->n_parameters; i++) {
        bs_status rc = parameter(s, specs, n, spec->parameters[i]->key, spec->parameters[i]->value, err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

/* ---- the rest of the spec ---- */

static bs_status refuse_later(const Bioseg__V1__SegmentSpec *spec, struct bs_err *err)
{
    if (spec->tiling && spec->tiling->allow_smaller)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "tiling.allow_smaller (smaller tiles on out-of-memory)" BS__LATER);
    return BS_OK;
}

static bs_status channel(const Bioseg__V1__SegmentSpec *spec, const Bioseg__V1__ImageDescription *image,
                         const struct bs_job_request *q, struct setter *s, struct bs_err *err)
{
    const char *c = strchr(q->axes, 'c');
    size_t channels = c ? q->dim[c - q->axes] : 1;
    if (spec->channel_case == BIOSEG__V1__SEGMENT_SPEC__CHANNEL_CHANNEL_INDEX) {
        if (q->raw && spec->channel_index >= channels)
            return BS_FAIL(err, BS_EINVAL,
                           "channel_index is %u; the image has %zu channels, 0 to %zu is accepted",
                           spec->channel_index, channels, channels - 1);
        return set(s, "channel", spec->channel_index, err);
    }
    if (spec->channel_case == BIOSEG__V1__SEGMENT_SPEC__CHANNEL_CHANNEL_NAME) {
        for (size_t i = 0; i < image->n_channel_names; i++) {
            if (strcmp(image->channel_names[i], spec->channel_name) == 0)
                return set(s, "channel", (double)i, err);
        }
        return BS_FAIL(err, BS_EINVAL,
                       "channel_name is \"%.64s\"; it must be one of the %zu image.channel_names",
                       spec->channel_name, image->n_channel_names);
    }
    return BS_OK;
}

static bs_status scaling(const Bioseg__V1__SegmentSpec *spec, const struct bs_job_request *q,
                         struct setter *s, struct bs_err *err)
{
    if (spec->scaling_case == BIOSEG__V1__SEGMENT_SPEC__SCALING_SCALE) {
        if (!(spec->scale > 0))
            return BS_FAIL(err, BS_EINVAL, "scale is %g; 0.05 to 16 is accepted", spec->scale);
        return set(s, "scale", spec->scale, err);
    }
    if (spec->scaling_case == BIOSEG__V1__SEGMENT_SPEC__SCALING_TARGET_PIXEL_SIZE_UM) {
        if (!(spec->target_pixel_size_um > 0) || !isfinite(spec->target_pixel_size_um))
            return BS_FAIL(err, BS_EINVAL, "target_pixel_size_um is %g; a positive number is accepted",
                           spec->target_pixel_size_um);
        if (!(q->pixel_size > 0))
            return BS_FAIL(err, BS_EINVAL,
                           "target_pixel_size_um needs the image's pixel size; give it with axis x");
        return set(s, "scale", q->pixel_size / spec->target_pixel_size_um, err);
    }
    return BS_OK;
}

static bs_status tiling(const Bioseg__V1__SegmentSpec *spec, struct setter *s, struct bs_err *err)
{
    const Bioseg__V1__Tiling *t = spec->tiling;
    bs_status rc = BS_OK;
    if (!t)
        return BS_OK;
    if (t->tile_px)
        rc = set(s, "tile", t->tile_px, err);
    if (rc == BS_OK && t->halo_presence_case == BIOSEG__V1__TILING__HALO_PRESENCE_HALO_PX)
        rc = set(s, "halo", t->halo_px, err);
    if (rc == BS_OK && t->batch)
        rc = set(s, "batch", t->batch, err);
    return rc;
}

static bs_status statistics(Bioseg__V1__StatisticsScope scope, struct setter *s, struct bs_err *err)
{
    static const enum bs_statistics_scope scopes[] = {
        [BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_IMAGE] = BS_STATISTICS_IMAGE,
        [BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_BLOCK] = BS_STATISTICS_BLOCK,
        [BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_REGION] = BS_STATISTICS_REGION,
        [BIOSEG__V1__STATISTICS_SCOPE__STATISTICS_SCOPE_STACK] = BS_STATISTICS_STACK,
    };
    if ((unsigned)scope >= sizeof scopes / sizeof scopes[0])
        return BS_FAIL(err, BS_EINVAL, "statistics_scope is %d, which is not known", (int)scope);
    return set(s, "statistics", scopes[scope], err);
}

static bs_status numbers(const Bioseg__V1__SegmentSpec *spec, struct setter *s, struct bs_err *err)
{
    bs_status rc = BS_OK;
    if (spec->no_data_presence_case == BIOSEG__V1__SEGMENT_SPEC__NO_DATA_PRESENCE_NO_DATA)
        rc = set(s, "no_data", spec->no_data, err);
    if (rc == BS_OK && spec->statistics_scope)
        rc = statistics(spec->statistics_scope, s, err);
    if (rc == BS_OK && spec->precision)
        rc = set(s, "precision", spec->precision == BIOSEG__V1__PRECISION__PRECISION_BF16, err);
    if (rc == BS_OK && spec->min_size_um2 != 0)
        rc = set(s, "min_size_um2", spec->min_size_um2, err);
    return rc;
}

static bs_status outputs(const Bioseg__V1__SegmentSpec *spec, struct bs__work *w, struct bs_err *err)
{
    w->want_labels = w->request.want_objects = spec->n_outputs == 0;
    for (size_t i = 0; i < spec->n_outputs; i++) {
        switch (spec->outputs[i]) {
        case BIOSEG__V1__OUTPUT__OUTPUT_LABELS:
            w->want_labels = true;
            break;
        case BIOSEG__V1__OUTPUT__OUTPUT_MAPS:
            w->request.want_maps = true;
            break;
        case BIOSEG__V1__OUTPUT__OUTPUT_OBJECT_TABLE:
            w->request.want_objects = true;
            break;
        case BIOSEG__V1__OUTPUT__OUTPUT_OVERLAY:
            return BS_FAIL(err, BS_EUNSUPPORTED, "overlays" BS__LATER);
        case BIOSEG__V1__OUTPUT__OUTPUT_POLYGONS:
            return BS_FAIL(err, BS_EUNSUPPORTED, "polygons" BS__LATER);
        default:
            return BS_FAIL(err, BS_EINVAL,
                           "outputs holds OUTPUT_UNSPECIFIED; OUTPUT_LABELS, OUTPUT_MAPS and "
                           "OUTPUT_OBJECT_TABLE are accepted");
        }
    }
    return BS_OK;
}

static bs_status find_model(struct bs_services *s, const char *owner, const Bioseg__V1__ModelRef *ref,
                            struct bs__work *w, struct bs_err *err)
{
    int fd;
    const bs_status rc = bs__model_find_for(s, owner, ref, &w->model, &fd, err);
    w->has_model_fd = fd >= 0;
    w->model_fd = fd;
    return rc;
}

bs_status bs__work_decode_kept(struct bs_services *s, const char *owner, const Bioseg__V1__SegmentSpec *spec,
                               const struct bs_job_request *kept, struct bs__work *out, struct bs_err *err)
{
    bs_status rc;
    *out = (struct bs__work){.want_labels = false};
    struct bs_job_request *q = &out->request;
    if (!spec)
        return BS_FAIL(err, BS_EINVAL, "spec is missing: it names the model");
    if ((rc = find_model(s, owner, spec->model, out, err)) != BS_OK ||
        (rc = bs__model_info(&out->model, &out->info, err)) != BS_OK)
        return rc;
    const struct bs_segment_params defaults = bs_segment_params_default(&out->info);
    *q = *kept;
    snprintf(q->model, sizeof q->model, "%s", out->model.name);
    q->model_version = out->model.version;
    q->want_maps = q->want_objects = false;
    q->params = bs_segment_params_join(&kept->params, &defaults);
    struct setter setter = {.info = &out->info, .params = &q->params};
    const Bioseg__V1__ImageDescription nameless = BIOSEG__V1__IMAGE_DESCRIPTION__INIT;
    if ((rc = refuse_later(spec, err)) != BS_OK || (rc = bs__work_part(spec, q, err)) != BS_OK ||
        (rc = channel(spec, &nameless, q, &setter, err)) != BS_OK ||
        (rc = scaling(spec, q, &setter, err)) != BS_OK || (rc = tiling(spec, &setter, err)) != BS_OK ||
        (rc = numbers(spec, &setter, err)) != BS_OK || (rc = parameters(spec, &setter, err)) != BS_OK)
        return rc;
    return outputs(spec, out, err);
}

bs_status bs__work_decode(struct bs_services *s, const char *owner, const Bioseg__V1__SegmentSpec *spec,
                          const Bioseg__V1__ImageDescription *image, uint64_t total_bytes,
                          struct bs__work *out, struct bs_err *err)
{
    bs_status rc;
    *out = (struct bs__work){.want_labels = false};
    struct bs_job_request *q = &out->request;
    if (!spec)
        return BS_FAIL(err, BS_EINVAL, "spec is missing: it names the model");
    if ((rc = find_model(s, owner, spec->model, out, err)) != BS_OK ||
        (rc = bs__model_info(&out->model, &out->info, err)) != BS_OK)
        return rc;
    snprintf(q->model, sizeof q->model, "%s", out->model.name);
    q->model_version = out->model.version;
    q->params = bs_segment_params_default(&out->info);
    struct setter setter = {.info = &out->info, .params = &q->params};
    if ((rc = refuse_later(spec, err)) != BS_OK ||
        (rc = bs__work_image(image, total_bytes, q, err)) != BS_OK ||
        (rc = bs__work_part(spec, q, err)) != BS_OK ||
        (rc = channel(spec, image, q, &setter, err)) != BS_OK ||
        (rc = scaling(spec, q, &setter, err)) != BS_OK || (rc = tiling(spec, &setter, err)) != BS_OK ||
        (rc = numbers(spec, &setter, err)) != BS_OK || (rc = parameters(spec, &setter, err)) != BS_OK)
        return rc;
    return outputs(spec, out, err);
}

void bs__work_free(struct bs__work *w)
{
    bs_model_record_free(&w->model);
    if (w->has_model_fd)
        close(w->model_fd);
    w->has_model_fd = false;
}
