/* bioseg info: what the server is and can do. */
#include "clients/cli/interrupt.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"
#include "clients/cli/subcommand.h"

#include "bioseg/v1/server.pb-c.h"

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
