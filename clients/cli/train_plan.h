/* What a training run would be, and what is to be said of its dataset, for people and programs. Main thread. */
#ifndef BS_CLIENTS_CLI_TRAIN_PLAN_H
#define BS_CLIENTS_CLI_TRAIN_PLAN_H

#include "clients/cli/subcommand.h"

#include "bioseg/v1/training.pb-c.h"

/* Asks for the plan of a request and prints it; yields the exit status, which says whether the dataset can be trained on. */
int bs__train_dry_run(struct bs__cli *cli, struct bs__rpc_client *client,
                      const Bioseg__V1__StartTrainingRequest *request);
/* Of a request that was refused because of its dataset: lists on stderr all that is wrong, instead of the sentence of the refusal,
   whose exit status it yields. */
int bs__train_refused(struct bs__cli *cli, struct bs__rpc_client *client,
                      const Bioseg__V1__StartTrainingRequest *request, const struct bs_err *refusal);
/* A line each on stderr. */
void bs__train_print_findings(Bioseg__V1__DatasetFinding *const *list, size_t n);

#endif
