/* The serialised FileDescriptorSet of everything in proto/, for server reflection. Static; any thread. */
#ifndef BS_PROTO_DESCRIPTORS_H
#define BS_PROTO_DESCRIPTORS_H

#include <stddef.h>
#include <stdint.h>

const uint8_t *bs_descriptor_set(size_t *size);

#endif
