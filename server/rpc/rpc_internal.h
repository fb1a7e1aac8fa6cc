/* What server.c (life of the server, accepting calls) and call.c (life of one call) share. */
#ifndef BS_SERVER_RPC_INTERNAL_H
#define BS_SERVER_RPC_INTERNAL_H

#include "server/rpc/pool.h"
#include "server/rpc/rpc.h"

#include <grpc/grpc.h>
#include <pthread.h>
#include <stdatomic.h>

#define BS__REQUEST_ID_BYTES 32
#define BS__MAX_METHOD       128

/* A completion queue tag. */
struct bs__op {
    void (*done)(void *owner, bool ok);
    void *owner;
};

/* One registered method. */
struct bs__entry {
    char path[BS__MAX_METHOD];
    const ProtobufCMethodDescriptor *descriptor;
    const struct bs_method *method; /* NULL: later */
    void *service;
    const char *later;
    bool strict; /* refuse what this version does not know */
};

struct bs_rpc {
    struct bs_rpc_options opt;
    grpc_server *server;
    grpc_completion_queue *cq;
    struct bs__entry *entry;
    size_t nentry, entry_cap;
    struct bs_pool *pool;
    pthread_t *thread; /* completion queue threads */
    int nthread;
    bool started;
    atomic_bool draining; /* refuse new work */
    atomic_bool stopping; /* arm no more accepts */
    atomic_int busy, lasting;
    atomic_ullong next_request;
    char request_prefix[16];
    pthread_mutex_t mu; /* guards the next three */
    int live;           /* calls that exist, armed ones included */
    bool shut_down;     /* the server said that it has ended */
    bool queue_closed;
    struct bs__op shutdown_op;
};

struct bs_call {
    struct bs_rpc *rpc;
    atomic_int refs; /* handler, and every operation in flight */
    grpc_call *call;
    grpc_call_details details;
    grpc_metadata_array metadata;
    const struct bs__entry *entry;
    struct bs_caller caller;
    const char *reason; /* of a failure, for programs; NULL: its status says it all */
    char request_id[BS__REQUEST_ID_BYTES];
    char method[BS__MAX_METHOD];
    struct bs_arena *arena;
    int64_t began_us;
    uint64_t bytes_in, bytes_out;
    struct bs__op accept_op, close_op, read_op, write_op, status_op;

    pthread_mutex_t mu; /* guards everything below */
    pthread_cond_t changed;
    bool reading, writing; /* an operation is in flight */
    bool write_ok;
    bool ended;                 /* the client has sent its last message */
    grpc_byte_buffer *incoming; /* filled by the core while reading */
    bool sent_initial;
    grpc_byte_buffer *reply; /* of a method with one answer: goes out with the status */
    int cancelled_by_core;   /* written by the core before close_op is done */
    atomic_bool cancelled;
    void (*on_cancel)(void *ctx);
    void *on_cancel_ctx;
    bool in_on_cancel;
};

/* A call that waits to be accepted. NULL when memory ran out. */
struct bs_call *bs__call_create(struct bs_rpc *r);
void bs__call_unref(struct bs_call *c);
/* Starts to listen for the end of the call (client gone). */
void bs__call_watch_close(struct bs_call *c);
/* Begins to receive the first message ahead of the handler. */
void bs__call_read_ahead(struct bs_call *c);
/* Sends the reply, if any, and the status; nothing may follow. */
void bs__call_finish(struct bs_call *c, bs_status status, const struct bs_err *err);
/* One call less; closes the queue when it was the last of a server that has ended. */
void bs__rpc_call_gone(struct bs_rpc *r);

#endif
