/* What the files of `bioseg jobs` share. */
#ifndef BS_CLIENTS_CLI_JOBS_H
#define BS_CLIENTS_CLI_JOBS_H

#include "clients/cli/labels.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/jobs.pb-c.h"

struct bs__jobs_options {
    Bioseg__V1__JobState state; /* list: only these; unspecified: all */
    const char *model;          /* and only of this one; NULL: all */
    struct bs__labels labels;   /* and only with these */
    const char *folder;         /* fetch; sample: the file */
    bool png, overwrite;
    uint64_t after_step; /* metrics */
};

/* The label under which `jobs submit` notes the name of the image's file. */
#define BS__FILE_LABEL "file"

void bs__print_job(struct bs__cli *cli, const Bioseg__V1__Job *job);
/* Follows a job until it is finished; the state it ended in. */
bs_status bs__job_watch(struct bs__cli *cli, struct bs__rpc_client *client, const char *id,
                        Bioseg__V1__JobState *final_state, struct bs_err *err) BS_NODISCARD;
/* Subcommands for training runs (jobs_training.c). */
int bs__jobs_metrics(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
int bs__jobs_pause(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
int bs__jobs_resume(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
int bs__jobs_sample(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
int bs__jobs_rate(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
/* `bioseg jobs report` (jobs_report.c); -o is in options->folder. */
int bs__jobs_report(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx);
/* argv[0] is "submit". */
int bs__jobs_submit_main(struct bs__cli *cli, int argc, char **argv);

#endif
