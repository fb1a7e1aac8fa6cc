/* The strict look at a serialised message, before protobuf-c unpacks it: protobuf-c accepts strings with embedded NULs
   (and cuts them silently), invalid UTF-8, map keys that come twice, and fields it does not know. Pure; any thread. */
#ifndef BS_PROTO_WIRE_CHECK_H
#define BS_PROTO_WIRE_CHECK_H

#include "kernels/base/status.h"

#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

/* BS_EINVAL or BS_ECORRUPT names the field. strict refuses fields and enum values that this version does not know
   (bioseg.v1: what cannot be done is refused, never ignored); the public protocols skip them as their clients expect. */
bs_status bs_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n, bool strict,
                        struct bs_err *err) BS_NODISCARD;
/* Whether n bytes are valid UTF-8 (no overlong forms, no surrogates, at most U+10FFFF) without NUL. */
bool bs_wire_text_ok(const uint8_t *data, size_t n);

#endif
