/* One call: reading, writing, cancellation, the end; see call.h. Operations complete on the completion queue threads,
   which only set flags and wake the handler. */
#include "proto/wire/unpack.h"
#include "server/rpc/rpc_internal.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static void wake(struct bs_call *c)
{
    pthread_cond_broadcast(&c->changed);
}

/* ---- completions ---- */

static void read_done(void *owner, bool ok)
{
    struct bs_call *c = owner;
    pthread_mutex_lock(&c->mu);
    c->reading = false;
    if (!ok || !c->incoming)
        c->ended = true;
    wake(c);
    pthread_mutex_unlock(&c->mu);
    bs__call_unref(c);
}

static void write_done(void *owner, bool ok)
{
    struct bs_call *c = owner;
    pthread_mutex_lock(&c->mu);
    c->writing = false;
    c->write_ok = ok;
    wake(c);
    pthread_mutex_unlock(&c->mu);
    bs__call_unref(c);
}

static void status_done(void *owner, bool ok)
{
    (void)ok;
    bs__call_unref(owner);
}

static void close_done(void *owner, bool ok)
{
    struct bs_call *c = owner;
    (void)ok;
    pthread_mutex_lock(&c->mu);
    void (*fn)(void *) = NULL;
    void *ctx = NULL;
    if (c->cancelled_by_core) {
        atomic_store(&c->cancelled, true);
        fn = c->on_cancel;
        ctx = c->on_cancel_ctx;
        c->on_cancel = NULL;
        c->in_on_cancel = fn != NULL;
    }
    wake(c);
    pthread_mutex_unlock(&c->mu);
    if (fn) {
        fn(ctx);
        pthread_mutex_lock(&c->mu);
        c->in_on_cancel = false;
        wake(c);
        pthread_mutex_unlock(&c->mu);
    }
    bs__call_unref(c);
}

/* ---- life ---- */

struct bs_call *bs__call_create(struct bs_rpc *r)
{
    struct bs_call *c = calloc(1, sizeof *c);
    if (!c)
        return NULL;
    c->rpc = r;
    atomic_init(&c->refs, 1);
    grpc_call_details_init(&c->details);
    grpc_metadata_array_init(&c->metadata);
    c->close_op = (struct bs__op){close_done, c};
    c->read_op = (struct bs__op){read_done, c};
    c->write_op = (struct bs__op){write_done, c};
    c->status_op = (struct bs__op){status_done, c};
    pthread_mutex_init(&c->mu, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return c;
}

void bs__call_unref(struct bs_call *c)
{
    if (atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    struct bs_rpc *r = c->rpc;
    if (c->incoming)
        grpc_byte_buffer_destroy(c->incoming);
    if (c->reply)
        grpc_byte_buffer_destroy(c->reply);
    if (c->call)
        grpc_call_unref(c->call);
    grpc_call_details_destroy(&c->details);
    grpc_metadata_array_destroy(&c->metadata);
    bs_arena_destroy(c->arena);
    pthread_cond_destroy(&c->changed);
    pthread_mutex_destroy(&c->mu);
    free(c);
    bs__rpc_call_gone(r);
}

/* Starts a batch that holds a reference until it is done. The core refuses a batch only when we broke its rules. */
static void start(struct bs_call *c, const grpc_op *ops, size_t n, struct bs__op *op)
{
    atomic_fetch_add(&c->refs, 1);
    grpc_call_error e = grpc_call_start_batch(c->call, ops, n, op, NULL);
    BS_ASSERT(e == GRPC_CALL_OK);
}

void bs__call_watch_close(struct bs_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &c->cancelled_by_core;
    start(c, &op, 1, &c->close_op);
}

void bs_call_set_reason(struct bs_call *c, const char *reason)
{
    c->reason = reason;
}

const char *bs_call_request_id(const struct bs_call *c)
{
    return c->request_id;
}

const struct bs_caller *bs_call_caller(const struct bs_call *c)
{
    return &c->caller;
}

struct bs_arena *bs_call_arena(struct bs_call *c)
{
    return c->arena;
}

struct bs_log *bs_call_log(struct bs_call *c)
{
    return c->rpc->opt.log;
}

/* ---- cancellation ---- */

bool bs_call_cancelled(const struct bs_call *c)
{
    return atomic_load(&c->cancelled);
}

bs_status bs_call_cancelled_status(const struct bs_call *c, struct bs_err *err)
{
    gpr_timespec deadline = gpr_convert_clock_type(c->details.deadline, GPR_CLOCK_MONOTONIC);
    if (gpr_time_cmp(gpr_now(GPR_CLOCK_MONOTONIC), deadline) >= 0)
        return BS_FAIL(err, BS_EDEADLINE, "the deadline of the request passed");
    if (atomic_load(&c->rpc->draining))
        return BS_FAIL(err, BS_EUNAVAILABLE, "the server is ending; try again when it is back");
    return BS_FAIL(err, BS_ECANCELLED, "the client gave up");
}

void bs_call_on_cancel(struct bs_call *c, void (*fn)(void *ctx), void *ctx)
{
    pthread_mutex_lock(&c->mu);
    while (c->in_on_cancel)
        pthread_cond_wait(&c->changed, &c->mu);
    bool now = fn && atomic_load(&c->cancelled);
    c->on_cancel = now ? NULL : fn;
    c->on_cancel_ctx = ctx;
    pthread_mutex_unlock(&c->mu);
    if (now)
        fn(ctx);
}

/* ---- reading ---- */

static void start_read(struct bs_call *c)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &c->incoming;
    c->reading = true;
    start(c, &op, 1, &c->read_op);
}

void bs__call_read_ahead(struct bs_call *c)
{
    pthread_mutex_lock(&c->mu);
    start_read(c);
    pthread_mutex_unlock(&c->mu);
}

/* Waits under mu for *flag to become false; false when the client stayed silent. */
static bool wait_for(struct bs_call *c, const bool *flag)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += c->rpc->opt.silence_seconds;
    while (*flag) {
        if (pthread_cond_timedwait(&c->changed, &c->mu, &until) != 0 && *flag)
            return false;
    }
    return true;
}

struct fragments {
    grpc_byte_buffer_reader reader;
};

static bool next_fragment(void *ctx, const uint8_t **data, size_t *n)
{
    struct fragments *f = ctx;
    grpc_slice *slice;
    if (!grpc_byte_buffer_reader_peek(&f->reader, &slice))
        return false;
    *data = GRPC_SLICE_START_PTR(*slice);
    *n = GRPC_SLICE_LENGTH(*slice);
    return true;
}

static bs_status decode(struct bs_call *c, grpc_byte_buffer *buffer, struct bs_arena *arena,
                        const struct bs_wire_pixels *pixels, ProtobufCMessage **message, struct bs_err *err)
{
    bs_status rc;
    struct fragments f;
    uint8_t *rest = NULL;
    size_t length = grpc_byte_buffer_length(buffer), n;
    size_t cap = length + 8 < c->rpc->opt.max_message_bytes ? length + 8 : c->rpc->opt.max_message_bytes;
    c->bytes_in += length;
    if (!grpc_byte_buffer_reader_init(&f.reader, buffer))
        return BS_FAIL(err, BS_ECORRUPT, "the message cannot be decompressed");
    if (!(rest = malloc(cap))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the message");
        goto cleanup;
    }
    struct bs_wire_source source = {&f, next_fragment};
    if ((rc = bs_wire_scan(&source, pixels, rest, cap, &n, err)) != BS_OK)
        goto cleanup;
    rc = bs_wire_unpack(c->entry->descriptor->input, rest, n, c->entry->strict, arena, message, err);

cleanup:
    free(rest);
    grpc_byte_buffer_reader_destroy(&f.reader);
    return rc;
}

bs_status bs_call_read(struct bs_call *c, struct bs_arena *arena, const struct bs_wire_pixels *pixels,
                       ProtobufCMessage **message, struct bs_err *err)
{
    bs_status rc = BS_OK;
    grpc_byte_buffer *buffer = NULL;
    *message = NULL;
    pthread_mutex_lock(&c->mu);
    if (!c->incoming && !c->reading && !c->ended)
        start_read(c);
    if (!wait_for(c, &c->reading))
        rc =
            BS_FAIL(err, BS_EDEADLINE, "the client sent nothing for %d seconds", c->rpc->opt.silence_seconds);
    else {
        buffer = c->incoming;
        c->incoming = NULL;
    }
    pthread_mutex_unlock(&c->mu);
    if (rc != BS_OK)
        return rc;
    if (atomic_load(&c->cancelled))
        rc = bs_call_cancelled_status(c, err);
    else if (buffer)
        rc = decode(c, buffer, arena ? arena : c->arena, pixels, message, err);
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    return rc;
}

/* ---- writing ---- */

static size_t put_varint(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    for (; v >= 128; v >>= 7)
        out[n++] = (uint8_t)(v | 128u);
    out[n++] = (uint8_t)v;
    return n;
}

static void drop_mapping(void *mapping)
{
    bs_mapping_unref(mapping);
}

#define MAX_BYTES_FIELDS 4

/* message, then each bytes field: a small slice with its tag and length, a slice that points into the mapping. */
static grpc_byte_buffer *assemble(uint32_t outer, const ProtobufCMessage *message,
                                  const struct bs_call_bytes *bytes, size_t nbytes)
{
    grpc_slice slices[1 + 2 * MAX_BYTES_FIELDS];
    size_t nslice = 1, packed = protobuf_c_message_get_packed_size(message), inner = packed;
    uint8_t head[MAX_BYTES_FIELDS][20], prefix[20];
    size_t nhead[MAX_BYTES_FIELDS], nprefix = 0;
    BS_ASSERT(nbytes <= MAX_BYTES_FIELDS);
    for (size_t i = 0; i < nbytes; i++) {
        nhead[i] = put_varint(head[i], (uint64_t)bytes[i].field << 3 | 2);
        nhead[i] += put_varint(head[i] + nhead[i], bytes[i].n);
        inner += nhead[i] + bytes[i].n;
    }
    if (outer) {
        nprefix = put_varint(prefix, (uint64_t)outer << 3 | 2);
        nprefix += put_varint(prefix + nprefix, inner);
    }
    slices[0] = grpc_slice_malloc(nprefix + packed);
    memcpy(GRPC_SLICE_START_PTR(slices[0]), prefix, nprefix);
    protobuf_c_message_pack(message, GRPC_SLICE_START_PTR(slices[0]) + nprefix);
    for (size_t i = 0; i < nbytes; i++) {
        if (bytes[i].n == 0)
            continue;
        slices[nslice++] = grpc_slice_from_copied_buffer((const char *)head[i], nhead[i]);
        const uint8_t *at = (const uint8_t *)bs_mapping_data(bytes[i].mapping) + bytes[i].offset;
        slices[nslice++] = grpc_slice_new_with_user_data((void *)(uintptr_t)at, bytes[i].n, drop_mapping,
                                                         bs_mapping_ref(bytes[i].mapping));
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, nslice);
    for (size_t i = 0; i < nslice; i++)
        grpc_slice_unref(slices[i]);
    return buffer;
}

static bs_status send(struct bs_call *c, grpc_byte_buffer *buffer, struct bs_err *err)
{
    grpc_op ops[2] = {{0}};
    size_t n = 0;
    bs_status rc = BS_OK;
    c->bytes_out += grpc_byte_buffer_length(buffer);
    if (!c->entry->method->streams_answers) {
        BS_ASSERT(!c->reply);
        c->reply = buffer;
        return BS_OK;
    }
    pthread_mutex_lock(&c->mu);
    if (!c->sent_initial)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    c->sent_initial = true;
    ops[n].op = GRPC_OP_SEND_MESSAGE;
    ops[n++].data.send_message.send_message = buffer;
    c->writing = true;
    start(c, ops, n, &c->write_op);
    if (!wait_for(c, &c->writing)) {
        grpc_call_cancel_with_status(c->call, GRPC_STATUS_DEADLINE_EXCEEDED, "the client takes no answers",
                                     NULL);
        while (c->writing)
            pthread_cond_wait(&c->changed, &c->mu);
        c->write_ok = false;
    }
    if (!c->write_ok)
        rc = bs_call_cancelled_status(c, err);
    pthread_mutex_unlock(&c->mu);
    grpc_byte_buffer_destroy(buffer);
    return rc;
}

bs_status bs_call_write(struct bs_call *c, const ProtobufCMessage *message, struct bs_err *err)
{
    return send(c, assemble(0, message, NULL, 0), err);
}

bs_status bs_call_write_with(struct bs_call *c, const ProtobufCMessage *message,
                             const struct bs_call_bytes *bytes, size_t nbytes, struct bs_err *err)
{
    return send(c, assemble(0, message, bytes, nbytes), err);
}

bs_status bs_call_write_inside(struct bs_call *c, uint32_t outer, const ProtobufCMessage *message,
                               const struct bs_call_bytes *bytes, size_t nbytes, struct bs_err *err)
{
    return send(c, assemble(outer, message, bytes, nbytes), err);
}

/* ---- the end ---- */

static void log_end(struct bs_call *c, bs_status status, const struct bs_err *err)
{
    const struct bs_log_field fields[] = {
        BS_LOG_TEXT("request_id", c->request_id),
        BS_LOG_TEXT("method", c->method),
        BS_LOG_TEXT("caller", c->caller.name),
        BS_LOG_TEXT("status", bs_status_name(status)),
        BS_LOG_NUMBER("us", now_us() - c->began_us),
        BS_LOG_NUMBER("bytes_in", c->bytes_in),
        BS_LOG_NUMBER("bytes_out", c->bytes_out),
        BS_LOG_TEXT("error", err->msg),
        BS_LOG_TEXT("raised", err->file ? err->file : ""),
        BS_LOG_NUMBER("line", err->line),
    };
    size_t n = sizeof fields / sizeof fields[0];
    enum bs_log_level level = BS_LOG_WARNING;
    if (status == BS_OK) {
        level = BS_LOG_INFO;
        n -= 3;
    } else if (status == BS_EINTERNAL || status == BS_EIO) {
        level = BS_LOG_ERROR;
    }
    bs_log_write(c->rpc->opt.log, level, "call", fields, n);
}

void bs__call_finish(struct bs_call *c, bs_status status, const struct bs_err *err)
{
    char text[640] = "";
    grpc_op ops[3] = {{0}};
    size_t n = 0;
    log_end(c, status, err);
    if (status != BS_OK) {
        const char *hidden = c->rpc->opt.hidden_path;
        if (status == BS_EINTERNAL || (hidden && *hidden && strstr(err->msg, hidden)))
            snprintf(text, sizeof text, "internal error; the server's log has it under request %s",
                     c->request_id);
        else
            snprintf(text, sizeof text, "%s", err->msg);
    }
    pthread_mutex_lock(&c->mu);
    if (!c->sent_initial)
        ops[n++].op = GRPC_OP_SEND_INITIAL_METADATA;
    c->sent_initial = true;
    grpc_byte_buffer *reply = c->reply;
    c->reply = NULL;
    pthread_mutex_unlock(&c->mu);
    if (reply && status == BS_OK) {
        ops[n].op = GRPC_OP_SEND_MESSAGE;
        ops[n++].data.send_message.send_message = reply;
    }
    grpc_slice details = grpc_slice_from_copied_string(text);
    grpc_metadata trailer[2] = {{.key = grpc_slice_from_static_string("bioseg-request-id"),
                                 .value = grpc_slice_from_copied_string(c->request_id)}};
    size_t trailers = 1;
    if (status != BS_OK && c->reason)
        trailer[trailers++] = (grpc_metadata){.key = grpc_slice_from_static_string("bioseg-reason"),
                                              .value = grpc_slice_from_static_string(c->reason)};
    ops[n].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
    ops[n].data.send_status_from_server.status = (grpc_status_code)bs_rpc_status_code(status);
    ops[n].data.send_status_from_server.status_details = &details;
    ops[n].data.send_status_from_server.trailing_metadata_count = trailers;
    ops[n].data.send_status_from_server.trailing_metadata = trailer;
    n++;
    start(c, ops, n, &c->status_op);
    grpc_slice_unref(details);
    grpc_slice_unref(trailer[0].value);
    if (reply)
        grpc_byte_buffer_destroy(reply);
}
