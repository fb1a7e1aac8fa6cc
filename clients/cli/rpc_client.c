/* gRPC C core, blocking. Every call has a completion queue of its own, plucked by the calling thread alone.
   The client keeps a list of the calls under way so that Ctrl-C reaches them; `mu` guards the list and `closed`. */
#include "clients/cli/rpc_client.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>

/* Stream frames are at most 1 MiB; only the answer to a small image, with 4 bytes per pixel, is larger. */
#define MAX_MESSAGE (320 << 20)
/* Our server puts this on whatever it answers. */
#define REQUEST_ID_KEY "bioseg-request-id"

struct bs__rpc_client {
    grpc_channel *channel;
    char *target;
    char *authorization; /* "Bearer TOKEN" or NULL */
    pthread_mutex_t mu;  /* guards calls and closed */
    struct bs__rpc_call *calls;
    bool closed;
};

struct bs__rpc_call {
    struct bs__rpc_client *client; /* borrowed */
    struct bs__rpc_call *next, **link;
    grpc_call *call;
    grpc_completion_queue *cq;
    grpc_metadata_array initial, trailing;
    grpc_metadata auth;
    grpc_status_code status;
    grpc_slice details;
    bool finished; /* status and details are there */
};

/* Tags of the batches; only their addresses matter. */
enum { TAG_HEADERS, TAG_STATUS, TAG_SEND, TAG_RECEIVE, TAGS };
static char tag_address[TAGS];

static void discard_log(gpr_log_func_args *args)
{
    (void)args;
}

bs_status bs__rpc_client_create(const struct bs__rpc_options *opt, struct bs__rpc_client **out,
                                struct bs_err *err)
{
    struct bs__rpc_client *c = calloc(1, sizeof *c);
    grpc_channel_credentials *creds = NULL;
    bs_status rc = BS_OK;
    if (!c)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the connection");
    /* The library writes its own view of failures to stderr; ours is the one a user should read. */
    if (!getenv("GRPC_VERBOSITY"))
        gpr_set_log_function(discard_log);
    grpc_init();
    pthread_mutex_init(&c->mu, NULL);
    c->target = strdup(opt->target);
    if (opt->token && opt->token[0] && asprintf(&c->authorization, "Bearer %s", opt->token) < 0)
        c->authorization = NULL;
    if (!c->target || (opt->token && opt->token[0] && !c->authorization)) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the connection");
        goto cleanup;
    }
    creds = opt->tls ? grpc_ssl_credentials_create(opt->tls_ca_pem, NULL, NULL, NULL)
                     : grpc_insecure_credentials_create();
    if (!creds) {
        rc = BS_FAIL(err, BS_EINVAL, "the TLS certificates to trust were not understood; expected: PEM text");
        goto cleanup;
    }
    grpc_arg arg[3] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH,
         .value.integer = MAX_MESSAGE},
        /* A lab's daemon is not behind the web proxy of the environment. */
        {.type = GRPC_ARG_INTEGER, .key = (char *)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
    };
    grpc_channel_args args = {.num_args = 2, .args = arg};
    if (opt->tls && opt->tls_name) {
        arg[2] = (grpc_arg){.type = GRPC_ARG_STRING,
                            .key = (char *)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                            .value.string = (char *)opt->tls_name};
        args.num_args = 3;
    }
    c->channel = grpc_channel_create(c->target, creds, &args);
cleanup:
    if (creds)
        grpc_channel_credentials_release(creds);
    if (rc != BS_OK) {
        bs__rpc_client_destroy(c);
        return rc;
    }
    *out = c;
    return BS_OK;
}

void bs__rpc_client_destroy(struct bs__rpc_client *c)
{
    if (!c)
        return;
    BS_ASSERT(!c->calls);
    if (c->channel)
        grpc_channel_destroy(c->channel);
    if (c->authorization)
        explicit_bzero(c->authorization, strlen(c->authorization));
    free(c->authorization);
    free(c->target);
    pthread_mutex_destroy(&c->mu);
    free(c);
    grpc_shutdown_blocking();
}

void bs__rpc_client_cancel_all(struct bs__rpc_client *c)
{
    pthread_mutex_lock(&c->mu);
    c->closed = true;
    for (struct bs__rpc_call *call = c->calls; call; call = call->next)
        grpc_call_cancel(call->call, NULL);
    pthread_mutex_unlock(&c->mu);
}

static bool link_call(struct bs__rpc_client *c, struct bs__rpc_call *call)
{
    pthread_mutex_lock(&c->mu);
    bool open = !c->closed;
    if (open) {
        call->next = c->calls;
        call->link = &c->calls;
        if (call->next)
            call->next->link = &call->next;
        c->calls = call;
    }
    pthread_mutex_unlock(&c->mu);
    return open;
}

static void unlink_call(struct bs__rpc_call *call)
{
    pthread_mutex_lock(&call->client->mu);
    if (call->link) {
        *call->link = call->next;
        if (call->next)
            call->next->link = call->link;
        call->link = NULL;
    }
    pthread_mutex_unlock(&call->client->mu);
}

/* Blocks until the batch with this tag is done; true when it went well. */
static bool pluck(struct bs__rpc_call *call, int tag)
{
    grpc_event ev =
        grpc_completion_queue_pluck(call->cq, &tag_address[tag], gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    BS_ASSERT(ev.type == GRPC_OP_COMPLETE);
    return ev.success != 0;
}

static void start_batch(struct bs__rpc_call *call, const grpc_op *op, size_t n, int tag)
{
    grpc_call_error e = grpc_call_start_batch(call->call, op, n, &tag_address[tag], NULL);
    BS_ASSERT(e == GRPC_CALL_OK);
}

bs_status bs__rpc_call_start(struct bs__rpc_client *c, const char *method, double timeout,
                             struct bs__rpc_call **out, struct bs_err *err)
{
    struct bs__rpc_call *call = calloc(1, sizeof *call);
    if (!call)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a call");
    gpr_timespec deadline = gpr_inf_future(GPR_CLOCK_MONOTONIC);
    if (timeout > 0)
        deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                gpr_time_from_millis((int64_t)(timeout * 1000.0), GPR_TIMESPAN));
    call->client = c;
    call->details = grpc_empty_slice();
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    call->cq = grpc_completion_queue_create_for_pluck(NULL);
    grpc_slice path = grpc_slice_from_copied_string(method);
    call->call = grpc_channel_create_call(c->channel, NULL, GRPC_PROPAGATE_DEFAULTS, call->cq, path, NULL,
                                          deadline, NULL);
    grpc_slice_unref(path); /* the call has its own reference */
    grpc_op op[2] = {0};
    op[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    if (c->authorization) {
        call->auth.key = grpc_slice_from_static_string("authorization");
        call->auth.value = grpc_slice_from_copied_string(c->authorization);
        op[0].data.send_initial_metadata.metadata = &call->auth;
        op[0].data.send_initial_metadata.count = 1;
    }
    op[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    op[1].data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    start_batch(call, op, 2, TAG_HEADERS);
    op[0] = (grpc_op){.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op[0].data.recv_status_on_client.trailing_metadata = &call->trailing;
    op[0].data.recv_status_on_client.status = &call->status;
    op[0].data.recv_status_on_client.status_details = &call->details;
    start_batch(call, op, 1, TAG_STATUS);
    if (!link_call(c, call)) {
        bs__rpc_call_destroy(call);
        return BS_FAIL(err, BS_ECANCELLED, "interrupted");
    }
    *out = call;
    return BS_OK;
}

/* The one place where gRPC codes become ours; server/rpc has the other direction. */
static bs_status status_of(grpc_status_code code)
{
    switch (code) {
    case GRPC_STATUS_OK:
        return BS_OK;
    case GRPC_STATUS_CANCELLED:
        return BS_ECANCELLED;
    case GRPC_STATUS_INVALID_ARGUMENT:
    case GRPC_STATUS_OUT_OF_RANGE:
        return BS_EINVAL;
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return BS_EDEADLINE;
    case GRPC_STATUS_NOT_FOUND:
        return BS_ENOTFOUND;
    case GRPC_STATUS_ALREADY_EXISTS:
        return BS_EEXIST;
    case GRPC_STATUS_PERMISSION_DENIED:
        return BS_EPERMISSION;
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return BS_ELIMIT;
    case GRPC_STATUS_FAILED_PRECONDITION:
        return BS_EPRECONDITION;
    case GRPC_STATUS_UNIMPLEMENTED:
        return BS_EUNSUPPORTED;
    case GRPC_STATUS_UNAVAILABLE:
    case GRPC_STATUS_ABORTED:
        return BS_EUNAVAILABLE;
    case GRPC_STATUS_DATA_LOSS:
        return BS_ECORRUPT;
    case GRPC_STATUS_UNAUTHENTICATED:
        return BS_EUNAUTHENTICATED;
    default:
        return BS_EINTERNAL;
    }
}

/* The request id that our server put on its answer; false when there is none. */
static bool request_id(const struct bs__rpc_call *call, char out[64])
{
    const grpc_metadata_array *array[] = {&call->trailing, &call->initial};
    for (size_t a = 0; a < 2; a++)
        for (size_t i = 0; i < array[a]->count; i++) {
            if (grpc_slice_str_cmp(array[a]->metadata[i].key, REQUEST_ID_KEY) != 0)
                continue;
            grpc_slice value = array[a]->metadata[i].value;
            snprintf(out, 64, "%.*s", (int)GRPC_SLICE_LENGTH(value),
                     (const char *)GRPC_SLICE_START_PTR(value));
            return true;
        }
    return false;
}

/* Waits for the end of the call and turns its status into an error. */
static bs_status finish(struct bs__rpc_call *call, struct bs_err *err)
{
    if (!call->finished) {
        pluck(call, TAG_STATUS);
        pluck(call, TAG_HEADERS);
        call->finished = true;
        unlink_call(call);
    }
    bs_status code = status_of(call->status);
    if (code == BS_OK)
        return BS_OK;
    pthread_mutex_lock(&call->client->mu);
    bool interrupted = call->client->closed;
    pthread_mutex_unlock(&call->client->mu);
    if (interrupted)
        return BS_FAIL(err, BS_ECANCELLED, "interrupted");
    char text[400];
    size_t n = GRPC_SLICE_LENGTH(call->details);
    n = n < sizeof text - 1 ? n : sizeof text - 1;
    memcpy(text, GRPC_SLICE_START_PTR(call->details), n);
    text[n] = '\0';
    /* Without a request id the sentence is not the server's but the library's. */
    char id[64];
    bool from_server = request_id(call, id);
    if (code == BS_EUNAVAILABLE && !from_server)
        return BS_FAIL(err, code, "no server answers at %s (%s); is biosegd running there?",
                       call->client->target, text);
    /* Where the server is at fault, the id is what its administrator will ask for. */
    if (from_server && code == BS_EINTERNAL)
        return BS_FAIL(err, code, "%s (request %s)", n ? text : bs_status_name(code), id);
    return BS_FAIL(err, code, "%s", n ? text : bs_status_name(code));
}

bs_status bs__rpc_send(struct bs__rpc_call *call, const void *data, size_t size, bool last,
                       struct bs_err *err)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(data, size);
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    grpc_op op[2] = {0};
    op[0].op = GRPC_OP_SEND_MESSAGE;
    op[0].data.send_message.send_message = buffer;
    op[1].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    start_batch(call, op, last ? 2 : 1, TAG_SEND);
    bool sent = pluck(call, TAG_SEND);
    grpc_byte_buffer_destroy(buffer);
    if (sent)
        return BS_OK;
    bs_status rc = finish(call, err);
    /* A server that says OK before it has heard everything breaks the protocol of every stream we have. */
    return rc != BS_OK
               ? rc
               : BS_FAIL(err, BS_EINTERNAL, "the server ended the call before it had read the request");
}

bs_status bs__rpc_receive(struct bs__rpc_call *call, uint8_t **data, size_t *size, struct bs_err *err)
{
    grpc_byte_buffer *buffer = NULL;
    *data = NULL;
    *size = 0;
    if (call->finished)
        return finish(call, err);
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &buffer;
    start_batch(call, &op, 1, TAG_RECEIVE);
    pluck(call, TAG_RECEIVE);
    if (!buffer)
        return finish(call, err);
    grpc_byte_buffer_reader reader;
    bs_status rc = BS_OK;
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
        rc = BS_FAIL(err, BS_ECORRUPT, "a message of the server could not be read");
    } else {
        grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
        *size = GRPC_SLICE_LENGTH(all);
        *data = malloc(*size ? *size : 1);
        if (*data)
            memcpy(*data, GRPC_SLICE_START_PTR(all), *size);
        else
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for a message of %zu bytes", *size);
        grpc_slice_unref(all);
        grpc_byte_buffer_reader_destroy(&reader);
    }
    grpc_byte_buffer_destroy(buffer);
    return rc;
}

void bs__rpc_cancel(struct bs__rpc_call *call)
{
    grpc_call_cancel(call->call, NULL);
}

void bs__rpc_call_destroy(struct bs__rpc_call *call)
{
    if (!call)
        return;
    if (!call->finished) {
        grpc_call_cancel(call->call, NULL);
        pluck(call, TAG_STATUS);
        pluck(call, TAG_HEADERS);
    }
    unlink_call(call);
    if (call->client->authorization)
        grpc_slice_unref(call->auth.value);
    grpc_slice_unref(call->details);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_call_unref(call->call);
    grpc_completion_queue_shutdown(call->cq);
    grpc_completion_queue_destroy(call->cq);
    free(call);
}
