/* Commands of commands. See subcommand.h. */
#include "clients/cli/subcommand.h"

#include "clients/cli/interrupt.h"
#include "clients/cli/message.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 64

struct parsing {
    struct bs__cli *cli;
    const struct bs__subcommand *sub;
    void *ctx;
    char *args[MAX_ARGS];
    int nargs;
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
    struct parsing *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = p->cli;
        return 0;
    case ARGP_KEY_ARG:
        if (p->nargs == p->sub->max_args || p->nargs == MAX_ARGS)
            argp_error(state, "'%s' is one argument too many", arg);
        p->args[p->nargs++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->nargs < p->sub->min_args)
            argp_error(state, "%s is missing", p->sub->args_doc);
        return 0;
    default:
        if (p->sub->option && key != ARGP_KEY_NO_ARGS && key != ARGP_KEY_SUCCESS && key != ARGP_KEY_FINI &&
            key != ARGP_KEY_ARGS && key != ARGP_KEY_ERROR)
            return p->sub->option(key, arg, state, p->ctx);
        return ARGP_ERR_UNKNOWN;
    }
}

static void list(FILE *out, const char *command, const char *about, const struct bs__subcommand *table,
                 size_t n)
{
    fprintf(out, "Usage: bioseg %s COMMAND [ARGUMENT...]\n%s\n\n", command, about);
    for (size_t i = 0; i < n; i++)
        fprintf(out, "  %-9s %s\n", table[i].name, table[i].summary);
    fprintf(out, "\n`bioseg %s COMMAND --help` explains each of them.\n", command);
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

int bs__subcommand_main(struct bs__cli *cli, int argc, char **argv, const char *command, const char *about,
                        const struct bs__subcommand *table, size_t n, void *ctx)
{
    struct parsing p = {.cli = cli, .ctx = ctx};
    struct bs__rpc_client *client = NULL;
    struct bs_err err = {0};
    char name[80], doc[2048];
    if (argc >= 2 &&
        (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0 || strcmp(argv[1], "help") == 0)) {
        list(cli->out, command, about, table, n);
        return BS__EXIT_OK;
    }
    if (argc < 2) {
        list(stderr, command, about, table, n);
        return BS__EXIT_USAGE;
    }
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, argv[1]) == 0)
            p.sub = &table[i];
    if (!p.sub) {
        fprintf(stderr, "bioseg %s: there is no command '%s'\n", command, argv[1]);
        list(stderr, command, about, table, n);
        return BS__EXIT_USAGE;
    }
    snprintf(name, sizeof name, "bioseg %s %s", command, p.sub->name);
    snprintf(doc, sizeof doc, "%s\v%s%s", p.sub->summary, p.sub->examples ? "Examples:\n" : "",
             p.sub->examples ? p.sub->examples : "");
    const struct argp_child children[] = {
        {.argp = &bs__cli_argp, .header = "Connection and output:", .group = 80}, {0}};
    const struct argp argp = {.options = p.sub->options,
                              .parser = parse,
                              .args_doc = p.sub->args_doc,
                              .doc = doc,
                              .children = children};
    argv[1] = name;
    argp_parse(&argp, argc - 1, argv + 1, 0, NULL, &p);

    bs_status rc = bs__cli_connect(cli, &client, &err);
    if (rc != BS_OK)
        return bs__complain(cli, &err, bs__exit_of_local(rc));
    bs__interrupt_notify(cli->interrupt, cancel_calls, client);
    int code = p.sub->run(cli, client, p.args, p.nargs, ctx);
    bs__interrupt_notify(cli->interrupt, NULL, NULL);
    bs__rpc_client_destroy(client);
    return code;
}

int bs__complain_server(const struct bs__cli *cli, const struct bs_err *err)
{
    return bs__complain(cli, err, bs__exit_of_server(err->code));
}

bs_status bs__ask(struct bs__cli *cli, struct bs__rpc_client *client, const char *method, double timeout,
                  const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                  ProtobufCMessage **out, int *code)
{
    struct bs_err err = {0};
    bs_status rc = bs__unary(client, method, timeout, request, type, out, &err);
    *code = rc == BS_OK ? BS__EXIT_OK : bs__complain_server(cli, &err);
    return rc;
}
