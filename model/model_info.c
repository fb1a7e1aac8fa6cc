/* What a model file says of itself: struct <-> JSON. Every field is checked for type and range on the way in, unknown
   fields are refused (they would come from a newer version and mean something). Pure functions; any thread. */
#include "model/model_internal.h"

#include <string.h>

#define FORMAT     1
#define MAX_TEXT   ((size_t)16 << 10) /* bytes of the whole description */
#define MAX_VALUES 256

static const char *const recipe_names[] = {
    [BS_RECIPE_BOUNDARIES] = "boundaries", [BS_RECIPE_DISTANCES] = "distances"};
static const char *const normalisation_names[] = {[BS_NORMALISE_STANDARDISE] = "standardise",
                                                  [BS_NORMALISE_NONE] = "none",
                                                  [BS_NORMALISE_RANGE_255] = "range_255"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

bs_status bs_model_info_to_json(const struct bs_model_info *info, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    const struct bs_instance_params *d = &info->defaults;
    *json = NULL;
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_int(&w, "format", FORMAT);
    bs__arch_write(&w, &info->arch);
    bs_json_write_string(&w, "recipe", recipe_names[info->recipe]);
    bs_json_write_string(&w, "normalisation", normalisation_names[info->normalisation]);
    bs_json_write_int(&w, "training_patch", info->training_patch);
    bs_json_write_double(&w, "pixel_size_um", info->pixel_size_um);
    bs_json_write_open(&w, "defaults", '{');
    bs_json_write_double(&w, "threshold1", d->threshold1);
    bs_json_write_double(&w, "threshold2", d->threshold2);
    bs_json_write_double(&w, "center_distance_threshold", d->center_distance_threshold);
    bs_json_write_double(&w, "boundary_distance_threshold", d->boundary_distance_threshold);
    bs_json_write_double(&w, "foreground_threshold", d->foreground_threshold);
    bs_json_write_double(&w, "distance_smoothing", d->distance_smoothing);
    bs_json_write_int(&w, "min_size", d->min_size);
    bs_json_write_close(&w, '}');
    bs_json_write_bool(&w, "trained", info->trained);
    bs_json_write_int(&w, "parameters", (int64_t)info->parameters);
    bs_json_write_string(&w, "description", info->description);
    bs_json_write_string(&w, "licence", info->licence);
    bs_json_write_string(&w, "source", info->source);
    bs_json_write_string(&w, "assumed", info->assumed);
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the model's description");
    return BS_OK;
}

static void read_defaults(struct bs__fields *f, struct bs_instance_params *p)
{
    struct bs__fields d;
    bs__open_object(f, &d, "defaults", false);
    if (!d.object)
        return;
    bs__read_double(&d, "threshold1", -1, 1, &p->threshold1);
    bs__read_double(&d, "threshold2", 0, 1, &p->threshold2);
    bs__read_double(&d, "center_distance_threshold", 0, 1, &p->center_distance_threshold);
    bs__read_double(&d, "boundary_distance_threshold", 0, 1, &p->boundary_distance_threshold);
    bs__read_double(&d, "foreground_threshold", 0, 1, &p->foreground_threshold);
    bs__read_double(&d, "distance_smoothing", 0, 100, &p->distance_smoothing);
    bs__read_int64(&d, "min_size", false, 0, INT64_C(1) << 40, &p->min_size);
    bs__read_end(&d, "defaults");
    f->rc = d.rc;
}

static bs_status check_recipe(const struct bs_model_info *info, struct bs_err *err)
{
    const int needed = info->recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    if (bs_arch_out_channels(&info->arch) != needed)
        return BS_FAIL(err, BS_EINVAL, "recipe %s needs %d output channels, the network has %d",
                       recipe_names[info->recipe], needed, bs_arch_out_channels(&info->arch));
    return BS_OK;
}

/* SAM's statistics are those of samples from 0 to 255. */
static bs_status check_normalisation(const struct bs_model_info *info, struct bs_err *err)
{
    if (info->arch.kind == BS_ARCH_UNETR && info->arch.unetr.sam_statistics &&
        info->normalisation == BS_NORMALISE_STANDARDISE)
        return BS_FAIL(err, BS_EINVAL,
                       "model description: sam_statistics need samples from 0 to 255; normalisation "
                       "range_255 or none is accepted, not standardise");
    return BS_OK;
}

bs_status bs_model_info_from_json(const char *json, size_t len, struct bs_model_info *info,
                                  struct bs_err *err)
{
    struct bs_json *doc = NULL;
    int64_t format = 0, patch = 0, parameters = 0;
    uint64_t counted = 0;
    *info = (struct bs_model_info){.trained = true};
    if (len > MAX_TEXT)
        return BS_FAIL(err, BS_ELIMIT, "model description: %zu bytes, at most %zu are accepted", len,
                       MAX_TEXT);
    bs_status rc = bs_json_parse(json, len, MAX_VALUES, &doc, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "model description");
        return rc;
    }
    struct bs__fields f = {.object = bs_json_root(doc), .err = err};
    bs__read_int64(&f, "format", true, FORMAT, FORMAT, &format);
    bs__arch_read(&f, &info->arch);
    info->recipe = (enum bs_recipe)bs__read_name(&f, "recipe", true, recipe_names, COUNT(recipe_names), 0);
    info->normalisation =
        (enum bs_normalisation)bs__read_name(&f, "normalisation", false, normalisation_names,
                                             COUNT(normalisation_names), BS_NORMALISE_STANDARDISE);
    bs__read_int64(&f, "training_patch", false, 0, 1 << 16, &patch);
    info->training_patch = (int)patch;
    bs__read_double(&f, "pixel_size_um", 0, 1e6, &info->pixel_size_um);
    info->defaults = bs_instance_params_default(info->recipe);
    read_defaults(&f, &info->defaults);
    bs__read_bool(&f, "trained", false, &info->trained);
    bs__read_int64(&f, "parameters", false, 0, INT64_MAX, &parameters);
    bs__read_text(&f, "description", info->description, sizeof info->description);
    bs__read_text(&f, "licence", info->licence, sizeof info->licence);
    bs__read_text(&f, "source", info->source, sizeof info->source);
    bs__read_text(&f, "assumed", info->assumed, sizeof info->assumed);
    bs__read_end(&f, "it");
    rc = f.rc;
    if (rc == BS_OK) /* checks the config as a whole */
        rc = bs_arch_parameter_count(&info->arch, &counted, err);
    if (rc == BS_OK)
        rc = check_recipe(info, err);
    if (rc == BS_OK)
        rc = check_normalisation(info, err);
    if (rc == BS_OK && parameters && (uint64_t)parameters != counted)
        rc = BS_FAIL(err, BS_EINVAL, "model description: it says %lld parameters, the network has %llu",
                     (long long)parameters, (unsigned long long)counted);
    info->parameters = counted;
    bs_json_free(doc);
    return rc;
}

bs_status bs__model_info_of(const struct bs_safetensors *st, struct bs_model_info *info, struct bs_err *err)
{
    const char *text = bs_safetensors_metadata(st, "bioseg");
    if (!text)
        return BS_FAIL(
            err, BS_EINVAL,
            "the file has no model description (metadata key \"bioseg\"); `bioseg convert` writes one");
    return bs_model_info_from_json(text, strlen(text), info, err);
}

bs_status bs_model_info_read(const char *path, struct bs_model_info *info, struct bs_err *err)
{
    struct bs_safetensors *st = NULL;
    bs_status rc = bs_safetensors_open(path, &st, err);
    if (rc == BS_OK)
        rc = bs__model_info_of(st, info, err);
    bs_safetensors_close(st);
    return rc;
}
