/* bioseg models compare, comparison: which of two versions is better. Main thread. */
#ifndef BS_CLIENTS_CLI_MODELS_COMPARE_H
#define BS_CLIENTS_CLI_MODELS_COMPARE_H

#include "clients/cli/cli.h"
#include "clients/cli/datasets.h"
#include "clients/cli/rpc_client.h"

#include "bioseg/v1/comparisons.pb-c.h"

struct bs__models_compare {
    const char *dataset; /* --dataset; NULL: the files */
    struct bs__datasets_options files;
    bool force, detach;
    uint64_t seed;
    uint32_t resamples; /* 0: the server's */
    double confidence;  /* 0: the server's */
};

extern const struct argp_option bs__models_compare_options[];
/* Parses one of them; ARGP_ERR_UNKNOWN for others. */
error_t bs__models_compare_option(int key, char *arg, struct argp_state *state, struct bs__models_compare *o);
/* args: candidate and baseline. Yields the exit code. */
int bs__models_compare_run(struct bs__cli *cli, struct bs__rpc_client *client, char **args,
                           const struct bs__models_compare *o);
/* Shows what a comparison found. */
int bs__models_comparison_show(struct bs__cli *cli, struct bs__rpc_client *client, const char *job);

#endif
