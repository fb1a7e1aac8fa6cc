/* bioseg segment: images in, label images out, several at a time.
   The main thread plans and starts threads; each takes the next image from a counter, has it segmented and writes the
   results. What one image meets is its own affair, except that a lost server or a refusal ends the run. */
#include "clients/cli/cli.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/save.h"
#include "clients/cli/segment_call.h"
#include "clients/cli/warnings.h"

#include "bioseg/v1/server.pb-c.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define MAX_JOBS 64

struct arguments {
    struct bs__cli *cli;
    struct bs__spec_args spec;
    struct bs__output_options output;
    bool recursive;
    int jobs;
    char **files;
    size_t nfiles;
};

enum { OPT_FORMAT = 0x300, OPT_MAPS, OPT_TABLE, OPT_OVERLAY, OPT_RESUME, OPT_OVERWRITE };

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Results:", 10},
    {"output", 'o', "FOLDER", 0, "where results go; made if missing", 11},
    {"format", OPT_FORMAT, "tiff|png", 0, "of the labels: 32-bit TIFF (default) or 16-bit PNG", 11},
    {"table", OPT_TABLE, NULL, 0, "write the objects as STEM.csv: area, centroid, box, intensity", 11},
    {"overlay", OPT_OVERLAY, NULL, 0, "write a picture with outlines, STEM.overlay.png", 11},
    {"maps", OPT_MAPS, NULL, 0, "write the network's maps, STEM.maps.tif", 11},
    {"resume", OPT_RESUME, NULL, 0,
     "leave out images whose results are there, made from the same file in the same way", 12},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace results that are there", 12},
    {"recursive", 'r', NULL, 0, "look into subfolders too", 12},
    {"jobs", 'j', "N", 0, "images under way at a time (default: 2)", 12},
    {0},
};

static const char doc[] =
    "Segments images. FILE is an image (PNG or TIFF), a folder of images or a pattern. For each image "
    "STEM.tif (labels: 0 "
    "is background, objects are 1, 2, ...) and STEM.json (how it was made) are written, and what else is "
    "asked for.\v"
    "Results appear under their names only when complete; inputs are never overwritten, and names that would "
    "collide are "
    "refused before anything starts. An image that fails is reported and the others go on (exit code 1).\n"
    "\n"
    "Examples:\n"
    "  bioseg segment -m unet-nuclei -o results cells.png\n"
    "  bioseg segment -m unet-nuclei -o results --overlay --table plate7/\n"
    "  bioseg segment -m unet-nuclei -o results --min-size 20 'plate7/*_dapi.tif'\n"
    "  bioseg segment -m unet-nuclei@2 -o results --resume plate7/\n"
    "  bioseg segment -m unet-nuclei -o results --set foreground_threshold=0.6 a.tif\n";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    char *end;
    long n;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->spec;
        state->child_inputs[1] = a->cli;
        return 0;
    case 'o':
        a->output.folder = arg;
        return 0;
    case OPT_FORMAT:
        if (strcmp(arg, "tiff") != 0 && strcmp(arg, "tif") != 0 && strcmp(arg, "png") != 0)
            argp_error(state, "--format %s is neither tiff nor png", arg);
        a->output.png = arg[0] == 'p';
        return 0;
    case OPT_MAPS:
        a->output.want[BS__OUTPUT_MAPS] = true;
        return 0;
    case OPT_TABLE:
        a->output.want[BS__OUTPUT_TABLE] = true;
        return 0;
    case OPT_OVERLAY:
        a->output.want[BS__OUTPUT_OVERLAY] = true;
        return 0;
    case OPT_RESUME:
        a->output.resume = true;
        return 0;
    case OPT_OVERWRITE:
        a->output.overwrite = true;
        return 0;
    case 'r':
        a->recursive = true;
        return 0;
    case 'j':
        n = strtol(arg, &end, 10);
        if (!isdigit((unsigned char)arg[0]) || *end || n < 1 || n > MAX_JOBS)
            argp_error(state, "--jobs %s is not a number from 1 to %d", arg, MAX_JOBS);
        a->jobs = (int)n;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = state->argv + state->next;
        a->nfiles = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no image given");
        return 0;
    case ARGP_KEY_END:
        if (!a->output.folder)
            argp_error(state, "where do the results go? give -o FOLDER");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

enum state { TO_DO, SEGMENTED, SKIPPED, FAILED };

struct outcome {
    enum state state;
    json_t *about; /* the result's description, owned; NULL when failed */
    struct bs_err err;
};

struct run {
    const struct arguments *args;
    struct bs__rpc_client *client;
    struct bs__inputs inputs;
    struct bs__output_paths *paths;
    Bioseg__V1__GetModelResponse *model; /* owned; spec points into it */
    struct bs__spec spec;
    char fingerprint[BS__SHA256_TEXT];
    uint64_t unary_limit;
    struct bs__progress *progress;
    struct bs__warnings *warnings;
    struct outcome *outcome;
    atomic_size_t next;
    atomic_int fatal; /* exit code that ends the run early, 0: none */
};

struct tracking {
    struct run *run;
    struct bs__progress_item item;
};

static void on_share(void *ctx, double share)
{
    struct tracking *t = ctx;
    bs__progress_set(t->run->progress, &t->item, share);
}

static int overlay_channel(const struct run *run)
{
    const Bioseg__V1__SegmentSpec *s = &run->spec.spec;
    return s->channel_case == BIOSEG__V1__SEGMENT_SPEC__CHANNEL_CHANNEL_INDEX && s->channel_index <= 0xffff
               ? (int)s->channel_index
               : -1;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void report_warnings(struct run *run, const struct bs__input *input, const struct bs__result *result)
{
    for (size_t i = 0; i < result->info->n_warnings && !run->args->cli->quiet; i++)
        bs__warnings_add(run->warnings, run->progress, input->path, result->info->warnings[i]->code,
                         result->info->warnings[i]->text);
}

static bs_status segment_one(struct run *run, size_t i, struct tracking *track)
{
    const struct bs__input *input = &run->inputs.item[i];
    struct outcome *o = &run->outcome[i];
    struct bs__result result = {0};
    char sha256[BS__SHA256_TEXT];
    struct bs__segment_progress progress = {.ctx = track, .share = on_share};
    bs_status rc = bs__segment_call(run->client, &run->spec, input->path, run->unary_limit, &progress, sha256,
                                    &result, &o->err);
    if (rc == BS_OK)
        rc = bs__save_result(&run->paths[i], run->args->output.png, input, sha256, run->fingerprint,
                             overlay_channel(run), &result, &o->about, &o->err);
    if (rc == BS_OK)
        report_warnings(run, input, &result);
    bs__result_free(&result);
    return rc;
}

/* Codes that will meet every further image too. */
static int fatal_exit(bs_status rc)
{
    switch (rc) {
    case BS_EUNAVAILABLE:
    case BS_EUNAUTHENTICATED:
    case BS_EPERMISSION:
    case BS_ECANCELLED:
        return bs__exit_of_server(rc);
    default:
        return 0;
    }
}

static void *work(void *arg)
{
    struct run *run = arg;
    for (;;) {
        size_t i = atomic_fetch_add(&run->next, 1);
        if (i >= run->inputs.count || atomic_load(&run->fatal) || bs__interrupted(run->args->cli->interrupt))
            return NULL;
        const struct bs__input *input = &run->inputs.item[i];
        struct outcome *o = &run->outcome[i];
        struct tracking track = {.run = run, .item = {.name = base_name(input->path)}};
        char text[64];
        if (run->args->output.resume) {
            json_t *record = NULL;
            if (bs__record_is_current(&run->paths[i], input, run->fingerprint, &record)) {
                o->about = json_incref(json_object_get(record, "result"));
                json_decref(record);
                o->state = SKIPPED;
                bs__progress_finish(run->progress, &track.item, "done before");
                continue;
            }
        }
        bs_status rc = segment_one(run, i, &track);
        if (rc == BS_OK) {
            o->state = SEGMENTED;
            snprintf(text, sizeof text, "%lld objects",
                     (long long)json_integer_value(json_object_get(o->about, "object_count")));
            bs__progress_finish(run->progress, &track.item, text);
            continue;
        }
        int fatal = fatal_exit(rc);
        if (fatal) {
            /* The image itself is not to blame: it stays to be done. The first reason is the one that is told. */
            int none = 0;
            if (atomic_compare_exchange_strong(&run->fatal, &none, fatal) && fatal != BS__EXIT_INTERRUPTED)
                bs__progress_message(run->progress, "bioseg: %s", o->err.msg);
            return NULL;
        }
        o->state = FAILED;
        bs__progress_message(run->progress, "bioseg: %s: %s", input->path, o->err.msg);
        bs__progress_finish(run->progress, &track.item, NULL);
    }
}

static void run_threads(struct run *run)
{
    pthread_t thread[MAX_JOBS];
    int n = 0, wanted = run->args->jobs;
    if ((size_t)wanted > run->inputs.count)
        wanted = (int)run->inputs.count;
    while (n + 1 < wanted && pthread_create(&thread[n], NULL, work, run) == 0)
        n++;
    work(run); /* this thread is one of them, so that there is always at least one */
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
}

static json_t *json_of_image(const struct run *run, size_t i)
{
    static const char *const states[] = {"not started", "segmented", "skipped", "failed"};
    const struct outcome *o = &run->outcome[i];
    json_t *image = json_object();
    json_object_set_new(image, "input", bs__json_text(run->inputs.item[i].path));
    json_object_set_new(image, "state", json_string(states[o->state]));
    if (o->state == FAILED)
        json_object_set_new(image, "error",
                            json_pack("{s:s, s:o}", "kind", bs_status_name(o->err.code), "message",
                                      bs__json_text(o->err.msg)));
    if (o->about) {
        json_t *outputs = json_object();
        for (int k = 0; k < BS__OUTPUTS; k++)
            if (run->paths[i].path[k])
                json_object_set_new(outputs, bs__output_names[k], bs__json_text(run->paths[i].path[k]));
        json_object_set_new(image, "outputs", outputs);
        json_object_set(image, "result", o->about);
    }
    return image;
}

static int summarise(const struct run *run)
{
    struct bs__cli *cli = run->args->cli;
    size_t count[4] = {0};
    json_int_t objects = 0;
    json_t *images = cli->json ? json_array() : NULL;
    for (size_t i = 0; i < run->inputs.count; i++) {
        count[run->outcome[i].state]++;
        objects += json_integer_value(json_object_get(run->outcome[i].about, "object_count"));
        if (images)
            json_array_append_new(images, json_of_image(run, i));
    }
    int code = atomic_load(&run->fatal);
    if (bs__interrupted(cli->interrupt))
        code = BS__EXIT_INTERRUPTED;
    else if (!code)
        code = count[FAILED] ? BS__EXIT_SOME_FAILED : BS__EXIT_OK;
    if (cli->json) {
        json_t *all =
            json_pack("{s:o, s:{s:I, s:I, s:I, s:I, s:I}, s:i}", "images", images, "summary", "segmented",
                      (json_int_t)count[SEGMENTED], "skipped", (json_int_t)count[SKIPPED], "failed",
                      (json_int_t)count[FAILED], "not_started", (json_int_t)count[TO_DO], "objects", objects,
                      "exit_code", code);
        bs__print_json(cli->out, all);
        json_decref(all);
        return code;
    }
    fprintf(cli->out, "%zu segmented", count[SEGMENTED]);
    if (count[SKIPPED])
        fprintf(cli->out, ", %zu done before", count[SKIPPED]);
    if (count[FAILED])
        fprintf(cli->out, ", %zu failed", count[FAILED]);
    if (count[TO_DO])
        fprintf(cli->out, ", %zu left (--resume goes on with them)", count[TO_DO]);
    fprintf(cli->out, "; %lld objects; results in %s\n", (long long)objects, run->args->output.folder);
    return code;
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

/* What the server says of itself and of the model, and the request that all images share. */
static bs_status prepare(struct run *run, struct bs_err *err, int *code)
{
    const struct arguments *a = run->args;
    ProtobufCMessage *info = NULL;
    Bioseg__V1__GetModelResponse *model = NULL;
    Bioseg__V1__GetInfoRequest request = BIOSEG__V1__GET_INFO_REQUEST__INIT;
    bs_status rc = bs__unary(run->client, BS__METHOD("Server", "GetInfo"), a->cli->timeout, &request.base,
                             &bioseg__v1__get_info_response__descriptor, &info, err);
    if (rc == BS_OK) {
        const Bioseg__V1__GetInfoResponse *i = (const Bioseg__V1__GetInfoResponse *)info;
        run->unary_limit = i->limits ? i->limits->max_unary_image_bytes : 0;
        rc = bs__model_get(run->client, a->spec.model, BS__MODEL_PARAMETERS, a->cli->timeout, &model, err);
    }
    *code = bs__exit_of_server(rc);
    if (rc == BS_OK) {
        rc = bs__spec_build(&a->spec, model->model, a->output.want[BS__OUTPUT_TABLE],
                            a->output.want[BS__OUTPUT_MAPS], &run->spec, err);
        if (rc == BS_OK)
            rc = bs__spec_fingerprint(&run->spec, model->model, a->output.png ? "png" : "tiff",
                                      a->output.want[BS__OUTPUT_OVERLAY], run->fingerprint, err);
        *code = bs__exit_of_local(rc);
    }
    if (info)
        protobuf_c_message_free_unpacked(info, NULL);
    if (rc == BS_OK)
        run->model = model;
    else if (model)
        bioseg__v1__get_model_response__free_unpacked(model, NULL);
    return rc;
}

int bs__segment_main(struct bs__cli *cli, int argc, char **argv)
{
    struct arguments args = {.cli = cli, .jobs = 2};
    const struct argp_child children[] = {
        {.argp = &bs__spec_argp},
        {.argp = &bs__cli_argp, .header = "Connection and output:", .group = 80},
        {0}};
    const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "FILE...", .doc = doc, .children = children};
    struct run run = {.args = &args};
    struct bs_err err = {0};
    int code = BS__EXIT_OK;
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    bs_status rc =
        bs__inputs_collect(args.files, args.nfiles, args.recursive, args.output.folder, &run.inputs, &err);
    if (rc == BS_OK)
        rc = bs__outputs_plan(&run.inputs, &args.output, &run.paths, &err);
    if (rc == BS_OK && !(run.outcome = calloc(run.inputs.count, sizeof *run.outcome)))
        rc = BS_FAIL(&err, BS_ENOMEM, "no memory for %zu results", run.inputs.count);
    if (rc == BS_OK)
        rc = bs__cli_connect(cli, &run.client, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    bs__interrupt_notify(cli->interrupt, cancel_calls, run.client);
    if (prepare(&run, &err, &code) != BS_OK) {
        bs__complain(cli, &err, code);
        goto cleanup;
    }
    if (bs__warnings_create(&run.warnings, &err) != BS_OK ||
        bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), run.inputs.count,
                            &run.progress, &err) != BS_OK) {
        code = bs__complain(cli, &err, BS__EXIT_LOCAL);
        goto cleanup;
    }
    run_threads(&run);
    bs__progress_destroy(run.progress);
    bs__warnings_summarise(run.warnings, stderr);
    code = summarise(&run);
cleanup:
    bs__interrupt_notify(cli->interrupt, NULL, NULL);
    bs__rpc_client_destroy(run.client);
    if (run.model)
        bioseg__v1__get_model_response__free_unpacked(run.model, NULL);
    for (size_t i = 0; run.outcome && i < run.inputs.count; i++)
        json_decref(run.outcome[i].about);
    free(run.outcome);
    bs__warnings_destroy(run.warnings);
    bs__outputs_free(run.paths, run.inputs.count);
    bs__inputs_free(&run.inputs);
    return code;
}
