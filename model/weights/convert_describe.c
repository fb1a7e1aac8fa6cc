/* The description of a model file from a checkpoint: what names and shapes tell, what a trainer left, what the caller knows,
   and for the rest assumptions that are recorded as such. Pure functions; any thread. */
#include "model/weights/convert_internal.h"

#include <stdio.h>
#include <string.h>

static void note(struct bs_model_info *info, const char *key, const char *value)
{
    const size_t n = strlen(info->assumed);
    snprintf(info->assumed + n, sizeof info->assumed - n, "%s%s=%s", n ? "," : "", key, value);
}

/* Takes "key=value" out of the assumptions, if it is there. */
static void forget(struct bs_model_info *info, const char *key)
{
    const size_t len = strlen(key);
    for (char *at = info->assumed; *at;) {
        char *next = strchr(at, ',');
        if (strncmp(at, key, len) != 0 || at[len] != '=') {
            if (!next)
                return;
            at = next + 1;
        } else if (next) {
            memmove(at, next + 1, strlen(next + 1) + 1);
            return;
        } else {
            at[at == info->assumed ? 0 : -1] = 0; /* the comma before it, too */
            return;
        }
    }
}

static bs_status set_activation(struct bs_model_info *info, const struct bs_convert_options *o,
                                const struct bs_torch_hints *hints, struct bs_err *err)
{
    if (o->has_final_activation) {
        bs_arch_set_sigmoid(&info->arch, o->sigmoid);
        return BS_OK;
    }
    if (!hints->has_activation) {
        bs_arch_set_sigmoid(&info->arch, true);
        note(info, "final_activation", "Sigmoid");
        return BS_OK;
    }
    const bool sigmoid = !strcmp(hints->final_activation, "Sigmoid");
    bs_arch_set_sigmoid(&info->arch, sigmoid);
    if (!sigmoid && strcmp(hints->final_activation, "none") != 0)
        return BS_FAIL(err, BS_EUNSUPPORTED, "the final activation is %s, supported are Sigmoid and none",
                       hints->final_activation);
    return BS_OK;
}

/* What keys and shapes leave open about the encoder: the caller's word, or what bs_arch_recover has set, noted. */
static bs_status set_encoder(struct bs_model_info *info, const struct bs_convert_options *o, bool noting,
                             struct bs_err *err)
{
    static const char *const truth[] = {"false", "true"}, *const place[] = {"middle", "first"};
    struct bs_arch_config *arch = &info->arch;
    const struct {
        const char *key, *const *words;
        enum bs_arch_kind kind;
        enum bs_convert_answer answer;
        bool *setting;
    } settings[] = {
        {"class_token", place, BS_ARCH_VIMUNET, o->class_token_first, &arch->vimunet.class_token_first},
        {"divide_by_directions", truth, BS_ARCH_VIMUNET, o->divide_by_directions,
         &arch->vimunet.divide_by_directions},
        {"resize_input", truth, BS_ARCH_UNETR, o->resize_input, &arch->unetr.resize_input},
        {"use_sam_stats", truth, BS_ARCH_UNETR, o->sam_statistics, &arch->unetr.sam_statistics},
    };
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        const bool given = settings[i].answer != BS_CONVERT_NOT_GIVEN;
        if (given && settings[i].kind != arch->kind)
            return BS_FAIL(err, BS_EINVAL, "%s is a setting of networks of kind %s, this is a %s",
                           settings[i].key, bs_arch_name(settings[i].kind), bs_arch_name(arch->kind));
        if (settings[i].kind != arch->kind)
            continue;
        if (settings[i].words == place && !arch->vimunet.class_token) {
            if (given)
                return BS_FAIL(err, BS_EINVAL, "this network has no class token (encoder.cls_token)");
        } else if (given) {
            *settings[i].setting = settings[i].answer == BS_CONVERT_YES;
            forget(info, settings[i].key);
        } else if (noting) {
            note(info, settings[i].key, settings[i].words[*settings[i].setting]);
        }
    }
    return BS_OK;
}

static bs_status set_recipe(struct bs_model_info *info, const struct bs_convert_options *o,
                            const struct bs_torch_hints *hints, struct bs_err *err)
{
    const int channels = bs_arch_out_channels(&info->arch);
    if (channels != 2 && channels != 3)
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "the network has %d output channels; there are recipes for 2 (foreground, boundary) and 3 "
            "(foreground, centre and boundary distance)",
            channels);
    info->recipe = channels == 2 ? BS_RECIPE_BOUNDARIES : BS_RECIPE_DISTANCES;
    if (o->has_recipe && o->recipe != info->recipe)
        return BS_FAIL(err, BS_EINVAL, "recipe %s needs %d output channels, the network has %d",
                       o->recipe == BS_RECIPE_BOUNDARIES ? "boundaries" : "distances",
                       o->recipe == BS_RECIPE_BOUNDARIES ? 2 : 3, channels);
    const char *known =
        info->recipe == BS_RECIPE_BOUNDARIES ? "BoundaryTransform" : "PerObjectDistanceTransform";
    if (!o->has_recipe && strcmp(hints->label_transform, known) != 0)
        note(info, "recipe", info->recipe == BS_RECIPE_BOUNDARIES ? "boundaries" : "distances");
    return BS_OK;
}

static bs_status copy_text(char *to, size_t size, const char *what, const char *text, struct bs_err *err)
{
    if (!text)
        return BS_OK;
    if (strlen(text) >= size)
        return BS_FAIL(err, BS_ELIMIT, "the %s has %zu bytes, at most %zu are accepted", what, strlen(text),
                       size - 1);
    memcpy(to, text, strlen(text) + 1);
    return BS_OK;
}

/* Samples as the original feeds them: SAM's statistics are of images from 0 to 255. */
static void set_normalisation(struct bs_model_info *info, const struct bs_convert_options *o,
                              const struct bs_torch_hints *hints)
{
    const bool sam = info->arch.kind == BS_ARCH_UNETR && info->arch.unetr.sam_statistics;
    info->normalisation = sam ? BS_NORMALISE_RANGE_255 : BS_NORMALISE_STANDARDISE;
    if (!o->has_normalisation && (sam || strcmp(hints->normaliser, "standardize") != 0))
        note(info, "normalisation", sam ? "range_255" : "standardise");
}

/* How micro-sam makes the UNETR of its checkpoints, where the caller does not know better: SAM's statistics of 8-bit images,
   longest side to the encoder's size, sigmoid, the channels of the distance recipe. */
static void know_micro_sam(struct bs_convert_options *o, int channels)
{
    if (o->sam_statistics == BS_CONVERT_NOT_GIVEN)
        o->sam_statistics = BS_CONVERT_YES;
    if (o->resize_input == BS_CONVERT_NOT_GIVEN)
        o->resize_input = BS_CONVERT_YES;
    if (o->sam_statistics == BS_CONVERT_YES)
        o->has_normalisation = true; /* set_normalisation gives it */
    if (!o->has_final_activation)
        o->has_final_activation = o->sigmoid = true;
    if (!o->has_recipe && channels == 3) {
        o->has_recipe = true;
        o->recipe = BS_RECIPE_DISTANCES;
    }
}

/* From scratch, for a file that says nothing of itself. */
static bs_status describe(const struct bs__convert_known *known, const struct bs_convert_options *o,
                          struct bs_model_info *info, struct bs_err *err)
{
    static const struct bs_torch_hints no_hints;
    const struct bs_torch_hints *hints = known->hints ? known->hints : &no_hints;
    bs_status rc;
    *info = (struct bs_model_info){.trained = true};
    /* What keys and shapes leave open is decided below. */
    if ((rc = bs_arch_recover(known->state, known->count, &info->arch, info->assumed, sizeof info->assumed,
                              err)) != BS_OK)
        return rc;
    info->assumed[0] = 0;
    struct bs_convert_options more = *o;
    if (known->micro_sam && info->arch.kind == BS_ARCH_UNETR) {
        know_micro_sam(&more, bs_arch_out_channels(&info->arch));
        o = &more;
    }
    info->trained = !known->untrained;
    if ((rc = set_activation(info, o, hints, err)) != BS_OK ||
        (rc = set_encoder(info, o, true, err)) != BS_OK || (rc = set_recipe(info, o, hints, err)) != BS_OK)
        return rc;
    set_normalisation(info, o, hints);
    info->training_patch = (int)hints->patch;
    info->defaults = bs_instance_params_default(info->recipe);
    return bs_arch_parameter_count(&info->arch, &info->parameters, err);
}

/* A model file of ours keeps what it says unless the caller knows better. */
static bs_status redescribe(const struct bs__convert_known *known, const struct bs_convert_options *o,
                            struct bs_model_info *info, struct bs_err *err)
{
    struct bs_arch_config recovered;
    char assumed[256];
    bs_status rc;
    if ((rc = bs_model_info_from_json(known->description, strlen(known->description), info, err)) != BS_OK ||
        (rc = bs_arch_recover(known->state, known->count, &recovered, assumed, sizeof assumed, err)) != BS_OK)
        return rc;
    if (o->has_recipe && o->recipe != info->recipe)
        return BS_FAIL(err, BS_EINVAL, "the model's recipe is another one");
    if (o->has_recipe)
        forget(info, "recipe");
    if (o->has_final_activation) {
        bs_arch_set_sigmoid(&info->arch, o->sigmoid);
        forget(info, "final_activation");
    }
    return set_encoder(info, o, false, err);
}

static bs_status apply_options(struct bs_model_info *info, const struct bs_convert_options *o,
                               struct bs_err *err)
{
    bs_status rc;
    if (o->has_normalisation) {
        info->normalisation = o->normalisation;
        forget(info, "normalisation");
    }
    if (o->has_min_size) {
        if (o->min_size < 0)
            return BS_FAIL(err, BS_EINVAL, "the minimum size is %lld pixels, accepted is 0 or more",
                           (long long)o->min_size);
        info->defaults.min_size = o->min_size;
    }
    if (o->training_patch < 0 || o->training_patch > 1 << 16)
        return BS_FAIL(err, BS_EINVAL, "the training patch is %d pixels, accepted is 1 to %d",
                       o->training_patch, 1 << 16);
    if (o->training_patch)
        info->training_patch = o->training_patch;
    if (!(o->pixel_size_um >= 0 && o->pixel_size_um <= 1e6))
        return BS_FAIL(err, BS_EINVAL, "the pixel size is %g um, accepted is above 0 up to 1e6",
                       o->pixel_size_um);
    if (o->pixel_size_um > 0)
        info->pixel_size_um = o->pixel_size_um;
    if ((rc = copy_text(info->description, sizeof info->description, "description", o->description, err)) !=
            BS_OK ||
        (rc = copy_text(info->licence, sizeof info->licence, "licence", o->licence, err)) != BS_OK)
        return rc;
    return copy_text(info->source, sizeof info->source, "source", o->source, err);
}

bs_status bs__convert_describe(const struct bs__convert_known *known,
                               const struct bs_convert_options *options, struct bs_model_info *info,
                               struct bs_err *err)
{
    bs_status rc =
        known->description ? redescribe(known, options, info, err) : describe(known, options, info, err);
    return rc == BS_OK ? apply_options(info, options, err) : rc;
}
