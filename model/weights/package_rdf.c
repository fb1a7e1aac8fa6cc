/* rdf.yaml of a bioimage.io model, specifications 0.4 and 0.5; see package.h. In 0.4 steps have a `name` and axes are letters
   in one text, in 0.5 they have an `id` and axes are a list; a weights entry's network is described beside it or in
   `architecture`. Pure functions. */
#include "model/weights/package_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const struct bs_json_value *v)
{
    const char *text = NULL;
    return bs_json_as_string(v, &text) ? text : NULL;
}

static const char *text_at(const struct bs_json_value *object, const char *key)
{
    return text_of(bs_json_get(object, key));
}

/* What fits, cut between characters. */
static void copy_text(char *to, size_t size, const char *text)
{
    size_t n = strlen(text);
    if (n >= size) {
        n = size - 1;
        while (n && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(to, text, n);
    to[n] = 0;
}

/* ---- Weights ---- */

/* A name inside the archive: no folder above, no root, no address. */
static bool is_inside(const char *source)
{
    if (!*source || *source == '/' || strchr(source, '\\') || strstr(source, "://"))
        return false;
    for (const char *part = source; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2]))
            return false;
    }
    return true;
}

static bs_status find_weights(const struct bs_json_value *rdf, struct bs__package_weights *out,
                              struct bs__package *p, const struct bs_json_value **entry, struct bs_err *err)
{
    static const char *const kinds[] = {"pytorch_state_dict", "safetensors"};
    const struct bs_json_value *weights = bs_json_get(rdf, "weights");
    char have[160] = "";
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!(*entry = bs_json_get(weights, kinds[i])))
            continue;
        copy_text(p->kind, sizeof p->kind, kinds[i]);
        out->source = text_at(*entry, "source");
        out->sha256 = text_at(*entry, "sha256");
        if (bs_json_get(*entry, "sha256") && !out->sha256)
            return BS_FAIL(err, BS_EINVAL, "the SHA-256 of the package's weights is %s, not a text",
                           bs_json_type_name(bs_json_type_of(bs_json_get(*entry, "sha256"))));
        if (out->sha256 && !*out->sha256) /* null: not stated */
            out->sha256 = NULL;
        if (out->source && !strncmp(out->source, "./", 2))
            out->source += 2;
        if (!out->source || !is_inside(out->source))
            return BS_FAIL(
                err, BS_EINVAL,
                "the package's weights are at \"%.100s\"; only a file inside the package is accepted",
                out->source ? out->source : "");
        return BS_OK;
    }
    for (const struct bs_json_value *v = bs_json_first(weights); v; v = bs_json_next(v))
        snprintf(have + strlen(have), sizeof have - strlen(have), "%s%.30s", have[0] ? ", " : "",
                 bs_json_key(v) ? bs_json_key(v) : "?");
    return BS_FAIL(err, BS_EUNSUPPORTED,
                   "the package's weights are %s; pytorch_state_dict and safetensors can be read",
                   have[0] ? have : "missing");
}

/* ---- The network ---- */

static void read_activation(const struct bs_json_value *entry, struct bs_torch_hints *hints)
{
    const struct bs_json_value *architecture = bs_json_get(entry, "architecture");
    const struct bs_json_value *arguments =
        bs_json_get(bs_json_get(architecture, "kwargs") ? architecture : entry, "kwargs");
    const char *name = text_at(arguments, "final_activation");
    if (!name)
        return;
    copy_text(hints->final_activation, sizeof hints->final_activation, *name ? name : "none");
    hints->has_activation = true;
}

/* A sigmoid behind the network is one of the network's. */
static bs_status read_postprocessing(const struct bs_json_value *output, struct bs_torch_hints *hints,
                                     struct bs_err *err)
{
    for (const struct bs_json_value *s = bs_json_first(bs_json_get(output, "postprocessing")); s;
         s = bs_json_next(s)) {
        const char *step = text_at(s, "id") ? text_at(s, "id") : text_at(s, "name");
        if (step && !strcmp(step, "ensure_dtype"))
            continue;
        if (!step || strcmp(step, "sigmoid") != 0 ||
            (hints->has_activation && strcmp(hints->final_activation, "none") != 0))
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "the package's output goes through %.60s; only a sigmoid is accepted there",
                           step ? step : "a step without a name");
        copy_text(hints->final_activation, sizeof hints->final_activation, "Sigmoid");
        hints->has_activation = true;
    }
    return BS_OK;
}

/* ---- Preprocessing ---- */

/* Over the whole image: axes not given, or y and x and every axis of channels. */
static bool over_the_image(const struct bs_json_value *arguments, bool one_channel)
{
    const struct bs_json_value *axes = bs_json_get(arguments, "axes");
    bool y = false, x = false, channel = one_channel;
    const char *letters = text_of(axes);
    if (!axes || (letters && !*letters))
        return true;
    for (; letters && *letters; letters++) {
        y = y || *letters == 'y';
        x = x || *letters == 'x';
        channel = channel || *letters == 'c';
    }
    for (const struct bs_json_value *a = bs_json_first(axes); a; a = bs_json_next(a)) {
        const char *name = text_of(a) ? text_of(a) : "";
        y = y || !strcmp(name, "y");
        x = x || !strcmp(name, "x");
        channel = channel || !strcmp(name, "channel") || !strcmp(name, "c");
    }
    return y && x && channel;
}

static double number_at(const struct bs_json_value *arguments, const char *key, double otherwise)
{
    double v = otherwise;
    (void)bs_json_as_double(bs_json_get(arguments, key), &v);
    return v;
}

static bool is_standardisation(const struct bs_json_value *arguments, bool one_channel)
{
    const char *mode = text_at(arguments, "mode");
    return (!mode || !*mode || !strcmp(mode, "per_sample")) && !bs_json_get(arguments, "mean") &&
           !bs_json_get(arguments, "std") && over_the_image(arguments, one_channel);
}

static bool is_unit_range(const struct bs_json_value *arguments, bool one_channel)
{
    const char *mode = text_at(arguments, "mode");
    return (!mode || !*mode || !strcmp(mode, "per_sample")) &&
           number_at(arguments, "min_percentile", 0) == 0 &&
           number_at(arguments, "max_percentile", 100) == 100 && over_the_image(arguments, one_channel);
}

/* 0.5: axes say their channels; 0.4: letters beside a shape, or its least. */
static bool has_one_channel(const struct bs_json_value *input)
{
    const struct bs_json_value *axes = bs_json_get(input, "axes"), *shape = bs_json_get(input, "shape");
    const char *letters = text_of(axes);
    for (const struct bs_json_value *a = bs_json_first(axes); a; a = bs_json_next(a))
        if (text_at(a, "type") && !strcmp(text_at(a, "type"), "channel"))
            return bs_json_count(bs_json_get(a, "channel_names")) == 1;
    if (bs_json_get(shape, "min"))
        shape = bs_json_get(shape, "min");
    for (const struct bs_json_value *n = bs_json_first(shape); letters && *letters && n;
         n = bs_json_next(n), letters++) {
        int64_t size = 0;
        if (*letters == 'c')
            return bs_json_as_int(n, &size) && size == 1;
    }
    return false;
}

/* Steps that change nothing of what we feed are passed over; the others must be one of our rules. */
static void read_preprocessing(const struct bs_json_value *input, struct bs__package *p)
{
    size_t steps = 0;
    bool standardised = false, unit_range = false, times_255 = false, known = true;
    const bool one_channel = has_one_channel(input);
    for (const struct bs_json_value *s = bs_json_first(bs_json_get(input, "preprocessing")); s;
         s = bs_json_next(s)) {
        const char *step = text_at(s, "id") ? text_at(s, "id") : text_at(s, "name");
        const struct bs_json_value *arguments = bs_json_get(s, "kwargs");
        if (step && !strcmp(step, "ensure_dtype"))
            continue;
        const size_t n = strlen(p->preprocessing);
        snprintf(p->preprocessing + n, sizeof p->preprocessing - n, "%s%.40s", n ? ", " : "",
                 step ? step : "?");
        if (step && steps == 0 && !strcmp(step, "zero_mean_unit_variance"))
            known = known && (standardised = is_standardisation(arguments, one_channel));
        else if (step && steps == 0 && !strcmp(step, "scale_range"))
            known = known && (unit_range = is_unit_range(arguments, one_channel));
        else if (step && steps == 1 && unit_range && !strcmp(step, "scale_linear"))
            known = known && (times_255 = number_at(arguments, "gain", 1) == 255 &&
                                          number_at(arguments, "offset", 0) == 0);
        else
            known = false;
        steps++;
    }
    p->has_normalisation = known && (!unit_range || times_255);
    p->normalisation = standardised ? BS_NORMALISE_STANDARDISE
                       : times_255  ? BS_NORMALISE_RANGE_255
                                    : BS_NORMALISE_NONE;
}

/* ---- What people say ---- */

static void read_texts(const struct bs_json_value *rdf, struct bs__package *p)
{
    char source[1024];
    const char *name = text_at(rdf, "name"), *separator = " by ";
    snprintf(source, sizeof source, "bioimage.io package %.128s", name ? name : "");
    for (const struct bs_json_value *a = bs_json_first(bs_json_get(rdf, "authors")); a; a = bs_json_next(a)) {
        const size_t n = strlen(source);
        if (text_at(a, "name"))
            snprintf(source + n, sizeof source - n, "%s%.200s", separator, text_at(a, "name"));
        separator = ", ";
    }
    copy_text(p->source, sizeof p->source, source);
    if (text_at(rdf, "description"))
        copy_text(p->description, sizeof p->description, text_at(rdf, "description"));
    if (text_at(rdf, "license"))
        copy_text(p->licence, sizeof p->licence, text_at(rdf, "license"));
}

bs_status bs__package_describe(const struct bs_json_value *rdf, struct bs__package_weights *weights,
                               struct bs__package *out, struct bs_err *err)
{
    const struct bs_json_value *inputs = bs_json_get(rdf, "inputs"), *outputs = bs_json_get(rdf, "outputs");
    const struct bs_json_value *entry = NULL;
    const char *type = text_at(rdf, "type"), *version = text_at(rdf, "format_version");
    const char *ours = text_at(bs_json_get(bs_json_get(rdf, "config"), "bioseg"), "description");
    *weights = (struct bs__package_weights){0};
    if (!type || strcmp(type, "model") != 0)
        return BS_FAIL(err, BS_EINVAL, "the package describes a %.40s, not a model", type ? type : "nothing");
    if (!version || (strncmp(version, "0.4.", 4) != 0 && strncmp(version, "0.5.", 4) != 0))
        return BS_FAIL(err, BS_EUNSUPPORTED, "the package follows specification %.20s; 0.4 and 0.5 are known",
                       version ? version : "(none)");
    bs_status rc = find_weights(rdf, weights, out, &entry, err);
    if (rc != BS_OK)
        return rc;
    if (bs_json_count(inputs) != 1 || bs_json_count(outputs) != 1)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the package's network has %zu inputs and %zu outputs, accepted is one of each",
                       bs_json_count(inputs), bs_json_count(outputs));
    read_activation(entry, &out->hints);
    if ((rc = read_postprocessing(bs_json_first(outputs), &out->hints, err)) != BS_OK)
        return rc;
    read_preprocessing(bs_json_first(inputs), out);
    read_texts(rdf, out);
    if (ours && !(out->model_info = strdup(ours)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for a description");
    return BS_OK;
}
