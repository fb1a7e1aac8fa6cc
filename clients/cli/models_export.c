/* See models_export.h. The model file is downloaded beside the output, checked against the registry's hash, and, for another
   format, translated here: the server has no part in it. */
#include "clients/cli/models_export.h"

#include "clients/cli/download.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/subcommand.h"

#include "kernels/base/atomic_file.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name;
    enum bs_export_format format; /* not of the first, which is copied as it is */
} formats[] = {{"safetensors", 0},
               {"pt", BS_EXPORT_TRAINER},
               {"state-dict", BS_EXPORT_STATE_DICT},
               {"onnx", BS_EXPORT_ONNX},
               {"bioimageio", BS_EXPORT_PACKAGE}};
#define FORMATS (sizeof formats / sizeof *formats)

enum { OPT_FORMAT = 0x680, OPT_OVERWRITE, OPT_EXTERNAL_DATA, OPT_AUTHOR, OPT_LICENCE, OPT_TITLE };

const struct argp_option bs__models_export_options[] = {
    {"output", 'o', "FILE", 0, "the file to write", 10},
    {"format", OPT_FORMAT, "safetensors|pt|state-dict|onnx|bioimageio", 0,
     "safetensors: the model file as it is (default); pt: a checkpoint of torch_em's trainer; state-dict: "
     "the same weights for "
     "torch.load alone; onnx: for ONNX Runtime and others; bioimageio: a package for bioimage.io",
     10},
    {"external-data", OPT_EXTERNAL_DATA, NULL, 0,
     "onnx: weights in a file of their own, FILE.data (they always are above 1 GB)", 10},
    {"author", OPT_AUTHOR, "NAME[; AFFILIATION]", 0, "bioimageio: who made the model; again for more", 10},
    {"licence", OPT_LICENCE, "SPDX", 0,
     "bioimageio: of the model, CC-BY-4.0 for example (default: what the model file says)", 10},
    {"title", OPT_TITLE, "TEXT", 0, "bioimageio: its name for people (default: the model's name)", 10},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace FILE if it is there", 10},
    {0}};

static size_t format_of(const char *name)
{
    for (size_t i = 0; i < FORMATS; i++)
        if (strcmp(formats[i].name, name) == 0)
            return i;
    return FORMATS;
}

error_t bs__models_export_option(int key, char *arg, struct argp_state *state, struct bs__models_export *o)
{
    switch (key) {
    case 'o':
        o->out = arg;
        return 0;
    case OPT_FORMAT:
        o->format = arg;
        if (format_of(arg) == FORMATS)
            argp_error(state, "--format %s is none of safetensors, pt, state-dict, onnx and bioimageio", arg);
        return 0;
    case OPT_AUTHOR:
        if (o->package.nauthors == BS__MAX_AUTHORS)
            argp_error(state, "at most %d authors are accepted", BS__MAX_AUTHORS);
        o->authors[o->package.nauthors++] = arg;
        return 0;
    case OPT_LICENCE:
        o->package.licence = arg;
        return 0;
    case OPT_TITLE:
        o->package.title = arg;
        return 0;
    case OPT_EXTERNAL_DATA:
        o->package.external_data = true;
        return 0;
    case OPT_OVERWRITE:
        o->overwrite = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct receiving {
    struct bs__progress *progress;
    struct bs__progress_item item;
};

static void on_received(void *ctx, uint64_t done, uint64_t total)
{
    struct receiving *r = ctx;
    bs__progress_set(r->progress, &r->item, total ? (double)done / (double)total : 1);
}

static bs_status check_path(const char *path, bool overwrite, struct bs_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0)
        return BS_OK;
    if (!S_ISREG(st.st_mode))
        return BS_FAIL(err, BS_EINVAL, "%s is not a regular file", path);
    if (!overwrite)
        return BS_FAIL(err, BS_EEXIST, "%s exists; --overwrite replaces it", path);
    return BS_OK;
}

static bs_status check_output(const struct bs__models_export *o, size_t format, struct bs_err *err)
{
    char *data = NULL;
    if (!o->out)
        return BS_FAIL(err, BS_EINVAL, "where does the file go? give -o FILE");
    bs_status rc = check_path(o->out, o->overwrite, err);
    if (rc != BS_OK || formats[format].format != BS_EXPORT_ONNX)
        return rc;
    if (asprintf(&data, "%s.data", o->out) < 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a name");
    rc = check_path(data, o->overwrite, err);
    free(data);
    return rc;
}

static void report(const struct bs__cli *cli, const Bioseg__V1__Model *model,
                   const struct bs__models_export *o, const char *format)
{
    if (!cli->json) {
        fprintf(cli->out, "wrote %s: %s version %lld as %s\n", o->out, model->name, (long long)model->version,
                format);
        return;
    }
    json_t *j = json_pack("{s:s, s:s, s:s, s:I, s:s}", "output", o->out, "format", format, "name",
                          model->name, "version", (json_int_t)model->version, "sha256", model->sha256);
    bs__print_json(cli->out, j);
    json_decref(j);
}

int bs__models_export_run(struct bs__cli *cli, struct bs__rpc_client *client, const char *text,
                          const struct bs__models_export *o)
{
    char name[65];
    Bioseg__V1__ModelRef ref;
    Bioseg__V1__ExportModelResponse *start = NULL;
    struct receiving receiving = {.item = {.name = text}};
    struct bs_atomic_file file = {.fd = -1};
    struct bs_err err = {0};
    const size_t format = o->format ? format_of(o->format) : 0;
    int code = BS__EXIT_OK;
    bs_status rc = check_output(o, format, &err);
    if (rc == BS_OK)
        rc = bs__model_ref_parse(text, name, &ref, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, BS__EXIT_USAGE);
        goto cleanup;
    }
    if ((rc = bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), 1, &receiving.progress,
                                  &err)) != BS_OK ||
        (rc = bs_atomic_open(&file, o->out, &err)) != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    const struct bs__download_progress progress = {.ctx = &receiving, .received = on_received};
    rc = bs__download_model(client, &ref, file.fd, &progress, &start, &err);
    bs__progress_destroy(receiving.progress);
    receiving.progress = NULL;
    if (rc != BS_OK) {
        code = rc == BS_EIO ? bs__complain(cli, &err, BS__EXIT_LOCAL) : bs__complain_server(cli, &err);
        goto cleanup;
    }
    struct bs_export_options options = o->package;
    options.authors = o->authors;
    if (!options.title)
        options.title = name;
    rc = format == 0 ? bs_atomic_commit(&file, &err)
                     : bs_export(formats[format].format, file.temp, o->out, &options, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    report(cli, start->start->model, o, formats[format].name);
cleanup:
    bs_atomic_abort(&file);
    bs__progress_destroy(receiving.progress);
    if (start)
        bioseg__v1__export_model_response__free_unpacked(start, NULL);
    return code;
}
