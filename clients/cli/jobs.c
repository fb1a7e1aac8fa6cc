/* bioseg jobs: work that outlives this shell. Submitting is in jobs_submit.c. */
#include "clients/cli/jobs.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/progress.h"
#include "clients/cli/save.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PAGE_SIZE    200
#define STATE_PREFIX "JOB_STATE_"

/* "succeeded" for people; the enum's own name with --json. */
static void add_readable(json_t *job)
{
    const char *state = json_string_value(json_object_get(job, "state"));
    char text[40];
    size_t n = 0;
    if (state && strncmp(state, STATE_PREFIX, strlen(STATE_PREFIX)) == 0)
        for (const char *c = state + strlen(STATE_PREFIX); *c && n + 1 < sizeof text; c++)
            text[n++] = (char)(*c >= 'A' && *c <= 'Z' ? *c - 'A' + 'a' : *c);
    text[n] = '\0';
    json_object_set_new(job, "state", json_string(text));
    bs__make_times_readable(job);
    const json_t *progress = json_object_get(job, "progress");
    json_int_t total = json_integer_value(json_object_get(progress, "tiles_total"));
    if (total > 0) {
        snprintf(text, sizeof text, "%.0f %%",
                 100.0 * (double)json_integer_value(json_object_get(progress, "tiles_done")) / (double)total);
        json_object_set_new(job, "done", json_string(text));
    }
    json_object_del(job, "progress");
    /* Of a training run: the name that its model will have, and its settings as they are, not as text. */
    json_t *training = json_object_get(job, "training");
    json_t *config =
        training ? json_loads(json_string_value(json_object_get(training, "config_json")), 0, NULL) : NULL;
    if (training && !json_object_get(job, "model"))
        json_object_set_new(job, "model",
                            json_pack("{s:O}", "name", json_object_get(training, "model_name")));
    if (config) {
        json_object_set_new(training, "config", config);
        json_object_del(training, "config_json");
    }
}

void bs__print_job(struct bs__cli *cli, const Bioseg__V1__Job *job)
{
    json_t *j = bs__json_of_message(&job->base);
    if (cli->json) {
        bs__print_json(cli->out, j);
    } else {
        add_readable(j);
        bs__print_fields(cli->out, j, 0);
    }
    json_decref(j);
}

static int list(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)args, (void)nargs;
    struct bs__jobs_options *options = ctx;
    static const struct bs__column columns[] = {{"JOB", "id", false},
                                                {"KIND", "kind", false},
                                                {"STATE", "state", false},
                                                {"DONE", "done", true},
                                                {"MODEL", "model.name", false},
                                                {"OBJECTS", "object_count", true},
                                                {"SUBMITTED", "created", false},
                                                {"FILE", "labels." BS__FILE_LABEL, false}};
    json_t *rows = json_array();
    char *token = NULL;
    int code = BS__EXIT_OK;
    do {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
        Bioseg__V1__ListJobsRequest request = BIOSEG__V1__LIST_JOBS_REQUEST__INIT;
        page.size = PAGE_SIZE;
        page.token = token ? token : (char *)protobuf_c_empty_string;
        request.page = &page;
        request.state = options->state;
        request.model = options->model ? (char *)options->model : (char *)protobuf_c_empty_string;
        request.labels =
            bs__labels_entries(&options->labels, &bioseg__v1__list_jobs_request__labels_entry__descriptor);
        request.n_labels = options->labels.n;
        bs_status rc = bs__ask(cli, client, BS__METHOD("Jobs", "List"), cli->timeout, &request.base,
                               &bioseg__v1__list_jobs_response__descriptor, &message, &code);
        free(token);
        token = NULL;
        if (rc != BS_OK)
            goto cleanup;
        const Bioseg__V1__ListJobsResponse *r = (const Bioseg__V1__ListJobsResponse *)message;
        for (size_t i = 0; i < r->n_jobs; i++) {
            json_t *row = bs__json_of_message(&r->jobs[i]->base);
            if (!cli->json)
                add_readable(row);
            json_array_append_new(rows, row);
        }
        if (r->next_page_token && r->next_page_token[0])
            token = strdup(r->next_page_token);
        protobuf_c_message_free_unpacked(message, NULL);
    } while (token);
    if (cli->json)
        bs__print_json(cli->out, rows);
    else if (json_array_size(rows) == 0)
        fprintf(cli->out, "no jobs\n");
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
cleanup:
    json_decref(rows);
    return code;
}

/* A failed job is a failed input: 1. */
static int exit_of_state(Bioseg__V1__JobState state)
{
    return state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED ||
                   state == BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED
               ? BS__EXIT_SOME_FAILED
               : BS__EXIT_OK;
}

static bool is_final(Bioseg__V1__JobState state)
{
    return state == BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED ||
           state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED ||
           state == BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED;
}

static int get(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetJobRequest request = BIOSEG__V1__GET_JOB_REQUEST__INIT;
    int code;
    request.id = args[0];
    if (bs__ask(cli, client, BS__METHOD("Jobs", "Get"), cli->timeout, &request.base,
                &bioseg__v1__get_job_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Job *job = ((const Bioseg__V1__GetJobResponse *)message)->job;
    if (job) {
        bs__print_job(cli, job);
        code = exit_of_state(job->state);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

static const char *state_text(Bioseg__V1__JobState state)
{
    const ProtobufCEnumValue *v =
        protobuf_c_enum_descriptor_get_value(&bioseg__v1__job_state__descriptor, (int)state);
    return v && strncmp(v->name, STATE_PREFIX, strlen(STATE_PREFIX)) == 0 ? v->name + strlen(STATE_PREFIX)
                                                                          : "?";
}

bs_status bs__job_watch(struct bs__cli *cli, struct bs__rpc_client *client, const char *id,
                        Bioseg__V1__JobState *final_state, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    struct bs__progress *progress = NULL;
    struct bs__progress_item item = {.name = id};
    Bioseg__V1__WatchJobRequest request = BIOSEG__V1__WATCH_JOB_REQUEST__INIT;
    Bioseg__V1__JobState shown = BIOSEG__V1__JOB_STATE__JOB_STATE_UNSPECIFIED;
    bs_status rc = bs__progress_create(stderr, bs__progress_style_for(stderr, cli->quiet), 1, &progress, err);
    request.id = (char *)id;
    if (rc == BS_OK)
        rc = bs__rpc_call_start(client, BS__METHOD("Jobs", "Watch"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &request.base, true, err);
    *final_state = shown;
    while (rc == BS_OK) {
        ProtobufCMessage *message = NULL;
        rc = bs__message_receive(call, &bioseg__v1__watch_job_response__descriptor, &message, err);
        if (rc != BS_OK || !message)
            break;
        const Bioseg__V1__Job *job = ((const Bioseg__V1__WatchJobResponse *)message)->job;
        if (job) {
            if (job->progress && job->progress->tiles_total)
                bs__progress_set(progress, &item,
                                 (double)job->progress->tiles_done / (double)job->progress->tiles_total);
            if (cli->json) {
                json_t *j = bs__json_of_message(&job->base);
                json_dumpf(j, cli->out, JSON_COMPACT);
                fputc('\n', cli->out);
                fflush(cli->out);
                json_decref(j);
            } else if (job->state != shown && !cli->quiet) {
                bs__progress_message(progress, "%s %s%s%s", id, state_text(job->state),
                                     job->error ? ": " : "", job->error ? job->error->message : "");
            }
            shown = job->state;
            if (is_final(shown))
                *final_state = shown;
        }
        protobuf_c_message_free_unpacked(message, NULL);
    }
    bs__rpc_call_destroy(call);
    bs__progress_destroy(progress);
    return rc;
}

static int watch(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    struct bs_err err = {0};
    Bioseg__V1__JobState state;
    if (bs__job_watch(cli, client, args[0], &state, &err) != BS_OK)
        return bs__complain_server(cli, &err);
    return exit_of_state(state);
}

static int cancel(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)ctx;
    int worst = BS__EXIT_OK;
    for (int i = 0; i < nargs; i++) {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__CancelJobRequest request = BIOSEG__V1__CANCEL_JOB_REQUEST__INIT;
        int code;
        request.id = args[i];
        if (bs__ask(cli, client, BS__METHOD("Jobs", "Cancel"), cli->timeout, &request.base,
                    &bioseg__v1__cancel_job_response__descriptor, &message, &code) == BS_OK) {
            const Bioseg__V1__Job *job = ((const Bioseg__V1__CancelJobResponse *)message)->job;
            if (job && cli->json)
                bs__print_job(cli, job);
            else
                fprintf(cli->out, "%s is being cancelled\n", args[i]);
            protobuf_c_message_free_unpacked(message, NULL);
        }
        worst = code > worst ? code : worst;
    }
    return worst;
}

static int delete_job(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)ctx;
    int worst = BS__EXIT_OK;
    for (int i = 0; i < nargs; i++) {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__DeleteJobRequest request = BIOSEG__V1__DELETE_JOB_REQUEST__INIT;
        int code;
        request.id = args[i];
        if (bs__ask(cli, client, BS__METHOD("Jobs", "Delete"), cli->timeout, &request.base,
                    &bioseg__v1__delete_job_response__descriptor, &message, &code) == BS_OK) {
            if (!cli->json)
                fprintf(cli->out, "%s is deleted\n", args[i]);
            protobuf_c_message_free_unpacked(message, NULL);
        }
        worst = code > worst ? code : worst;
    }
    return worst;
}

static const char *file_of(const Bioseg__V1__Job *job)
{
    for (size_t i = 0; job && i < job->n_labels; i++)
        if (strcmp(job->labels[i]->key, BS__FILE_LABEL) == 0)
            return job->labels[i]->value;
    return NULL;
}

/* The name under which a job's results are written: the stem of the image's name if a label has it. */
static bs_status name_of(struct bs__cli *cli, struct bs__rpc_client *client, const char *id, char **stem,
                         struct bs_err *err)
{
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetJobRequest request = BIOSEG__V1__GET_JOB_REQUEST__INIT;
    request.id = (char *)id;
    bs_status rc = bs__unary(client, BS__METHOD("Jobs", "Get"), cli->timeout, &request.base,
                             &bioseg__v1__get_job_response__descriptor, &message, err);
    if (rc != BS_OK)
        return rc;
    const Bioseg__V1__Job *job = ((const Bioseg__V1__GetJobResponse *)message)->job;
    const char *file = file_of(job);
    *stem =
        bs__stem_of(file ? file : id); /* drops any folders: what a server says must not choose the place */
    if (*stem && ((*stem)[0] == '\0' || (*stem)[0] == '.')) {
        free(*stem);
        *stem = strdup("job");
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return *stem ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for a name");
}

static bs_status fetch_result(struct bs__rpc_client *client, const char *id, struct bs__result *result,
                              struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    Bioseg__V1__GetJobResultRequest request = BIOSEG__V1__GET_JOB_RESULT_REQUEST__INIT;
    request.id = (char *)id;
    bs_status rc = bs__rpc_call_start(client, BS__METHOD("Jobs", "GetResult"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &request.base, true, err);
    if (rc == BS_OK)
        rc = bs__result_receive(call, NULL, result, err);
    bs__rpc_call_destroy(call);
    return rc;
}

static int fetch_one(struct bs__cli *cli, struct bs__rpc_client *client, const char *id,
                     const struct bs__jobs_options *options)
{
    struct bs_err err = {0};
    struct bs__result result = {0};
    struct bs__input item = {0};
    struct bs__output_paths *paths = NULL;
    json_t *about = NULL;
    int code = BS__EXIT_OK;
    bs_status rc = name_of(cli, client, id, &item.stem, &err);
    if (rc == BS_OK)
        rc = fetch_result(client, id, &result, &err);
    if (rc != BS_OK) {
        code = bs__complain_server(cli, &err);
        goto cleanup;
    }
    struct bs__output_options output = {
        .folder = options->folder, .png = options->png, .overwrite = options->overwrite};
    output.want[BS__OUTPUT_MAPS] = result.maps != NULL;
    output.want[BS__OUTPUT_TABLE] = result.has_objects;
    item.path = (char *)id;
    struct bs__inputs inputs = {.item = &item, .count = 1};
    rc = bs__outputs_plan(&inputs, &output, &paths, &err);
    if (rc == BS_OK)
        rc = bs__save_result(&paths[0], options->png, NULL, NULL, NULL, -1, &result, &about, &err);
    if (rc != BS_OK) {
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    if (cli->json)
        bs__print_json(cli->out, about);
    else
        fprintf(cli->out, "%s: %u objects, %s\n", id, result.info->object_count,
                paths[0].path[BS__OUTPUT_LABELS]);
cleanup:
    json_decref(about);
    bs__outputs_free(paths, paths ? 1 : 0);
    bs__result_free(&result);
    free(item.stem);
    return code;
}

static int fetch(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    const struct bs__jobs_options *options = ctx;
    int worst = BS__EXIT_OK;
    if (!options->folder) {
        struct bs_err err = {0};
        (void)BS_FAIL(&err, BS_EINVAL, "where do the results go? give -o FOLDER");
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    for (int i = 0; i < nargs; i++) {
        int code = fetch_one(cli, client, args[i], options);
        worst = code > worst ? code : worst;
    }
    return worst;
}

enum { OPT_STATE = 0x400, OPT_FORMAT, OPT_OVERWRITE, OPT_LABEL, OPT_AFTER };

static const struct argp_option list_options[] = {
    {"state", OPT_STATE, "STATE", 0, "only these: queued, running, paused, succeeded, failed, cancelled", 10},
    {"model", 'm', "NAME", 0, "only of this model", 10},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "only with this label; several: with all of them", 10},
    {0}};
static const struct argp_option fetch_options[] = {
    {"output", 'o', "FOLDER", 0, "where results go; made if missing", 10},
    {"format", OPT_FORMAT, "tiff|png", 0, "of the labels: 32-bit TIFF (default) or 16-bit PNG", 10},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace results that are there", 10},
    {0}};

static const struct argp_option report_options[] = {
    {"output", 'o', "FILE", 0, "where the report goes", 10},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace the file if it is there", 10},
    {0}};
static const struct argp_option metrics_options[] = {
    {"after", OPT_AFTER, "STEP", 0, "begin behind this step (default: with the first)", 10}, {0}};

static const struct argp_option sample_options[] = {
    {"output", 'o', "FILE.png", 0, "where the picture goes", 10},
    {"overwrite", OPT_OVERWRITE, NULL, 0, "replace a file that is there", 10},
    {0}};

static error_t option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct bs__jobs_options *o = ctx;
    struct bs_err err;
    char *end;
    switch (key) {
    case OPT_AFTER:
        o->after_step = strtoull(arg, &end, 10);
        if (end == arg || *end || arg[0] == '-')
            argp_error(state, "--after %s is not a step", arg);
        return 0;
    case 'm':
        o->model = arg;
        return 0;
    case OPT_LABEL:
        if (bs__labels_parse(&o->labels, arg, &err) != BS_OK)
            argp_error(state, "%s", err.msg);
        return 0;
    case OPT_STATE:
        for (unsigned i = 0; i < bioseg__v1__job_state__descriptor.n_values; i++) {
            const ProtobufCEnumValue *v = &bioseg__v1__job_state__descriptor.values[i];
            if (v->value && strcasecmp(v->name + strlen(STATE_PREFIX), arg) == 0) {
                o->state = (Bioseg__V1__JobState)v->value;
                return 0;
            }
        }
        argp_error(state, "--state %s is none of queued, running, paused, succeeded, failed, cancelled", arg);
        return 0;
    case 'o':
        o->folder = arg;
        return 0;
    case OPT_FORMAT:
        if (strcmp(arg, "tiff") != 0 && strcmp(arg, "png") != 0)
            argp_error(state, "--format %s is neither tiff nor png", arg);
        o->png = arg[0] == 'p';
        return 0;
    case OPT_OVERWRITE:
        o->overwrite = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct bs__subcommand commands[] = {
    {.name = "list",
     .args_doc = "",
     .summary = "your jobs, newest first",
     .run = list,
     .options = list_options,
     .option = option,
     .examples = "  bioseg jobs list\n  bioseg jobs list --state failed\n"
                 "  bioseg jobs list --label plate=7\n"},
    {.name = "get",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "one job (exit code 1 if it failed or was cancelled)",
     .run = get},
    {.name = "watch",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "follow a job until it is finished; can be attached again",
     .run = watch},
    {.name = "cancel",
     .args_doc = "JOB...",
     .min_args = 1,
     .max_args = 64,
     .summary = "stop waiting or running jobs",
     .run = cancel},
    {.name = "fetch",
     .args_doc = "JOB...",
     .min_args = 1,
     .max_args = 64,
     .summary = "write the results of finished jobs",
     .run = fetch,
     .options = fetch_options,
     .option = option,
     .examples = "  bioseg jobs fetch -o results 3f2a...\n"},
    {.name = "delete",
     .args_doc = "JOB...",
     .min_args = 1,
     .max_args = 64,
     .summary = "forget finished jobs and their results",
     .run = delete_job},
    {.name = "metrics",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "follow a training run's losses; can be attached again",
     .run = bs__jobs_metrics,
     .options = metrics_options,
     .option = option,
     .examples =
         "  bioseg jobs metrics 3f2a...\n  bioseg --json jobs metrics 3f2a... --after 2000 >> curve.jsonl\n"},
    {.name = "sample",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "a picture of a training run's last validation: image, target and prediction",
     .run = bs__jobs_sample,
     .options = sample_options,
     .option = option,
     .examples = "  bioseg jobs sample 3f2a... -o validation.png\n"},
    {.name = "report",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "a training run as one HTML file: settings, data, curves, lineage, comparisons",
     .run = bs__jobs_report,
     .options = report_options,
     .option = option,
     .examples = "  bioseg jobs report 3f2a... -o report.html\n"},
    {.name = "pause",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "let a training run wait after its next checkpoint",
     .run = bs__jobs_pause},
    {.name = "resume",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "go on with a paused, failed or cancelled training run",
     .run = bs__jobs_resume},
    {.name = "rate",
     .args_doc = "JOB RATE",
     .min_args = 2,
     .max_args = 2,
     .summary = "give a training run another learning rate",
     .run = bs__jobs_rate,
     .examples = "  bioseg jobs rate 3f2a... 1e-5\n"},
};

int bs__jobs_main(struct bs__cli *cli, int argc, char **argv)
{
    struct bs__jobs_options options = {0};
    if (argc >= 2 && strcmp(argv[1], "submit") == 0)
        return bs__jobs_submit_main(cli, argc - 1, argv + 1);
    int code = bs__subcommand_main(cli, argc, argv, "jobs",
                                   "Work that outlives this shell: the server keeps job and result.\n\n"
                                   "  submit    hand in images; see `bioseg jobs submit --help`",
                                   commands, sizeof commands / sizeof *commands, &options);
    bs__labels_free(&options.labels);
    return code;
}
