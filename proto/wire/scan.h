/* Takes one bytes field (pixels) out of a serialised message that comes in fragments, so that its bytes are copied once,
   straight to where they belong, and protobuf-c only ever sees the small rest. Pure; any thread. */
#ifndef BS_PROTO_WIRE_SCAN_H
#define BS_PROTO_WIRE_SCAN_H

#include "kernels/base/status.h"

#include <stdint.h>

/* Where fragments come from: false after the last one. Fragments stay valid during the scan. */
struct bs_wire_source {
    void *ctx;
    bool (*next)(void *ctx, const uint8_t **data, size_t *n);
};

/* Which field holds the pixels: `field` of the message itself (outer 0), or of its submessage `outer`. */
struct bs_wire_pixels {
    uint32_t outer, field;
    void *ctx;
    /* Called once with the length before the first byte (never when the field is absent or empty). May be NULL. */
    bs_status (*begin)(void *ctx, uint64_t total, struct bs_err *err);
    /* The bytes, in order. */
    bs_status (*data)(void *ctx, const uint8_t *data, size_t n, struct bs_err *err);
};

/* Copies the message without its pixels to rest (capacity cap; BS_ELIMIT beyond) and hands the pixels to `pixels` (NULL:
   everything goes to rest). BS_ECORRUPT for what is no protobuf message, and when the pixel field comes twice. */
bs_status bs_wire_scan(const struct bs_wire_source *source, const struct bs_wire_pixels *pixels,
                       uint8_t *rest, size_t cap, size_t *rest_size, struct bs_err *err) BS_NODISCARD;

#endif
