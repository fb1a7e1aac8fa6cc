/* bioseg jobs submit: hands images in as durable jobs and prints their names.
   The idempotency key is made of the image's bytes and everything that decides its result, so that the same command
   given again after a lost connection hands in only what is missing. */
#include "clients/cli/inputs.h"
#include "clients/cli/interrupt.h"
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/upload.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a job's label, by jobs.proto. */
#define MAX_LABEL       63
#define MAX_LABEL_PAIRS 8

struct arguments {
    struct bs__cli *cli;
    struct bs__spec_args spec;
    bool recursive, dry_run, again, table, maps;
    double keep_hours;
    const char *label[MAX_LABEL_PAIRS];
    size_t nlabel;
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
    {"label", OPT_LABEL, "KEY=VALUE", 0, "a mark of yours; repeatable", 11},
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
                          "  bioseg jobs submit -m unet-nuclei --table --label plate=7 'plate7/*.tif'\n"
                          "  bioseg jobs submit -m unet-nuclei --dry-run huge.tif\n"
                          "  bioseg jobs watch JOB && bioseg jobs fetch -o results JOB\n";

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
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
        if (a->nlabel == MAX_LABEL_PAIRS)
            argp_error(state, "more than %d labels", MAX_LABEL_PAIRS);
        if (!strchr(arg, '=') || arg[0] == '=' || strchr(arg, '=') - arg > MAX_LABEL ||
            strlen(strchr(arg, '=') + 1) > MAX_LABEL || strncmp(arg, "file=", 5) == 0)
            argp_error(state,
                       "--label %s is not KEY=VALUE of at most %d characters each, KEY not being 'file'", arg,
                       MAX_LABEL);
        a->label[a->nlabel++] = arg;
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

/* At most MAX_LABEL bytes of the file's name, cut before a character rather than inside one. */
static bs_status file_label(const char *path, char out[MAX_LABEL + 1], struct bs_err *err)
{
    const char *slash = strrchr(path, '/');
    json_t *text = bs__json_text(slash ? slash + 1 : path);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a name");
    size_t n = json_string_length(text);
    if (n > MAX_LABEL)
        for (n = MAX_LABEL; n > 0 && ((unsigned char)json_string_value(text)[n] & 0xc0) == 0x80;)
            n--;
    memcpy(out, json_string_value(text), n);
    out[n] = '\0';
    json_decref(text);
    return BS_OK;
}

static bs_status make_key(const struct arguments *a, const char *path, const char *fingerprint,
                          char key[BS__SHA256_TEXT], struct bs_err *err)
{
    char text[2 * BS__SHA256_TEXT + 40] = "";
    uint8_t *data = NULL;
    size_t size = 0;
    bs_status rc = bs__cli_read_file(path, SIZE_MAX, &data, &size, err);
    if (rc == BS_OK)
        rc = bs__sha256_hex(data, size, text, err);
    free(data);
    if (rc != BS_OK)
        return rc;
    size_t n = strlen(text);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s", fingerprint);
    if (a->again) {
        unsigned char random[16];
        if (RAND_bytes(random, sizeof random) != 1)
            return BS_FAIL(err, BS_EIO, "the system gives no random numbers");
        for (size_t i = 0; i < sizeof random; i++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%02x", random[i]);
    }
    return bs__sha256_hex(text, n, key, err);
}

static bs_status submit_one(const struct arguments *a, struct bs__rpc_client *client,
                            const struct bs__spec *spec, const char *fingerprint, const char *path,
                            Bioseg__V1__SubmitJobResponse **out, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    char name[MAX_LABEL + 1], key[BS__SHA256_TEXT], sha256[BS__SHA256_TEXT],
        keys[MAX_LABEL_PAIRS][MAX_LABEL + 1];
    static char file_key[] = "file";
    Bioseg__V1__SubmitJobStart__LabelsEntry entry[MAX_LABEL_PAIRS + 1], *entries[MAX_LABEL_PAIRS + 1];
    ProtobufCMessage *response = NULL;
    uint64_t bytes = 0;
    int fd = -1;
    bs_status rc = bs__upload_open(path, &fd, &bytes, err);
    if (rc == BS_OK)
        rc = file_label(path, name, err);
    if (rc == BS_OK)
        rc = make_key(a, path, fingerprint, key, err);
    if (rc != BS_OK)
        goto cleanup;
    Bioseg__V1__SubmitJobStart start = BIOSEG__V1__SUBMIT_JOB_START__INIT;
    Bioseg__V1__SubmitJobRequest first = BIOSEG__V1__SUBMIT_JOB_REQUEST__INIT;
    for (size_t i = 0; i <= a->nlabel; i++) {
        bioseg__v1__submit_job_start__labels_entry__init(&entry[i]);
        entries[i] = &entry[i];
        if (i == a->nlabel) {
            entry[i].key = file_key;
            entry[i].value = name;
            break;
        }
        const char *equals = strchr(a->label[i], '=');
        snprintf(keys[i], sizeof keys[i], "%.*s", (int)(equals - a->label[i]), a->label[i]);
        entry[i].key = keys[i];
        entry[i].value = (char *)equals + 1;
    }
    start.labels = entries;
    start.n_labels = a->nlabel + 1;
    start.idempotency_key = a->dry_run ? (char *)protobuf_c_empty_string : key;
    start.time_to_live_ms = (int64_t)(a->keep_hours * 3600e3);
    start.dry_run = a->dry_run;
    start.image = (Bioseg__V1__ImageDescription *)&spec->image;
    start.total_bytes = bytes;
    start.work_case = BIOSEG__V1__SUBMIT_JOB_START__WORK_SEGMENT;
    start.segment = (Bioseg__V1__SegmentSpec *)&spec->spec;
    first.part_case = BIOSEG__V1__SUBMIT_JOB_REQUEST__PART_START;
    first.start = &start;
    rc = bs__rpc_call_start(client, BS__METHOD("Jobs", "Submit"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &first.base, false, err);
    if (rc == BS_OK)
        rc = bs__upload(call, fd, bytes, path, NULL, sha256, err);
    if (rc == BS_OK)
        rc = bs__message_receive_only(call, &bioseg__v1__submit_job_response__descriptor, &response, err);
    *out = (Bioseg__V1__SubmitJobResponse *)response;
cleanup:
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
    if ((rc = bs__model_get(client, args.spec.model, cli->timeout, &model, &err)) != BS_OK) {
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
    return code;
}
