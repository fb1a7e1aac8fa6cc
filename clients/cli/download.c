/* See download.h. */
#include "clients/cli/download.h"

#include "clients/cli/message.h"
#include "clients/cli/outputs.h"
#include "model/weights/file_io.h"
#include "proto/wire/chunks.h"
#include "proto/wire/crc32c.h"

#include <openssl/evp.h>
#include <string.h>

/* What is known of a download that is under way. */
struct download {
    int fd;
    const struct bs__download_progress *progress;
    Bioseg__V1__ExportModelResponse *start; /* owned; NULL: has not come */
    struct bs_chunks chunks;
    EVP_MD_CTX *hash;
    bool ended;
};

static bs_status odd(const char *what, struct bs_err *err)
{
    return BS_FAIL(err, BS_EINTERNAL, "the server's answer makes no sense: %s", what);
}

static bs_status take_chunk(struct download *d, const Bioseg__V1__Chunk *chunk, struct bs_err *err)
{
    bs_status rc = bs_chunks_add(&d->chunks, chunk->offset, chunk->data.len, chunk->crc32c,
                                 bs_crc32c(0, chunk->data.data, chunk->data.len), err);
    if (rc == BS_OK)
        rc = bs__file_write(d->fd, chunk->data.data, chunk->data.len, err);
    if (rc == BS_OK && EVP_DigestUpdate(d->hash, chunk->data.data, chunk->data.len) != 1)
        rc = BS_FAIL(err, BS_EINTERNAL, "SHA-256 is not available");
    if (rc == BS_OK && d->progress)
        d->progress->received(d->progress->ctx, d->chunks.received, d->chunks.total);
    return rc;
}

static bs_status take_end(struct download *d, const Bioseg__V1__ChunkEnd *end, struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[BS__SHA256_TEXT];
    unsigned int size = 0;
    bs_status rc = bs_chunks_end(&d->chunks, end->total_bytes, err);
    if (rc != BS_OK)
        return rc;
    if (EVP_DigestFinal_ex(d->hash, digest, &size) != 1 || size != 32)
        return BS_FAIL(err, BS_EINTERNAL, "SHA-256 is not available");
    for (unsigned i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    const char *registered = d->start->start->model->sha256;
    if (strcmp(text, registered) != 0)
        return BS_FAIL(err, BS_ECORRUPT,
                       "what came is not the model: its SHA-256 is %s, the registry says %.64s", text,
                       registered);
    d->ended = true;
    return BS_OK;
}

static bs_status take(struct download *d, Bioseg__V1__ExportModelResponse *r, struct bs_err *err)
{
    if (r->part_case == BIOSEG__V1__EXPORT_MODEL_RESPONSE__PART_START) {
        if (d->start || !r->start->model)
            return odd(d->start ? "a second start" : "a start without a model", err);
        bs_chunks_begin(&d->chunks, r->start->total_bytes);
        return BS_OK;
    }
    if (!d->start)
        return odd("it does not begin with a start", err);
    if (r->part_case == BIOSEG__V1__EXPORT_MODEL_RESPONSE__PART_CHUNK)
        return take_chunk(d, r->chunk, err);
    if (r->part_case == BIOSEG__V1__EXPORT_MODEL_RESPONSE__PART_END)
        return take_end(d, r->end, err);
    return odd("an empty message", err);
}

bs_status bs__download_model(struct bs__rpc_client *client, Bioseg__V1__ModelRef *ref, int fd,
                             const struct bs__download_progress *progress,
                             Bioseg__V1__ExportModelResponse **start, struct bs_err *err)
{
    bs_status rc;
    struct bs__rpc_call *call = NULL;
    struct download d = {.fd = fd, .progress = progress, .hash = EVP_MD_CTX_new()};
    Bioseg__V1__ExportModelRequest request = BIOSEG__V1__EXPORT_MODEL_REQUEST__INIT;
    *start = NULL;
    request.model = ref;
    if (!d.hash || EVP_DigestInit_ex(d.hash, EVP_sha256(), NULL) != 1) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to receive a model");
        goto cleanup;
    }
    if ((rc = bs__rpc_call_start(client, BS__METHOD("Models", "Export"), 0, &call, err)) != BS_OK ||
        (rc = bs__message_send(call, &request.base, true, err)) != BS_OK)
        goto cleanup;
    for (;;) {
        ProtobufCMessage *message = NULL;
        rc = bs__message_receive(call, &bioseg__v1__export_model_response__descriptor, &message, err);
        if (rc != BS_OK)
            goto cleanup;
        if (!message)
            break;
        Bioseg__V1__ExportModelResponse *r = (Bioseg__V1__ExportModelResponse *)message;
        rc = d.ended ? odd("more after its end", err) : take(&d, r, err);
        if (rc == BS_OK && !d.start)
            d.start = r;
        else
            protobuf_c_message_free_unpacked(message, NULL);
        if (rc != BS_OK)
            goto cleanup;
    }
    if (!d.ended) {
        rc = odd("it stops before its end", err);
        goto cleanup;
    }
    *start = d.start;
    d.start = NULL;
cleanup:
    if (d.start)
        bioseg__v1__export_model_response__free_unpacked(d.start, NULL);
    EVP_MD_CTX_free(d.hash);
    bs__rpc_call_destroy(call);
    return rc;
}
