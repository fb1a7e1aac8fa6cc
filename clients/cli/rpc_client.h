/* A small blocking gRPC client: bytes in, bytes out. The only file of the command line that touches grpc_*.
   A client is thread-safe; a call belongs to one thread, except that bs__rpc_client_cancel_all may be called by any.
   Errors of the server come back as the bs_status that stands for their gRPC code, with the server's own sentence. */
#ifndef BS_CLIENTS_CLI_RPC_CLIENT_H
#define BS_CLIENTS_CLI_RPC_CLIENT_H

#include "kernels/base/status.h"

#include <stdint.h>

struct bs__rpc_client;
struct bs__rpc_call;

struct bs__rpc_options {
    const char *target; /* "unix:/path" or "host:port" */
    const char *token;  /* bearer token, "" or NULL: none */
    bool tls;
    const char *tls_ca_pem; /* PEM text of the certificates to trust; NULL with tls: the system's */
    const char *tls_name;   /* NULL: the target's host */
};

/* Does not connect yet. Strings are copied. */
bs_status bs__rpc_client_create(const struct bs__rpc_options *opt, struct bs__rpc_client **out,
                                struct bs_err *err) BS_NODISCARD;
/* All calls must have been destroyed. Accepts NULL. */
void bs__rpc_client_destroy(struct bs__rpc_client *c);
/* Cancels every call under way and refuses new ones: Ctrl-C. */
void bs__rpc_client_cancel_all(struct bs__rpc_client *c);

/* Starts a call of any shape. timeout in seconds, 0: none. */
bs_status bs__rpc_call_start(struct bs__rpc_client *c, const char *method, double timeout,
                             struct bs__rpc_call **out, struct bs_err *err) BS_NODISCARD;
/* Sends one message; last: nothing follows. Fails with the call's own error when the server has ended it already. */
bs_status bs__rpc_send(struct bs__rpc_call *call, const void *data, size_t size, bool last,
                       struct bs_err *err) BS_NODISCARD;
/* Receives one message, which the caller frees; *data is NULL when the server has sent all and the call went well. */
bs_status bs__rpc_receive(struct bs__rpc_call *call, uint8_t **data, size_t *size,
                          struct bs_err *err) BS_NODISCARD;
/* Gives up: a pending or later receive ends with BS_ECANCELLED. */
void bs__rpc_cancel(struct bs__rpc_call *call);
/* Cancels first what has not ended. Accepts NULL. */
void bs__rpc_call_destroy(struct bs__rpc_call *call);

#endif
