/* bioseg.v1.Datasets: images with labels. A caller sees its own datasets only; somebody else's does not exist for it. Adding a
   pair is in datasets_add_pair.c, saying anew where its labels count in datasets_update_pair.c. */
#include "server/service/datasets_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_TEXT   4096 /* of a description or licence, bytes */
#define MAX_HASHES 1000

static bs_status no_memory(struct bs_err *err)
{
    return BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
}

static const char *owner_of(struct bs_call *call)
{
    return bs_call_caller(call)->name;
}

/* ---- Create, Get, List, Delete ---- */

static bs_status check_expiry(int64_t expires_ms, struct bs_err *err)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    int64_t now = (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
    if (expires_ms == 0)
        return BS_OK;
    if (expires_ms <= now)
        return BS_FAIL(err, BS_EINVAL,
                       "expires_ms is %" PRId64 ", which has passed; 0 (never) or a later time "
                       "is accepted",
                       expires_ms);
    return bs__check_lifetime(expires_ms - now, err);
}

static bs_status create(void *service, struct bs_call *call, const ProtobufCMessage *message,
                        struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__Dataset *q = ((const Bioseg__V1__CreateDatasetRequest *)message)->dataset;
    Bioseg__V1__CreateDatasetResponse answer = BIOSEG__V1__CREATE_DATASET_RESPONSE__INIT;
    char *labels = NULL;
    bs_status rc;
    if (!q)
        return BS_FAIL(err, BS_EINVAL, "dataset is missing");
    if ((rc = bs__check_name("dataset.name", q->name, err)) != BS_OK ||
        (q->project[0] && (rc = bs__check_name("dataset.project", q->project, err)) != BS_OK) ||
        (rc = bs__check_text("dataset.description", q->description, MAX_TEXT, err)) != BS_OK ||
        (rc = bs__check_text("dataset.licence", q->licence, MAX_TEXT, err)) != BS_OK ||
        (rc = check_expiry(q->expires_ms, err)) != BS_OK ||
        (rc = bs__labels_to_json(BS__LABELS(q), &labels, err)) != BS_OK)
        return rc;
    /* Borrows its texts; not freed as a record. */
    struct bs_dataset_record d = {.name = q->name,
                                  .owner = (char *)(uintptr_t)owner_of(call),
                                  .project = q->project,
                                  .labels = labels,
                                  .description = q->description,
                                  .licence = q->licence,
                                  .expires_ms = q->expires_ms};
    rc = bs_store_dataset_add(s->store, &d, err);
    if (rc == BS_OK) {
        BS_LOG(s->log, BS_LOG_INFO, "dataset created", BS_LOG_TEXT("request_id", bs_call_request_id(call)),
               BS_LOG_TEXT("dataset", d.name), BS_LOG_TEXT("owner", d.owner));
        answer.dataset = bs__dataset_message(s, bs_call_arena(call), &d, false);
        rc = answer.dataset ? bs_call_write(call, &answer.base, err) : no_memory(err);
    }
    free(labels);
    return rc;
}

static bs_status get(void *service, struct bs_call *call, const ProtobufCMessage *message, struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__GetDatasetRequest *q = (const Bioseg__V1__GetDatasetRequest *)message;
    Bioseg__V1__GetDatasetResponse answer = BIOSEG__V1__GET_DATASET_RESPONSE__INIT;
    struct bs_dataset_record d = {.name = NULL};
    bs_status rc = bs__check_name("name", q->name, err);
    if (rc != BS_OK || (rc = bs_store_dataset_get(s->store, owner_of(call), q->name, &d, err)) != BS_OK)
        return rc;
    answer.dataset = bs__dataset_message(s, bs_call_arena(call), &d, true);
    rc = answer.dataset ? bs_call_write(call, &answer.base, err) : no_memory(err);
    bs_dataset_record_free(&d);
    return rc;
}

static bs_status list(void *service, struct bs_call *call, const ProtobufCMessage *message,
                      struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ListDatasetsRequest *q = (const Bioseg__V1__ListDatasetsRequest *)message;
    Bioseg__V1__ListDatasetsResponse answer = BIOSEG__V1__LIST_DATASETS_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_dataset_record *records = NULL;
    char *labels = NULL;
    const char *token;
    int size, count = 0;
    bs_status rc;
    if ((rc = bs__page(s, q->page, &size, &token, err)) != BS_OK ||
        (rc = bs__labels_to_json(BS__LABELS(q), &labels, err)) != BS_OK)
        return rc;
    const struct bs_dataset_filter filter = {.owner = owner_of(call),
                                             .project = q->project[0] ? q->project : NULL,
                                             .labels = q->n_labels ? labels : NULL};
    /* One more than asked for tells whether there is a next page. */
    rc = bs_store_dataset_list(s->store, &filter, token, size + 1, &records, &count, err);
    free(labels);
    if (rc != BS_OK)
        return rc;
    int shown = count > size ? size : count;
    answer.datasets = bs_arena_array(arena, (size_t)shown + 1, sizeof *answer.datasets);
    for (int i = 0; i < shown && answer.datasets; i++) {
        if (!(answer.datasets[i] = bs__dataset_message(s, arena, &records[i], false)))
            break;
        answer.n_datasets++;
    }
    if (count > size)
        answer.next_page_token = bs__format(arena, "%s", records[shown - 1].name);
    rc = answer.n_datasets == (size_t)shown ? bs_call_write(call, &answer.base, err) : no_memory(err);
    for (int i = 0; i < count; i++)
        bs_dataset_record_free(&records[i]);
    free(records);
    return rc;
}

static bs_status delete (void *service, struct bs_call *call, const ProtobufCMessage *message,
                         struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__DeleteDatasetRequest *q = (const Bioseg__V1__DeleteDatasetRequest *)message;
    Bioseg__V1__DeleteDatasetResponse answer = BIOSEG__V1__DELETE_DATASET_RESPONSE__INIT;
    bs_status rc = bs__check_name("name", q->name, err);
    if (rc != BS_OK || (rc = bs_store_dataset_delete(s->store, owner_of(call), q->name, err)) != BS_OK)
        return rc;
    BS_LOG(s->log, BS_LOG_INFO, "dataset deleted", BS_LOG_TEXT("request_id", bs_call_request_id(call)),
           BS_LOG_TEXT("dataset", q->name), BS_LOG_TEXT("owner", owner_of(call)));
    return bs_call_write(call, &answer.base, err);
}

/* ---- Missing, ListPairs, DeletePair ---- */

static bs_status missing(void *service, struct bs_call *call, const ProtobufCMessage *message,
                         struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__MissingFilesRequest *q = (const Bioseg__V1__MissingFilesRequest *)message;
    Bioseg__V1__MissingFilesResponse answer = BIOSEG__V1__MISSING_FILES_RESPONSE__INIT;
    if (q->n_sha256 > MAX_HASHES)
        return BS_FAIL(err, BS_ELIMIT, "%zu hashes are given; at most %d are accepted", q->n_sha256,
                       MAX_HASHES);
    answer.sha256 = bs_arena_array(bs_call_arena(call), q->n_sha256 + 1, sizeof *answer.sha256);
    if (!answer.sha256)
        return no_memory(err);
    for (size_t i = 0; i < q->n_sha256; i++) {
        uint64_t bytes;
        bs_status rc = bs_store_file_of_owner(s->store, owner_of(call), q->sha256[i], &bytes, err);
        if (rc == BS_ENOTFOUND)
            answer.sha256[answer.n_sha256++] = q->sha256[i];
        else if (rc != BS_OK)
            return rc;
    }
    return bs_call_write(call, &answer.base, err);
}

static bs_status list_pairs(void *service, struct bs_call *call, const ProtobufCMessage *message,
                            struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__ListPairsRequest *q = (const Bioseg__V1__ListPairsRequest *)message;
    Bioseg__V1__ListPairsResponse answer = BIOSEG__V1__LIST_PAIRS_RESPONSE__INIT;
    struct bs_arena *arena = bs_call_arena(call);
    struct bs_dataset_record d = {.name = NULL};
    struct bs_pair_record *pairs = NULL;
    const char *token;
    int size, count = 0;
    bs_status rc;
    if ((rc = bs__check_name("dataset", q->dataset, err)) != BS_OK ||
        (rc = bs__page(s, q->page, &size, &token, err)) != BS_OK ||
        (rc = bs_store_dataset_get(s->store, owner_of(call), q->dataset, &d, err)) != BS_OK)
        return rc;
    /* -1: any */
    const int split = (int)q->split - (int)BIOSEG__V1__SPLIT__SPLIT_TRAIN;
    rc = bs_store_pair_list(s->store, d.number, split, token, size + 1, &pairs, &count, err);
    bs_dataset_record_free(&d);
    if (rc != BS_OK)
        return rc;
    int shown = count > size ? size : count;
    answer.pairs = bs_arena_array(arena, (size_t)shown + 1, sizeof *answer.pairs);
    for (int i = 0; i < shown && answer.pairs; i++) {
        if (!(answer.pairs[i] = bs__pair_message(arena, &pairs[i])))
            break;
        answer.n_pairs++;
    }
    if (count > size)
        answer.next_page_token = bs__format(arena, "%s", pairs[shown - 1].id);
    rc = answer.n_pairs == (size_t)shown ? bs_call_write(call, &answer.base, err) : no_memory(err);
    for (int i = 0; i < count; i++)
        bs_pair_record_free(&pairs[i]);
    free(pairs);
    return rc;
}

static bs_status delete_pair(void *service, struct bs_call *call, const ProtobufCMessage *message,
                             struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__DeletePairRequest *q = (const Bioseg__V1__DeletePairRequest *)message;
    Bioseg__V1__DeletePairResponse answer = BIOSEG__V1__DELETE_PAIR_RESPONSE__INIT;
    bs_status rc = bs__check_name("dataset", q->dataset, err);
    if (rc != BS_OK)
        return rc;
    if (!q->id[0])
        return BS_FAIL(err, BS_EINVAL, "id is missing");
    rc = bs_store_pair_delete(s->store, owner_of(call), q->dataset, q->id, err);
    return rc == BS_OK ? bs_call_write(call, &answer.base, err) : rc;
}

void bs__datasets_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Create", .run = create},
        {.name = "Get", .run = get, .while_draining = true},
        {.name = "List", .run = list, .while_draining = true},
        {.name = "Delete", .run = delete},
        {.name = "AddPair", .run = bs__datasets_add_pair, .reads_itself = true},
        {.name = "Missing", .run = missing},
        {.name = "ListPairs", .run = list_pairs, .while_draining = true},
        {.name = "UpdatePair", .run = bs__datasets_update_pair},
        {.name = "DeletePair", .run = delete_pair},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__datasets__descriptor, BS__METHODS(methods), s, NULL);
}
