/* bioseg train: a run on a dataset of the server, from the command line, from a YAML file, or both. Main thread. */
#include "clients/cli/interrupt.h"
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/parameters.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/train_config.h"
#include "clients/cli/train_plan.h"
#include "clients/cli/train_watch.h"

#include "bioseg/v1/training.pb-c.h"

#include <stdlib.h>
#include <string.h>

/* Options that are short for --set NAME=VALUE. */
static const char *const short_names[] = {"features", "iterations", "epochs",
                                          "batch",    "patch",      "learning_rate"};
#define SHORT (sizeof short_names / sizeof *short_names)

enum {
    OPT_DATASET = 0x800,
    OPT_CONFIG,
    OPT_ARCH,
    OPT_FROM,
    OPT_RECIPE,
    OPT_SEED,
    OPT_SET,
    OPT_LABEL,
    OPT_PROJECT,
    OPT_KEY,
    OPT_PARAMETERS,
    OPT_DRY_RUN,
    OPT_SHORT = 0x900, /* and those of short_names */
};

struct arguments {
    struct bs__cli *cli;
    const char *config;            /* --config */
    struct bs__train_config given; /* by options: they count */
    struct bs__labels labels;
    const char *project, *key;
    bool watch, parameters, dry_run;
};

static const struct argp_option options[] = {
    {"dataset", OPT_DATASET, "NAME", 0, "what to train with (bioseg datasets)", 10},
    {"model", 'm', "NAME", 0,
     "under which the best weights are recorded; an existing name gets a new version", 10},
    {"config", OPT_CONFIG, "FILE", 0, "YAML with any of this; options of the command line count more", 10},
    {"watch", 'w', NULL, 0, "follow the run until it ends (it goes on without you anyway)", 10},
    {"arch", OPT_ARCH, "NAME", 0, "unet (the default), unetr or vimunet, from random weights", 20},
    {"from", OPT_FROM, "MODEL[@V]", 0, "instead: train this model on", 20},
    {"recipe", OPT_RECIPE, "NAME", 0,
     "distances (the default) or boundaries: what the network learns to show", 20},
    {"features", OPT_SHORT + 0, "N", 0, "width of the network at full resolution", 30},
    {"iterations", OPT_SHORT + 1, "N", 0, "steps to make", 30},
    {"epochs", OPT_SHORT + 2, "N", 0, "instead: passes over the images", 30},
    {"batch", OPT_SHORT + 3, "N", 0, "patches of one step", 30},
    {"patch", OPT_SHORT + 4, "PIXELS", 0, "side of a patch", 30},
    {"learning-rate", OPT_SHORT + 5, "RATE", 0, "to begin with", 30},
    {"set", OPT_SET, "NAME=VALUE", 0, "any other parameter; can be given again", 30},
    {"seed", OPT_SEED, "NUMBER", 0, "of everything random (default: 0)", 30},
    {"parameters", OPT_PARAMETERS, NULL, 0, "list the parameters with ranges and defaults, and train nothing",
     40},
    {"dry-run", OPT_DRY_RUN, NULL, 0,
     "check everything, list what is wrong and what the run would be, and train nothing", 40},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "a mark of your own for the job; can be given again", 50},
    {"project", OPT_PROJECT, "NAME", 0, "project it belongs to", 50},
    {"key", OPT_KEY, "TEXT", 0, "the same command with the same key again finds the first job", 50},
    {0}};

static const char doc[] =
    "Trains a network on the server, as a job that outlives this shell.\v"
    "The weights with the best validation loss become a version of --model.\n\n"
    "Examples:\n"
    "  bioseg train --dataset nuclei --model my-nuclei --features 32 --iterations 20000 --watch\n"
    "  bioseg train --dataset corrected --from unet-nuclei@2 --model unet-nuclei --epochs 50\n"
    "  bioseg train --config run.yaml --learning-rate 5e-5\n"
    "  bioseg train --parameters --arch vimunet\n"
    "  bioseg jobs metrics JOB      bioseg jobs pause JOB      bioseg jobs resume JOB\n";

static void keep(struct argp_state *state, bs_status rc, const struct bs_err *err)
{
    if (rc != BS_OK)
        argp_error(state, "%s", err->msg);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct arguments *a = state->input;
    struct bs_err err = {.msg = ""};
    char name[64];
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = a->cli;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s' is one argument too many", arg);
        return 0;
    case OPT_DATASET:
        keep(state, bs__train_config_set(&a->given.dataset, arg, &err), &err);
        return 0;
    case 'm':
        keep(state, bs__train_config_set(&a->given.model, arg, &err), &err);
        return 0;
    case OPT_CONFIG:
        a->config = arg;
        return 0;
    case 'w':
        a->watch = true;
        return 0;
    case OPT_ARCH:
        keep(state, bs__train_config_set(&a->given.architecture, arg, &err), &err);
        return 0;
    case OPT_FROM:
        keep(state, bs__train_config_set(&a->given.from, arg, &err), &err);
        return 0;
    case OPT_RECIPE:
        keep(state, bs__train_config_set(&a->given.recipe, arg, &err), &err);
        return 0;
    case OPT_SEED:
        keep(state, bs__train_config_set(&a->given.seed, arg, &err), &err);
        return 0;
    case OPT_SET: {
        const char *equals = strchr(arg, '=');
        size_t n = equals ? (size_t)(equals - arg) : 0;
        if (n == 0 || n >= sizeof name)
            argp_error(state, "--set %s: NAME=VALUE is accepted", arg);
        memcpy(name, arg, n);
        name[n] = '\0';
        keep(state, bs__train_config_param(&a->given, name, equals ? equals + 1 : "", &err), &err);
        return 0;
    }
    case OPT_LABEL:
        keep(state, bs__labels_parse(&a->labels, arg, &err), &err);
        return 0;
    case OPT_PROJECT:
        a->project = arg;
        return 0;
    case OPT_KEY:
        a->key = arg;
        return 0;
    case OPT_DRY_RUN:
        a->dry_run = true;
        return 0;
    case OPT_PARAMETERS:
        a->parameters = true;
        return 0;
    default:
        if (key >= OPT_SHORT && key < OPT_SHORT + (int)SHORT) {
            keep(state, bs__train_config_param(&a->given, short_names[key - OPT_SHORT], arg, &err), &err);
            return 0;
        }
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- what to train ---- */

/* File and command line together; what one of them says of the network replaces the other's. */
static bs_status settle(const struct arguments *a, struct bs__train_config *c, struct bs_err *err)
{
    const struct bs__train_config *g = &a->given;
    bs_status rc = a->config ? bs__train_config_read(a->config, c, err) : BS_OK;
    if (rc == BS_OK && c->architecture && c->from)
        rc =
            BS_FAIL(err, BS_EINVAL,
                    "%s names an architecture and a model to begin with; one of them is accepted", a->config);
    if (rc == BS_OK && g->architecture && g->from)
        rc = BS_FAIL(err, BS_EINVAL, "--arch and --from are given; one of them is accepted");
    if (rc != BS_OK)
        return rc;
    if (g->architecture || g->from) {
        free(c->architecture);
        free(c->from);
        c->architecture = c->from = NULL;
    }
    const struct {
        char **field;
        const char *value;
    } texts[] = {{&c->dataset, g->dataset}, {&c->model, g->model},   {&c->architecture, g->architecture},
                 {&c->from, g->from},       {&c->recipe, g->recipe}, {&c->seed, g->seed}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && rc == BS_OK; i++)
        if (texts[i].value)
            rc = bs__train_config_set(texts[i].field, texts[i].value, err);
    for (size_t i = 0; i < g->n && rc == BS_OK; i++)
        rc = bs__train_config_param(c, g->param[i].name, g->param[i].value, err);
    if (rc == BS_OK && !c->architecture && !c->from)
        rc = bs__train_config_set(&c->architecture, "unet", err);
    if (rc == BS_OK && !a->parameters && (!c->dataset || !c->model))
        rc = BS_FAIL(err, BS_EINVAL, "%s is missing: give --dataset and --model, or name them in --config",
                     c->dataset ? "the name of the model" : "the dataset");
    return rc;
}

/* Network and recipe that parameters are looked up for. */
static bs_status describe(struct arguments *a, struct bs__rpc_client *client,
                          const struct bs__train_config *c, ProtobufCMessage **out, int *code)
{
    Bioseg__V1__DescribeTrainingRequest request = BIOSEG__V1__DESCRIBE_TRAINING_REQUEST__INIT;
    Bioseg__V1__GetModelResponse *model = NULL;
    struct bs_err err = {.msg = ""};
    bs_status rc = BS_OK;
    if (c->from &&
        (rc = bs__model_get(client, c->from, BS__MODEL_PARAMETERS, a->cli->timeout, &model, &err)) != BS_OK) {
        *code =
            rc == BS_EINVAL ? bs__complain(a->cli, &err, BS__EXIT_USAGE) : bs__complain_server(a->cli, &err);
        return rc;
    }
    request.architecture = model ? model->model->architecture : c->architecture;
    request.recipe = c->recipe ? c->recipe : model ? model->model->recipe : (char *)protobuf_c_empty_string;
    rc = bs__ask(a->cli, client, BS__METHOD("Training", "Describe"), a->cli->timeout, &request.base,
                 &bioseg__v1__describe_training_response__descriptor, out, code);
    if (model)
        bioseg__v1__get_model_response__free_unpacked(model, NULL);
    return rc;
}

static void print_parameters(struct bs__cli *cli, const Bioseg__V1__DescribeTrainingResponse *r)
{
    json_t *list = json_array();
    for (size_t i = 0; i < r->n_parameters; i++)
        json_array_append_new(list, bs__json_of_message(&r->parameters[i]->base));
    if (cli->json)
        bs__print_json(cli->out, list);
    else
        for (size_t i = 0; i < json_array_size(list); i++)
            bs__parameter_print(cli->out, json_array_get(list, i));
    json_decref(list);
}

/* ---- the request ---- */

/* The messages of a request; they point into each other, so it is filled once and not moved. */
struct request {
    Bioseg__V1__StartTrainingRequest start;
    Bioseg__V1__TrainingSpec spec;
    Bioseg__V1__ModelRef initial;
    char initial_name[65];
    Bioseg__V1__ParameterValue value[BS__TRAIN_MAX_PARAMS];
    Bioseg__V1__TrainingSpec__ParametersEntry entry[BS__TRAIN_MAX_PARAMS], *entries[BS__TRAIN_MAX_PARAMS];
};

static bs_status unknown(const Bioseg__V1__DescribeTrainingResponse *known, const char *name,
                         struct bs_err *err)
{
    char list[400] = "";
    size_t n = 0;
    for (size_t i = 0; i < known->n_parameters && n < sizeof list; i++)
        n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", known->parameters[i]->name);
    return BS_FAIL(err, BS_EINVAL, "training has no parameter '%.63s'; it has: %s", name, list);
}

static bs_status build(struct arguments *a, const struct bs__train_config *c,
                       const Bioseg__V1__DescribeTrainingResponse *known, struct request *q,
                       struct bs_err *err)
{
    bs_status rc = BS_OK;
    bioseg__v1__start_training_request__init(&q->start);
    bioseg__v1__training_spec__init(&q->spec);
    q->start.spec = &q->spec;
    q->spec.dataset = c->dataset;
    q->spec.model_name = c->model;
    if (c->architecture)
        q->spec.architecture = c->architecture;
    if (c->recipe)
        q->spec.recipe = c->recipe;
    if (c->from) {
        if ((rc = bs__model_ref_parse(c->from, q->initial_name, &q->initial, err)) != BS_OK)
            return rc;
        q->spec.initial = &q->initial;
    }
    if (c->seed) {
        char *end;
        q->spec.seed = strtoull(c->seed, &end, 10);
        if (end == c->seed || *end || c->seed[0] == '-')
            return BS_FAIL(err, BS_EINVAL, "seed '%.40s' is not a whole number of 0 or more", c->seed);
    }
    for (size_t i = 0; i < c->n; i++) {
        const Bioseg__V1__ParameterSpec *spec =
            bs__parameter_find(known->parameters, known->n_parameters, c->param[i].name);
        if (!spec)
            return unknown(known, c->param[i].name, err);
        bioseg__v1__parameter_value__init(&q->value[i]);
        bioseg__v1__training_spec__parameters_entry__init(&q->entry[i]);
        if ((rc = bs__parameter_set(spec, c->param[i].value, &q->value[i], err)) != BS_OK)
            return rc;
        q->entry[i].key = c->param[i].name;
        q->entry[i].value = &q->value[i];
        q->entries[i] = &q->entry[i];
    }
    q->spec.parameters = q->entries;
    q->spec.n_parameters = c->n;
    if (a->project)
        q->start.project = (char *)(uintptr_t)a->project;
    if (a->key)
        q->start.idempotency_key = (char *)(uintptr_t)a->key;
    q->start.labels =
        bs__labels_entries(&a->labels, &bioseg__v1__start_training_request__labels_entry__descriptor);
    q->start.n_labels = a->labels.n;
    return BS_OK;
}

static int start(struct arguments *a, struct bs__rpc_client *client, const struct request *q)
{
    struct bs__cli *cli = a->cli;
    ProtobufCMessage *message = NULL;
    struct bs_err err = {.msg = ""};
    int code = BS__EXIT_OK;
    const bs_status rc = bs__unary(client, BS__METHOD("Training", "Start"), cli->timeout, &q->start.base,
                                   &bioseg__v1__start_training_response__descriptor, &message, &err);
    if (rc != BS_OK)
        return rc == BS_EPRECONDITION ? bs__train_refused(cli, client, &q->start, &err)
                                      : bs__complain_server(cli, &err);
    const Bioseg__V1__StartTrainingResponse *r = (const Bioseg__V1__StartTrainingResponse *)message;
    if (!cli->json)
        bs__train_print_findings(r->warnings, r->n_warnings);
    if (r->job && cli->json && !a->watch)
        bs__print_job(cli, r->job);
    else if (r->job && !cli->json)
        fprintf(a->watch ? stderr : cli->out, "%s  %s%s\n", r->job->id, q->spec.model_name,
                r->existing ? "  (started before)" : "");
    if (r->job && a->watch)
        code = bs__train_watch(cli, client, r->job->id, 0);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

static int run(struct arguments *a, const struct bs__train_config *c)
{
    struct bs__rpc_client *client = NULL;
    ProtobufCMessage *known = NULL;
    struct request *q = calloc(1, sizeof *q);
    struct bs_err err = {.msg = ""};
    int code = BS__EXIT_OK;
    bs_status rc =
        q ? bs__cli_connect(a->cli, &client, &err) : BS_FAIL(&err, BS_ENOMEM, "no memory for a request");
    if (rc != BS_OK) {
        code = bs__complain(a->cli, &err, bs__exit_of_local(rc));
        goto cleanup;
    }
    bs__interrupt_notify(a->cli->interrupt, cancel_calls, client);
    if (describe(a, client, c, &known, &code) != BS_OK)
        goto cleanup;
    const Bioseg__V1__DescribeTrainingResponse *described =
        (const Bioseg__V1__DescribeTrainingResponse *)known;
    if (a->parameters)
        print_parameters(a->cli, described);
    else if (build(a, c, described, q, &err) != BS_OK)
        code = bs__complain(a->cli, &err, BS__EXIT_USAGE);
    else
        code = a->dry_run ? bs__train_dry_run(a->cli, client, &q->start) : start(a, client, q);
cleanup:
    bs__interrupt_notify(a->cli->interrupt, NULL, NULL);
    if (known)
        protobuf_c_message_free_unpacked(known, NULL);
    bs__rpc_client_destroy(client);
    free(q);
    return code;
}

int bs__train_main(struct bs__cli *cli, int argc, char **argv)
{
    struct arguments a = {.cli = cli};
    struct bs__train_config config = {.dataset = NULL};
    struct bs_err err = {.msg = ""};
    const struct argp_child children[] = {
        {.argp = &bs__cli_argp, .header = "Connection and output:", .group = 80}, {0}};
    const struct argp argp = {.options = options, .parser = parse, .doc = doc, .children = children};
    argp_parse(&argp, argc, argv, 0, NULL, &a);
    bs_status rc = settle(&a, &config, &err);
    int code = rc == BS_OK ? run(&a, &config) : bs__complain(cli, &err, bs__exit_of_local(rc));
    bs__train_config_free(&config);
    bs__train_config_free(&a.given);
    bs__labels_free(&a.labels);
    return code;
}
