/* bioseg jobs submit: hands images in as durable jobs and prints their names.
   The idempotency key is made of the image's bytes, everything that decides its result, its labels (its name among them) and
   lifetime: so the same command given again after a lost connection hands in only what is missing. */
#include "clients/cli/inputs.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/upload.h"
#include "model/image/image.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct arguments {
    struct bs__cli *cli;
    struct bs__spec_args spec;
    bool recursive, dry_run, again, table, maps;
    double keep_hours;
    struct bs__labels labels;
    char **files;
    size_t nfiles;
};

enum { OPT_DRY_RUN = 0x500, OPT_AGAIN, OPT_KEEP, OPT_LABEL, OPT_TABLE, OPT_MAPS };

static const struct argp_option options[] = {
    {NULL, 0, NULL, 0, "Jobs:", 10},
    {"dry-run", OPT_DRY_RUN, NULL, 0, "say what it would need, hand nothing in", 11},
    {"again", OPT_AGAIN, NULL, 0, "a new job even if this image was handed in with these parameters before",
     11},
    {"keep", OPT_KEEP, "HOURS", 0, "how long the result is kept (default: the server's choice)", 11},
    {"label", OPT_LABEL, "KEY=VALUE", 0,
     "a mark of your own, to find the job by; can be given again (the image's name is kept as file=NAME)",
     11},
    {"table", OPT_TABLE, NULL, 0, "compute the table of objects too", 11},
    {"maps", OPT_MAPS, NULL, 0, "keep the network's maps too", 11},
    {"recursive", 'r', NULL, 0, "look into subfolders too", 11},
    {0},
};

static const char doc[] = "Hands in images as jobs that the server keeps, whatever happens to this shell, "
                          "and prints the name of each job.\v"
                          "Giving the same command again hands in only what is missing: an image that was "
                          "handed in before with the same "
                          "parameters answers with its first job.\n"
                          "\n"
                          "Examples:\n"
                          "  bioseg jobs submit -m unet-nuclei plate7/\n"
                          "  bioseg jobs submit -m unet-nuclei --table 'plate7/*.tif'\n"
                          "  bioseg jobs submit -m unet-nuclei --label plate=7 --keep 72 plate7/\n"
                          "  bioseg jobs submit -m unet-nuclei --dry-run huge.tif\n"
                          "  bioseg jobs watch JOB && bioseg jobs fetch -o results JOB\n";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct bs_err err;
    char *end;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = &a->spec;
        state->child_inputs[1] = a->cli;
        return 0;
    case OPT_DRY_RUN:
        a->dry_run = true;
        return 0;
    case OPT_AGAIN:
        a->again = true;
        return 0;
    case OPT_KEEP:
        a->keep_hours = strtod(arg, &end);
        if (end == arg || *end || !(a->keep_hours > 0 && a->keep_hours <= 24 * 3650))
            argp_error(state, "--keep %s is not a number of hours above 0 and up to 87600", arg);
        return 0;
    case OPT_LABEL:
        if (bs__labels_parse(&a->labels, arg, &err) != BS_OK)
            argp_error(state, "%s", err.msg);
        return 0;
    case OPT_TABLE:
        a->table = true;
        return 0;
    case OPT_MAPS:
        a->maps = true;
        return 0;
    case 'r':
        a->recursive = true;
        return 0;
    case ARGP_KEY_ARGS:
        a->files = state->argv + state->next;
        a->nfiles = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no image given");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The user's labels and the file's name. What is no text for a label becomes '_': the name is for people. */
static bs_status collect_labels(const struct arguments *a, const char *path, struct bs__labels *out,
                                struct bs_err *err)
{
    bs_status rc = BS_OK;
    for (size_t i = 0; i < a->labels.n && rc == BS_OK; i++)
        rc = bs__labels_set(out, a->labels.label[i].key, a->labels.label[i].value, err);
    if (rc != BS_OK || bs__labels_have(out, BS__FILE_LABEL))
        return rc;
    const char *slash = strrchr(path, '/');
    char name[256];
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    json_t *text = json_string(name); /* NULL: not UTF-8 */
    for (char *c = name; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || (!text && (unsigned char)*c >= 0x80))
            *c = '_';
    json_decref(text);
    return bs__labels_set(out, BS__FILE_LABEL, name, err);
}

static bs_status make_key(const struct arguments *a, const char *path, const char *fingerprint,
                          const struct bs__labels *labels, char key[BS__SHA256_TEXT], struct bs_err *err)
{
    char image[BS__SHA256_TEXT];
    unsigned char random[16] = {0};
    uint8_t *data = NULL;
    char *text = NULL;
    size_t size = 0;
    json_t *parts = NULL;
    bs_status rc = bs__cli_read_file(path, SIZE_MAX, &data, &size, err);
    if (rc == BS_OK)
        rc = bs__sha256_hex(data, size, image, err);
    if (rc != BS_OK)
        goto cleanup;
    if (a->again && RAND_bytes(random, sizeof random) != 1) {
        rc = BS_FAIL(err, BS_EIO, "the system gives no random numbers");
        goto cleanup;
    }
    parts = json_pack("[ssf]", image, fingerprint, a->keep_hours);
    for (size_t i = 0; i < labels->n; i++) {
        json_array_append_new(parts, bs__json_text(labels->label[i].key));
        json_array_append_new(parts, bs__json_text(labels->label[i].value));
    }
    for (size_t i = 0; a->again && i < sizeof random; i++)
        json_array_append_new(parts, json_integer(random[i]));
    text = json_dumps(parts, JSON_COMPACT);
    rc = text ? bs__sha256_hex(text, strlen(text), key, err)
              : BS_FAIL(err, BS_ENOMEM, "no memory for the name of a job");
cleanup:
    json_decref(parts);
    free(text);
    free(data);
    return rc;
}

/* A dry run sends no pixels, so it must say what they are: the image is read here for its size alone. */
struct raw_description {
    Bioseg__V1__ImageDescription image;
    Bioseg__V1__Axis axis[BS_IMAGE_MAX_DIM], *axes[BS_IMAGE_MAX_DIM];
    char name[BS_IMAGE_MAX_DIM][2];
};

static bs_status describe_raw(const char *path, const struct bs__spec *spec, struct raw_description *out,
                              uint64_t *bytes, struct bs_err *err)
{
    static const Bioseg__V1__SampleType types[BS_SAMPLE_COUNT] = {
        [BS_SAMPLE_U8] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT8,
        [BS_SAMPLE_U16] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT16,
        [BS_SAMPLE_U32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32,
        [BS_SAMPLE_I8] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT8,
        [BS_SAMPLE_I16] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT16,
        [BS_SAMPLE_I32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_INT32,
        [BS_SAMPLE_F32] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT32,
        [BS_SAMPLE_F64] = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT64};
    static char um[] = "um";
    struct bs_image *im = NULL;
    double given = spec->image.n_axes ? spec->image.axes[0]->pixel_size : 0;
    bs_status rc = bs_image_read_file(path, &bs_image_default_limits, &im, err);
    if (rc != BS_OK)
        return rc;
    bioseg__v1__image_description__init(&out->image);
    out->image.encoding = BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW;
    out->image.sample_type = types[im->sample];
    for (int i = 0; i < im->ndim; i++) {
        bool in_plane = im->axes[i] == 'y' || im->axes[i] == 'x';
        bioseg__v1__axis__init(&out->axis[i]);
        out->name[i][0] = im->axes[i];
        out->name[i][1] = '\0';
        out->axis[i].name = out->name[i];
        out->axis[i].size = im->dim[i];
        if (in_plane && (given > 0 || strcmp(im->unit, "um") == 0)) {
            out->axis[i].pixel_size = given > 0 ? given : im->pixel_size[i];
            out->axis[i].unit = um;
        }
        out->axes[i] = &out->axis[i];
    }
    out->image.axes = out->axes;
    out->image.n_axes = (size_t)im->ndim;
    *bytes = im->bytes;
    bs_image_unref(im);
    return BS_OK;
}

static bs_status submit_one(const struct arguments *a, struct bs__rpc_client *client,
                            const struct bs__spec *spec, const char *fingerprint, const char *path,
                            Bioseg__V1__SubmitJobResponse **out, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    char key[BS__SHA256_TEXT], sha256[BS__SHA256_TEXT];
    struct bs__labels labels = {0};
    ProtobufCMessage *response = NULL;
    struct raw_description raw;
    uint64_t bytes = 0, raw_bytes = 0;
    int fd = -1;
    bs_status rc = bs__upload_open(path, &fd, &bytes, err);
    if (rc == BS_OK)
        rc = collect_labels(a, path, &labels, err);
    if (rc == BS_OK)
        rc = a->dry_run ? describe_raw(path, spec, &raw, &raw_bytes, err)
                        : make_key(a, path, fingerprint, &labels, key, err);
    if (rc != BS_OK)
        goto cleanup;
    Bioseg__V1__SubmitJobStart start = BIOSEG__V1__SUBMIT_JOB_START__INIT;
    Bioseg__V1__SubmitJobRequest first = BIOSEG__V1__SUBMIT_JOB_REQUEST__INIT;
    start.idempotency_key = a->dry_run ? (char *)protobuf_c_empty_string : key;
    start.time_to_live_ms = (int64_t)(a->keep_hours * 3600e3);
    start.labels = bs__labels_entries(&labels, &bioseg__v1__submit_job_start__labels_entry__descriptor);
    start.n_labels = labels.n;
    start.dry_run = a->dry_run;
    start.image = a->dry_run ? &raw.image : (Bioseg__V1__ImageDescription *)&spec->image;
    start.total_bytes = a->dry_run ? raw_bytes : bytes;
    start.work_case = BIOSEG__V1__SUBMIT_JOB_START__WORK_SEGMENT;
    start.segment = (Bioseg__V1__SegmentSpec *)&spec->spec;
    first.part_case = BIOSEG__V1__SUBMIT_JOB_REQUEST__PART_START;
    first.start = &start;
    rc = bs__rpc_call_start(client, BS__METHOD("Jobs", "Submit"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &first.base, a->dry_run, err);
    if (rc == BS_OK && !a->dry_run)
        rc = bs__upload(call, fd, bytes, path, NULL, sha256, err);
    if (rc == BS_OK)
        rc = bs__message_receive_only(call, &bioseg__v1__submit_job_response__descriptor, &response, err);
    *out = (Bioseg__V1__SubmitJobResponse *)response;
cleanup:
    bs__labels_free(&labels);
    bs__rpc_call_destroy(call);
    if (fd >= 0)
        close(fd);
    return rc;
}

static void report(const struct arguments *a, const char *path, const Bioseg__V1__SubmitJobResponse *r,
                   json_t *all)
{
    struct bs__cli *cli = a->cli;
    char memory[16];
    if (all) {
        json_t *j = bs__json_of_message(&r->base);
        json_object_set_new(j, "input", bs__json_text(path));
        json_array_append_new(all, j);
    } else if (r->plan) {
        fprintf(cli->out, "%s: %s at most", path, bs__human_bytes((double)r->plan->peak_bytes, memory));
        if (r->plan->seconds > 0)
            fprintf(cli->out, ", about %.1f s", r->plan->seconds);
        fputc('\n', cli->out);
    } else if (r->job) {
        fprintf(cli->out, "%s  %s%s\n", r->job->id, path, r->existing ? "  (handed in before)" : "");
        fflush(cli->out);
    }
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

static int submit_all(const struct arguments *a, struct bs__rpc_client *client,
                      const struct bs__inputs *inputs, const struct bs__spec *spec, const char *fingerprint)
{
    struct bs__cli *cli = a->cli;
    json_t *all = cli->json ? json_array() : NULL;
    size_t failed = 0;
    int code = BS__EXIT_OK;
    for (size_t i = 0; i < inputs->count; i++) {
        const char *path = inputs->item[i].path;
        Bioseg__V1__SubmitJobResponse *response = NULL;
        struct bs_err err = {0};
        bs_status rc = submit_one(a, client, spec, fingerprint, path, &response, &err);
        if (rc == BS_OK) {
            report(a, path, response, all);
        } else if (rc == BS_EUNAVAILABLE || rc == BS_EUNAUTHENTICATED || rc == BS_EPERMISSION ||
                   rc == BS_ECANCELLED) {
            fprintf(stderr, "bioseg: %s; %zu of %zu images are handed in, the same command goes on\n",
                    err.msg, i - failed, inputs->count);
            code = bs__exit_of_server(rc);
            break;
        } else {
            fprintf(stderr, "bioseg: %s: %s\n", path, err.msg);
            failed++;
            code = BS__EXIT_SOME_FAILED;
        }
        if (response)
            bioseg__v1__submit_job_response__free_unpacked(response, NULL);
    }
    if (all)
        bs__print_json(cli->out, all);
    json_decref(all);
    return code;
}

int bs__jobs_submit_main(struct bs__cli *cli, int argc, char **argv)
{
    static char name[] = "bioseg jobs submit";
    struct arguments args = {.cli = cli};
    const struct argp_child children[] = {
        {.argp = &bs__spec_argp},
        {.argp = &bs__cli_argp, .header = "Connection and output:", .group = 80},
        {0}};
    const struct argp argp = {
        .options = options, .parser = parse, .args_doc = "FILE...", .doc = doc, .children = children};
    struct bs__rpc_client *client = NULL;
    struct bs__inputs inputs = {0};
    Bioseg__V1__GetModelResponse *model = NULL;
    struct bs__spec spec;
    char fingerprint[BS__SHA256_TEXT];
    struct bs_err err = {0};
    int code = BS__EXIT_OK;
    argv[0] = name;
    argp_parse(&argp, argc, argv, 0, NULL, &args);

    bs_status rc = bs__inputs_collect(args.files, args.nfiles, args.recursive, NULL, &inputs, &err);
    if (rc == BS_OK)
        rc = bs__cli_connect(cli, &client, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    bs__interrupt_notify(cli->interrupt, cancel_calls, client);
    if (bs__model_get(client, args.spec.model, BS__MODEL_PARAMETERS, cli->timeout, &model, &err) != BS_OK) {
        code = bs__complain_server(cli, &err);
        goto cleanup;
    }
    rc = bs__spec_build(&args.spec, model->model, args.table, args.maps, &spec, &err);
    if (rc == BS_OK)
        rc = bs__spec_fingerprint(&spec, model->model, "job", false, fingerprint, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    code = submit_all(&args, client, &inputs, &spec, fingerprint);
cleanup:
    bs__interrupt_notify(cli->interrupt, NULL, NULL);
    if (model)
        bioseg__v1__get_model_response__free_unpacked(model, NULL);
    bs__rpc_client_destroy(client);
    bs__inputs_free(&inputs);
    bs__labels_free(&args.labels);
    return code;
}
