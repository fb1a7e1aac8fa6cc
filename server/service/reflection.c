/* grpc.reflection.v1 and v1alpha, which have the same messages under two names: which services there are and what their
   messages look like. */
#include "server/service/service_internal.h"
#include "server/service/symbols.h"

#include "grpc/reflection/v1/reflection.pb-c.h"
#include "grpc/reflection/v1alpha/reflection.pb-c.h"
#include "proto/descriptors.h"

#include <stdlib.h>
#include <string.h>

#define MAX_FILES    32
#define ANSWER_BYTES ((size_t)1 << 20)

typedef Grpc__Reflection__V1__ServerReflectionRequest question_message;
typedef Grpc__Reflection__V1__ServerReflectionResponse answer_message;

struct reflection {
    struct bs__symbols *symbols;
    ProtobufCServiceDescriptor alpha; /* v1alpha's name over v1's messages */
};

/* The file and everything it imports, each once. */
static void collect(const struct bs__symbols *symbols, int file, bool *taken, int *files, int *n)
{
    if (file < 0 || taken[file])
        return;
    taken[file] = true;
    files[(*n)++] = file;
    const struct bs__proto_file *f = bs__symbols_get(symbols, file);
    for (int i = 0; i < f->ndependency; i++)
        collect(symbols, bs__symbols_file(symbols, f->dependency[i].at, f->dependency[i].n), taken, files, n);
}

static bs_status answer_with(struct bs_call *call, const question_message *question, answer_message *answer,
                             struct bs_err *err)
{
    answer->original_request = (question_message *)(uintptr_t)question;
    answer->valid_host = question->host;
    return bs_call_write(call, &answer->base, err);
}

static bs_status not_found(struct bs_call *call, const question_message *question, const char *what,
                           struct bs_err *err)
{
    answer_message answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;
    error.error_code = bs_rpc_status_code(BS_ENOTFOUND);
    error.error_message = (char *)(uintptr_t)what;
    answer.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_ERROR_RESPONSE;
    answer.error_response = &error;
    return answer_with(call, question, &answer, err);
}

static bs_status send_files(struct reflection *r, struct bs_call *call, const question_message *question,
                            int file, struct bs_err *err)
{
    answer_message answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__FileDescriptorResponse list = GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    ProtobufCBinaryData data[MAX_FILES];
    bool taken[MAX_FILES] = {false};
    int files[MAX_FILES], n = 0;
    if (file < 0)
        return not_found(call, question, "no such file or symbol", err);
    collect(r->symbols, file, taken, files, &n);
    for (int i = 0; i < n; i++) {
        const struct bs__proto_file *f = bs__symbols_get(r->symbols, files[i]);
        data[i] = (ProtobufCBinaryData){f->size, (uint8_t *)(uintptr_t)f->data};
    }
    list.n_file_descriptor_proto = (size_t)n;
    list.file_descriptor_proto = data;
    answer.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_FILE_DESCRIPTOR_RESPONSE;
    answer.file_descriptor_response = &list;
    return answer_with(call, question, &answer, err);
}

static bs_status send_services(struct reflection *r, struct bs_call *call, const question_message *question,
                               struct bs_err *err)
{
    answer_message answer = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ListServiceResponse list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    Grpc__Reflection__V1__ServiceResponse service[MAX_FILES], *pointer[MAX_FILES];
    char name[MAX_FILES][120];
    size_t n = 0;
    while (n < MAX_FILES && bs__symbols_service(r->symbols, (int)n, name[n], sizeof name[n])) {
        grpc__reflection__v1__service_response__init(&service[n]);
        service[n].name = name[n];
        pointer[n] = &service[n];
        n++;
    }
    list.n_service = n;
    list.service = pointer;
    answer.message_response_case =
        GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_LIST_SERVICES_RESPONSE;
    answer.list_services_response = &list;
    return answer_with(call, question, &answer, err);
}

static bs_status answer_one(struct reflection *r, struct bs_call *call, const question_message *q,
                            struct bs_err *err)
{
    switch (q->message_request_case) {
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_LIST_SERVICES:
        return send_services(r, call, q, err);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_BY_FILENAME:
        return send_files(
            r, call, q, bs__symbols_file(r->symbols, q->file_by_filename, strlen(q->file_by_filename)), err);
    case GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_FILE_CONTAINING_SYMBOL:
        return send_files(r, call, q, bs__symbols_declaring(r->symbols, q->file_containing_symbol), err);
    default:
        return not_found(call, q, "there are no extensions here", err);
    }
}

static bs_status info(void *service, struct bs_call *call, const ProtobufCMessage *unused, struct bs_err *err)
{
    struct reflection *r = service;
    bs_status rc = BS_OK;
    (void)unused;
    while (rc == BS_OK) {
        ProtobufCMessage *message;
        struct bs_arena *arena = bs_arena_create(ANSWER_BYTES);
        if (!arena)
            return BS_FAIL(err, BS_ENOMEM, "no memory");
        rc = bs_call_read(call, arena, NULL, &message, err);
        bool last = rc == BS_OK && !message;
        if (rc == BS_OK && message)
            rc = answer_one(r, call, (const question_message *)message, err);
        bs_arena_destroy(arena);
        if (last)
            break;
    }
    return rc;
}

bs_status bs__reflection_register(struct bs_services *s, struct bs_rpc *rpc, struct bs_err *err)
{
    static const struct bs_method methods[] = {{.name = "ServerReflectionInfo",
                                                .run = info,
                                                .reads_itself = true,
                                                .streams_answers = true,
                                                .lasting = true,
                                                .while_draining = true}};
    size_t size;
    const uint8_t *set = bs_descriptor_set(&size);
    struct reflection *r = s->reflection ? NULL : calloc(1, sizeof *r);
    if (!r)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    s->reflection = r;
    bs_status rc = bs__symbols_create(set, size, &r->symbols, err);
    if (rc != BS_OK)
        return rc;
    r->alpha = grpc__reflection__v1__server_reflection__descriptor;
    r->alpha.name = grpc__reflection__v1alpha__server_reflection__descriptor.name;
    bs_rpc_add_service(rpc, &grpc__reflection__v1__server_reflection__descriptor, BS__METHODS(methods), r,
                       NULL);
    bs_rpc_add_service(rpc, &r->alpha, BS__METHODS(methods), r, NULL);
    return BS_OK;
}

void bs__reflection_free(struct bs_services *s)
{
    struct reflection *r = s->reflection;
    if (!r)
        return;
    bs__symbols_destroy(r->symbols);
    free(r);
    s->reflection = NULL;
}
