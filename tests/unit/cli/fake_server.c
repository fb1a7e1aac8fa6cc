/* One thread, one call at a time. See fake_server.h. */
#include "fake_server.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fake_server {
    grpc_server *server;
    grpc_completion_queue *cq;
    pthread_t thread;
    const struct fake_answer *answer;
    char authorization[128];
    size_t received;
};

static void *const tag_call = (void *)1, *const tag_op = (void *)2, *const tag_close = (void *)3,
                   *const tag_stopped = (void *)4;

/* Waits for one tag; others that come meanwhile (the call's end, the stop) are noted. */
static bool wait_for(struct fake_server *s, void *tag, bool *closed, bool *stopped)
{
    for (;;) {
        grpc_event ev = grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (ev.tag == tag_close)
            *closed = true;
        if (ev.tag == tag_stopped)
            *stopped = true;
        if (ev.tag == tag)
            return ev.success != 0;
    }
}

static bool batch(struct fake_server *s, grpc_call *call, const grpc_op *op, size_t n, bool *closed,
                  bool *stopped)
{
    if (grpc_call_start_batch(call, op, n, tag_op, NULL) != GRPC_CALL_OK)
        return false;
    return wait_for(s, tag_op, closed, stopped);
}

static void read_all(struct fake_server *s, grpc_call *call, bool *closed, bool *stopped)
{
    for (;;) {
        grpc_byte_buffer *b = NULL;
        grpc_op op = {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &b};
        batch(s, call, &op, 1, closed, stopped);
        if (!b)
            return;
        s->received++;
        grpc_byte_buffer_destroy(b);
    }
}

static void send_message(struct fake_server *s, grpc_call *call, const ProtobufCMessage *m, bool *closed,
                         bool *stopped)
{
    grpc_slice slice = grpc_slice_malloc(protobuf_c_message_get_packed_size(m));
    protobuf_c_message_pack(m, GRPC_SLICE_START_PTR(slice));
    grpc_byte_buffer *b = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = b};
    batch(s, call, &op, 1, closed, stopped);
    grpc_byte_buffer_destroy(b);
}

static void serve(struct fake_server *s, grpc_call *call, bool *stopped)
{
    const struct fake_answer *a = s->answer;
    int cancelled = 0;
    bool closed = false;
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER, .data.recv_close_on_server.cancelled = &cancelled};
    grpc_call_start_batch(call, &op, 1, tag_close, NULL);
    op = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    batch(s, call, &op, 1, &closed, stopped);
    if (!a->eager)
        read_all(s, call, &closed, stopped);
    for (size_t i = 0; i < a->n; i++)
        send_message(s, call, a->message[i], &closed, stopped);
    if (!a->hang) {
        grpc_slice details = grpc_slice_from_static_string(a->details ? a->details : "");
        op = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
        op.data.send_status_from_server.status = (grpc_status_code)a->status;
        op.data.send_status_from_server.status_details = &details;
        batch(s, call, &op, 1, &closed, stopped);
    }
    while (!closed)
        wait_for(s, tag_close, &closed, stopped);
    grpc_call_unref(call);
}

static void *run(void *arg)
{
    struct fake_server *s = arg;
    bool stopped = false, ignored = false;
    while (!stopped) {
        grpc_call *call = NULL;
        grpc_call_details details;
        grpc_metadata_array md;
        grpc_call_details_init(&details);
        grpc_metadata_array_init(&md);
        grpc_server_request_call(s->server, &call, &details, &md, s->cq, s->cq, tag_call);
        bool ok = wait_for(s, tag_call, &ignored, &stopped);
        s->authorization[0] = '\0';
        s->received = 0;
        for (size_t i = 0; ok && i < md.count; i++)
            if (grpc_slice_str_cmp(md.metadata[i].key, "authorization") == 0)
                snprintf(s->authorization, sizeof s->authorization, "%.*s",
                         (int)GRPC_SLICE_LENGTH(md.metadata[i].value),
                         (const char *)GRPC_SLICE_START_PTR(md.metadata[i].value));
        if (ok)
            serve(s, call, &stopped);
        grpc_call_details_destroy(&details);
        grpc_metadata_array_destroy(&md);
        if (!ok)
            break;
    }
    while (!stopped)
        wait_for(s, tag_stopped, &ignored, &stopped);
    return NULL;
}

struct fake_server *fake_server_start(const struct fake_answer *answer, char target[64])
{
    struct fake_server *s = calloc(1, sizeof *s);
    grpc_init();
    s->answer = answer;
    s->server = grpc_server_create(NULL, NULL);
    s->cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_register_completion_queue(s->server, s->cq, NULL);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    int port = grpc_server_add_http2_port(s->server, "127.0.0.1:0", creds);
    grpc_server_credentials_release(creds);
    grpc_server_start(s->server);
    snprintf(target, 64, "127.0.0.1:%d", port);
    pthread_create(&s->thread, NULL, run, s);
    return s;
}

const char *fake_server_authorization(const struct fake_server *s)
{
    return s->authorization;
}

size_t fake_server_received(const struct fake_server *s)
{
    return s->received;
}

void fake_server_stop(struct fake_server *s)
{
    grpc_server_shutdown_and_notify(s->server, s->cq, tag_stopped);
    grpc_server_cancel_all_calls(s->server);
    pthread_join(s->thread, NULL);
    grpc_completion_queue_shutdown(s->cq);
    while (grpc_completion_queue_next(s->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ;
    grpc_server_destroy(s->server);
    grpc_completion_queue_destroy(s->cq);
    free(s);
    grpc_shutdown_blocking();
}
