/* protobuf-c's allocator on an arena; see unpack.h. */
#include "proto/wire/unpack.h"

#include "proto/wire/check.h"

struct cap {
    struct bs_arena *arena;
    bool exhausted;
};

static void *arena_alloc(void *ctx, size_t size)
{
    struct cap *cap = ctx;
    void *p = bs_arena_alloc(cap->arena, size);
    if (!p)
        cap->exhausted = true;
    return p;
}

/* Everything goes at once, with the arena. */
static void arena_free(void *ctx, void *pointer)
{
    (void)ctx;
    (void)pointer;
}

bs_status bs_wire_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n, bool strict,
                         struct bs_arena *arena, ProtobufCMessage **out, struct bs_err *err)
{
    bs_status rc = bs_wire_check(type, data, n, strict, err);
    if (rc != BS_OK)
        return rc;
    struct cap cap = {arena, false};
    ProtobufCAllocator allocator = {arena_alloc, arena_free, &cap};
    ProtobufCMessage *m = protobuf_c_message_unpack(type, &allocator, n, data);
    if (!m && cap.exhausted)
        return BS_FAIL(err, BS_ELIMIT, "the message needs more memory than one request may take");
    if (!m)
        return BS_FAIL(err, BS_ECORRUPT, "%s is no valid protobuf message", type->short_name);
    *out = m;
    return BS_OK;
}
