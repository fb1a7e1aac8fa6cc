/* bioseg.v1.Datasets.UpdatePair: where the labels of a pair count, said anew. The files are looked into again, since a label that was
   ignored may be none that is accepted. */
#include "server/service/datasets_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Looks into the pair's files with the new annotation and writes down both. */
static bs_status annotate(struct bs_services *s, const char *owner, const char *dataset,
                          struct bs_pair_record *p, struct bs_annotation *a, struct bs_err *err)
{
    const char *const blob[] = {p->image_blob, p->labels_blob, p->prediction_blob};
    struct bs_pair_info before, info;
    uint64_t bytes;
    int fd[] = {-1, -1, -1};
    char *annotation = NULL, *described = NULL;
    bs_status rc = bs_pair_info_from_json(p->info_json, &before, err);
    for (int i = 0; rc == BS_OK && i < 3; i++)
        if (blob[i])
            rc = bs_blob_open(s->blobs, blob[i], &fd[i], &bytes, err);
    const struct bs_pair_question q = {.image = bs__raw_of(&before.image),
                                       .labels = bs__raw_of(&before.labels),
                                       .prediction = bs__raw_of(&before.prediction),
                                       .has_prediction = p->prediction_blob != NULL,
                                       .has_ignore_label = a->has_ignore_label,
                                       .ignore_label = a->ignore_label};
    if (rc != BS_OK || (rc = bs_engine_check_pair(s->engine, fd, &q, &info, err)) != BS_OK ||
        (rc = bs_annotation_resolve(a, &info.labels, err)) != BS_OK ||
        (rc = bs_annotation_to_json(a, &annotation, err)) != BS_OK)
        goto cleanup;
    before.objects = info.objects; /* the rest is as it was, pixel sizes of raw samples included */
    if ((rc = bs_pair_info_to_json(&before, &described, err)) != BS_OK ||
        (rc = bs_store_pair_annotate(s->store, owner, dataset, p->id, annotation, described, err)) != BS_OK)
        goto cleanup;
    free(p->annotation);
    p->annotation = annotation;
    free(p->info_json);
    p->info_json = described;
    annotation = described = NULL;
cleanup:
    for (int i = 0; i < 3; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    free(annotation);
    free(described);
    return rc;
}

bs_status bs__datasets_update_pair(void *service, struct bs_call *call, const ProtobufCMessage *message,
                                   struct bs_err *err)
{
    struct bs_services *s = service;
    const Bioseg__V1__UpdatePairRequest *q = (const Bioseg__V1__UpdatePairRequest *)message;
    Bioseg__V1__UpdatePairResponse answer = BIOSEG__V1__UPDATE_PAIR_RESPONSE__INIT;
    const char *owner = bs_call_caller(call)->name;
    struct bs_pair_record p = {.name = NULL};
    struct bs_annotation a = {.done = false};
    bs_status rc = bs__check_name("dataset", q->dataset, err);
    if (rc != BS_OK)
        return rc;
    if (strlen(q->id) >= sizeof p.id)
        return BS_FAIL(err, BS_ENOTFOUND, "dataset '%s' has no pair '%.40s'", q->dataset, q->id);
    if ((rc = bs_store_pair_get(s->store, owner, q->dataset, q->id, &p, err)) == BS_OK &&
        (rc = bs__annotation_take(q->annotation, p.prediction_blob != NULL, &a, err)) == BS_OK)
        rc = annotate(s, owner, q->dataset, &p, &a, err);
    if (rc == BS_OK) {
        answer.pair = bs__pair_message(bs_call_arena(call), &p);
        rc = answer.pair ? bs_call_write(call, &answer.base, err)
                         : BS_FAIL(err, BS_ENOMEM, "the answer needs more memory than one request may take");
    }
    bs_annotation_clear(&a);
    bs_pair_record_free(&p);
    return rc;
}
