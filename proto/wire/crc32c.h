/* CRC-32C (Castagnoli, reflected polynomial 0x82f63b78; RFC 3720 appendix B.4), the checksum of chunks. Any thread. */
#ifndef BS_PROTO_WIRE_CRC32C_H
#define BS_PROTO_WIRE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of what was before (0 at the start) continued over data. Uses the SSE 4.2 instruction where there is one. */
uint32_t bs_crc32c(uint32_t crc, const void *data, size_t n);
/* The same by table: what the instruction is tested against. */
uint32_t bs_crc32c_table(uint32_t crc, const void *data, size_t n);

#endif
