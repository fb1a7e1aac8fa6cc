/* Uploads. See upload.h. */
#include "clients/cli/upload.h"

#include "clients/cli/message.h"
#include "bioseg/v1/segmentation.pb-c.h"
#include "proto/wire/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bs_status bs__upload_open(const char *path, int *fd, uint64_t *bytes, struct bs_err *err)
{
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0 || fstat(*fd, &st) != 0) {
        bs_status rc = BS_FAIL(err, errno == ENOENT ? BS_ENOTFOUND : BS_EIO, "cannot read %s: %s", path,
                               strerror(errno));
        if (*fd >= 0)
            close(*fd);
        *fd = -1;
        return rc;
    }
    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        close(*fd);
        *fd = -1;
        return BS_FAIL(err, BS_EINVAL, "%s is %s", path,
                       S_ISREG(st.st_mode) ? "empty" : "not a regular file");
    }
    *bytes = (uint64_t)st.st_size;
    return BS_OK;
}

static bs_status read_fully(int fd, uint64_t offset, uint8_t *data, size_t size, const char *name,
                            struct bs_err *err)
{
    size_t n = 0;
    while (n < size) {
        ssize_t got = pread(fd, data + n, size - n, (off_t)(offset + n));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return BS_FAIL(err, BS_EIO, "cannot read %s: %s", name,
                           got < 0 ? strerror(errno) : "it became shorter");
        n += (size_t)got;
    }
    return BS_OK;
}

static bs_status send_part(struct bs__rpc_call *call, const Bioseg__V1__SegmentStreamRequest *part, bool last,
                           struct bs_err *err)
{
    return bs__message_send(call, &part->base, last, err);
}

bs_status bs__upload_chunks(struct bs__rpc_call *call, int fd, uint64_t bytes, uint32_t artifact,
                            const char *name, const struct bs__upload_progress *progress,
                            char sha256[BS__SHA256_TEXT], struct bs_err *err)
{
    bs_status rc = BS_OK;
    uint8_t *data = malloc(BS__CHUNK_BYTES);
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int digest_size = 0;
    if (!data || !hash || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to send %s", name);
        goto cleanup;
    }
    for (uint64_t offset = 0; offset < bytes;) {
        size_t n = bytes - offset < BS__CHUNK_BYTES ? (size_t)(bytes - offset) : BS__CHUNK_BYTES;
        if ((rc = read_fully(fd, offset, data, n, name, err)) != BS_OK)
            goto cleanup;
        EVP_DigestUpdate(hash, data, n);
        Bioseg__V1__Chunk chunk = BIOSEG__V1__CHUNK__INIT;
        chunk.offset = offset;
        chunk.artifact = artifact;
        chunk.crc32c = bs_crc32c(0, data, n);
        chunk.data = (ProtobufCBinaryData){.len = n, .data = data};
        Bioseg__V1__SegmentStreamRequest part = BIOSEG__V1__SEGMENT_STREAM_REQUEST__INIT;
        part.part_case = BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_CHUNK;
        part.chunk = &chunk;
        if ((rc = send_part(call, &part, false, err)) != BS_OK)
            goto cleanup;
        offset += n;
        if (progress && progress->sent)
            progress->sent(progress->ctx, offset, bytes);
    }
    EVP_DigestFinal_ex(hash, digest, &digest_size);
    for (unsigned i = 0; i < digest_size; i++)
        snprintf(sha256 + 2 * i, 3, "%02x", digest[i]);
cleanup:
    EVP_MD_CTX_free(hash);
    free(data);
    return rc;
}

bs_status bs__upload_end(struct bs__rpc_call *call, uint64_t bytes, const char *sha256, struct bs_err *err)
{
    Bioseg__V1__ChunkEnd end = BIOSEG__V1__CHUNK_END__INIT;
    end.total_bytes = bytes;
    if (sha256)
        end.sha256 = (char *)(uintptr_t)sha256;
    Bioseg__V1__SegmentStreamRequest part = BIOSEG__V1__SEGMENT_STREAM_REQUEST__INIT;
    part.part_case = BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_END;
    part.end = &end;
    return send_part(call, &part, true, err);
}

bs_status bs__upload(struct bs__rpc_call *call, int fd, uint64_t bytes, const char *name,
                     const struct bs__upload_progress *progress, char sha256[BS__SHA256_TEXT],
                     struct bs_err *err)
{
    bs_status rc = bs__upload_chunks(call, fd, bytes, 0, name, progress, sha256, err);
    return rc == BS_OK ? bs__upload_end(call, bytes, sha256, err) : rc;
}
