/* Commands that have commands of their own (`bioseg models list`): finding and explaining them. */
#ifndef BS_CLIENTS_CLI_SUBCOMMAND_H
#define BS_CLIENTS_CLI_SUBCOMMAND_H

#include "clients/cli/cli.h"
#include "clients/cli/rpc_client.h"

#include <protobuf-c/protobuf-c.h>

struct bs__subcommand {
    const char *name;
    const char *args_doc; /* "NAME[@VERSION]", "" */
    int min_args, max_args;
    const char *summary;               /* one line, also in the list of the command's --help */
    const char *examples;              /* lines for its own --help */
    const struct argp_option *options; /* may be NULL */
    /* Parses one of `options` into ctx. */
    error_t (*option)(int key, char *arg, struct argp_state *state, void *ctx);
    int (*run)(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
};

/* Parses, connects, arranges for Ctrl-C, runs. ctx goes to option and run. */
int bs__subcommand_main(struct bs__cli *cli, int argc, char **argv, const char *command, const char *about,
                        const struct bs__subcommand *table, size_t n, void *ctx);

/* A unary call whose failure is already complained about: returns BS_OK, or another with *code set. */
bs_status bs__ask(struct bs__cli *cli, struct bs__rpc_client *client, const char *method, double timeout,
                  const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                  ProtobufCMessage **out, int *code) BS_NODISCARD;
/* Complains about an error that came from the server. */
int bs__complain_server(const struct bs__cli *cli, const struct bs_err *err);

#endif
