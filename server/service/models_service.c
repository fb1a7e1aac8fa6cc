/* bioseg.v1.Models: the registry. Models are shared by all users of this server; only who imported a version, or an
   administrator, may delete it. */
#include "server/service/service_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FIELD_EXPORT_START 1
#define FIELD_EXPORT_CHUNK 2
#define FIELD_EXPORT_END   3
#define MIN_MODEL_BYTES    8 /* the length field of a safetensors header */

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

/* ---- List, Get ---- */

static bs_status list(void *service, struct bs_call *call, const ProtobufCMessage *message,
                      struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ListModelsRequest *q = (const Bioseg__V1__ListModelsRequest *)message;
    Bioseg__V1__ListModelsResponse answer = BIOSEG__V1__LIST_MODELS_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_model_record *records = NULL;
    char *labels = NULL;
    const char *token;
    int size, count = 0;
    bs_status rc;
    if (q->project[0])
        return BS_FAIL(err, BS_EUNSUPPORTED, "lists of models by project" BS__LATER);
    if ((rc = bs__page(s, q->page, &size, &token, err)) != BS_OK ||
        (rc = bs__labels_to_json(BS__LABELS(q), &labels, err)) != BS_OK)
        return rc;
    const struct bs_model_filter filter = {.labels = q->n_labels ? labels : NULL,
                                           .untrained = q->include_untrained};
    /* One more than asked for tells whether there is a next page. */
    rc = bs_store_model_list(s->store, &filter, token, size + 1, &records, &count, err);
    free(labels);
    if (rc != BS_OK)
        return rc;
    int shown = count > size ? size : count;
    answer.models = bs_arena_array(arena, (size_t)shown + 1, sizeof *answer.models);
    for (int i = 0; i < shown && answer.models; i++) {
        if (!(answer.models[i] = bs__model_message(s, arena, &records[i], false)))
            break;
        answer.n_models++;
    }
    if (count > size)
        answer.next_page_token =
            bs__format(arena, "%s:%" PRId64, records[shown - 1].name, records[shown - 1].version);
    rc = answer.n_models == (size_t)shown ? bs_call_write(call, &answer.base, err) : no_memory(err);
    for (int i = 0; i < count; i++)
        bs_model_record_free(&records[i]);
    free(records);
    return rc;
}

static bs_status get(void *service, struct bs_call *call, const ProtobufCMessage *message, struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetModelRequest *q = (const Bioseg__V1__GetModelRequest *)message;
    Bioseg__V1__GetModelResponse answer = BIOSEG__V1__GET_MODEL_RESPONSE__INIT;
    struct bs_model_record record = {.name = NULL};
    int fd;
    bs_status rc = bs__model_find_for(s, bs_call_caller(call)->name, q->model, &record, &fd, err);
    if (rc != BS_OK)
        return rc;
    if (fd >= 0)
        close(fd);
    answer.model = bs__model_message(s, bs_call_arena(call), &record, true);
    if (!answer.model)
        rc = no_memory(err);
    if (rc == BS_OK && (q->with_card || q->with_plans))
        rc = bs__model_card_message(s, bs_call_arena(call), &record, q->with_plans, &answer.model->card, err);
    if (rc == BS_OK)
        rc = bs_call_write(call, &answer.base, err);
    bs_model_record_free(&record);
    return rc;
}

/* ---- Import ---- */

static void import_part(const ProtobufCMessage *message, const Bioseg__V1__Chunk **chunk,
                        const Bioseg__V1__ChunkEnd **end)
{
    const Bioseg__V1__ImportModelRequest *r = (const Bioseg__V1__ImportModelRequest *)message;
    if (r->part_case == BIOSEG__V1__IMPORT_MODEL_REQUEST__PART_CHUNK)
        *chunk = r->chunk;
    else if (r->part_case == BIOSEG__V1__IMPORT_MODEL_REQUEST__PART_END)
        *end = r->end;
}

static bs_status check_import(struct bs_services *s, const Bioseg__V1__ImportModelStart *start,
                              struct bs_err *err)
{
    bs_status rc = bs__check_name("name", start->name, err);
    if (rc != BS_OK)
        return rc;
    if (start->project[0])
        return BS_FAIL(err, BS_EUNSUPPORTED, "projects of models" BS__LATER);
    if ((rc = bs__check_lifetime(start->time_to_live_ms, err)) != BS_OK)
        return rc;
    if (start->total_bytes < MIN_MODEL_BYTES || start->total_bytes > s->limits.max_model_bytes)
        return BS_FAIL(err, start->total_bytes < MIN_MODEL_BYTES ? BS_EINVAL : BS_ELIMIT,
                       "total_bytes is %" PRIu64 "; model files of %d to %" PRIu64 " bytes are accepted",
                       start->total_bytes, MIN_MODEL_BYTES, s->limits.max_model_bytes);
    return BS_OK;
}

/* The stored file is looked at in the worker's child; a bad one stays a blob that nobody names, which the sweep removes. */
static bs_status record_model(struct bs_services *s, struct bs_call *call,
                              const Bioseg__V1__ImportModelStart *start, const char *hash,
                              struct bs_model_record *record, struct bs_err *err)
{
    struct bs_model_info info;
    struct timespec now;
    uint64_t bytes;
    int fd = -1;
    bs_status rc = bs_blob_open(s->blobs, hash, &fd, &bytes, err);
    if (rc == BS_OK)
        rc = bs_engine_inspect(s->engine, fd, &info, err);
    if (fd >= 0)
        close(fd);
    if (rc != BS_OK)
        return rc;
    record->bytes = bytes;
    if ((rc = bs_model_info_to_json(&info, &record->info_json, err)) != BS_OK)
        return rc;
    if (start->time_to_live_ms) {
        clock_gettime(CLOCK_REALTIME, &now);
        record->created_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
        record->expires_ms = record->created_ms + start->time_to_live_ms;
    }
    record->name = strdup(start->name);
    record->blob = strdup(hash);
    record->owner = strdup(bs_call_caller(call)->name);
    if (!record->name || !record->blob || !record->owner)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    return bs_store_model_add(s->store, record, err);
}

static bs_status import(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs__inbox inbox = {.fd = -1};
    struct bs_model_record record = {.name = NULL};
    Bioseg__V1__ImportModelResponse answer = BIOSEG__V1__IMPORT_MODEL_RESPONSE__INIT;
    ProtobufCMessage *message;
    char hash[BS_BLOB_HASH_LEN + 1];
    bs_status rc;
    (void)unused;
    if ((rc = bs_call_read(call, NULL, NULL, &message, err)) != BS_OK)
        goto cleanup;
    const Bioseg__V1__ImportModelRequest *q = (const Bioseg__V1__ImportModelRequest *)message;
    if (!q || q->part_case != BIOSEG__V1__IMPORT_MODEL_REQUEST__PART_START) {
        rc = BS_FAIL(err, BS_EINVAL, "the stream must begin with a start");
        goto cleanup;
    }
    if ((rc = check_import(s, q->start, err)) != BS_OK ||
        (rc = bs__labels_to_json(BS__LABELS(q->start), &record.labels, err)) != BS_OK ||
        (rc = bs__inbox_open_blob(&inbox, s, q->start->total_bytes, err)) != BS_OK ||
        (rc = bs__inbox_receive(&inbox, call, import_part, err)) != BS_OK)
        goto cleanup;
    struct bs_blob_writer *writer = inbox.blob;
    inbox.blob = NULL; /* commit frees it in any case */
    if ((rc = bs_blob_commit(writer, hash, err)) != BS_OK ||
        (rc = record_model(s, call, q->start, hash, &record, err)) != BS_OK)
        goto cleanup;
    BS_LOG(s->log, BS_LOG_INFO, "model imported", BS_LOG_TEXT("request_id", bs_call_request_id(call)),
           BS_LOG_TEXT("model", record.name), BS_LOG_NUMBER("version", record.version),
           BS_LOG_TEXT("sha256", hash));
    answer.model = bs__model_message(s, bs_call_arena(call), &record, true);
    rc = answer.model ? bs_call_write(call, &answer.base, err) : no_memory(err);

cleanup:
    bs_model_record_free(&record);
    bs__inbox_close(&inbox);
    return rc;
}

/* ---- Export ---- */

static bs_status export(void *service, struct bs_call *call, const ProtobufCMessage *message,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ExportModelRequest *q = (const Bioseg__V1__ExportModelRequest *)message;
    Bioseg__V1__ExportModelStart start = BIOSEG__V1__EXPORT_MODEL_START__INIT;
    Bioseg__V1__ChunkEnd end = BIOSEG__V1__CHUNK_END__INIT;
    struct bs_model_record record = {.name = NULL};
    struct bs__artifact file = {.fd = -1};
    bs_status rc;
    if ((rc = bs__model_find(s, q->model, &record, err)) != BS_OK ||
        (rc = bs_blob_open(s->blobs, record.blob, &file.fd, &file.bytes, err)) != BS_OK)
        goto cleanup;
    start.total_bytes = end.total_bytes = file.bytes;
    start.model = bs__model_message(s, bs_call_arena(call), &record, false);
    end.sha256 = record.blob;
    if (!start.model) {
        rc = no_memory(err);
        goto cleanup;
    }
    if ((rc = bs_call_write_inside(call, FIELD_EXPORT_START, &start.base, NULL, 0, err)) != BS_OK ||
        (rc = bs__send_bytes(call, FIELD_EXPORT_CHUNK, 0, &file, err)) != BS_OK)
        goto cleanup;
    rc = bs_call_write_inside(call, FIELD_EXPORT_END, &end.base, NULL, 0, err);

cleanup:
    if (file.fd >= 0)
        close(file.fd);
    bs_model_record_free(&record);
    return rc;
}

/* ---- Load, Unload, Delete ---- */

static bs_status load(void *service, struct bs_call *call, const ProtobufCMessage *message,
                      struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__LoadModelRequest *q = (const Bioseg__V1__LoadModelRequest *)message;
    Bioseg__V1__LoadModelResponse answer = BIOSEG__V1__LOAD_MODEL_RESPONSE__INIT;
    struct bs_model_record record = {.name = NULL};
    uint64_t bytes;
    int fd = -1;
    bs_status rc;
    if ((rc = bs__model_find(s, q->model, &record, err)) != BS_OK ||
        (rc = bs_blob_open(s->blobs, record.blob, &fd, &bytes, err)) != BS_OK ||
        (rc = bs_engine_load(s->engine, record.blob, fd, err)) != BS_OK)
        goto cleanup;
    answer.model = bs__model_message(s, bs_call_arena(call), &record, false);
    rc = answer.model ? bs_call_write(call, &answer.base, err) : no_memory(err);

cleanup:
    if (fd >= 0)
        close(fd);
    bs_model_record_free(&record);
    return rc;
}

static bs_status unload(void *service, struct bs_call *call, const ProtobufCMessage *message,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__UnloadModelRequest *q = (const Bioseg__V1__UnloadModelRequest *)message;
    Bioseg__V1__UnloadModelResponse answer = BIOSEG__V1__UNLOAD_MODEL_RESPONSE__INIT;
    struct bs_model_record record = {.name = NULL};
    bs_status rc;
    if ((rc = bs__model_find(s, q->model, &record, err)) != BS_OK)
        return rc;
    rc = bs_engine_unload(s->engine, record.blob, err);
    if (rc == BS_OK || rc == BS_ENOTFOUND) /* not loaded is what was asked for */
        rc = bs_call_write(call, &answer.base, err);
    bs_model_record_free(&record);
    return rc;
}

static bs_status delete (void *service, struct bs_call *call, const ProtobufCMessage *message,
                         struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__DeleteModelRequest *q = (const Bioseg__V1__DeleteModelRequest *)message;
    Bioseg__V1__DeleteModelResponse answer = BIOSEG__V1__DELETE_MODEL_RESPONSE__INIT;
    const struct bs_caller *caller = bs_call_caller(call);
    struct bs_model_record record = {.name = NULL};
    struct bs_err ignored;
    bs_status rc;
    if (q->model && q->model->selector_case != BIOSEG__V1__MODEL_REF__SELECTOR_VERSION)
        return BS_FAIL(err, BS_EINVAL, "model.version is missing; the version to delete must be stated");
    if ((rc = bs__model_find(s, q->model, &record, err)) != BS_OK)
        return rc;
    if (!caller->admin && strcmp(caller->name, record.owner) != 0)
        rc = BS_FAIL(err, BS_EPERMISSION,
                     "%s version %" PRId64 " belongs to %s; only they or an administrator may delete it",
                     record.name, record.version, record.owner);
    if (rc == BS_OK)
        rc = bs_store_model_delete(s->store, record.name, record.version, err);
    if (rc == BS_OK) {
        /* Another version may have the same file; it is simply loaded again then. */
        (void)!bs_engine_unload(s->engine, record.blob, &ignored);
        rc = bs_call_write(call, &answer.base, err);
    }
    bs_model_record_free(&record);
    return rc;
}

void bs__models_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "List", .run = list, .while_draining = true},
        {.name = "Get", .run = get, .while_draining = true},
        {.name = "Import", .run = import, .reads_itself = true},
        {.name = "Export", .run = export, .streams_answers = true},
        {.name = "Load", .run = load},
        {.name = "Unload", .run = unload},
        {.name = "Delete", .run = delete},
        {.name = "SetAlias", .run = bs__models_set_alias},
        {.name = "DeleteAlias", .run = bs__models_delete_alias},
        {.name = "Promote", .run = bs__models_promote},
        {.name = "Rollback", .run = bs__models_rollback},
        {.name = "ListAliasMoves", .run = bs__models_list_alias_moves, .while_draining = true},
        {.name = "GetLineage", .run = bs__models_get_lineage, .while_draining = true},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__models__descriptor, BS__METHODS(methods), s, NULL);
}
