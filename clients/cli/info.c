/* bioseg info: what the server is and can do. And the commands that a later version will have. */
#include "clients/cli/interrupt.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/datasets.pb-c.h"
#include "bioseg/v1/server.pb-c.h"
#include "bioseg/v1/training.pb-c.h"

#include <string.h>

static error_t parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = state->input;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "'%s': info takes no arguments", arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char doc[] = "Asks the server what it is: version, features, devices, limits.\v"
                          "Examples:\n"
                          "  bioseg info\n"
                          "  bioseg --server gpu-box:50051 --tls-ca lab.pem info --json\n";

static bs_status connect_for(struct bs__cli *cli, struct bs__rpc_client **client, int *code)
{
    struct bs_err err = {0};
    bs_status rc = bs__cli_connect(cli, client, &err);
    if (rc != BS_OK)
        *code = bs__complain(cli, &err, bs__exit_of_local(rc));
    return rc;
}

static void cancel_calls(void *client)
{
    bs__rpc_client_cancel_all(client);
}

int bs__info_main(struct bs__cli *cli, int argc, char **argv)
{
    const struct argp_child children[] = {{.argp = &bs__cli_argp, .header = "Connection and output:"}, {0}};
    const struct argp argp = {.parser = parse, .doc = doc, .children = children};
    struct bs__rpc_client *client = NULL;
    ProtobufCMessage *response = NULL;
    Bioseg__V1__GetInfoRequest request = BIOSEG__V1__GET_INFO_REQUEST__INIT;
    int code;
    argp_parse(&argp, argc, argv, 0, NULL, cli);
    if (connect_for(cli, &client, &code) != BS_OK)
        return code;
    bs__interrupt_notify(cli->interrupt, cancel_calls, client);
    if (bs__ask(cli, client, BS__METHOD("Server", "GetInfo"), cli->timeout, &request.base,
                &bioseg__v1__get_info_response__descriptor, &response, &code) == BS_OK) {
        json_t *info = bs__json_of_message(response);
        if (cli->json) {
            bs__print_json(cli->out, info);
        } else {
            bs__make_times_readable(info);
            bs__print_fields(cli->out, info, 0);
        }
        json_decref(info);
        protobuf_c_message_free_unpacked(response, NULL);
    }
    bs__interrupt_notify(cli->interrupt, NULL, NULL);
    bs__rpc_client_destroy(client);
    return code;
}

/* `train` and `datasets`: whether the server has them is the server's to say, so we ask it and pass on its words. */
int bs__unserved_main(struct bs__cli *cli, int argc, char **argv)
{
    bool train = strstr(argv[0], "train") != NULL;
    const char *what = train ? "training" : "datasets";
    struct bs__rpc_client *client = NULL;
    ProtobufCMessage *response = NULL;
    struct bs_err err = {0};
    int code;
    if (argc >= 2 && strcmp(argv[1], "--help") == 0) {
        fprintf(cli->out,
                "This version of bioseg does not have %s: it segments with models that are there.\n"
                "`bioseg %s` asks the server whether it has them.\n",
                what, train ? "train" : "datasets");
        return BS__EXIT_OK;
    }
    if (connect_for(cli, &client, &code) != BS_OK)
        return code;
    bs__interrupt_notify(cli->interrupt, cancel_calls, client);
    Bioseg__V1__DescribeTrainingRequest describe = BIOSEG__V1__DESCRIBE_TRAINING_REQUEST__INIT;
    Bioseg__V1__ListDatasetsRequest list = BIOSEG__V1__LIST_DATASETS_REQUEST__INIT;
    bs_status rc = train ? bs__unary(client, BS__METHOD("Training", "Describe"), cli->timeout, &describe.base,
                                     &bioseg__v1__describe_training_response__descriptor, &response, &err)
                         : bs__unary(client, BS__METHOD("Datasets", "List"), cli->timeout, &list.base,
                                     &bioseg__v1__list_datasets_response__descriptor, &response, &err);
    if (rc == BS_OK) {
        protobuf_c_message_free_unpacked(response, NULL);
        (void)BS_FAIL(
            &err, BS_EUNSUPPORTED,
            "the server has %s, but bioseg " BS_VERSION " has no command for it: use a newer bioseg", what);
    }
    code = bs__complain_server(cli, &err);
    bs__interrupt_notify(cli->interrupt, NULL, NULL);
    bs__rpc_client_destroy(client);
    return code;
}
