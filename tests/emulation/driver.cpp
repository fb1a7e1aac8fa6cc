// The driver's functions for itself, devices and contexts. See context.h.
#include "tests/emulation/api.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"
#include "tests/emulation/scheduler.h"

#include <string.h>

using namespace bs_emulation;

namespace bs_emulation
{

thread_local bool context_is_current = false;

driver_state &the_state()
{
    static driver_state *s = new driver_state; // lives as long as the process: threads may call while it ends
    return *s;
}

int ready(bool needs_context)
{
    driver_state &s = the_state();
    if (!s.initialised)
        return BS__CU_NOT_INITIALIZED;
    if (s.plan.lost && ++s.calls >= s.plan.lost)
        s.sticky = BS__CU_UNKNOWN;
    if (s.sticky)
        return s.sticky;
    return needs_context && (!context_is_current || s.references == 0) ? BS__CU_INVALID_CONTEXT : 0;
}

bool is_pinned(const void *p)
{
    auto &pinned = the_state().pinned;
    auto at = pinned.upper_bound(static_cast<char *>(const_cast<void *>(p)));
    if (at == pinned.begin())
        return false;
    --at;
    return p < at->first + at->second;
}

} // namespace bs_emulation

API(cuInit, unsigned flags)
{
    driver_state &s = the_state();
    std::lock_guard<nested_lock> guard(s.lock);
    if (flags != 0)
        return BS__CU_INVALID_VALUE;
    s.plan = read_faults();
    s.calls = s.allocations = s.host_allocations = s.launches = s.runs = 0;
    if (s.references == 0)
        s.sticky = 0; // stands for a new process
    seed_order(s.plan.seed);
    if (s.plan.fail_init)
        return (int)s.plan.fail_init;
    if (s.plan.devices == 0)
        return BS__CU_NO_DEVICE;
    s.initialised = true;
    return 0;
}

API(cuDriverGetVersion, int *version)
{
    *version = read_faults().version;
    return 0;
}

static const struct {
    int number;
    const char *name;
} results[] = {
#define NAMED(ours, theirs, number) {number, #theirs},
    BS__DRIVER_RESULTS(NAMED)
#undef NAMED
};

API(cuGetErrorName, bs__cu_result r, const char **name)
{
    *name = nullptr;
    for (auto &known : results)
        if (known.number == r)
            *name = known.name;
    return *name ? 0 : BS__CU_INVALID_VALUE;
}

API(cuGetErrorString, bs__cu_result r, const char **text)
{
    if (int unknown = cuGetErrorName(r, text))
        return unknown;
    if (r == BS__CU_ILLEGAL_ADDRESS)
        *text = "an illegal memory access was encountered";
    if (r == BS__CU_OUT_OF_MEMORY)
        *text = "out of memory";
    if (r == BS__CU_LAUNCH_FAILED)
        *text = "unspecified launch failure";
    return 0;
}

API(cuDeviceGetCount, int *count)
{
    BEGIN(false);
    *count = the_state().plan.devices;
    return 0;
}

API(cuDeviceGet, bs__cu_device *d, int index)
{
    BEGIN(false);
    if (index < 0 || index >= the_state().plan.devices)
        return BS__CU_INVALID_DEVICE;
    *d = index;
    return 0;
}

static bool no_device(bs__cu_device d)
{
    return d < 0 || d >= the_state().plan.devices;
}

API(cuDeviceGetName, char *name, int bytes, bs__cu_device d)
{
    BEGIN(false);
    if (no_device(d) || bytes < 1)
        return BS__CU_INVALID_DEVICE;
    strncpy(name, "Emulated GPU", (size_t)bytes);
    name[bytes - 1] = '\0';
    return 0;
}

int bs_emulation::shared_opt_in(int capability)
{
    switch (
        capability) { // bytes, "CUDA C++ Programming Guide", technical specifications by compute capability
    case 75:
        return 64 << 10;
    case 80:
    case 87:
        return 163 << 10;
    case 86:
    case 89:
    case 120:
        return 99 << 10;
    default:
        return 227 << 10;
    }
}

API(cuDeviceGetAttribute, int *value, bs__cu_device_attribute a, bs__cu_device d)
{
    BEGIN(false);
    const faults &f = the_state().plan;
    if (no_device(d))
        return BS__CU_INVALID_DEVICE;
    switch (a) {
    case BS__CU_MAX_THREADS_PER_BLOCK:
        *value = 1024;
        break;
    case BS__CU_SHARED_PER_BLOCK:
        *value = 48 << 10;
        break;
    case BS__CU_WARP_SIZE:
        *value = 32;
        break;
    case BS__CU_MULTIPROCESSORS:
        *value = f.multiprocessors;
        break;
    case BS__CU_INTEGRATED:
        *value = 0;
        break;
    case BS__CU_PCI_BUS:
        *value = d + 1;
        break;
    case BS__CU_PCI_DEVICE:
    case BS__CU_PCI_DOMAIN:
        *value = 0;
        break;
    case BS__CU_L2_BYTES:
        *value = 4 << 20;
        break;
    case BS__CU_CAPABILITY_MAJOR:
        *value = f.capability / 10;
        break;
    case BS__CU_CAPABILITY_MINOR:
        *value = f.capability % 10;
        break;
    case BS__CU_SHARED_PER_MULTIPROCESSOR:
        *value = shared_opt_in(f.capability) + (f.capability == 75 ? 0 : 1 << 10);
        break;
    case BS__CU_SHARED_PER_BLOCK_OPTIN:
        *value = shared_opt_in(f.capability);
        break;
    default:
        return BS__CU_INVALID_VALUE;
    }
    return 0;
}

API(cuDeviceTotalMem_v2, size_t *bytes, bs__cu_device d)
{
    BEGIN(false);
    if (no_device(d))
        return BS__CU_INVALID_DEVICE;
    *bytes = the_state().plan.memory;
    return 0;
}

API(cuDevicePrimaryCtxRetain, bs__cu_context *c, bs__cu_device d)
{
    BEGIN(false);
    if (no_device(d))
        return BS__CU_INVALID_DEVICE;
    the_state().references++;
    *c = reinterpret_cast<bs__cu_context>(&the_state());
    return 0;
}

// Everything that the last owner left is a leak; it is dropped, as the driver does.
static void end_context(driver_state &s)
{
    auto left = [](size_t n, const char *what) {
        if (n)
            add_finding("leak", format("%zu %s left when the context was released", n, what));
    };
    if (!s.sticky) { // a lost device gives nothing back
        left(allocation_count(), "allocations");
        left(s.pinned.size(), "pinned host allocations");
        left(s.streams.size(), "streams");
        left(s.events.size(), "events");
        left(s.modules.size(), "modules");
        left(s.graphs.size(), "graphs");
        left(s.execs.size(), "instantiated graphs");
    }
    for (stream *x : s.streams)
        delete x;
    for (event *x : s.events)
        delete x;
    for (graph *x : s.graphs)
        delete x;
    for (graph_exec *x : s.execs)
        delete x;
    for (capture *x : s.captures)
        delete x;
    for (void *x : s.modules)
        delete static_cast<char *>(x);
    for (auto &p : s.pinned)
        delete[] p.first;
    s.streams.clear();
    s.events.clear();
    s.graphs.clear();
    s.execs.clear();
    s.captures.clear();
    s.modules.clear();
    s.pinned.clear();
    deallocate_all();
}

API(cuDevicePrimaryCtxRelease_v2, bs__cu_device d)
{
    driver_state &s = the_state();
    std::lock_guard<nested_lock> guard(s.lock);
    int refused = ready(false);
    if (no_device(d) || s.references == 0)
        return BS__CU_INVALID_CONTEXT;
    if (--s.references == 0)
        end_context(s);
    return refused;
}

API(cuCtxSetCurrent, bs__cu_context c)
{
    BEGIN(false);
    context_is_current = c != nullptr;
    return 0;
}

API(cuCtxGetCurrent, bs__cu_context *c)
{
    BEGIN(false);
    *c = context_is_current ? reinterpret_cast<bs__cu_context>(&the_state()) : nullptr;
    return 0;
}
