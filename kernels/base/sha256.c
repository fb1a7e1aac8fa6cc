/* See sha256.h; names and numbers of functions are those of FIPS 180-4. */
#include "kernels/base/sha256.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define READ_BYTES ((size_t)1 << 17)

/* Section 4.2.2: the first 32 bits of the fractions of the cube roots of the first 64 primes. */
static const uint32_t round_constant[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, int n)
{
    return x >> n | x << (32 - n);
}

static void take_block(struct bs_sha256 *h, const unsigned char *block)
{
    uint32_t w[64], s[8];
    for (int t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
               (uint32_t)block[4 * t + 2] << 8 | (uint32_t)block[4 * t + 3];
    for (int t = 16; t < 64; t++) {
        uint32_t sigma0 = rotated(w[t - 15], 7) ^ rotated(w[t - 15], 18) ^ w[t - 15] >> 3,
                 sigma1 = rotated(w[t - 2], 17) ^ rotated(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = sigma1 + w[t - 7] + sigma0 + w[t - 16];
    }
    memcpy(s, h->state, sizeof s); /* a, b, ... h */
    for (int t = 0; t < 64; t++) {
        uint32_t sum1 = rotated(s[4], 6) ^ rotated(s[4], 11) ^ rotated(s[4], 25),
                 choice = (s[4] & s[5]) ^ (~s[4] & s[6]),
                 t1 = s[7] + sum1 + choice + round_constant[t] + w[t],
                 sum0 = rotated(s[0], 2) ^ rotated(s[0], 13) ^ rotated(s[0], 22),
                 majority = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
        memmove(s + 1, s, 7 * sizeof *s);
        s[4] += t1;
        s[0] = t1 + sum0 + majority;
    }
    for (int i = 0; i < 8; i++)
        h->state[i] += s[i];
}

void bs_sha256_begin(struct bs_sha256 *h)
{
    /* Section 5.3.3: the first 32 bits of the fractions of the square roots of the first 8 primes. */
    *h = (struct bs_sha256){.state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c,
                                      0x1f83d9ab, 0x5be0cd19}};
}

void bs_sha256_add(struct bs_sha256 *h, const void *data, size_t bytes)
{
    const unsigned char *from = data;
    size_t held = (size_t)(h->bytes % sizeof h->block);
    h->bytes += bytes;
    while (bytes > 0) {
        if (held == 0 && bytes >= sizeof h->block) {
            take_block(h, from);
            from += sizeof h->block;
            bytes -= sizeof h->block;
            continue;
        }
        size_t n = sizeof h->block - held < bytes ? sizeof h->block - held : bytes;
        memcpy(h->block + held, from, n);
        from += n;
        bytes -= n;
        held = (held + n) % sizeof h->block;
        if (held == 0)
            take_block(h, h->block);
    }
}

void bs_sha256_end(struct bs_sha256 *h, unsigned char digest[BS_SHA256_BYTES])
{
    static const unsigned char padding[64] = {0x80};
    const uint64_t bits = h->bytes * 8;
    const size_t held = (size_t)(h->bytes % 64);
    unsigned char length[8];
    for (int i = 0; i < 8; i++)
        length[i] = (unsigned char)(bits >> (56 - 8 * i));
    bs_sha256_add(h, padding, held < 56 ? 56 - held : 120 - held);
    bs_sha256_add(h, length, sizeof length);
    for (int i = 0; i < BS_SHA256_BYTES; i++)
        digest[i] = (unsigned char)(h->state[i / 4] >> (24 - 8 * (i % 4)));
}

void bs_sha256_text(const unsigned char digest[BS_SHA256_BYTES], char text[BS_SHA256_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < BS_SHA256_BYTES; i++) {
        text[2 * i] = digits[digest[i] >> 4];
        text[2 * i + 1] = digits[digest[i] & 15];
    }
    text[2 * BS_SHA256_BYTES] = '\0';
}

bs_status bs_sha256_file(int fd, char text[BS_SHA256_TEXT], struct bs_err *err)
{
    struct bs_sha256 h;
    unsigned char digest[BS_SHA256_BYTES], *buffer = malloc(READ_BYTES);
    bs_status rc = BS_OK;
    if (!buffer)
        return BS_FAIL(err, BS_ENOMEM, "no memory to hash a file");
    bs_sha256_begin(&h);
    for (off_t at = 0;;) {
        ssize_t got = pread(fd, buffer, READ_BYTES, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            rc = BS_FAIL(err, BS_EIO, "a file cannot be read: %s", strerror(errno));
            goto cleanup;
        }
        if (got == 0)
            break;
        bs_sha256_add(&h, buffer, (size_t)got);
        at += got;
    }
    bs_sha256_end(&h, digest);
    bs_sha256_text(digest, text);
cleanup:
    free(buffer);
    return rc;
}
