/* The books of one chunked sequence of bytes: pieces in order, each with its checksum, and a promised total. Used by
   whoever receives (the server for images and models, clients for results). Belongs to one thread. */
#ifndef BS_PROTO_WIRE_CHUNKS_H
#define BS_PROTO_WIRE_CHUNKS_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_CHUNK_MAX_BYTES ((size_t)1 << 20)

struct bs_chunks {
    uint64_t total;    /* promised */
    uint64_t received; /* checked so far */
};

void bs_chunks_begin(struct bs_chunks *c, uint64_t total);
/* Accounts for a chunk whose data has been looked at: n bytes with this computed checksum. */
bs_status bs_chunks_add(struct bs_chunks *c, uint64_t offset, uint64_t n, uint32_t stated_crc,
                        uint32_t computed_crc, struct bs_err *err) BS_NODISCARD;
/* All promised bytes have come and the sender says the same. */
bs_status bs_chunks_end(const struct bs_chunks *c, uint64_t stated_total, struct bs_err *err) BS_NODISCARD;

#endif
