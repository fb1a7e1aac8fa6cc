/* The bytes of a file as chunks of 1 MiB with CRC-32C and an end with SHA-256: what SegmentStream, Jobs.Submit, Models.Import
   and Datasets.AddPair have in common (their chunk and end have the same field numbers). */
#ifndef BS_CLIENTS_CLI_UPLOAD_H
#define BS_CLIENTS_CLI_UPLOAD_H

#include "clients/cli/outputs.h"
#include "clients/cli/rpc_client.h"

#define BS__CHUNK_BYTES (1u << 20)

/* Opens a regular, non-empty file for uploading. */
bs_status bs__upload_open(const char *path, int *fd, uint64_t *bytes, struct bs_err *err) BS_NODISCARD;

struct bs__upload_progress {
    void *ctx;
    void (*sent)(void *ctx, uint64_t done, uint64_t total);
};

/* Sends `bytes` bytes of fd after the start message, then the end; nothing follows. sha256 gets the hash of what was
   sent. */
bs_status bs__upload(struct bs__rpc_call *call, int fd, uint64_t bytes, const char *name,
                     const struct bs__upload_progress *progress, char sha256[BS__SHA256_TEXT],
                     struct bs_err *err) BS_NODISCARD;
/* The two halves of it, for streams of several files: chunks of one artifact, and the end after all of them (sha256 NULL: not
   stated). */
bs_status bs__upload_chunks(struct bs__rpc_call *call, int fd, uint64_t bytes, uint32_t artifact,
                            const char *name, const struct bs__upload_progress *progress,
                            char sha256[BS__SHA256_TEXT], struct bs_err *err) BS_NODISCARD;
bs_status bs__upload_end(struct bs__rpc_call *call, uint64_t bytes, const char *sha256,
                         struct bs_err *err) BS_NODISCARD;

#endif
