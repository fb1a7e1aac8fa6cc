/* bioseg models import: a model file, or a bioimage.io package that becomes one first, goes to the server. */
#ifndef BS_CLIENTS_CLI_MODELS_IMPORT_H
#define BS_CLIENTS_CLI_MODELS_IMPORT_H

#include "clients/cli/cli.h"
#include "clients/cli/labels.h"
#include "clients/cli/rpc_client.h"

#include "bioseg/v1/models.pb-c.h"

struct bs__models_import {
    const char *name; /* --name; NULL: the file's */
    double keep_hours;
    struct bs__labels labels;
};

extern const struct argp_option bs__models_import_options[];
/* Parses one of them; ARGP_ERR_UNKNOWN for others. */
error_t bs__models_import_option(int key, char *arg, struct argp_state *state, struct bs__models_import *o);
/* Yields the exit code; *out, the server's answer, is there when it is 0, and the caller frees it. */
int bs__models_import_run(struct bs__cli *cli, struct bs__rpc_client *client, const char *path,
                          struct bs__models_import *o, Bioseg__V1__ImportModelResponse **out);

#endif
