/* bioseg models export: a model of the registry as a file, in its own format or that of another program. */
#ifndef BS_CLIENTS_CLI_MODELS_EXPORT_H
#define BS_CLIENTS_CLI_MODELS_EXPORT_H

#include "clients/cli/cli.h"
#include "clients/cli/rpc_client.h"

#include "model/export/export.h"

#define BS__MAX_AUTHORS 64

struct bs__models_export {
    const char *out;    /* -o */
    const char *format; /* --format; NULL: a model file */
    bool overwrite;
    struct bs_export_options package; /* its title NULL: the model's name */
    const char *authors[BS__MAX_AUTHORS];
};

extern const struct argp_option bs__models_export_options[];
/* Parses one of them; ARGP_ERR_UNKNOWN for others. */
error_t bs__models_export_option(int key, char *arg, struct argp_state *state, struct bs__models_export *o);
/* Runs it for "NAME" or "NAME@VERSION"; yields the exit code. */
int bs__models_export_run(struct bs__cli *cli, struct bs__rpc_client *client, const char *model,
                          const struct bs__models_export *o);

#endif
