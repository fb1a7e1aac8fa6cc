/* SHA-256 (FIPS 180-4) of bytes that come piece by piece: what packages name their files by. Any thread; a struct belongs to one. */
#ifndef BS_MODEL_WEIGHTS_SHA256_H
#define BS_MODEL_WEIGHTS_SHA256_H

#include <stddef.h>
#include <stdint.h>

struct bs__sha256 {
    uint32_t state[8];
    uint64_t bytes;
    unsigned char block[64]; /* of it bytes % 64 are there */
};

void bs__sha256_begin(struct bs__sha256 *h);
void bs__sha256_add(struct bs__sha256 *h, const void *data, size_t bytes);
/* 64 hexadecimal digits. */
void bs__sha256_end(struct bs__sha256 *h, char text[65]);

#endif
