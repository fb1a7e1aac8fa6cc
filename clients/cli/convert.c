/* bioseg convert: a checkpoint that someone made with PyTorch, or a bioimage.io package, becomes a model file. It is parsed in a
   child process that is locked in first (convert_child.h). */
#include "clients/cli/cli.h"
#include "clients/cli/convert_child.h"
#include "clients/cli/output.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct arguments {
    struct bs__cli *cli;
    struct bs_convert_options convert;
    const char *in, *out;
    bool overwrite, without_sandbox;
};

enum {
    OPT_RECIPE = 0x600,
    OPT_ACTIVATION,
    OPT_NORMALISATION,
    OPT_CLASS_TOKEN,
    OPT_DIRECTIONS,
    OPT_RESIZE_INPUT,
    OPT_SAM_STATISTICS,
    OPT_UNTRAINED_DECODER,
    OPT_SEED,
    OPT_MIN_SIZE,
    OPT_PATCH,
    OPT_PIXEL_SIZE,
    OPT_DESCRIPTION,
    OPT_LICENCE,
    OPT_SOURCE,
    OPT_OVERWRITE,
    OPT_WITHOUT_SANDBOX
};

static const struct argp_option options[] = {
    {"output", 'o', "FILE", 0, "the model file to write, *.safetensors", 10},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace it if it is there", 10},
    {NULL, 0, NULL, 0,
     "What you know of the model (what is not given is recovered, or assumed and recorded as such):", 20},
    {"recipe", OPT_RECIPE, "boundaries|distances", 0, "what the output channels mean", 21},
    {"activation", OPT_ACTIVATION, "sigmoid|none", 0, "after the last layer", 21},
    {"normalisation", OPT_NORMALISATION, "standardise|none|range_255", 0, "of the images it was trained on",
     21},
    {"class-token", OPT_CLASS_TOKEN, "first|middle", 0, "its place in a ViM-UNet", 21},
    {"directions", OPT_DIRECTIONS, "averaged|summed", 0, "the scans of a ViM-UNet", 21},
    {"resize-input", OPT_RESIZE_INPUT, "yes|no", 0, "does a UNETR bring images to its encoder's size?", 21},
    {"sam-statistics", OPT_SAM_STATISTICS, "yes|no", 0,
     "does a UNETR use Segment Anything's mean and deviation?", 21},
    {"with-untrained-decoder", OPT_UNTRAINED_DECODER, "2|3", 0,
     "for the encoder of Segment Anything or Vision Mamba alone: a decoder with this many outputs, to be "
     "trained",
     21},
    {"seed", OPT_SEED, "N", 0, "of that decoder's values, 0 if not given", 21},
    {"min-size", OPT_MIN_SIZE, "PIXELS", 0, "default of the size filter", 21},
    {"training-patch", OPT_PATCH, "PIXELS", 0, "side of a training patch", 21},
    {"pixel-size", OPT_PIXEL_SIZE, "UM", 0, "side of a pixel of the training images in micrometres", 21},
    {"description", OPT_DESCRIPTION, "TEXT", 0, "what it is for", 21},
    {"licence", OPT_LICENCE, "TEXT", 0, "of the weights", 21},
    {"source", OPT_SOURCE, "TEXT", 0, "where they come from", 21},
    {"without-sandbox", OPT_WITHOUT_SANDBOX, NULL, 0,
     "go on where the system cannot lock the parsing process in", 30},
    {0}};

static const char doc[] = "Turns a checkpoint (torch_em trainer checkpoint or plain state_dict, zip or "
                          "legacy format, or plain safetensors) into "
                          "a model file that describes itself. Nothing in the checkpoint is ever executed.\v"
                          "Examples:\n"
                          "  bioseg convert best.pt -o nuclei.safetensors\n"
                          "  bioseg convert best.pt -o nuclei.safetensors --recipe distances --min-size 25\n"
                          "  bioseg models import nuclei.safetensors --name nuclei\n";

static long whole(struct argp_state *state, const char *option, const char *arg, long min, long max)
{
    char *end;
    errno = 0;
    long v = strtol(arg, &end, 10);
    if (!isdigit((unsigned char)arg[0]) || *end || errno || v < min || v > max)
        argp_error(state, "%s %s is not a whole number from %ld to %ld", option, arg, min, max);
    return v;
}

/* True for the first of two words, false for the second, an error for all others. */
static bool either(struct argp_state *state, const char *option, const char *arg, const char *yes,
                   const char *no)
{
    if (strcmp(arg, yes) != 0 && strcmp(arg, no) != 0)
        argp_error(state, "%s %s is neither %s nor %s", option, arg, yes, no);
    return strcmp(arg, yes) == 0;
}

static enum bs_normalisation normalisation_of(struct argp_state *state, const char *arg)
{
    static const char *const names[] = {[BS_NORMALISE_STANDARDISE] = "standardise",
                                        [BS_NORMALISE_NONE] = "none",
                                        [BS_NORMALISE_RANGE_255] = "range_255"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(arg, names[i]))
            return (enum bs_normalisation)i;
    argp_error(state, "--normalisation %s is none of standardise, none and range_255", arg);
    return BS_NORMALISE_NONE;
}

static enum bs_convert_answer answer_of(struct argp_state *state, const char *option, const char *arg,
                                        const char *yes, const char *no)
{
    return either(state, option, arg, yes, no) ? BS_CONVERT_YES : BS_CONVERT_NO;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct bs_convert_options *o = &a->convert;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = a->cli;
        return 0;
    case 'o':
        a->out = arg;
        return 0;
    case OPT_OVERWRITE:
        a->overwrite = true;
        return 0;
    case OPT_WITHOUT_SANDBOX:
        a->without_sandbox = true;
        return 0;
    case OPT_RECIPE:
        o->has_recipe = true;
        o->recipe = either(state, "--recipe", arg, "boundaries", "distances") ? BS_RECIPE_BOUNDARIES
                                                                              : BS_RECIPE_DISTANCES;
        return 0;
    case OPT_ACTIVATION:
        o->has_final_activation = true;
        o->sigmoid = either(state, "--activation", arg, "sigmoid", "none");
        return 0;
    case OPT_NORMALISATION:
        o->has_normalisation = true;
        o->normalisation = normalisation_of(state, arg);
        return 0;
    case OPT_CLASS_TOKEN:
        o->class_token_first = answer_of(state, "--class-token", arg, "first", "middle");
        return 0;
    case OPT_DIRECTIONS:
        o->divide_by_directions = answer_of(state, "--directions", arg, "averaged", "summed");
        return 0;
    case OPT_RESIZE_INPUT:
        o->resize_input = answer_of(state, "--resize-input", arg, "yes", "no");
        return 0;
    case OPT_SAM_STATISTICS:
        o->sam_statistics = answer_of(state, "--sam-statistics", arg, "yes", "no");
        return 0;
    case OPT_UNTRAINED_DECODER:
        o->untrained_decoder = (int)whole(state, "--with-untrained-decoder", arg, 2, 3);
        return 0;
    case OPT_SEED:
        o->decoder_seed = (uint64_t)whole(state, "--seed", arg, 0, LONG_MAX);
        return 0;
    case OPT_MIN_SIZE:
        o->has_min_size = true;
        o->min_size = whole(state, "--min-size", arg, 0, 1 << 30);
        return 0;
    case OPT_PATCH:
        o->training_patch = (int)whole(state, "--training-patch", arg, 1, 65536);
        return 0;
    case OPT_PIXEL_SIZE:
        o->pixel_size_um = strtod(arg, &end);
        if (end == arg || *end || !(o->pixel_size_um > 0 && o->pixel_size_um < 1e6))
            argp_error(state, "--pixel-size %s is not a number of micrometres above 0", arg);
        return 0;
    case OPT_DESCRIPTION:
        o->description = arg;
        return 0;
    case OPT_LICENCE:
        o->licence = arg;
        return 0;
    case OPT_SOURCE:
        o->source = arg;
        return 0;
    case ARGP_KEY_ARG:
        if (a->in)
            argp_error(state, "'%s' is one checkpoint too many", arg);
        a->in = arg;
        return 0;
    case ARGP_KEY_END:
        if (!a->in)
            argp_error(state, "no checkpoint given");
        if (!a->out)
            argp_error(state, "where does the model file go? give -o FILE.safetensors");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static json_t *json_of_report(const struct arguments *a, const struct bs_convert_report *r,
                              struct bs_err *err)
{
    char *text = NULL;
    json_t *skipped = json_array(), *info = NULL;
    if (bs_model_info_to_json(&r->info, &text, err) == BS_OK)
        info = json_loads(text, 0, NULL);
    free(text);
    for (size_t i = 0; i < r->nskipped && i < BS_CONVERT_MAX_SKIPPED; i++)
        json_array_append_new(skipped, bs__json_text(r->skipped[i]));
    return json_pack("{s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o, s:I, s:o}", "input", bs__json_text(a->in),
                     "output", bs__json_text(a->out), "format", bs__json_text(r->format), "found_at",
                     bs__json_text(r->key), "tensors", (json_int_t)r->tensors, "bytes", (json_int_t)r->bytes,
                     "left_out", (json_int_t)r->left_out, "model", info ? info : json_null(), "assumed",
                     bs__json_text(r->info.assumed), "placeholders_count", (json_int_t)r->nskipped,
                     "placeholders", skipped);
}

static void print_report(FILE *out, const json_t *report, const struct bs_convert_report *r)
{
    char size[16];
    fprintf(out, "read a %s checkpoint%s%s: %zu tensors, %s\n", r->format, r->key[0] ? ", model at " : "",
            r->key, r->tensors, bs__human_bytes((double)r->bytes, size));
    if (r->left_out)
        fprintf(out, "left out: %zu tensors that the network has no use for\n", r->left_out);
    fprintf(out, "\nrecovered:\n");
    bs__print_fields(out, json_object_get(report, "model"), 2);
    if (r->info.assumed[0])
        fprintf(out, "\nassumed, because the checkpoint does not say (check these): %s\n", r->info.assumed);
    else
        fprintf(out, "\nnothing had to be assumed\n");
    if (r->nskipped) {
        fprintf(out, "\nnames in the checkpoint that were left alone, never imported or called (%zu):\n",
                r->nskipped);
        for (size_t i = 0; i < r->nskipped && i < BS_CONVERT_MAX_SKIPPED; i++)
            fprintf(out, "  %s\n", r->skipped[i]);
        if (r->nskipped > BS_CONVERT_MAX_SKIPPED)
            fprintf(out, "  ... and %zu more\n", r->nskipped - BS_CONVERT_MAX_SKIPPED);
    }
    fprintf(out, "\nwrote %s\n", json_string_value(json_object_get(report, "output")));
}

int bs__convert_main(struct bs__cli *cli, int argc, char **argv)
{
    struct arguments args = {.cli = cli};
    const struct argp_child children[] = {{.argp = &bs__output_argp}, {0}};
    const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "CHECKPOINT", .doc = doc, .children = children};
    struct bs__convert_answer *answer = calloc(1, sizeof *answer);
    struct bs_err err = {0};
    struct stat in, out;
    int code = BS__EXIT_OK;
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    bs_status rc = BS_OK;
    if (!answer)
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for a report");
    else if (stat(args.in, &in) != 0)
        rc = BS_FAIL(&err, BS_ENOTFOUND, "cannot read %s: %s", args.in, strerror(errno));
    else if (!S_ISREG(in.st_mode))
        rc = BS_FAIL(&err, BS_EINVAL, "%s is not a regular file", args.in);
    else if (stat(args.out, &out) == 0 && in.st_dev == out.st_dev && in.st_ino == out.st_ino)
        rc = BS_FAIL(&err, BS_EEXIST, "%s is the checkpoint itself: give another name", args.out);
    else if (stat(args.out, &out) == 0 && !args.overwrite)
        rc = BS_FAIL(&err, BS_EEXIST, "%s exists; --overwrite replaces it", args.out);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    const struct bs__convert_call call = {.in = args.in,
                                          .out = args.out,
                                          .file_bytes = (uint64_t)in.st_size,
                                          .options = &args.convert,
                                          .without_sandbox = args.without_sandbox};
    rc = bs__convert_in_child(cli->interrupt, &call, answer, &err);
    if (rc != BS_OK) {
        if (answer->unlocked && rc == BS_EUNSUPPORTED)
            fprintf(stderr, "bioseg: this system cannot lock the parsing process in; --without-sandbox goes "
                            "on all the same\n");
        code = bs__complain(cli, &err, rc == BS_ECANCELLED ? BS__EXIT_INTERRUPTED : BS__EXIT_LOCAL);
        goto cleanup;
    }
    json_t *report = json_of_report(&args, &answer->report, &err);
    if (cli->json)
        bs__print_json(cli->out, report);
    else
        print_report(cli->out, report, &answer->report);
    json_decref(report);
cleanup:
    free(answer);
    return code;
}
