/* Parameters as the server describes them. See parameters.h. */
#include "clients/cli/parameters.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

const Bioseg__V1__ParameterSpec *bs__parameter_find(Bioseg__V1__ParameterSpec *const *specs, size_t n,
                                                    const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(specs[i]->name, name) == 0)
            return specs[i];
    return NULL;
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

bs_status bs__parameter_set(const Bioseg__V1__ParameterSpec *spec, const char *text,
                            Bioseg__V1__ParameterValue *v, struct bs_err *err)
{
    if (spec->type == BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_BOOL)
        return set_flag(spec, text, v, err);
    if (spec->type == BIOSEG__V1__PARAMETER_TYPE__PARAMETER_TYPE_ENUM)
        return set_choice(spec, text, v, err);
    return set_number(spec, text, v, err);
}

static const char *type_name(const json_t *spec)
{
    const char *type = json_string_value(json_object_get(spec, "type"));
    const char *prefix = "PARAMETER_TYPE_";
    return type && strncmp(type, prefix, strlen(prefix)) == 0 ? type + strlen(prefix) : "?";
}

void bs__parameter_print(FILE *out, const json_t *p)
{
    const json_t *choices = json_object_get(p, "choices");
    const char *unit = json_string_value(json_object_get(p, "unit"));
    const char *type = type_name(p);
    double value = json_number_value(json_object_get(p, "default_value"));
    fprintf(out, "  %s", json_string_value(json_object_get(p, "name")));
    if (strcmp(type, "BOOL") == 0)
        fprintf(out, " = %s   (true or false)", value != 0 ? "true" : "false");
    else if (strcmp(type, "ENUM") == 0) {
        const char *chosen = json_string_value(json_array_get(choices, (size_t)value));
        fprintf(out, " = %s   (", chosen ? chosen : "?");
        for (size_t i = 0; i < json_array_size(choices); i++)
            fprintf(out, "%s%s", i ? ", " : "", json_string_value(json_array_get(choices, i)));
        fprintf(out, ")");
    } else
        fprintf(out, " = %.10g%s%s   (%.10g to %.10g)", value, unit && unit[0] ? " " : "", unit ? unit : "",
                json_number_value(json_object_get(p, "minimum")),
                json_number_value(json_object_get(p, "maximum")));
    const char *help = json_string_value(json_object_get(p, "help"));
    fprintf(out, "\n      %s\n", help ? help : "");
}
