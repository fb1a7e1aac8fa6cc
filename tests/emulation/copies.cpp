// Memory of the device and pinned memory: allocating, copies, fills.
#include "tests/emulation/api.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"

#include <string.h>

using namespace bs_emulation;

int bs_emulation::break_captures()
{
    bool any = false;
    for (capture *c : the_state().captures)
        any = c->broken = true;
    return any ? BS__CU_CAPTURE_UNSUPPORTED : 0;
}

API(cuMemAlloc_v2, bs__cu_address *at, size_t bytes)
{
    BEGIN(true);
    driver_state &s = the_state();
    if (bytes == 0)
        return BS__CU_INVALID_VALUE;
    if (int refused = break_captures())
        return refused;
    if (++s.allocations == s.plan.fail_alloc || bytes > s.plan.memory - allocated_bytes())
        return BS__CU_OUT_OF_MEMORY;
    *at = allocate(bytes);
    return 0;
}

API(cuMemFree_v2, bs__cu_address at)
{
    BEGIN(true);
    if (int refused = break_captures())
        return refused;
    return at == 0 || deallocate(at) ? 0 : BS__CU_INVALID_VALUE;
}

API(cuMemGetInfo_v2, size_t *free, size_t *total)
{
    BEGIN(true);
    *total = the_state().plan.memory;
    *free = *total - allocated_bytes();
    return 0;
}

API(cuMemHostAlloc, void **p, size_t bytes, unsigned)
{
    BEGIN(true);
    driver_state &s = the_state();
    if (bytes == 0)
        return BS__CU_INVALID_VALUE;
    if (++s.host_allocations == s.plan.fail_host)
        return BS__CU_OUT_OF_MEMORY;
    char *bytes_there = new char[bytes];
    memset(bytes_there, 0xa5, bytes);
    s.pinned[bytes_there] = bytes;
    *p = bytes_there;
    return 0;
}

API(cuMemFreeHost, void *p)
{
    BEGIN(true);
    auto &pinned = the_state().pinned;
    auto at = pinned.find(static_cast<char *>(p));
    if (at == pinned.end())
        return BS__CU_INVALID_VALUE;
    delete[] at->first;
    pinned.erase(at);
    return 0;
}

// The host's bytes of device memory, or NULL with a finding. Reading wants them written; writing marks them so.
static uint8_t *bytes_at(uint64_t address, size_t bytes, bool write, const char *who)
{
    array *a = find_allocation(address);
    size_t offset = a ? address - a->base : 0;
    if (!a || !a->live || bytes > a->bytes - offset) {
        add_finding("copy", format("%s %s %zu bytes at address 0x%llx: %s", who, write ? "writes" : "reads",
                                   bytes, (unsigned long long)address,
                                   !a         ? "no allocation is there"
                                   : !a->live ? "it was freed"
                                              : place_in(*a, (int64_t)offset).c_str()));
        return nullptr;
    }
    if (write) {
        memset(&a->written[offset], 1, bytes);
    } else {
        const void *hole = memchr(&a->written[offset], 0, bytes);
        if (hole) {
            int64_t at = static_cast<const uint8_t *>(hole) - a->written.get();
            add_finding("never written",
                        format("%s reads %s, which nothing wrote before", who, place_in(*a, at).c_str()));
            return nullptr;
        }
    }
    return &a->data[offset];
}

API(cuMemcpyHtoDAsync_v2, bs__cu_address to, const void *from, size_t n, bs__cu_stream on)
{
    BEGIN(true);
    stream *s = stream_of(on);
    std::shared_ptr<std::vector<uint8_t>> copy;
    if (!is_pinned(from) && !(s && s->captured)) // pageable: the driver has its own copy when it returns
        copy = std::make_shared<std::vector<uint8_t>>((const uint8_t *)from, (const uint8_t *)from + n);
    return queue(s, {[=] {
                     uint8_t *there = bytes_at(to, n, true, "a copy to the device");
                     if (!there)
                         return (int)BS__CU_LAUNCH_FAILED;
                     memcpy(there, copy ? copy->data() : from, n);
                     return 0;
                 }});
}

API(cuMemcpyDtoHAsync_v2, void *to, bs__cu_address from, size_t n, bs__cu_stream on)
{
    BEGIN(true);
    return queue(stream_of(on), {[=] {
                     const uint8_t *there = bytes_at(from, n, false, "a copy to the host");
                     if (!there)
                         return (int)BS__CU_LAUNCH_FAILED;
                     memcpy(to, there, n);
                     return 0;
                 }});
}

API(cuMemcpyDtoDAsync_v2, bs__cu_address to, bs__cu_address from, size_t n, bs__cu_stream on)
{
    BEGIN(true);
    return queue(stream_of(on), {[=] {
                     const uint8_t *source = bytes_at(from, n, false, "a copy on the device");
                     uint8_t *there = source ? bytes_at(to, n, true, "a copy on the device") : nullptr;
                     if (!there)
                         return (int)BS__CU_LAUNCH_FAILED;
                     memmove(there, source, n);
                     return 0;
                 }});
}

API(cuMemsetD8Async, bs__cu_address at, unsigned char value, size_t bytes, bs__cu_stream on)
{
    BEGIN(true);
    return queue(stream_of(on), {[=] {
                     uint8_t *there = bytes_at(at, bytes, true, "a fill");
                     if (!there)
                         return (int)BS__CU_LAUNCH_FAILED;
                     memset(there, value, bytes);
                     return 0;
                 }});
}

const void *bs_emulation_read(uint64_t address, size_t bytes)
{
    return bytes_at(address, bytes, false, "a library");
}

void *bs_emulation_write(uint64_t address, size_t bytes)
{
    return bytes_at(address, bytes, true, "a library");
}
