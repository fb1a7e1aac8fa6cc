/* What a service sees of a running call: read, write, who is calling, has the client gone. A handler runs on a thread of
   its own and may block in these functions; only that thread calls them, except bs_call_cancelled. */
#ifndef BS_SERVER_RPC_CALL_H
#define BS_SERVER_RPC_CALL_H

#include "kernels/base/arena.h"
#include "proto/wire/scan.h"
#include "server/auth.h"
#include "server/log.h"
#include "server/rpc/mapping.h"

#include <protobuf-c/protobuf-c.h>

struct bs_call;

const char *bs_call_request_id(const struct bs_call *c);
const struct bs_caller *bs_call_caller(const struct bs_call *c);
/* Dies with the call. */
struct bs_arena *bs_call_arena(struct bs_call *c);
struct bs_log *bs_call_log(struct bs_call *c);

/* The next message of the client, unpacked into arena (NULL: the call's), pixels taken out on the way (NULL: none).
   *message is NULL when the client has sent its last. BS_EDEADLINE when the client stays silent for too long. */
bs_status bs_call_read(struct bs_call *c, struct bs_arena *arena, const struct bs_wire_pixels *pixels,
                       ProtobufCMessage **message, struct bs_err *err) BS_NODISCARD;

/* Bytes that end a message as its field `field`, not copied. */
struct bs_call_bytes {
    uint32_t field;
    struct bs_mapping *mapping; /* borrowed; referenced while needed */
    size_t offset, n;
};
/* Sends message, with bytes fields behind it. For a method with one answer it is sent together with the status, when the
   handler returns. Returns when there is room for more (backpressure). BS_ECANCELLED when nobody listens any more. */
bs_status bs_call_write(struct bs_call *c, const ProtobufCMessage *message, struct bs_err *err) BS_NODISCARD;
bs_status bs_call_write_with(struct bs_call *c, const ProtobufCMessage *message,
                             const struct bs_call_bytes *bytes, size_t nbytes,
                             struct bs_err *err) BS_NODISCARD;
/* As above, wrapped as the submessage `outer` of an otherwise empty message: a chunk of a stream. */
bs_status bs_call_write_inside(struct bs_call *c, uint32_t outer, const ProtobufCMessage *message,
                               const struct bs_call_bytes *bytes, size_t nbytes,
                               struct bs_err *err) BS_NODISCARD;

/* Why the call will fail, for programs: a word that stays the same whatever the sentence says, sent in the trailer
   "bioseg-reason" if the handler returns an error (proto/bioseg/v1/common.proto lists them). reason: a literal. */
void bs_call_set_reason(struct bs_call *c, const char *reason);

/* Client gone, deadline passed, or the server ends. Any thread. */
bool bs_call_cancelled(const struct bs_call *c);
/* BS_ECANCELLED or BS_EDEADLINE with words, whichever it was. */
bs_status bs_call_cancelled_status(const struct bs_call *c, struct bs_err *err);
/* fn is called once when the call is cancelled (at once if it is already), on some thread; it must not block. NULL takes
   it back: afterwards it does not run any more. */
void bs_call_on_cancel(struct bs_call *c, void (*fn)(void *ctx), void *ctx);

#endif
