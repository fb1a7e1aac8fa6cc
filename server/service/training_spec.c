/* What a training run is asked to be: the spec of a request becomes a configuration, a list of images, and the weights to begin with.
   Any thread. */
#include "server/service/training_internal.h"

#include "server/training_params.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- the configuration ---- */

static bs_status parse_arch(const char *text, enum bs_arch_kind *kind, struct bs_err *err)
{
    static const enum bs_arch_kind kinds[] = {BS_ARCH_UNET, BS_ARCH_UNETR, BS_ARCH_VIMUNET};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(text, bs_arch_name(kinds[i])) == 0) {
            *kind = kinds[i];
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_EINVAL, "architecture is \"%.40s\"; unet, unetr and vimunet are accepted", text);
}

static bs_status parse_recipe(const char *text, enum bs_recipe *recipe, struct bs_err *err)
{
    if (!text[0])
        return BS_OK; /* as it is */
    if (strcmp(text, "boundaries") == 0)
        *recipe = BS_RECIPE_BOUNDARIES;
    else if (strcmp(text, "distances") == 0)
        *recipe = BS_RECIPE_DISTANCES;
    else
        return BS_FAIL(err, BS_EINVAL, "recipe is \"%.40s\"; boundaries and distances are accepted", text);
    return BS_OK;
}

bs_status bs__training_default(const char *architecture, const char *recipe, struct bs_train_config *config,
                               struct bs_err *err)
{
    enum bs_recipe which = BS_RECIPE_DISTANCES;
    enum bs_arch_kind kind = BS_ARCH_UNET;
    bs_status rc = parse_arch(architecture, &kind, err);
    if (rc == BS_OK)
        rc = parse_recipe(recipe, &which, err);
    if (rc == BS_OK)
        bs_train_config_default(kind, which, 1, config);
    return rc;
}

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

/* The number that a value stands for. */
static bs_status number_of(const struct bs_param_spec *spec, const Bioseg__V1__ParameterValue *value,
                           double *out, struct bs_err *err)
{
    const bool number = spec->type == BS_PARAM_FLOAT || spec->type == BS_PARAM_INT;
    if (value && value->kind_case == BIOSEG__V1__PARAMETER_VALUE__KIND_NUMBER && number) {
        *out = value->number;
    } else if (value && value->kind_case == BIOSEG__V1__PARAMETER_VALUE__KIND_FLAG &&
               spec->type == BS_PARAM_BOOL) {
        *out = value->flag;
    } else if (value && value->kind_case == BIOSEG__V1__PARAMETER_VALUE__KIND_CHOICE &&
               spec->type == BS_PARAM_ENUM) {
        int index = choice_index(spec->choices, value->choice);
        if (index < 0)
            return BS_FAIL(err, BS_EINVAL, "%s is \"%.40s\"; one of %s is accepted", spec->name,
                           value->choice, spec->choices);
        *out = index;
    } else {
        return BS_FAIL(err, BS_EINVAL, "%s must be given as %s", spec->name,
                       number                        ? "number"
                       : spec->type == BS_PARAM_ENUM ? "choice"
                                                     : "flag");
    }
    return BS_OK;
}

/* In the table's order, whatever the map's is: the same request is the same configuration. */
static bs_status set_parameters(const Bioseg__V1__TrainingSpec *spec, struct bs_train_config *config,
                                struct bs_err *err)
{
    struct bs_param_spec specs[BS_TRAINING_MAX_PARAMS];
    int n = bs_training_param_specs(config, specs, BS_TRAINING_MAX_PARAMS);
    bs_status rc = BS_OK;
    for (size_t k = 0; k < spec->n_parameters; k++) { /* the table's own words for what it does not know */
        bool known = false;
        for (int i = 0; i < n; i++)
            known |= strcmp(spec->parameters[k]->key, specs[i].name) == 0;
        if (!known)
            return bs_training_param_set(config, spec->parameters[k]->key, 0, err);
    }
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < spec->n_parameters; k++) {
            double v = 0;
            if (strcmp(spec->parameters[k]->key, specs[i].name) != 0)
                continue;
            if ((rc = number_of(&specs[i], spec->parameters[k]->value, &v, err)) != BS_OK ||
                (rc = bs_training_param_set(config, specs[i].name, v, err)) != BS_OK)
                return rc;
        }
    return BS_OK;
}

/* Network and recipe of the weights to begin with. */
static bs_status from_initial(struct bs_services *s, const Bioseg__V1__TrainingSpec *spec,
                              struct bs__training *t, struct bs_err *err)
{
    struct bs_model_info info;
    bool new_head; /* the worker asks again, and makes one */
    bs_status rc = bs__model_find(s, spec->initial, &t->initial, err);
    if (rc == BS_OK)
        rc = bs__model_info(&t->initial, &info, err);
    if (rc != BS_OK)
        return rc;
    if (spec->architecture[0] && strcmp(spec->architecture, bs_arch_name(info.arch.kind)) != 0)
        return BS_FAIL(err, BS_EINVAL, "architecture is \"%.40s\", but %s is a %s; leave it out",
                       spec->architecture, t->initial.name, bs_arch_name(info.arch.kind));
    enum bs_recipe recipe = info.recipe;
    if ((rc = parse_recipe(spec->recipe, &recipe, err)) != BS_OK)
        return rc;
    bs_train_config_default(info.arch.kind, recipe, bs_arch_in_channels(&info.arch), &t->config);
    t->config.arch = info.arch;
    if (info.training_patch > 0)
        bs_train_config_set_patch(&t->config, (size_t)info.training_patch);
    if (recipe != info.recipe)
        bs_train_config_set_recipe(&t->config, recipe);
    if ((rc = set_parameters(spec, &t->config, err)) != BS_OK)
        return rc;
    return bs_train_config_check_initial(&t->config, &info, &new_head, err);
}

static bs_status configure(struct bs_services *s, const Bioseg__V1__TrainingSpec *spec,
                           struct bs__training *t, struct bs_err *err)
{
    bs_status rc;
    if (spec->initial)
        rc = from_initial(s, spec, t, err);
    else if ((rc = bs__training_default(spec->architecture, spec->recipe, &t->config, err)) == BS_OK)
        rc = set_parameters(spec, &t->config, err);
    if (rc != BS_OK)
        return rc;
    if (spec->seed > INT64_MAX)
        return BS_FAIL(err, BS_EINVAL, "seed is %" PRIu64 "; below 2^63 is accepted", spec->seed);
    t->config.seed = spec->seed;
    if ((rc = bs_train_config_check(&t->config, err)) != BS_OK)
        return rc;
    return bs_train_config_to_json(&t->config, &t->request.config, err);
}

bs_status bs__training_decode(struct bs_services *s, const char *owner, const Bioseg__V1__TrainingSpec *spec,
                              bool keep, struct bs__training *t, struct bs_err *err)
{
    bs_status rc;
    *t = (struct bs__training){.manifest = {.channel = BS_PLANE_CHANNEL_ANY}};
    if (!spec)
        return BS_FAIL(err, BS_EINVAL, "spec is missing");
    if ((rc = bs__check_name("spec.model_name", spec->model_name, err)) != BS_OK ||
        (rc = configure(s, spec, t, err)) != BS_OK ||
        (rc = bs__training_freeze(s, owner, spec->dataset, keep, t, err)) != BS_OK)
        goto cleanup;
    (void)snprintf(t->request.model_name, sizeof t->request.model_name, "%s", spec->model_name);
    if (spec->initial) {
        (void)snprintf(t->request.parent, sizeof t->request.parent, "%s", t->initial.name);
        (void)snprintf(t->request.parent_blob, sizeof t->request.parent_blob, "%s", t->initial.blob);
        t->request.parent_version = t->initial.version;
    }
cleanup:
    if (rc != BS_OK)
        bs__training_free(t);
    return rc;
}

void bs__training_free(struct bs__training *t)
{
    bs_training_request_free(&t->request);
    bs_model_record_free(&t->initial);
    bs_manifest_clear(&t->manifest);
    bs_names_clear(&t->left_out);
}
