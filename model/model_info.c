/* What a model file says of itself: struct <-> JSON. Every field is checked for type and range on the way in, unknown
   fields are refused (they would come from a newer version and mean something). Pure functions; any thread. */
#include "model/model_internal.h"

#include "model/weights/json.h"

#include <stdio.h>
#include <string.h>

#define FORMAT     1
#define MAX_TEXT   ((size_t)16 << 10) /* bytes of the whole description */
#define MAX_VALUES 256

static const char *const norm_names[] = {[BS_NORM_INSTANCE] = "InstanceNorm",
                                         [BS_NORM_BATCH] = "BatchNorm",
                                         [BS_NORM_GROUP] = "GroupNorm",
                                         [BS_NORM_NONE] = "none"};
static const char *const upsampling_names[] = {
    [BS_UPSAMPLING_BILINEAR] = "bilinear", [BS_UPSAMPLING_TRANSPOSED] = "transposed"};
static const char *const recipe_names[] = {
    [BS_RECIPE_BOUNDARIES] = "boundaries", [BS_RECIPE_DISTANCES] = "distances"};
static const char *const normalisation_names[] = {
    [BS_NORMALISE_STANDARDISE] = "standardise", [BS_NORMALISE_NONE] = "none"};
static const char *const activation_names[] = {"none", "Sigmoid"};
static const char *const architecture_names[] = {
    [BS_ARCH_UNET] = "unet", [BS_ARCH_UNETR] = "unetr", [BS_ARCH_VIMUNET] = "vimunet"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

bs_status bs_model_info_to_json(const struct bs_model_info *info, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    const struct bs_unet_config *u = &info->arch.unet;
    const struct bs_instance_params *d = &info->defaults;
    *json = NULL;
    if (info->arch.kind != BS_ARCH_UNET)
        return BS_FAIL(err, BS_EUNSUPPORTED, "the architecture %s is not implemented yet; unet is",
                       bs_arch_name(info->arch.kind));
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_int(&w, "format", FORMAT);
    bs_json_write_string(&w, "architecture", bs_arch_name(info->arch.kind));
    bs_json_write_open(&w, "unet", '{');
    bs_json_write_int(&w, "in_channels", u->in_channels);
    bs_json_write_int(&w, "out_channels", u->out_channels);
    bs_json_write_int(&w, "depth", u->depth);
    bs_json_write_int(&w, "initial_features", u->initial_features);
    bs_json_write_string(&w, "norm", norm_names[u->norm]);
    bs_json_write_string(&w, "upsampling", upsampling_names[u->upsampling]);
    bs_json_write_string(&w, "final_activation", activation_names[u->sigmoid]);
    bs_json_write_close(&w, '}');
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

/* Reads fields of one object; the first error sticks, like in a graph, so that the reading below stays a list. */
struct fields {
    const struct bs_json_value *object;
    size_t read; /* fields found, to tell whether there are others */
    bs_status rc;
    struct bs_err *err;
};

static const struct bs_json_value *field(struct fields *f, const char *key, bool required)
{
    if (f->rc != BS_OK)
        return NULL;
    const struct bs_json_value *v = bs_json_get(f->object, key);
    if (v)
        f->read++;
    else if (required)
        f->rc = BS_FAIL(f->err, BS_EINVAL, "model description: %s is missing", key);
    return v;
}

static void wrong_type(struct fields *f, const char *key, const struct bs_json_value *v, const char *wanted)
{
    f->rc = BS_FAIL(f->err, BS_EINVAL, "model description: %s is %s, %s is needed", key,
                    bs_json_type_name(bs_json_type_of(v)), wanted);
}

static void read_int(struct fields *f, const char *key, bool required, int64_t low, int64_t high,
                     int64_t *out)
{
    const struct bs_json_value *v = field(f, key, required);
    if (!v)
        return;
    if (!bs_json_as_int(v, out))
        wrong_type(f, key, v, "an integer");
    else if (*out < low || *out > high)
        f->rc = BS_FAIL(f->err, BS_EINVAL, "model description: %s is %lld, accepted is %lld to %lld", key,
                        (long long)*out, (long long)low, (long long)high);
}

static void read_double(struct fields *f, const char *key, double low, double high, double *out)
{
    const struct bs_json_value *v = field(f, key, false);
    if (!v)
        return;
    if (!bs_json_as_double(v, out))
        wrong_type(f, key, v, "a number");
    else if (!(*out >= low && *out <= high))
        f->rc = BS_FAIL(f->err, BS_EINVAL, "model description: %s is %g, accepted is %g to %g", key, *out,
                        low, high);
}

static void read_bool(struct fields *f, const char *key, bool *out)
{
    const struct bs_json_value *v = field(f, key, false);
    if (v && !bs_json_as_bool(v, out))
        wrong_type(f, key, v, "true or false");
}

static void read_text(struct fields *f, const char *key, char *out, size_t size)
{
    const char *text;
    const struct bs_json_value *v = field(f, key, false);
    if (!v)
        return;
    if (!bs_json_as_string(v, &text))
        wrong_type(f, key, v, "a string");
    else if (strlen(text) >= size)
        f->rc = BS_FAIL(f->err, BS_ELIMIT, "model description: %s has %zu bytes, at most %zu are accepted",
                        key, strlen(text), size - 1);
    else
        memcpy(out, text, strlen(text) + 1);
}

/* One of a list of names, by its position. */
static int read_name(struct fields *f, const char *key, bool required, const char *const *names, int count,
                     int otherwise)
{
    const char *text;
    char known[128] = "";
    const struct bs_json_value *v = field(f, key, required);
    if (!v)
        return otherwise;
    if (!bs_json_as_string(v, &text)) {
        wrong_type(f, key, v, "a string");
        return otherwise;
    }
    for (int i = 0; i < count; i++) {
        if (!strcmp(names[i], text))
            return i;
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : "", names[i]);
    }
    f->rc =
        BS_FAIL(f->err, BS_EINVAL, "model description: %s is \"%.60s\", accepted are %s", key, text, known);
    return otherwise;
}

static void read_end(struct fields *f, const char *what)
{
    if (f->rc == BS_OK && f->read != bs_json_count(f->object))
        f->rc = BS_FAIL(
            f->err, BS_EUNSUPPORTED,
            "model description: %s has fields that this version does not know; a newer one wrote it", what);
}

static void open_object(struct fields *f, struct fields *in, const char *key, bool required)
{
    const struct bs_json_value *v = field(f, key, required);
    *in = (struct fields){.object = v, .rc = f->rc, .err = f->err};
    if (v && bs_json_type_of(v) != BS_JSON_OBJECT) {
        wrong_type(f, key, v, "an object");
        in->rc = f->rc;
    }
}

static void read_unet(struct fields *f, struct bs_unet_config *cfg)
{
    struct fields u;
    int64_t in = 0, out = 0, depth = 0, features = 0;
    open_object(f, &u, "unet", true);
    read_int(&u, "in_channels", true, 1, 1024, &in);
    read_int(&u, "out_channels", true, 1, 1024, &out);
    read_int(&u, "depth", true, 1, 8, &depth);
    read_int(&u, "initial_features", true, 1, 8192, &features);
    cfg->in_channels = (int)in;
    cfg->out_channels = (int)out;
    cfg->depth = (int)depth;
    cfg->initial_features = (int)features;
    cfg->norm = (enum bs_norm)read_name(&u, "norm", true, norm_names, COUNT(norm_names), 0);
    cfg->upsampling =
        (enum bs_upsampling)read_name(&u, "upsampling", true, upsampling_names, COUNT(upsampling_names), 0);
    cfg->sigmoid = read_name(&u, "final_activation", true, activation_names, COUNT(activation_names), 0) == 1;
    read_end(&u, "unet");
    f->rc = u.rc;
}

static void read_defaults(struct fields *f, struct bs_instance_params *p)
{
    struct fields d;
    open_object(f, &d, "defaults", false);
    if (!d.object)
        return;
    read_double(&d, "threshold1", -1, 1, &p->threshold1);
    read_double(&d, "threshold2", 0, 1, &p->threshold2);
    read_double(&d, "center_distance_threshold", 0, 1, &p->center_distance_threshold);
    read_double(&d, "boundary_distance_threshold", 0, 1, &p->boundary_distance_threshold);
    read_double(&d, "foreground_threshold", 0, 1, &p->foreground_threshold);
    read_double(&d, "distance_smoothing", 0, 100, &p->distance_smoothing);
    read_int(&d, "min_size", false, 0, INT64_C(1) << 40, &p->min_size);
    read_end(&d, "defaults");
    f->rc = d.rc;
}

static bs_status check_recipe(const struct bs_model_info *info, struct bs_err *err)
{
    const int needed = info->recipe == BS_RECIPE_BOUNDARIES ? 2 : 3;
    if (info->arch.unet.out_channels != needed)
        return BS_FAIL(err, BS_EINVAL, "recipe %s needs %d output channels, the network has %d",
                       recipe_names[info->recipe], needed, info->arch.unet.out_channels);
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
    struct fields f = {.object = bs_json_root(doc), .err = err};
    read_int(&f, "format", true, FORMAT, FORMAT, &format);
    info->arch.kind = (enum bs_arch_kind)read_name(&f, "architecture", true, architecture_names,
                                                   COUNT(architecture_names), 0);
    if (f.rc == BS_OK && info->arch.kind != BS_ARCH_UNET)
        f.rc = BS_FAIL(err, BS_EUNSUPPORTED, "the architecture %s is not implemented yet; unet is",
                       bs_arch_name(info->arch.kind));
    read_unet(&f, &info->arch.unet);
    info->recipe = (enum bs_recipe)read_name(&f, "recipe", true, recipe_names, COUNT(recipe_names), 0);
    info->normalisation =
        (enum bs_normalisation)read_name(&f, "normalisation", false, normalisation_names,
                                         COUNT(normalisation_names), BS_NORMALISE_STANDARDISE);
    read_int(&f, "training_patch", false, 0, 1 << 16, &patch);
    info->training_patch = (int)patch;
    read_double(&f, "pixel_size_um", 0, 1e6, &info->pixel_size_um);
    info->defaults = bs_instance_params_default(info->recipe);
    read_defaults(&f, &info->defaults);
    read_bool(&f, "trained", &info->trained);
    read_int(&f, "parameters", false, 0, INT64_MAX, &parameters);
    read_text(&f, "description", info->description, sizeof info->description);
    read_text(&f, "licence", info->licence, sizeof info->licence);
    read_text(&f, "source", info->source, sizeof info->source);
    read_text(&f, "assumed", info->assumed, sizeof info->assumed);
    read_end(&f, "it");
    rc = f.rc;
    if (rc == BS_OK)
        rc = check_recipe(info, err);
    if (rc == BS_OK)
        rc = bs_arch_parameter_count(&info->arch, &counted, err);
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
