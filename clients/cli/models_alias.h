/* bioseg models promote, rollback, demote, history: movable names of versions. Main thread. */
#ifndef BS_CLIENTS_CLI_MODELS_ALIAS_H
#define BS_CLIENTS_CLI_MODELS_ALIAS_H

#include "clients/cli/cli.h"
#include "clients/cli/rpc_client.h"

struct bs__models_alias {
    const char *alias;  /* --as; NULL: production */
    const char *reason; /* NULL: none */
};

extern const struct argp_option bs__models_alias_options[];
/* Parses one of them; ARGP_ERR_UNKNOWN for others. */
error_t bs__models_alias_option(int key, char *arg, struct argp_state *state, struct bs__models_alias *o);

/* Each yields the exit code. */
int bs__models_promote(struct bs__cli *cli, struct bs__rpc_client *client, const char *model,
                       const struct bs__models_alias *o);
int bs__models_rollback(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                        const struct bs__models_alias *o);
int bs__models_demote(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                      const struct bs__models_alias *o);
int bs__models_history(struct bs__cli *cli, struct bs__rpc_client *client, const char *name,
                       const struct bs__models_alias *o);

#endif
