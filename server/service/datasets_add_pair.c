/* bioseg.v1.Datasets.AddPair: two files, or three with the prediction that labels were made from, arrive in one stream, are hashed on
   the way, looked into by a child, and become a pair. */
#include "server/service/datasets_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_NAME 255 /* of a pair or group, bytes */

enum { IMAGE, LABELS, PREDICTION, FILES };

static const char *const file_name[FILES] = {"image", "labels", "prediction"};

/* What a start says of its pair, checked. */
struct adding {
    const Bioseg__V1__AddPairStart *start;
    struct bs_pair_question question; /* with has_prediction */
    struct bs_annotation annotation;
};

static const char *stated_hash(const Bioseg__V1__Pair *p, int file)
{
    return file == IMAGE ? p->image_sha256 : file == LABELS ? p->labels_sha256 : p->prediction_sha256;
}

static uint64_t sent_bytes(const Bioseg__V1__AddPairStart *start, int file)
{
    return file == IMAGE    ? start->image_bytes
           : file == LABELS ? start->labels_bytes
                            : start->prediction_bytes;
}

static int file_count(const struct adding *a)
{
    return a->question.has_prediction ? FILES : PREDICTION;
}

static void add_part(const ProtobufCMessage *message, const Bioseg__V1__Chunk **chunk,
                     const Bioseg__V1__ChunkEnd **end)
{
    const Bioseg__V1__AddPairRequest *r = (const Bioseg__V1__AddPairRequest *)message;
    if (r->part_case == BIOSEG__V1__ADD_PAIR_REQUEST__PART_CHUNK)
        *chunk = r->chunk;
    else if (r->part_case == BIOSEG__V1__ADD_PAIR_REQUEST__PART_END)
        *end = r->end;
}

static bs_status check_file(struct bs_services *s, const char *what, uint64_t bytes, const char *sha256,
                            struct bs_err *err)
{
    if (bytes == 0 && !sha256[0])
        return BS_FAIL(err, BS_EINVAL,
                       "%s_bytes is 0 and pair.%s_sha256 is empty; one of them must say what the file is",
                       what, what);
    if (bytes > s->limits.max_image_bytes)
        return BS_FAIL(err, BS_ELIMIT,
                       "%s_bytes is %" PRIu64 "; files of up to %" PRIu64 " bytes are accepted", what, bytes,
                       s->limits.max_image_bytes);
    if (sha256[0] && (strlen(sha256) != 64 || strspn(sha256, "0123456789abcdef") != 64))
        return BS_FAIL(err, BS_EINVAL,
                       "pair.%s_sha256 is \"%.80s\"; 64 hex digits in lower case are accepted", what, sha256);
    return BS_OK;
}

static bs_status check_files(struct bs_services *s, struct adding *a, struct bs_err *err)
{
    const Bioseg__V1__Pair *p = a->start->pair;
    struct bs_pair_question *q = &a->question;
    bs_status rc = BS_OK;
    q->has_prediction = a->start->prediction_bytes || p->prediction_sha256[0];
    if (p->prediction && !q->has_prediction)
        return BS_FAIL(
            err, BS_EINVAL,
            "pair.prediction is described, but prediction_bytes is 0 and pair.prediction_sha256 is empty");
    for (int i = 0; i < file_count(a) && rc == BS_OK; i++)
        rc = check_file(s, file_name[i], sent_bytes(a->start, i), stated_hash(p, i), err);
    if (rc != BS_OK ||
        (rc = bs__pair_file_take("pair.image", p->image, a->start->image_bytes, &q->image, err)) != BS_OK ||
        (rc = bs__pair_file_take("pair.labels", p->labels, a->start->labels_bytes, &q->labels, err)) !=
            BS_OK ||
        (rc = bs__pair_file_take("pair.prediction", p->prediction, a->start->prediction_bytes, &q->prediction,
                                 err)) != BS_OK ||
        (rc = bs__annotation_take(p->annotation, q->has_prediction, &a->annotation, err)) != BS_OK)
        return rc;
    q->has_ignore_label = a->annotation.has_ignore_label;
    q->ignore_label = a->annotation.ignore_label;
    return BS_OK;
}

static bs_status check_start(struct bs_services *s, struct adding *a, struct bs_err *err)
{
    const Bioseg__V1__AddPairStart *start = a->start;
    const Bioseg__V1__Pair *p = start->pair;
    bs_status rc = bs__check_name("dataset", start->dataset, err);
    if (rc != BS_OK)
        return rc;
    if (!p || !p->name[0])
        return BS_FAIL(err, BS_EINVAL, "pair.name is missing");
    if ((rc = bs__check_text("pair.name", p->name, MAX_NAME, err)) != BS_OK ||
        (rc = bs__check_text("pair.group", p->group, MAX_NAME, err)) != BS_OK)
        return rc;
    if (p->split < BIOSEG__V1__SPLIT__SPLIT_TRAIN || p->split > BIOSEG__V1__SPLIT__SPLIT_TEST)
        return BS_FAIL(err, BS_EINVAL,
                       "pair.split is missing; SPLIT_TRAIN, SPLIT_VALIDATION and SPLIT_TEST are accepted");
    return check_files(s, a, err);
}

/* One of the files: what arrives is hashed into a blob that is not named yet; one that is held already is looked up. */
static bs_status receive_file(struct bs_services *s, struct bs_call *call, struct bs__inbox *inbox,
                              uint32_t artifact, uint64_t *bytes, const char *stated, struct bs_err *err)
{
    bs_status rc;
    if (*bytes == 0) {
        memcpy(inbox->hash, stated, sizeof inbox->hash);
        return bs_store_file_of_owner(s->store, bs_call_caller(call)->name, stated, bytes, err);
    }
    if ((rc = bs__inbox_open_blob(inbox, s, *bytes, err)) != BS_OK ||
        (rc = bs__inbox_receive_artifact(inbox, call, add_part, artifact, err)) != BS_OK)
        return rc;
    if (stated[0] && strcmp(stated, inbox->hash) != 0)
        return BS_FAIL(err, BS_EINVAL, "the bytes of the %s have SHA-256 %s, the start states %s",
                       file_name[artifact], inbox->hash, stated);
    return BS_OK;
}

static bs_status receive_end(struct bs_call *call, uint64_t sent, struct bs_err *err)
{
    ProtobufCMessage *message;
    bs_status rc = bs_call_read(call, NULL, NULL, &message, err);
    if (rc != BS_OK)
        return rc;
    const Bioseg__V1__AddPairRequest *q = (const Bioseg__V1__AddPairRequest *)message;
    if (!q || q->part_case != BIOSEG__V1__ADD_PAIR_REQUEST__PART_END)
        return BS_FAIL(err, BS_EINVAL, "expected the end of the stream after the files");
    if (q->end->total_bytes != sent)
        return BS_FAIL(err, BS_EINVAL, "the end states %" PRIu64 " bytes, %" PRIu64 " were sent",
                       q->end->total_bytes, sent);
    if (q->end->sha256[0])
        return BS_FAIL(err, BS_EINVAL, "the end has a hash; those of the files stand in the pair");
    return BS_OK;
}

static bool describe_files(const struct adding *a, const char *const hash[FILES], const uint64_t bytes[FILES],
                           struct bs_pair_record *p)
{
    const Bioseg__V1__Pair *q = a->start->pair;
    p->name = strdup(q->name);
    p->group = strdup(q->group);
    p->split = (enum bs_split)(q->split - BIOSEG__V1__SPLIT__SPLIT_TRAIN);
    p->image_blob = strdup(hash[IMAGE]);
    p->labels_blob = strdup(hash[LABELS]);
    p->image_bytes = bytes[IMAGE];
    p->labels_bytes = bytes[LABELS];
    if (a->question.has_prediction) {
        p->prediction_blob = strdup(hash[PREDICTION]);
        p->prediction_bytes = bytes[PREDICTION];
    }
    return p->name && p->group && p->image_blob && p->labels_blob &&
           (p->prediction_blob || !a->question.has_prediction);
}

/* Looks into the files, in a child, and adds the pair. */
static bs_status record_pair(struct bs_services *s, struct bs_call *call, struct adding *a,
                             const char *const hash[FILES], const uint64_t bytes[FILES],
                             struct bs_pair_record *p, bool *existing, struct bs_err *err)
{
    const Bioseg__V1__AddPairStart *start = a->start;
    struct bs_pair_info info;
    uint64_t size;
    int fd[FILES] = {-1, -1, -1};
    bs_status rc;
    for (int i = 0; i < file_count(a); i++)
        if ((rc = bs_blob_open(s->blobs, hash[i], &fd[i], &size, err)) != BS_OK)
            goto cleanup;
    if ((rc = bs_engine_check_pair(s->engine, fd, &a->question, &info, err)) != BS_OK ||
        (rc = bs_annotation_resolve(&a->annotation, &info.labels, err)) != BS_OK)
        goto cleanup;
    bs__pair_file_sizes(start->pair->image, &info.image);
    bs__pair_file_sizes(start->pair->labels, &info.labels);
    bs__pair_file_sizes(start->pair->prediction, &info.prediction);
    if ((rc = bs_pair_info_to_json(&info, &p->info_json, err)) != BS_OK ||
        (rc = bs_annotation_to_json(&a->annotation, &p->annotation, err)) != BS_OK)
        goto cleanup;
    if (!describe_files(a, hash, bytes, p)) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory");
        goto cleanup;
    }
    const struct bs_pair_addition how = {.owner = bs_call_caller(call)->name,
                                         .dataset = start->dataset,
                                         .image_held = start->image_bytes == 0,
                                         .labels_held = start->labels_bytes == 0,
                                         .prediction_held =
                                             a->question.has_prediction && start->prediction_bytes == 0,
                                         .group_across_splits = start->group_across_splits};
    rc = bs_store_pair_add(s->store, &how, p, existing, err);
cleanup:
    for (int i = 0; i < FILES; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return rc;
}

static bs_status receive_and_add(struct bs_services *s, struct bs_call *call, struct adding *a,
                                 struct bs_err *err)
{
    Bioseg__V1__AddPairResponse answer = BIOSEG__V1__ADD_PAIR_RESPONSE__INIT;
    struct bs__inbox inbox[FILES] = {{.fd = -1}, {.fd = -1}, {.fd = -1}};
    struct bs_pair_record pair = {.name = NULL};
    uint64_t bytes[FILES] = {0}, sent = 0;
    char hash[FILES][BS_BLOB_HASH_LEN + 1];
    bool existing = false;
    bs_status rc = BS_OK;
    for (int i = 0; i < file_count(a) && rc == BS_OK; i++) {
        bytes[i] = sent_bytes(a->start, i);
        sent += bytes[i];
        rc = receive_file(s, call, &inbox[i], (uint32_t)i, &bytes[i], stated_hash(a->start->pair, i), err);
    }
    if (rc == BS_OK)
        rc = receive_end(call, sent, err);
    for (int i = 0; i < file_count(a) && rc == BS_OK; i++) {
        struct bs_blob_writer *writer = inbox[i].blob;
        inbox[i].blob = NULL; /* commit frees it in any case */
        memcpy(hash[i], inbox[i].hash, sizeof hash[i]);
        if (writer)
            rc = bs_blob_commit(writer, hash[i], err);
    }
    if (rc == BS_OK)
        rc = record_pair(s, call, a, (const char *const[]){hash[IMAGE], hash[LABELS], hash[PREDICTION]},
                         bytes, &pair, &existing, err);
    if (rc == BS_OK) {
        answer.existing = existing;
        answer.pair = bs__pair_message(bs_call_arena(call), &pair);
        rc = answer.pair ? bs_call_write(call, &answer.base, err)
                         : BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
    } else {
        (void)!bs_err_prefix(err, "%.255s", a->start->pair->name);
    }
    for (int i = 0; i < FILES; i++)
        bs__inbox_close(&inbox[i]);
    bs_pair_record_free(&pair);
    return rc;
}

bs_status bs__datasets_add_pair(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                                struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs_dataset_record d = {.name = NULL};
    ProtobufCMessage *message;
    bs_status rc;
    (void)unused;
    if ((rc = bs_call_read(call, NULL, NULL, &message, err)) != BS_OK)
        return rc;
    const Bioseg__V1__AddPairRequest *q = (const Bioseg__V1__AddPairRequest *)message;
    if (!q || q->part_case != BIOSEG__V1__ADD_PAIR_REQUEST__PART_START)
        return BS_FAIL(err, BS_EINVAL, "the stream must begin with a start");
    struct adding a = {.start = q->start};
    if ((rc = check_start(s, &a, err)) == BS_OK &&
        (rc = bs_store_dataset_get(s->store, bs_call_caller(call)->name, q->start->dataset, &d, err)) ==
            BS_OK) {
        bs_dataset_record_free(&d);
        rc = receive_and_add(s, call, &a, err);
    }
    bs_annotation_clear(&a.annotation);
    return rc;
}
