/* Content-addressed files: images, labels, weights. Written to a temporary file, fsync'ed, renamed to their SHA-256,
   directory fsync'ed. A cap on all bytes together and a reserve of free disk space are kept. Thread-safe. */
#ifndef BS_SERVER_STORE_BLOBS_H
#define BS_SERVER_STORE_BLOBS_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_BLOB_HASH_LEN 64 /* hex digits */

struct bs_blobs;
struct bs_blob_writer;

struct bs_blob_limits {
    uint64_t max_bytes;     /* of all blobs; 0: no cap */
    uint64_t reserve_bytes; /* of the file system that must stay free */
};

bs_status bs_blobs_open(const char *dir, const struct bs_blob_limits *limits, struct bs_blobs **out,
                        struct bs_err *err) BS_NODISCARD;
void bs_blobs_close(struct bs_blobs *b);

/* Streaming in; total_hint reserves (0: unknown). BS_ELIMIT names cap or reserve. */
bs_status bs_blob_writer_open(struct bs_blobs *b, uint64_t total_hint, struct bs_blob_writer **out,
                              struct bs_err *err) BS_NODISCARD;
bs_status bs_blob_write(struct bs_blob_writer *w, const void *data, size_t n,
                        struct bs_err *err) BS_NODISCARD;
/* Durable when it returns; writes the hash (65 bytes with NUL). Frees the writer, also on failure. */
bs_status bs_blob_commit(struct bs_blob_writer *w, char *hash, struct bs_err *err) BS_NODISCARD;
void bs_blob_abort(struct bs_blob_writer *w); /* accepts NULL */

/* Whole buffer or descriptor (read from its start) in one go. */
bs_status bs_blob_put(struct bs_blobs *b, const void *data, size_t n, char *hash,
                      struct bs_err *err) BS_NODISCARD;
bs_status bs_blob_put_fd(struct bs_blobs *b, int fd, uint64_t n, char *hash, struct bs_err *err) BS_NODISCARD;
/* Read-only descriptor (caller closes) and size. */
bs_status bs_blob_open(struct bs_blobs *b, const char *hash, int *fd, uint64_t *size,
                       struct bs_err *err) BS_NODISCARD;
bs_status bs_blob_delete(struct bs_blobs *b, const char *hash, struct bs_err *err) BS_NODISCARD;
uint64_t bs_blobs_bytes(struct bs_blobs *b);
/* The folder's descriptor, borrowed: for the worker, which reads images there by their hashes and writes files without names. */
int bs_blobs_folder(const struct bs_blobs *b);

/* Removes blobs that in_use says nobody names and that were written (or written again) at least older_than_s seconds
   ago: the age protects an upload whose job is about to be added. This is how blobs of deleted records go; nobody
   else needs to delete one. */
typedef bs_status (*bs_blob_in_use_fn)(void *ctx, const char *hash, bool *used, struct bs_err *err);
bs_status bs_blobs_sweep(struct bs_blobs *b, int older_than_s, bs_blob_in_use_fn in_use, void *ctx,
                         int *count, struct bs_err *err) BS_NODISCARD;

/* SHA-256 of a buffer as 64 hex digits and NUL. */
bs_status bs_blob_hash(const void *data, size_t n, char *hash, struct bs_err *err) BS_NODISCARD;

#endif
