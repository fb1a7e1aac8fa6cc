/* The gRPC server: ports, completion queue threads, the table of methods, and the life of calls. This folder is the only
   code that touches grpc_*. Services register a table and see struct bs_call (call.h) only. */
#ifndef BS_SERVER_RPC_RPC_H
#define BS_SERVER_RPC_RPC_H

#include "server/rpc/call.h"

#include <stdint.h>

struct bs_rpc;

/* Asked before anything of a call is read. */
struct bs_rpc_gate {
    void *ctx;
    bs_status (*check)(void *ctx, const char *method, enum bs_transport transport, const char *authorization,
                       struct bs_caller *caller, struct bs_err *err);
};

struct bs_rpc_options {
    struct bs_log *log; /* borrowed */
    struct bs_rpc_gate gate;
    int max_calls;            /* at a time, each has a thread */
    int max_lasting_calls;    /* of them, calls that may wait for hours (watches, reflection) */
    size_t max_receive_bytes; /* one message with its pixels */
    size_t max_message_bytes; /* one message without pixels, and the memory of one request */
    int max_streams;          /* calls of one connection at a time */
    int silence_seconds;      /* a client that sends or takes nothing for so long is given up */
    const char *hidden_path;  /* no error text that holds this leaves the daemon */
};

/* A unary method gets its request; one with reads_itself gets NULL and calls bs_call_read. */
typedef bs_status bs_method_fn(void *service, struct bs_call *call, const ProtobufCMessage *request,
                               struct bs_err *err);
struct bs_method {
    const char *name; /* as in the .proto */
    bs_method_fn *run;
    bool reads_itself;    /* client streams, and requests with pixels */
    bool streams_answers; /* more than one answer */
    bool lasting;         /* may wait for hours: counted against max_lasting_calls */
    bool while_draining;  /* answered although the server is about to end */
};

bs_status bs_rpc_create(const struct bs_rpc_options *opt, struct bs_rpc **out,
                        struct bs_err *err) BS_NODISCARD;
/* Before start. Methods of the descriptor that are not in the table answer UNIMPLEMENTED with the text `later`. Borrows
   everything. */
void bs_rpc_add_service(struct bs_rpc *r, const ProtobufCServiceDescriptor *descriptor,
                        const struct bs_method *methods, size_t nmethod, void *service, const char *later);

/* Before start. A Unix socket at path (an old socket there must be gone), or a TCP address; cert and key PEM text or NULL.
   *port is the one that was bound. */
bs_status bs_rpc_listen_unix(struct bs_rpc *r, const char *path, struct bs_err *err) BS_NODISCARD;
bs_status bs_rpc_listen_tcp(struct bs_rpc *r, const char *host_port, const char *cert_pem,
                            const char *key_pem, int *port, struct bs_err *err) BS_NODISCARD;

bs_status bs_rpc_start(struct bs_rpc *r, struct bs_err *err) BS_NODISCARD;
/* From now on calls are refused with UNAVAILABLE, except those with while_draining; what runs goes on. */
void bs_rpc_drain(struct bs_rpc *r);
/* Calls that run now, lasting ones not counted. */
int bs_rpc_busy(struct bs_rpc *r);
/* Cancels what still runs, waits for every handler, ends. Accepts NULL. */
void bs_rpc_destroy(struct bs_rpc *r);

/* The one place where a status becomes a gRPC status code. */
int bs_rpc_status_code(bs_status status);

#endif
