/* See rdf.h. Field names are those of the specification, which says that of a description everything is as given by people or
   follows from the model: authors and licence come from the caller, axes and sizes from the architecture. */
#include "model/export/rdf.h"

#include "model/export/onnx_graph.h"
#include "model/export/test_tensor.h"
#include "model/export/torch_init.h"

#include <ctype.h>
#include <string.h>

#define FORMAT_VERSION  "0.5.4"
#define PYTORCH_VERSION "1.13.1" /* the oldest that tests/exports opens packages with */

const char *bs__rdf_name(enum bs__rdf_file file)
{
    static const char *const names[BS__RDF_FILES] = {[BS__RDF_README] = "README.md",
                                                     [BS__RDF_TEST_INPUT] = "test_input.npy",
                                                     [BS__RDF_TEST_OUTPUT] = "test_output.npy",
                                                     [BS__RDF_STATE_DICT] = "state_dict.pt",
                                                     [BS__RDF_ENVIRONMENT] = "environment.yaml",
                                                     [BS__RDF_ONNX] = "model.onnx"};
    return names[file];
}

/* ---- What people give ---- */

static bool only(const char *text, const char *also)
{
    for (; *text; text++)
        if (!isalnum((unsigned char)*text) && !strchr(also, *text))
            return false;
    return true;
}

bs_status bs__rdf_check(const struct bs_model_info *info, const struct bs_export_options *options,
                        const char **licence, struct bs_err *err)
{
    const char *title = options->title ? options->title : "";
    if (options->nauthors == 0)
        return BS_FAIL(
            err, BS_EINVAL,
            "a bioimage.io package names its authors, and a model file does not know them: who are "
            "they?");
    for (size_t i = 0; i < options->nauthors; i++)
        if (!options->authors[i][0] || strlen(options->authors[i]) > 200)
            return BS_FAIL(err, BS_EINVAL, "an author's name has 1 to 200 bytes");
    *licence = options->licence ? options->licence : info->licence;
    if (!(*licence)[0])
        return BS_FAIL(
            err, BS_EINVAL,
            "a bioimage.io package states a licence, and the model file has none: which one is it?");
    if (!only(*licence, "-.+") || strlen(*licence) > 60)
        return BS_FAIL(
            err, BS_EINVAL,
            "the licence of a bioimage.io package is an SPDX identifier such as CC0-1.0 or CC-BY-4.0, "
            "not %.64s",
            *licence);
    if (strlen(title) < 5 || strlen(title) > 64 || !only(title, "_+- ()"))
        return BS_FAIL(
            err, BS_EINVAL,
            "the title of a bioimage.io package has 5 to 64 letters, digits, spaces and _ + - ( ), "
            "which \"%.80s\" has not",
            title);
    return BS_OK;
}

/* ---- YAML ---- */

/* In double quotes, with the escapes that JSON and YAML share. */
static void quoted(struct bs__bytes *y, const char *text)
{
    bs__bytes_text(y, "\"");
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            bs__bytes_format(y, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            bs__bytes_format(y, "\\u%04x", c);
        else
            bs__bytes_put(y, text, 1);
    }
    bs__bytes_text(y, "\"");
}

static void line(struct bs__bytes *y, const char *key, const char *value)
{
    bs__bytes_text(y, key);
    bs__bytes_text(y, ": ");
    quoted(y, value);
    bs__bytes_text(y, "\n");
}

/* source and sha256 of a file, each behind the indent; the first behind `begin` instead. */
static void file(struct bs__bytes *y, const struct bs__rdf *r, enum bs__rdf_file f, const char *indent)
{
    bs__bytes_format(y, "%ssource: %s\n%ssha256: %s\n", indent, bs__rdf_name(f), indent, r->sha256[f]);
}

static const char *what_it_is(const struct bs_model_info *info)
{
    return info->arch.kind == BS_ARCH_UNET ? "U-Net" : "UNETR over the image encoder of Segment Anything";
}

static const char *what_it_says(const struct bs_model_info *info)
{
    return info->recipe == BS_RECIPE_DISTANCES
               ? "foreground, distance to the object's centre, distance to its boundary"
               : "foreground, boundary";
}

static void description(struct bs__bytes *y, const struct bs_model_info *info)
{
    struct bs__bytes text = {0};
    if (info->description[0])
        bs__bytes_text(&text, info->description);
    else
        bs__bytes_format(&text, "%s for segmentation; output channels: %s", what_it_is(info),
                         what_it_says(info));
    bs__bytes_uint(&text, 0, 1);
    if (text.failed)
        y->failed = true;
    else
        line(y, "description", (const char *)text.data);
    bs__bytes_free(&text);
}

/* "NAME" or "NAME; AFFILIATION". */
static void authors(struct bs__bytes *y, const struct bs_export_options *o)
{
    bs__bytes_text(y, "authors:\n");
    for (size_t i = 0; i < o->nauthors; i++) {
        char name[256];
        const char *semicolon = strchr(o->authors[i], ';');
        size_t len = semicolon ? (size_t)(semicolon - o->authors[i]) : strlen(o->authors[i]);
        while (len && o->authors[i][len - 1] == ' ')
            len--;
        memcpy(name, o->authors[i], len);
        name[len] = 0;
        bs__bytes_text(y, "  - ");
        line(y, "name", name);
        if (semicolon) {
            semicolon += 1 + strspn(semicolon + 1, " ");
            bs__bytes_text(y, "    ");
            line(y, "affiliation", semicolon);
        }
    }
}

/* Who described the networks: facts about the architecture, not about this model. */
static void citations(struct bs__bytes *y, enum bs_arch_kind kind)
{
    bs__bytes_text(y, "cite:\n");
    if (kind == BS_ARCH_UNET)
        bs__bytes_text(y, "  - text: \"Ronneberger, Fischer, Brox: U-Net (2015)\"\n"
                          "    doi: 10.1007/978-3-319-24574-4_28\n");
    else
        bs__bytes_text(y, "  - text: \"Kirillov et al.: Segment Anything (2023)\"\n"
                          "    doi: 10.48550/arXiv.2304.02643\n");
    bs__bytes_text(y, "  - text: \"Archit, Pape: ViM-UNet (2024)\"\n"
                      "    doi: 10.48550/arXiv.2404.07705\n");
}

static void space_axis(struct bs__bytes *y, const struct bs_model_info *info, char id, bool input)
{
    bs__bytes_format(y, "      - type: space\n        id: %c\n", id);
    if (info->pixel_size_um > 0)
        bs__bytes_format(y, "        unit: micrometer\n        scale: %.9g\n", info->pixel_size_um);
    const int side = bs_arch_image_size(&info->arch), step = bs_arch_divisor(&info->arch);
    if (!input)
        bs__bytes_format(y, "        size:\n          tensor_id: input\n          axis_id: %c\n", id);
    else if (side)
        bs__bytes_format(y, "        size: %d\n", side);
    else /* smaller ones leave a single pixel at the base, which instance norm cannot standardise */
        bs__bytes_format(y, "        size:\n          min: %d\n          step: %d\n", 2 * step, step);
}

static void axes(struct bs__bytes *y, const struct bs_model_info *info, bool input)
{
    static const char *const distances[] = {"foreground", "center_distance", "boundary_distance"};
    static const char *const boundaries[] = {"foreground", "boundary"};
    bs__bytes_text(y, "    axes:\n      - type: batch\n");
    if (bs_arch_image_size(&info->arch))
        bs__bytes_text(y, "        size: 1\n");
    bs__bytes_text(y, "      - type: channel\n        channel_names:\n");
    if (input)
        for (int c = 0; c < bs_arch_in_channels(&info->arch); c++)
            bs__bytes_format(y, "          - channel%d\n", c);
    else if (info->recipe == BS_RECIPE_DISTANCES)
        for (int c = 0; c < 3; c++)
            bs__bytes_format(y, "          - %s\n", distances[c]);
    else
        for (int c = 0; c < 2; c++)
            bs__bytes_format(y, "          - %s\n", boundaries[c]);
    space_axis(y, info, 'y', input);
    space_axis(y, info, 'x', input);
}

/* As model/predict/normalise.c has it, but that fractions of a range of 0 to 255 are kept: a step that drops them would make
   254 or 255 of the largest sample, as rounding in the reader has it. */
static void preprocessing(struct bs__bytes *y, enum bs_normalisation normalisation)
{
    if (normalisation == BS_NORMALISE_NONE)
        return;
    bs__bytes_text(y, "    preprocessing:\n");
    if (normalisation == BS_NORMALISE_STANDARDISE)
        bs__bytes_text(y, "      - id: zero_mean_unit_variance\n"
                          "        kwargs:\n          axes: [channel, y, x]\n          eps: 1.0e-7\n");
    else
        bs__bytes_text(y, "      - id: scale_range\n"
                          "        kwargs:\n          axes: [channel, y, x]\n          min_percentile: 0.0\n"
                          "          max_percentile: 100.0\n          eps: 1.0e-7\n"
                          "      - id: scale_linear\n        kwargs:\n          gain: 255.0\n");
}

static void tensors(struct bs__bytes *y, const struct bs__rdf *r)
{
    for (int out = 0; out < 2; out++) {
        bs__bytes_format(y, "%s:\n  - id: %s\n", out ? "outputs" : "inputs", out ? "output" : "input");
        axes(y, r->info, !out);
        bs__bytes_text(y, "    data:\n      type: float32\n");
        if (!out)
            preprocessing(y, r->info->normalisation);
        bs__bytes_text(y, "    test_tensor:\n");
        file(y, r, out ? BS__RDF_TEST_OUTPUT : BS__RDF_TEST_INPUT, "      ");
    }
}

static void argument(struct bs__bytes *y, const struct bs__torch_argument *a)
{
    bs__bytes_format(y, "        %s: ", a->name);
    if (a->type == BS__ARGUMENT_NONE)
        bs__bytes_text(y, "null");
    else if (a->type == BS__ARGUMENT_BOOL)
        bs__bytes_text(y, a->number ? "true" : "false");
    else if (a->type == BS__ARGUMENT_INT)
        bs__bytes_format(y, "%lld", (long long)a->number);
    else
        quoted(y, a->text);
    bs__bytes_text(y, "\n");
}

static void weights(struct bs__bytes *y, const struct bs__rdf *r)
{
    bs__bytes_text(y, "weights:\n");
    if (r->present[BS__RDF_STATE_DICT]) {
        struct bs__torch_argument arguments[BS__TORCH_MAX_ARGUMENTS];
        const char *module = NULL, *class = bs__torch_class(&r->info->arch, &module);
        const int n = bs__torch_arguments(&r->info->arch, arguments);
        bs__bytes_text(y, "  pytorch_state_dict:\n");
        file(y, r, BS__RDF_STATE_DICT, "    ");
        bs__bytes_format(y,
                         "    pytorch_version: %s\n    architecture:\n      import_from: %s\n      callable: "
                         "%s\n      kwargs:\n",
                         PYTORCH_VERSION, module, class);
        for (int i = 0; i < n; i++)
            argument(y, &arguments[i]);
        bs__bytes_text(y, "    dependencies:\n");
        file(y, r, BS__RDF_ENVIRONMENT, "      ");
    }
    if (r->present[BS__RDF_ONNX]) {
        bs__bytes_text(y, "  onnx:\n");
        file(y, r, BS__RDF_ONNX, "    ");
        bs__bytes_format(y, "    opset_version: %d\n", BS__ONNX_OPSET);
        if (r->present[BS__RDF_STATE_DICT])
            bs__bytes_text(y, "    parent: pytorch_state_dict\n");
    }
}

void bs__rdf_write(const struct bs__rdf *r, struct bs__bytes *y)
{
    bs__bytes_text(y, "format_version: " FORMAT_VERSION "\ntype: model\n");
    line(y, "name", r->options->title);
    description(y, r->info);
    authors(y, r->options);
    line(y, "license", r->licence);
    citations(y, r->info->arch.kind);
    bs__bytes_format(y, "documentation:\n");
    file(y, r, BS__RDF_README, "  ");
    bs__bytes_format(y, "tags: [segmentation, 2d, pytorch, bioseg, %s]\n", bs_arch_name(r->info->arch.kind));
    tensors(y, r);
    weights(y, r);
    bs__bytes_text(y, "config:\n  bioseg:\n    ");
    line(y, "description", r->description);
}

void bs__rdf_readme(const struct bs__rdf *r, struct bs__bytes *t)
{
    bs__bytes_format(t, "# %s\n\n", r->options->title);
    if (r->info->description[0])
        bs__bytes_format(t, "%s\n\n", r->info->description);
    bs__bytes_format(t, "A %s. Output channels: %s.\n", what_it_is(r->info), what_it_says(r->info));
    if (r->info->source[0])
        bs__bytes_format(t, "Weights: %s.\n", r->info->source);
    if (r->info->normalisation == BS_NORMALISE_RANGE_255)
        bs__bytes_text(t, "Samples are brought to 0 to 255. bioseg drops the fractions of the result, this "
                          "description keeps them.\n");
    if (!r->info->trained)
        bs__bytes_text(t, "The weights are not trained: results mean nothing.\n");
    bs__bytes_text(
        t,
        "\nObjects are made from the output by a seeded watershed; bioseg does it, and so does torch_em.\n"
        "\n## Validation\n\nThe test tensors say that the network computes what it should, not how well it "
        "segments. Compare its objects with\nyour own annotations, for example with `bioseg evaluate`.\n");
}

void bs__rdf_environment(struct bs__bytes *y)
{
    bs__bytes_text(y,
                   "name: torch-em\nchannels:\n  - conda-forge\ndependencies:\n  - pytorch >=" PYTORCH_VERSION
                   "\n  - torch_em >=0.10\n");
}
