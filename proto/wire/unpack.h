/* Message from bytes, all of its memory from an arena: dies with it, within its cap. The arena's owner calls. */
#ifndef BS_PROTO_WIRE_UNPACK_H
#define BS_PROTO_WIRE_UNPACK_H

#include "kernels/base/arena.h"
#include "kernels/base/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* Checks (bs_wire_check) and unpacks. BS_ELIMIT when the message needs more memory than the arena gives. */
bs_status bs_wire_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n, bool strict,
                         struct bs_arena *arena, ProtobufCMessage **out, struct bs_err *err) BS_NODISCARD;

#endif
