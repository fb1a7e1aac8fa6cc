/* What the files of `bioseg jobs` share. */
#ifndef BS_CLIENTS_CLI_JOBS_H
#define BS_CLIENTS_CLI_JOBS_H

#include "clients/cli/subcommand.h"

#include "bioseg/v1/jobs.pb-c.h"

struct bs__jobs_options {
    Bioseg__V1__JobState state; /* list: only these; unspecified: all */
    const char *folder;         /* fetch */
    bool png, overwrite;
};

/* The idempotency keys that `jobs submit` makes: so many hexadecimal digits, a colon, the name of the image's file. */
#define BS__JOB_KEY_HASH 40
#define BS__JOB_KEY_TEXT 129
/* The file's name in such a key; NULL if it is not one of ours. */
const char *bs__job_key_name(const char *key);

void bs__print_job(struct bs__cli *cli, const Bioseg__V1__Job *job);
/* Follows a job until it is finished; the state it ended in. */
bs_status bs__job_watch(struct bs__cli *cli, struct bs__rpc_client *client, const char *id,
                        Bioseg__V1__JobState *final_state, struct bs_err *err) BS_NODISCARD;
/* argv[0] is "submit". */
int bs__jobs_submit_main(struct bs__cli *cli, int argc, char **argv);

#endif
