/* bioseg jobs metrics, pause, resume, rate: what only training runs have. Main thread. */
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/train_watch.h"

#include "bioseg/v1/training.pb-c.h"

#include <stdlib.h>

int bs__jobs_metrics(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct bs__jobs_options *o = ctx;
    return bs__train_watch(cli, client, args[0], o->after_step);
}

/* Prints the job that an answer has as its only field. */
static int done(struct bs__cli *cli, ProtobufCMessage *answer, const Bioseg__V1__Job *job, const char *what)
{
    if (job && cli->json)
        bs__print_job(cli, job);
    else if (job)
        fprintf(cli->out, "%s %s\n", job->id, what);
    protobuf_c_message_free_unpacked(answer, NULL);
    return BS__EXIT_OK;
}

int bs__jobs_pause(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__PauseTrainingRequest request = BIOSEG__V1__PAUSE_TRAINING_REQUEST__INIT;
    int code;
    request.job_id = args[0];
    if (bs__ask(cli, client, BS__METHOD("Training", "Pause"), cli->timeout, &request.base,
                &bioseg__v1__pause_training_response__descriptor, &message, &code) != BS_OK)
        return code;
    return done(cli, message, ((const Bioseg__V1__PauseTrainingResponse *)message)->job,
                "pauses after its next checkpoint");
}

int bs__jobs_resume(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__ResumeTrainingRequest request = BIOSEG__V1__RESUME_TRAINING_REQUEST__INIT;
    int code;
    request.job_id = args[0];
    if (bs__ask(cli, client, BS__METHOD("Training", "Resume"), cli->timeout, &request.base,
                &bioseg__v1__resume_training_response__descriptor, &message, &code) != BS_OK)
        return code;
    return done(cli, message, ((const Bioseg__V1__ResumeTrainingResponse *)message)->job,
                "goes on from its last checkpoint");
}

int bs__jobs_rate(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs, (void)ctx;
    ProtobufCMessage *message = NULL;
    Bioseg__V1__SetLearningRateRequest request = BIOSEG__V1__SET_LEARNING_RATE_REQUEST__INIT;
    struct bs_err err;
    char *end;
    int code;
    request.job_id = args[0];
    request.learning_rate = strtod(args[1], &end);
    if (end == args[1] || *end) {
        (void)BS_FAIL(&err, BS_EINVAL, "'%s' is not a learning rate; a number above 0 is accepted", args[1]);
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    if (bs__ask(cli, client, BS__METHOD("Training", "SetLearningRate"), cli->timeout, &request.base,
                &bioseg__v1__set_learning_rate_response__descriptor, &message, &code) != BS_OK)
        return code;
    return done(cli, message, ((const Bioseg__V1__SetLearningRateResponse *)message)->job,
                "has its new learning rate from the next step on");
}
