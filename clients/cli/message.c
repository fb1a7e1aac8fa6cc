/* Messages over a call. See message.h. */
#include "clients/cli/message.h"

#include <stdlib.h>

bs_status bs__message_send(struct bs__rpc_call *call, const ProtobufCMessage *message, bool last,
                           struct bs_err *err)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(size ? size : 1);
    if (!data)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a message of %zu bytes", size);
    protobuf_c_message_pack(message, data);
    bs_status rc = bs__rpc_send(call, data, size, last, err);
    free(data);
    return rc;
}

bs_status bs__message_receive(struct bs__rpc_call *call, const ProtobufCMessageDescriptor *type,
                              ProtobufCMessage **out, struct bs_err *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    *out = NULL;
    bs_status rc = bs__rpc_receive(call, &data, &size, err);
    if (rc != BS_OK || !data)
        return rc;
    *out = protobuf_c_message_unpack(type, NULL, size, data);
    free(data);
    return *out ? BS_OK : BS_FAIL(err, BS_ECORRUPT, "the server's answer is not a %s", type->name);
}

bs_status bs__message_receive_only(struct bs__rpc_call *call, const ProtobufCMessageDescriptor *type,
                                   ProtobufCMessage **out, struct bs_err *err)
{
    ProtobufCMessage *more = NULL;
    bs_status rc = bs__message_receive(call, type, out, err);
    if (rc == BS_OK && !*out)
        rc = BS_FAIL(err, BS_ECORRUPT, "the server said OK but sent no %s", type->name);
    if (rc == BS_OK)
        rc = bs__message_receive(call, type, &more, err);
    if (rc == BS_OK && more)
        rc = BS_FAIL(err, BS_ECORRUPT, "the server sent more than one %s", type->name);
    if (more)
        protobuf_c_message_free_unpacked(more, NULL);
    if (rc != BS_OK && *out) {
        protobuf_c_message_free_unpacked(*out, NULL);
        *out = NULL;
    }
    return rc;
}

bs_status bs__unary(struct bs__rpc_client *client, const char *method, double timeout,
                    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                    ProtobufCMessage **out, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    *out = NULL;
    bs_status rc = bs__rpc_call_start(client, method, timeout, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, request, true, err);
    if (rc == BS_OK)
        rc = bs__message_receive_only(call, type, out, err);
    bs__rpc_call_destroy(call);
    return rc;
}
