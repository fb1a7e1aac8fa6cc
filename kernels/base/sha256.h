/* SHA-256 (FIPS 180-4), for names that follow from content: of files, of data sets, of checkpoints. Where secrets are compared the
   server uses OpenSSL. One hash belongs to one thread. */
#ifndef BS_KERNELS_BASE_SHA256_H
#define BS_KERNELS_BASE_SHA256_H

#include "kernels/base/status.h"

#include <stdint.h>

#define BS_SHA256_BYTES 32
#define BS_SHA256_TEXT  65 /* lower-case hexadecimal and NUL */

/* Plain data: copying it copies what has been hashed so far. */
struct bs_sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64]; /* the last bytes % 64 bytes are still to be taken in */
};

void bs_sha256_begin(struct bs_sha256 *h);
void bs_sha256_add(struct bs_sha256 *h, const void *data, size_t bytes);
/* h is to be begun again afterwards. */
void bs_sha256_end(struct bs_sha256 *h, unsigned char digest[BS_SHA256_BYTES]);
void bs_sha256_text(const unsigned char digest[BS_SHA256_BYTES], char text[BS_SHA256_TEXT]);

/* All of a file from its first byte, read with pread: the descriptor's position stays. BS_EIO. */
bs_status bs_sha256_file(int fd, char text[BS_SHA256_TEXT], struct bs_err *err) BS_NODISCARD;

#endif
