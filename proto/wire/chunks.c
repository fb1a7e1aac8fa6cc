/* Order, checksum and total of a chunked sequence; see chunks.h. */
#include "proto/wire/chunks.h"

#include <inttypes.h>

void bs_chunks_begin(struct bs_chunks *c, uint64_t total)
{
    c->total = total;
    c->received = 0;
}

bs_status bs_chunks_add(struct bs_chunks *c, uint64_t offset, uint64_t n, uint32_t stated_crc,
                        uint32_t computed_crc, struct bs_err *err)
{
    if (n == 0)
        return BS_FAIL(err, BS_EINVAL, "the chunk at offset %" PRIu64 " is empty; a chunk has 1 to %zu bytes",
                       offset, BS_CHUNK_MAX_BYTES);
    if (n > BS_CHUNK_MAX_BYTES)
        return BS_FAIL(err, BS_ELIMIT,
                       "the chunk at offset %" PRIu64 " has %" PRIu64 " bytes; at most %zu are accepted",
                       offset, n, BS_CHUNK_MAX_BYTES);
    if (offset != c->received)
        return BS_FAIL(err, BS_EINVAL, "a chunk has offset %" PRIu64 "; the next one must begin at %" PRIu64,
                       offset, c->received);
    if (n > c->total - c->received)
        return BS_FAIL(err, BS_EINVAL,
                       "the chunk at offset %" PRIu64 " with %" PRIu64
                       " bytes goes beyond the promised total of %" PRIu64,
                       offset, n, c->total);
    if (stated_crc != computed_crc)
        return BS_FAIL(err, BS_EINVAL,
                       "the chunk at offset %" PRIu64 " was damaged on the way: CRC-32C is %08" PRIx32
                       ", stated is %08" PRIx32,
                       offset, computed_crc, stated_crc);
    c->received += n;
    return BS_OK;
}

bs_status bs_chunks_end(const struct bs_chunks *c, uint64_t stated_total, struct bs_err *err)
{
    if (c->received != c->total)
        return BS_FAIL(err, BS_EINVAL, "the stream ended after %" PRIu64 " of %" PRIu64 " bytes", c->received,
                       c->total);
    if (stated_total != c->total)
        return BS_FAIL(err, BS_EINVAL, "the end states %" PRIu64 " bytes, the start %" PRIu64, stated_total,
                       c->total);
    return BS_OK;
}
