/* Following a training run: losses as they come, then how it stands. Main thread. */
#ifndef BS_CLIENTS_CLI_TRAIN_WATCH_H
#define BS_CLIENTS_CLI_TRAIN_WATCH_H

#include "clients/cli/subcommand.h"

#include "bioseg/v1/jobs.pb-c.h"

/* One line that renews itself on a terminal, a line per validation elsewhere; with --json every message on a line of its own on
   standard output. Ends when the run is finished or paused; the exit code says how (1: it failed or was cancelled). */
int bs__train_watch(struct bs__cli *cli, struct bs__rpc_client *client, const char *id, uint64_t after_step);

#endif
