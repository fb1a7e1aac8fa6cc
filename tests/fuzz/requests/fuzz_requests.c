/* Fuzzes every request of every service: the same wire scanner, strict check, unpacking into an arena and handlers as in the
   daemon, without gRPC. This file stands in for server/rpc (it keeps the table that the services register and plays the
   client of one call); world.c stands in for engine, store, queue and blobs.

   Input: number of the service, number of its method, bytes per network fragment, then messages, each after its length
   in two bytes (methods with one message: the message alone). Answers must themselves be valid messages. */
#include "proto/wire/check.h"
#include "proto/wire/unpack.h"
#include "tests/fuzz/input_file.h"
#include "tests/fuzz/requests/world.h"

#include <stdlib.h>
#include <string.h>

#define MAX_SERVICES  16
#define MAX_MESSAGE   ((size_t)1 << 20)
#define ARENA_BYTES   (8 * MAX_MESSAGE)
#define MAX_ANSWERS   1000
#define MAX_HELD      ((uint64_t)8 << 20)
#define REQUIRE(cond) ((cond) ? (void)0 : abort())

/* ---- the table of methods ---- */

struct entry {
    const ProtobufCServiceDescriptor *descriptor;
    const struct bs_method *methods;
    size_t nmethod;
    void *service;
};

/* struct bs_rpc and struct bs_call are opaque to the services, so these are ours. */
struct bs_rpc {
    size_t n;
    struct entry entry[MAX_SERVICES];
};

struct bs_call {
    const struct entry *entry;
    const ProtobufCMethodDescriptor *method;
    bool strict;
    struct bs_arena *arena;
    struct bs_caller caller;
    const uint8_t *at, *end;
    size_t fragment;
    bool framed;    /* messages have their length before them */
    bool read_all;  /* the client has sent its last */
    bool cancelled; /* a call without end is cancelled when it would wait */
    unsigned answers;
};

static struct bs_rpc table;
static struct bs_services services;

void bs_rpc_add_service(struct bs_rpc *r, const ProtobufCServiceDescriptor *descriptor,
                        const struct bs_method *methods, size_t nmethod, void *service, const char *later)
{
    (void)later;
    REQUIRE(r->n < MAX_SERVICES);
    r->entry[r->n++] = (struct entry){descriptor, methods, nmethod, service};
}

/* ---- the call, as the handlers see it ---- */

const char *bs_call_request_id(const struct bs_call *c)
{
    (void)c;
    return "fuzz-1";
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
    (void)c;
    return NULL;
}

bool bs_call_cancelled(const struct bs_call *c)
{
    return c->cancelled;
}

bs_status bs_call_cancelled_status(const struct bs_call *c, struct bs_err *err)
{
    (void)c;
    return BS_FAIL(err, BS_ECANCELLED, "the client gave up");
}

/* Who waits for its client to go away would wait for ever here: it goes at once, but only from a watch. */
void bs_call_on_cancel(struct bs_call *c, void (*fn)(void *ctx), void *ctx)
{
    if (!fn || strncmp(c->method->name, "Watch", 5) != 0)
        return;
    c->cancelled = true;
    fn(ctx);
}

void bs_call_set_reason(struct bs_call *c, const char *reason)
{
    (void)c;
    REQUIRE(reason && reason[0]);
}

/* ---- reading ---- */

struct fragments {
    const uint8_t *at, *end;
    size_t size;
};

static bool next_fragment(void *ctx, const uint8_t **data, size_t *n)
{
    struct fragments *f = ctx;
    if (f->at == f->end)
        return false;
    size_t left = (size_t)(f->end - f->at);
    *data = f->at;
    *n = left < f->size ? left : f->size;
    f->at += *n;
    return true;
}

/* What was accepted must be accepted again when we write it ourselves: nobody else would understand it otherwise. */
static void survives_rewriting(const struct bs_call *c, const ProtobufCMessage *message)
{
    struct bs_err err;
    ProtobufCMessage *again = NULL;
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(n ? n : 1);
    struct bs_arena *arena = bs_arena_create(ARENA_BYTES);
    REQUIRE(packed && arena && protobuf_c_message_pack(message, packed) == n);
    REQUIRE(bs_wire_unpack(message->descriptor, packed, n, c->strict, arena, &again, &err) == BS_OK);
    REQUIRE(protobuf_c_message_get_packed_size(again) == n);
    bs_arena_destroy(arena);
    free(packed);
}

/* As call.c of server/rpc decodes, with the input for grpc's slices. */
static bs_status decode(struct bs_call *c, const uint8_t *data, size_t n, struct bs_arena *arena,
                        const struct bs_wire_pixels *pixels, ProtobufCMessage **message, struct bs_err *err)
{
    struct fragments f = {data, data + n, c->fragment};
    struct bs_wire_source source = {&f, next_fragment};
    size_t cap = n + 8 < MAX_MESSAGE ? n + 8 : MAX_MESSAGE, nrest;
    uint8_t *rest = malloc(cap), *exact = NULL;
    REQUIRE(rest);
    bs_status rc = bs_wire_scan(&source, pixels, rest, cap, &nrest, err);
    if (rc == BS_OK) {
        /* In memory of just its size, so that a read beyond the end is seen. */
        REQUIRE(nrest <= cap && (exact = malloc(nrest ? nrest : 1)));
        memcpy(exact, rest, nrest);
        rc = bs_wire_unpack(c->method->input, exact, nrest, c->strict, arena, message, err);
        if (rc == BS_OK)
            survives_rewriting(c, *message);
    }
    free(exact);
    free(rest);
    return rc;
}

bs_status bs_call_read(struct bs_call *c, struct bs_arena *arena, const struct bs_wire_pixels *pixels,
                       ProtobufCMessage **message, struct bs_err *err)
{
    *message = NULL;
    size_t n = (size_t)(c->end - c->at);
    if (c->framed) {
        if (n < 2)
            return BS_OK;
        size_t stated = (size_t)c->at[0] | (size_t)c->at[1] << 8;
        c->at += 2;
        n = stated < n - 2 ? stated : n - 2;
    } else if (c->read_all) {
        return BS_OK;
    }
    c->read_all = true;
    const uint8_t *data = c->at;
    c->at += n;
    return decode(c, data, n, arena ? arena : c->arena, pixels, message, err);
}

/* ---- writing ---- */

bs_status bs_call_write_with(struct bs_call *c, const ProtobufCMessage *message,
                             const struct bs_call_bytes *bytes, size_t nbytes, struct bs_err *err)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(n ? n : 1);
    REQUIRE(packed && protobuf_c_message_pack(message, packed) == n);
    /* Reflection sends a question back with what it does not know of it. */
    REQUIRE(bs_wire_check(message->descriptor, packed, n, c->strict, err) == BS_OK);
    free(packed);
    for (size_t i = 0; i < nbytes; i++) {
        REQUIRE(bytes[i].n <= bs_mapping_size(bytes[i].mapping) &&
                bytes[i].offset <= bs_mapping_size(bytes[i].mapping) - bytes[i].n);
        if (bytes[i].n) { /* every byte is there */
            uint8_t *copy = malloc(bytes[i].n);
            REQUIRE(copy);
            memcpy(copy, (const uint8_t *)bs_mapping_data(bytes[i].mapping) + bytes[i].offset, bytes[i].n);
            free(copy);
        }
    }
    REQUIRE(++c->answers < MAX_ANSWERS);
    return BS_OK;
}

bs_status bs_call_write(struct bs_call *c, const ProtobufCMessage *message, struct bs_err *err)
{
    REQUIRE(message->descriptor == c->method->output ||
            strncmp(message->descriptor->name, "grpc.reflection.", 16) == 0); /* v1 answers for v1alpha */
    return bs_call_write_with(c, message, NULL, 0, err);
}

bs_status bs_call_write_inside(struct bs_call *c, uint32_t outer, const ProtobufCMessage *message,
                               const struct bs_call_bytes *bytes, size_t nbytes, struct bs_err *err)
{
    const ProtobufCFieldDescriptor *f = protobuf_c_message_descriptor_get_field(c->method->output, outer);
    REQUIRE(f && f->descriptor == message->descriptor);
    return bs_call_write_with(c, message, bytes, nbytes, err);
}

/* ---- one call ---- */

static void run(struct bs_call *c, const struct bs_method *method)
{
    struct bs_err err = {.msg = ""};
    ProtobufCMessage *request = NULL;
    bs_status rc = BS_OK;
    if (!method || !method->reads_itself)
        rc = bs_call_read(c, NULL, NULL, &request, &err);
    if (rc == BS_OK && method)
        rc = method->run(c->entry->service, c, request, &err);
    /* An error says what it is, and no client can make us break. */
    if (rc != BS_OK)
        REQUIRE(err.code == rc && err.msg[0] && rc != BS_EINTERNAL && rc != BS_EIO);
    else if (method && !method->streams_answers)
        REQUIRE(c->answers == 1);
}

int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct bs_err err;
    (void)argc;
    (void)argv;
    services.limits = (struct bs_service_limits){
        .max_unary_image_bytes = 4096,
        .max_image_bytes = 16384,
        .max_model_bytes = 16384,
        .max_held_bytes = MAX_HELD,
        .max_page_size = 100,
        .max_streams = 10,
        .max_message_bytes = MAX_MESSAGE,
    };
    services.health = bs_health_create();
    world_create(&services);
    REQUIRE(services.health && bs_services_register(&services, &table, &err) == BS_OK);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    struct bs_call c = {.entry = &table.entry[data[0] % table.n], .caller = {"ann", false}};
    const struct bs_method *method = NULL;
    const ProtobufCServiceDescriptor *service = c.entry->descriptor;
    c.method = &service->methods[data[1] % service->n_methods];
    for (size_t i = 0; i < c.entry->nmethod; i++) {
        if (strcmp(c.entry->methods[i].name, c.method->name) == 0)
            method = &c.entry->methods[i];
    }
    c.strict = strncmp(service->name, "bioseg.", 7) == 0;
    c.fragment = (size_t)data[2] + 1;
    c.framed = method && method->reads_itself;
    c.at = data + 3;
    c.end = data + size;
    REQUIRE((c.arena = bs_arena_create(ARENA_BYTES)));
    run(&c, method);
    bs_arena_destroy(c.arena);
    REQUIRE(atomic_load(&services.held_bytes) == 0);
    world_check();
    return 0;
}
