/* Messages over a call: protobuf-c packed, sent, received and unpacked. */
#ifndef BS_CLIENTS_CLI_MESSAGE_H
#define BS_CLIENTS_CLI_MESSAGE_H

#include "clients/cli/rpc_client.h"

#include <protobuf-c/protobuf-c.h>

/* The full name of a method of bioseg.v1. */
#define BS__METHOD(service, method) "/bioseg.v1." service "/" method

bs_status bs__message_send(struct bs__rpc_call *call, const ProtobufCMessage *message, bool last,
                           struct bs_err *err) BS_NODISCARD;
/* *out is NULL at the end of the stream; the caller frees it with protobuf_c_message_free_unpacked. */
bs_status bs__message_receive(struct bs__rpc_call *call, const ProtobufCMessageDescriptor *type,
                              ProtobufCMessage **out, struct bs_err *err) BS_NODISCARD;
/* The one answer of a unary or client-streaming call, and the call's good end. */
bs_status bs__message_receive_only(struct bs__rpc_call *call, const ProtobufCMessageDescriptor *type,
                                   ProtobufCMessage **out, struct bs_err *err) BS_NODISCARD;
/* A whole unary call. */
bs_status bs__unary(struct bs__rpc_client *client, const char *method, double timeout,
                    const ProtobufCMessage *request, const ProtobufCMessageDescriptor *type,
                    ProtobufCMessage **out, struct bs_err *err) BS_NODISCARD;

#endif
