/* bioseg.v1.Model from a record of the store, with the table of parameters that clients build their forms from. */
#include "server/service/service_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SPECS 64

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

static Bioseg__V1__ParameterType parameter_type(enum bs_param_type type)
{
    switch (type) {
    case BS_PARAM_FLOAT:
        return BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_FLOAT;
    case BS_PARAM_INT:
        return BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_INT;
    case BS_PARAM_BOOL:
        return BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL;
    case BS_PARAM_ENUM:
        return BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_ENUM;
    }
    return BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_UNSPECIFIED;
}

/* "a|b|c" as an array. */
static void choices(struct bs_arena *arena, const char *text, Bioseg__V1__ParameterSpec *m)
{
    size_t n = 1;
    if (!text)
        return;
    for (const char *p = text; *p; p++)
        n += *p == '|';
    m->choices = bs_arena_array(arena, n, sizeof *m->choices);
    char *copy = bs_arena_strdup(arena, text), *save = NULL;
    if (!m->choices || !copy)
        return;
    for (char *word = strtok_r(copy, "|", &save); word; word = strtok_r(NULL, "|", &save))
        m->choices[m->n_choices++] = word;
}

Bioseg__V1__ParameterSpec **bs__parameter_messages(struct bs_arena *arena, const struct bs_param_spec *specs,
                                                   int count)
{
    Bioseg__V1__ParameterSpec *messages = bs_arena_array(arena, (size_t)count + 1, sizeof *messages);
    Bioseg__V1__ParameterSpec **list = bs_arena_array(arena, (size_t)count + 1, sizeof *list);
    if (!messages || !list)
        return NULL;
    for (int i = 0; i < count; i++) {
        const struct bs_param_spec *s = &specs[i];
        Bioseg__V1__ParameterSpec *p = &messages[i];
        bioseg__v1__parameter_spec__init(p);
        p->name = keep(arena, s->name);
        p->title = keep(arena, s->title);
        p->help = keep(arena, s->help);
        p->type = parameter_type(s->type);
        p->network = bs_segment_param_of_network(s->name);
        p->minimum = s->min;
        p->maximum = s->max;
        p->step = s->step;
        p->default_value = s->default_value;
        p->unit = keep(arena, s->unit);
        choices(arena, s->choices, p);
        p->advanced = s->advanced;
        list[i] = p;
    }
    return list;
}

static bool parameters(struct bs_arena *arena, const struct bs_model_info *info, Bioseg__V1__Model *m)
{
    struct bs_param_spec specs[MAX_SPECS];
    int n = bs_segment_param_specs(info, specs, MAX_SPECS);
    m->parameters = bs__parameter_messages(arena, specs, n);
    m->n_parameters = m->parameters ? (size_t)n : 0;
    return m->parameters != NULL;
}

static void add_aliases(struct bs_services *s, struct bs_arena *arena, Bioseg__V1__Model *m)
{
    struct bs_err ignored;
    char **names;
    int count;
    if (bs_store_aliases_of(s->store, m->name, m->version, &names, &count, &ignored) != BS_OK)
        return;
    m->aliases = bs_arena_array(arena, (size_t)count + 1, sizeof *m->aliases);
    for (int i = 0; i < count; i++) {
        if (m->aliases)
            m->aliases[m->n_aliases++] = keep(arena, names[i]);
        free(names[i]);
    }
    free(names);
}

Bioseg__V1__Model *bs__model_message(struct bs_services *s, struct bs_arena *arena,
                                     const struct bs_model_record *record, bool with_parameters)
{
    struct bs_model_info info;
    struct bs_err err;
    Bioseg__V1__Model *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__model__init(m);
    m->name = keep(arena, record->name);
    m->version = record->version;
    m->owner = keep(arena, record->owner);
    add_aliases(s, arena, m);
    m->created_ms = record->created_ms;
    m->expires_ms = record->expires_ms;
    m->n_labels =
        bs__labels_from_json(arena, record->labels, &bioseg__v1__model__labels_entry__descriptor, &m->labels);
    m->file_bytes = record->bytes;
    m->sha256 = keep(arena, record->blob);
    m->loaded = bs_engine_is_loaded(s->engine, record->blob);
    m->resident_bytes = bs_engine_resident(s->engine, record->blob);
    if (bs__model_info(record, &info, &err) !=
        BS_OK) { /* written by a newer bioseg: what we do not know stays empty */
        m->description = bs__format(arena, "(description not readable by this version: %s)", err.msg);
        return m;
    }
    m->description = keep(arena, info.description);
    m->licence = keep(arena, info.licence);
    m->source = keep(arena, info.source);
    m->architecture = keep(arena, bs_arch_name(info.arch.kind));
    m->input_channels = (uint32_t)bs_arch_in_channels(&info.arch);
    m->output_channels = (uint32_t)bs_arch_out_channels(&info.arch);
    m->recipe = keep(arena, info.recipe == BS_RECIPE_BOUNDARIES ? "boundaries" : "distances");
    m->normalisation = keep(arena, info.normalisation == BS_NORMALISE_NONE        ? "none"
                                   : info.normalisation == BS_NORMALISE_RANGE_255 ? "range_255"
                                                                                  : "standardise");
    m->training_patch_px = (uint32_t)info.training_patch;
    m->pixel_size_um = info.pixel_size_um;
    m->trained = info.trained;
    m->state = info.trained ? BIOSEG__V1__MODEL_STATE__MODEL_STATE_READY
                            : BIOSEG__V1__MODEL_STATE__MODEL_STATE_UNTRAINED;
    m->weight_count = info.parameters;
    m->assumed = keep(arena, info.assumed);
    if (with_parameters && !parameters(arena, &info, m))
        return NULL;
    return m;
}
