/* Bytes that arrive: into a sealed memfd (images, copied once, straight from the network's slices) or into a blob (jobs'
   inputs and models, on disk as they come). The handler's thread; bs__hold and bs__release from any. */
#include "server/service/service_internal.h"

#include "proto/wire/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CHUNK_ARENA_BYTES ((size_t)64 << 10)
#define FIELD_CHUNK       2 /* of every message that carries chunks */
#define FIELD_CHUNK_DATA  3

bs_status bs__hold(struct bs_services *s, uint64_t bytes, struct bs_err *err)
{
    unsigned long long before = atomic_fetch_add(&s->held_bytes, bytes);
    if (before + bytes <= s->limits.max_held_bytes && before + bytes >= before)
        return BS_OK;
    atomic_fetch_sub(&s->held_bytes, bytes);
    return BS_FAIL(err, BS_ELIMIT,
                   "the server holds %llu bytes of images at present; %" PRIu64
                   " more would exceed its limit of %" PRIu64
                   " bytes. Try again, or submit a job, whose image waits on disk",
                   before, bytes, s->limits.max_held_bytes);
}

void bs__release(struct bs_services *s, uint64_t bytes)
{
    atomic_fetch_sub(&s->held_bytes, bytes);
}

static bs_status open_hash(struct bs__inbox *b, struct bs_err *err)
{
    b->sha256 = EVP_MD_CTX_new();
    if (!b->sha256 || EVP_DigestInit_ex(b->sha256, EVP_sha256(), NULL) != 1)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    return BS_OK;
}

static bs_status open_memfd(struct bs__inbox *b, uint64_t total, struct bs_err *err)
{
    bs_status rc = bs__hold(b->services, total, err);
    if (rc != BS_OK)
        return rc;
    b->held = total;
    b->fd = memfd_create("image", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (b->fd < 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for an image of %" PRIu64 " bytes", total);
    return BS_OK;
}

bs_status bs__inbox_open_memory(struct bs__inbox *b, struct bs_services *s, uint64_t total,
                                struct bs_err *err)
{
    bs_status rc;
    *b = (struct bs__inbox){.services = s, .fd = -1, .limit = BS_CHUNK_MAX_BYTES};
    bs_chunks_begin(&b->books, total);
    if (total == 0 || total > s->limits.max_image_bytes)
        return BS_FAIL(err, total ? BS_ELIMIT : BS_EINVAL,
                       "total_bytes is %" PRIu64 "; images of 1 to %" PRIu64 " bytes are accepted", total,
                       s->limits.max_image_bytes);
    if ((rc = open_hash(b, err)) != BS_OK)
        return rc;
    return open_memfd(b, total, err);
}

bs_status bs__inbox_open_blob(struct bs__inbox *b, struct bs_services *s, uint64_t total, struct bs_err *err)
{
    bs_status rc;
    *b = (struct bs__inbox){.services = s, .fd = -1, .limit = BS_CHUNK_MAX_BYTES};
    bs_chunks_begin(&b->books, total);
    if ((rc = open_hash(b, err)) != BS_OK)
        return rc;
    return bs_blob_writer_open(s->blobs, total, &b->blob, err);
}

void bs__inbox_close(struct bs__inbox *b)
{
    if (b->fd >= 0)
        close(b->fd);
    bs_blob_abort(b->blob);
    EVP_MD_CTX_free(b->sha256);
    if (b->held)
        bs__release(b->services, b->held);
    *b = (struct bs__inbox){.fd = -1};
}

uint64_t bs__inbox_bytes(const struct bs__inbox *b)
{
    return b->books.received;
}

/* ---- one piece ---- */

static bs_status piece_begin(void *ctx, uint64_t total, struct bs_err *err)
{
    struct bs__inbox *b = ctx;
    uint64_t room = b->books.total - b->books.received;
    if (total > b->limit)
        return BS_FAIL(err, BS_ELIMIT, "a chunk has %" PRIu64 " bytes; at most %" PRIu64 " are accepted",
                       total, b->limit);
    if (total > room)
        return BS_FAIL(err, BS_EINVAL,
                       "a chunk of %" PRIu64 " bytes at offset %" PRIu64
                       " goes beyond the promised total of %" PRIu64,
                       total, b->books.received, b->books.total);
    return BS_OK;
}

static bs_status piece_data(void *ctx, const uint8_t *data, size_t n, struct bs_err *err)
{
    struct bs__inbox *b = ctx;
    b->crc = bs_crc32c(b->crc, data, n);
    if (EVP_DigestUpdate(b->sha256, data, n) != 1)
        return BS_FAIL(err, BS_EINTERNAL, "SHA-256 failed");
    if (b->blob) {
        b->piece += n;
        return bs_blob_write(b->blob, data, n, err);
    }
    while (n > 0) {
        ssize_t written = pwrite(b->fd, data, n, (off_t)(b->books.received + b->piece));
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return BS_FAIL(err, BS_ENOMEM, "no memory for the image");
        data += written;
        n -= (size_t)written;
        b->piece += (uint64_t)written;
    }
    return BS_OK;
}

static bs_status finish(struct bs__inbox *b, struct bs_err *err)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    static const char hex[] = "0123456789abcdef";
    if (EVP_DigestFinal_ex(b->sha256, digest, NULL) != 1)
        return BS_FAIL(err, BS_EINTERNAL, "SHA-256 failed");
    for (int i = 0; i < 32; i++) {
        b->hash[2 * i] = hex[digest[i] >> 4];
        b->hash[2 * i + 1] = hex[digest[i] & 15];
    }
    b->hash[64] = 0;
    if (b->fd >= 0 &&
        fcntl(b->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
        return BS_FAIL(err, BS_EINTERNAL, "an image cannot be sealed: %s", strerror(errno));
    return BS_OK;
}

/* ---- streams ---- */

static bs_status end(struct bs__inbox *b, const Bioseg__V1__ChunkEnd *stated, struct bs_err *err)
{
    bs_status rc = bs_chunks_end(&b->books, stated->total_bytes, err);
    if (rc == BS_OK)
        rc = finish(b, err);
    if (rc == BS_OK && stated->sha256[0] && strcmp(stated->sha256, b->hash) != 0)
        return BS_FAIL(err, BS_EINVAL, "the bytes have SHA-256 %s, the end states %.80s", b->hash,
                       stated->sha256);
    return rc;
}

/* The next message: a chunk of that artifact, or the end, which *stop is told of. `last`: an end is accepted. */
static bs_status next(struct bs__inbox *b, struct bs_call *call, bs__part_fn *part, uint32_t artifact,
                      bool last, bool *stopped, struct bs_err *err)
{
    const struct bs_wire_pixels pixels = {FIELD_CHUNK, FIELD_CHUNK_DATA, b, piece_begin, piece_data};
    const Bioseg__V1__Chunk *chunk = NULL;
    const Bioseg__V1__ChunkEnd *stop = NULL;
    ProtobufCMessage *message;
    struct bs_arena *arena = bs_arena_create(CHUNK_ARENA_BYTES);
    if (!arena)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    b->crc = 0;
    b->piece = 0;
    bs_status rc = bs_call_read(call, arena, &pixels, &message, err);
    if (rc == BS_OK && !message)
        rc = BS_FAIL(err, BS_EINVAL,
                     "the stream ended after %" PRIu64 " of %" PRIu64 " bytes, without its end message",
                     b->books.received, b->books.total);
    if (rc == BS_OK)
        part(message, &chunk, &stop);
    if (rc == BS_OK && chunk && chunk->artifact != artifact)
        rc = BS_FAIL(err, BS_EINVAL, "a chunk names artifact %u; %u is expected here", chunk->artifact,
                     artifact);
    else if (rc == BS_OK && chunk)
        rc = bs_chunks_add(&b->books, chunk->offset, b->piece, chunk->crc32c, b->crc, err);
    else if (rc == BS_OK && stop && last)
        rc = end(b, stop, err);
    else if (rc == BS_OK)
        rc = BS_FAIL(err, BS_EINVAL, "expected a chunk%s after %" PRIu64 " of %" PRIu64 " bytes",
                     last ? " or the end of the stream" : "", b->books.received, b->books.total);
    *stopped = stop != NULL;
    bs_arena_destroy(arena);
    return rc;
}

bs_status bs__inbox_receive(struct bs__inbox *b, struct bs_call *call, bs__part_fn *part, struct bs_err *err)
{
    bool stopped = false;
    bs_status rc = BS_OK;
    while (rc == BS_OK && !stopped)
        rc = next(b, call, part, 0, true, &stopped, err);
    return rc;
}

bs_status bs__inbox_receive_artifact(struct bs__inbox *b, struct bs_call *call, bs__part_fn *part,
                                     uint32_t artifact, struct bs_err *err)
{
    bool stopped = false;
    bs_status rc = BS_OK;
    while (rc == BS_OK && b->books.received < b->books.total)
        rc = next(b, call, part, artifact, false, &stopped, err);
    return rc == BS_OK ? finish(b, err) : rc;
}

/* ---- unary ---- */

static bs_status unary_begin(void *ctx, uint64_t total, struct bs_err *err)
{
    struct bs__inbox *b = ctx;
    if (total > b->limit)
        return BS_FAIL(err, BS_ELIMIT,
                       "the image has %" PRIu64 " bytes; Segment takes at most %" PRIu64
                       ", SegmentStream and Jobs.Submit more",
                       total, b->limit);
    bs_chunks_begin(&b->books, total);
    return open_memfd(b, total, err);
}

bs_status bs__inbox_receive_unary(struct bs__inbox *b, struct bs_services *s, struct bs_call *call,
                                  uint32_t field, uint64_t limit, ProtobufCMessage **message,
                                  struct bs_err *err)
{
    bs_status rc;
    *b = (struct bs__inbox){.services = s, .fd = -1, .limit = limit};
    const struct bs_wire_pixels pixels = {0, field, b, unary_begin, piece_data};
    if ((rc = open_hash(b, err)) != BS_OK || (rc = bs_call_read(call, NULL, &pixels, message, err)) != BS_OK)
        return rc;
    if (!*message)
        return BS_FAIL(err, BS_EINVAL, "the request has no message");
    if (b->fd < 0)
        return BS_OK;
    b->books.received = b->piece;
    return finish(b, err);
}
