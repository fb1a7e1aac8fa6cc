/* See train_plan.h. */
#include "clients/cli/train_plan.h"

#include "clients/cli/message.h"
#include "clients/cli/output.h"

#include <stdlib.h>

void bs__train_print_findings(Bioseg__V1__DatasetFinding *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, "bioseg: %s: %s\n", list[i]->warning ? "warning" : "problem", list[i]->text);
}

static bs_status ask_plan(struct bs__cli *cli, struct bs__rpc_client *client,
                          const Bioseg__V1__StartTrainingRequest *request, ProtobufCMessage **out,
                          struct bs_err *err)
{
    Bioseg__V1__StartTrainingRequest q = *request; /* borrows */
    q.dry_run = true;
    bs_status rc = bs__unary(client, BS__METHOD("Training", "Start"), cli->timeout, &q.base,
                             &bioseg__v1__start_training_response__descriptor, out, err);
    if (rc == BS_OK && !((const Bioseg__V1__StartTrainingResponse *)*out)->plan) {
        protobuf_c_message_free_unpacked(*out, NULL);
        return BS_FAIL(err, BS_EINTERNAL, "the server answered a dry run without a plan");
    }
    return rc;
}

int bs__train_refused(struct bs__cli *cli, struct bs__rpc_client *client,
                      const Bioseg__V1__StartTrainingRequest *request, const struct bs_err *refusal)
{
    ProtobufCMessage *message = NULL;
    struct bs_err ignored;
    if (cli->json || ask_plan(cli, client, request, &message, &ignored) != BS_OK)
        return bs__complain_server(cli, refusal);
    const Bioseg__V1__TrainingPlan *p = ((const Bioseg__V1__StartTrainingResponse *)message)->plan;
    const int code = bs__exit_of_server(refusal->code);
    if (p->problem_count == 0) { /* it was refused for something else */
        protobuf_c_message_free_unpacked(message, NULL);
        return bs__complain_server(cli, refusal);
    }
    bs__train_print_findings(p->findings, p->n_findings);
    fprintf(stderr, "bioseg: %s cannot be trained on as it is: %llu problems, %llu warnings\n",
            request->spec->dataset, (unsigned long long)p->problem_count,
            (unsigned long long)p->warning_count);
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}

static void print_plan(struct bs__cli *cli, const Bioseg__V1__TrainingPlan *p)
{
    char size[16];
    fprintf(cli->out, "%llu images to train on, %llu to validate with", (unsigned long long)p->train_count,
            (unsigned long long)p->validation_count);
    if (p->n_left_out)
        fprintf(cli->out, ", %zu left out (predictions that are not marked done)", p->n_left_out);
    fprintf(cli->out, "\n%llu steps, %llu for a pass over the images\n", (unsigned long long)p->steps,
            (unsigned long long)p->steps_per_epoch);
    if (p->planned_bytes)
        fprintf(cli->out, "%llu parameters to train, %s of memory\n", (unsigned long long)p->parameters,
                bs__human_bytes((double)p->planned_bytes, size));
    fprintf(cli->out, "%llu problems, %llu warnings\n", (unsigned long long)p->problem_count,
            (unsigned long long)p->warning_count);
}

int bs__train_dry_run(struct bs__cli *cli, struct bs__rpc_client *client,
                      const Bioseg__V1__StartTrainingRequest *request)
{
    ProtobufCMessage *message = NULL;
    struct bs_err err = {.msg = ""};
    if (ask_plan(cli, client, request, &message, &err) != BS_OK)
        return bs__complain_server(cli, &err);
    const Bioseg__V1__TrainingPlan *p = ((const Bioseg__V1__StartTrainingResponse *)message)->plan;
    const int code = p->problem_count ? bs__exit_of_server(BS_EPRECONDITION) : BS__EXIT_OK;
    if (cli->json) {
        json_t *j = bs__json_of_message(&p->base);
        bs__print_json(cli->out, j);
        json_decref(j);
    } else {
        bs__train_print_findings(p->findings, p->n_findings);
        print_plan(cli, p);
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
