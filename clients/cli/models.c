/* bioseg models: what the server has, and changing it. */
#include "clients/cli/labels.h"
#include "clients/cli/message.h"
#include "clients/cli/models_alias.h"
#include "clients/cli/models_compare.h"
#include "clients/cli/models_export.h"
#include "clients/cli/models_import.h"
#include "clients/cli/output.h"
#include "clients/cli/parameters.h"
#include "clients/cli/spec_args.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/models.pb-c.h"

#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE 200

struct options {
    struct bs__models_import import;
    struct bs__labels labels; /* list */
    bool untrained;           /* list */
    bool memory;              /* describe */
    struct bs__models_export export;
    struct bs__models_alias alias;
    struct bs__models_compare compare;
};

static const char *state_text(Bioseg__V1__ModelState state)
{
    return state == BIOSEG__V1__MODEL_STATE__MODEL_STATE_UNTRAINED ? "UNTRAINED"
           : state == BIOSEG__V1__MODEL_STATE__MODEL_STATE_READY   ? "ready"
                                                                   : "?";
}

/* The movable names of a version in one cell. */
static void set_aliases(json_t *row, const Bioseg__V1__Model *model)
{
    char text[256] = "";
    size_t n = 0;
    for (size_t i = 0; i < model->n_aliases && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%s", i ? ", " : "", model->aliases[i]);
    json_object_set_new(row, "aliases", model->n_aliases ? json_string(text) : json_null());
}

static int list(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)args, (void)nargs;
    struct options *options = ctx;
    static const struct bs__column columns[] = {{"NAME", "name", false},
                                                {"VERSION", "version", true},
                                                {"ALIASES", "aliases", false},
                                                {"STATE", "state", false},
                                                {"ARCHITECTURE", "architecture", false},
                                                {"RECIPE", "recipe", false},
                                                {"SIZE", "size", true},
                                                {"MEMORY", "memory", true},
                                                {"DESCRIPTION", "description", false}};
    json_t *rows = json_array();
    char *token = NULL;
    int code = BS__EXIT_OK;
    do {
        ProtobufCMessage *message = NULL;
        Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
        Bioseg__V1__ListModelsRequest request = BIOSEG__V1__LIST_MODELS_REQUEST__INIT;
        page.size = PAGE_SIZE;
        page.token = token ? token : (char *)protobuf_c_empty_string;
        request.page = &page;
        request.include_untrained = options->untrained;
        request.labels =
            bs__labels_entries(&options->labels, &bioseg__v1__list_models_request__labels_entry__descriptor);
        request.n_labels = options->labels.n;
        bs_status rc = bs__ask(cli, client, BS__METHOD("Models", "List"), cli->timeout, &request.base,
                               &bioseg__v1__list_models_response__descriptor, &message, &code);
        free(token);
        token = NULL;
        if (rc != BS_OK)
            goto cleanup;
        const Bioseg__V1__ListModelsResponse *r = (const Bioseg__V1__ListModelsResponse *)message;
        for (size_t i = 0; i < r->n_models; i++) {
            json_t *row = bs__json_of_message(&r->models[i]->base);
            char size[16];
            if (!cli->json) {
                set_aliases(row, r->models[i]);
                if (r->models[i]->loaded)
                    json_object_set_new(
                        row, "memory",
                        json_string(bs__human_bytes((double)r->models[i]->resident_bytes, size)));
                json_object_set_new(row, "size",
                                    json_string(bs__human_bytes((double)r->models[i]->file_bytes, size)));
                json_object_set_new(row, "state", json_string(state_text(r->models[i]->state)));
            }
            json_array_append_new(rows, row);
        }
        if (r->next_page_token && r->next_page_token[0])
            token = strdup(r->next_page_token);
        protobuf_c_message_free_unpacked(message, NULL);
    } while (token);
    if (cli->json)
        bs__print_json(cli->out, rows);
    else if (json_array_size(rows) == 0)
        fprintf(cli->out, options->labels.n
                              ? "no models with these labels\n"
                              : "no models yet; `bioseg models import FILE --name NAME` adds one\n");
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
cleanup:
    json_decref(rows);
    return code;
}

static void print_model(struct bs__cli *cli, const Bioseg__V1__Model *model)
{
    json_t *m = bs__json_of_message(&model->base);
    if (cli->json) {
        bs__print_json(cli->out, m);
    } else {
        json_t *parameters = json_incref(json_object_get(m, "parameters"));
        json_object_del(m, "parameters");
        bs__make_times_readable(m);
        json_object_set_new(m, "state", json_string(state_text(model->state)));
        set_aliases(m, model);
        bs__print_fields(cli->out, m, 0);
        if (json_array_size(parameters))
            fprintf(cli->out, "\nparameters (bioseg segment --set NAME=VALUE):\n");
        for (size_t i = 0; i < json_array_size(parameters); i++)
            bs__parameter_print(cli->out, json_array_get(parameters, i));
        json_decref(parameters);
    }
    json_decref(m);
}

static int describe(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    Bioseg__V1__GetModelResponse *response = NULL;
    struct bs_err err = {0};
    const struct options *options = ctx;
    if (bs__model_get(client, args[0], options->memory ? BS__MODEL_PLANS : BS__MODEL_CARD,
                      options->memory ? 0 : cli->timeout, &response, &err) != BS_OK)
        return bs__complain_server(cli, &err);
    print_model(cli, response->model);
    bioseg__v1__get_model_response__free_unpacked(response, NULL);
    return BS__EXIT_OK;
}

static int import(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    struct options *options = ctx;
    Bioseg__V1__ImportModelResponse *response = NULL;
    const int code = bs__models_import_run(cli, client, args[0], &options->import, &response);
    if (!response)
        return code;
    if (response->model && cli->json)
        print_model(cli, response->model);
    else if (response->model)
        fprintf(cli->out, "imported %s version %lld\n", response->model->name,
                (long long)response->model->version);
    bioseg__v1__import_model_response__free_unpacked(response, NULL);
    return code;
}

static error_t import_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct options *options = ctx;
    return bs__models_import_option(key, arg, state, &options->import);
}

/* The three that take a model's name and answer little. */
static int act(struct bs__cli *cli, struct bs__rpc_client *client, const char *text, const char *method,
               const ProtobufCMessageDescriptor *answer, const char *done, bool needs_version)
{
    char name[65];
    Bioseg__V1__ModelRef ref;
    struct bs_err err = {0};
    ProtobufCMessage *response = NULL;
    int code;
    bs_status rc = bs__model_ref_parse(text, name, &ref, &err);
    if (rc == BS_OK && needs_version && ref.selector_case != BIOSEG__V1__MODEL_REF__SELECTOR_VERSION)
        rc = BS_FAIL(&err, BS_EINVAL, "which version of %s? give NAME@VERSION", name);
    if (rc != BS_OK)
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    /* The requests of Load, Unload and Delete are the same but for their names. */
    Bioseg__V1__LoadModelRequest request = BIOSEG__V1__LOAD_MODEL_REQUEST__INIT;
    request.model = &ref;
    rc = bs__ask(cli, client, method, 0, &request.base, answer, &response, &code);
    if (rc != BS_OK)
        return code;
    if (cli->json) {
        json_t *j = bs__json_of_message(response);
        bs__print_json(cli->out, j);
        json_decref(j);
    } else {
        fprintf(cli->out, "%s %s\n", text, done);
    }
    protobuf_c_message_free_unpacked(response, NULL);
    return BS__EXIT_OK;
}

static int load(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    return act(cli, client, args[0], BS__METHOD("Models", "Load"),
               &bioseg__v1__load_model_response__descriptor, "is loaded", false);
}

/* "name version" of a reference; "" of none. */
static void add_version(json_t *row, const char *key, const Bioseg__V1__ModelRef *ref)
{
    char text[96] = "";
    if (ref)
        (void)snprintf(text, sizeof text, "%s@%lld", ref->name, (long long)ref->version);
    json_object_set_new(row, key, json_string(text));
}

static int lineage(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    static const struct bs__column columns[] = {{"VERSION", "version", false}, {"HOW", "how", false},
                                                {"FROM", "from", false},       {"DATASET", "dataset", false},
                                                {"CREATED", "created", false}, {"JOB", "job_id", false}};
    char name[65];
    Bioseg__V1__ModelRef ref;
    Bioseg__V1__GetLineageRequest request = BIOSEG__V1__GET_LINEAGE_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    struct bs_err err = {0};
    int code;
    if (bs__model_ref_parse(args[0], name, &ref, &err) != BS_OK)
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    request.model = &ref;
    if (bs__ask(cli, client, BS__METHOD("Models", "GetLineage"), cli->timeout, &request.base,
                &bioseg__v1__get_lineage_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__GetLineageResponse *r = (const Bioseg__V1__GetLineageResponse *)message;
    json_t *rows = json_array();
    for (size_t i = 0; i < r->n_steps; i++) {
        json_t *row = bs__json_of_message(&r->steps[i]->base);
        if (!cli->json) {
            add_version(row, "version", r->steps[i]->model);
            add_version(row, "from", r->steps[i]->parent);
            bs__make_times_readable(row);
        }
        json_array_append_new(rows, row);
    }
    if (cli->json)
        bs__print_json(cli->out, rows);
    else
        bs__print_table(cli->out, rows, columns, sizeof columns / sizeof *columns);
    json_decref(rows);
    protobuf_c_message_free_unpacked(message, NULL);
    return BS__EXIT_OK;
}

static int unload(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    return act(cli, client, args[0], BS__METHOD("Models", "Unload"),
               &bioseg__v1__unload_model_response__descriptor, "is not loaded any more", false);
}

static int delete_model(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    return act(cli, client, args[0], BS__METHOD("Models", "Delete"),
               &bioseg__v1__delete_model_response__descriptor, "is deleted", true);
}

static int export(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_export_run(cli, client, args[0], &options->export);
}

static error_t export_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct options *options = ctx;
    return bs__models_export_option(key, arg, state, &options->export);
}

static int promote(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_promote(cli, client, args[0], &options->alias);
}

static int rollback(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_rollback(cli, client, args[0], &options->alias);
}

static int demote(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_demote(cli, client, args[0], &options->alias);
}

static int history(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_history(cli, client, args[0], &options->alias);
}

static int compare(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct options *options = ctx;
    return bs__models_compare_run(cli, client, args, &options->compare);
}

static int comparison(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    return bs__models_comparison_show(cli, client, args[0]);
}

static error_t compare_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct options *options = ctx;
    return bs__models_compare_option(key, arg, state, &options->compare);
}

static error_t alias_option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct options *options = ctx;
    return bs__models_alias_option(key, arg, state, &options->alias);
}

enum { OPT_LABEL = 0x600, OPT_UNTRAINED, OPT_MEMORY };

static const struct argp_option describe_options[] = {
    {"memory", OPT_MEMORY, NULL, 0, "let the device plan what a tile needs, too (after what it runs now)",
     10},
    {0}};
static const struct argp_option list_options[] = {
    {"untrained", OPT_UNTRAINED, NULL, 0, "those with random weights too, which are left out else", 10},
    {"label", OPT_LABEL, "KEY=VALUE", 0, "only with this label; several: with all of them", 10},
    {0}};

static error_t option(int key, char *arg, struct argp_state *state, void *ctx)
{
    struct options *o = ctx;
    struct bs_err err;
    switch (key) {
    case OPT_LABEL:
        if (bs__labels_parse(&o->labels, arg, &err) != BS_OK)
            argp_error(state, "%s", err.msg);
        return 0;
    case OPT_MEMORY:
        o->memory = true;
        return 0;
    case OPT_UNTRAINED:
        o->untrained = true;
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct bs__subcommand commands[] = {
    {.name = "list",
     .args_doc = "",
     .summary = "every version of every model",
     .run = list,
     .options = list_options,
     .option = option,
     .examples = "  bioseg models list\n  bioseg models list --json\n  bioseg models list --untrained\n"},
    {.name = "describe",
     .args_doc = "NAME[@VERSION]",
     .min_args = 1,
     .max_args = 1,
     .summary = "all that is known of a model, and its parameters",
     .run = describe,
     .options = describe_options,
     .option = option,
     .examples = "  bioseg models describe unet-nuclei\n  bioseg models describe unet-nuclei@1 --json\n"
                 "  bioseg models describe vimunet-tiny --memory\n"},
    {.name = "import",
     .args_doc = "FILE",
     .min_args = 1,
     .max_args = 1,
     .summary = "add a model file (what `bioseg convert` writes) or a bioimage.io package",
     .run = import,
     .options = bs__models_import_options,
     .option = import_option,
     .examples = "  bioseg models import unet-nuclei.safetensors --name nuclei\n"
                 "  bioseg models import package.zip --name nuclei\n"},
    {.name = "export",
     .args_doc = "NAME[@VERSION]",
     .min_args = 1,
     .max_args = 1,
     .summary = "write a model as a file, for this or for other programs",
     .run = export,
     .options = bs__models_export_options,
     .option = export_option,
     .examples = "  bioseg models export unet-nuclei -o unet-nuclei.safetensors\n"
                 "  bioseg models export unet-nuclei@1 --format pt -o checkpoints/nuclei/best.pt\n"},
    {.name = "lineage",
     .args_doc = "NAME[@VERSION]",
     .min_args = 1,
     .max_args = 1,
     .summary = "where a model's weights come from: imported, or trained with what",
     .run = lineage},
    {.name = "compare",
     .args_doc = "CANDIDATE BASELINE",
     .min_args = 2,
     .max_args = 2,
     .summary = "which of two versions is better, on images that neither has learned from",
     .run = compare,
     .options = bs__models_compare_options,
     .option = compare_option,
     .examples =
         "  bioseg models compare nuclei@newest nuclei@production --dataset plate7\n"
         "  bioseg models compare nuclei@3 unet-nuclei@1 --images held-out/ --labels held-out-labels/\n"},
    {.name = "comparison",
     .args_doc = "JOB",
     .min_args = 1,
     .max_args = 1,
     .summary = "what a comparison found",
     .run = comparison},
    {.name = "promote",
     .args_doc = "NAME@VERSION",
     .min_args = 1,
     .max_args = 1,
     .summary = "make a version what everybody gets who names the model without one",
     .run = promote,
     .options = bs__models_alias_options,
     .option = alias_option,
     .examples =
         "  bioseg models promote nuclei@3 --reason 'better on the new microscope'\n"
         "  bioseg models promote nuclei@newest\n"
         "  bioseg models promote nuclei@2 --as confocal      # then: bioseg segment -m nuclei@confocal\n"},
    {.name = "rollback",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "return to the version that was promoted before",
     .run = rollback,
     .options = bs__models_alias_options,
     .option = alias_option,
     .examples = "  bioseg models rollback nuclei --reason 'splits touching nuclei'\n"},
    {.name = "demote",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "promote none: a name without version is the newest again",
     .run = demote,
     .options = bs__models_alias_options,
     .option = alias_option},
    {.name = "history",
     .args_doc = "NAME",
     .min_args = 1,
     .max_args = 1,
     .summary = "what was promoted and rolled back, when, by whom and why",
     .run = history,
     .options = bs__models_alias_options,
     .option = alias_option},
    {.name = "load",
     .args_doc = "NAME[@VERSION]",
     .min_args = 1,
     .max_args = 1,
     .summary = "put a model into the device's memory ahead of its use",
     .run = load},
    {.name = "unload",
     .args_doc = "NAME[@VERSION]",
     .min_args = 1,
     .max_args = 1,
     .summary = "drop a model from the device's memory",
     .run = unload},
    {.name = "delete",
     .args_doc = "NAME@VERSION",
     .min_args = 1,
     .max_args = 1,
     .summary = "remove a version from the server",
     .run = delete_model,
     .examples = "  bioseg models delete unet-nuclei@1\n"},
};

int bs__models_main(struct bs__cli *cli, int argc, char **argv)
{
    struct options options = {.compare = {.seed = 1}};
    int code = bs__subcommand_main(cli, argc, argv, "models", "The models of the server.", commands,
                                   sizeof commands / sizeof *commands, &options);
    bs__labels_free(&options.labels);
    bs__labels_free(&options.import.labels);
    return code;
}
