// The driver's functions for devices, contexts, memory, modules and launches. See context.h; streams.cpp has the rest.
#include "tests/emulation/context.h"
#include "tests/emulation/control.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"
#include "tests/emulation/scheduler.h"

#include <string.h>

using namespace bs_emulation;

#define API(name, ...) extern "C" BS_EMULATION_API bs__cu_result name(__VA_ARGS__)
#define BEGIN(needs_context)                                                                                 \
    std::lock_guard<std::recursive_mutex> guard(the_state().lock);                                           \
    if (int refused = ready(needs_context))                                                                  \
    return refused

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
    std::lock_guard<std::recursive_mutex> guard(s.lock);
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

static int shared_opt_in(int capability)
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
    std::lock_guard<std::recursive_mutex> guard(s.lock);
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

// A capture ends, broken, when a function is called that would not be part of it.
static int break_captures()
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

API(cuModuleLoadData, bs__cu_module *m, const void *image)
{
    BEGIN(true);
    if (!image || strcmp(static_cast<const char *>(image), "emulation") != 0)
        return BS__CU_NO_BINARY_FOR_GPU; // a fatbin is of no use here
    char *module = new char;
    the_state().modules.insert(module);
    *m = reinterpret_cast<bs__cu_module>(module);
    return 0;
}

API(cuModuleUnload, bs__cu_module m)
{
    BEGIN(true);
    if (!the_state().modules.erase(m))
        return BS__CU_INVALID_HANDLE;
    delete reinterpret_cast<char *>(m);
    return 0;
}

static const kernel *kernel_of(bs__cu_function f)
{
    return reinterpret_cast<const kernel *>(f);
}

// What cuFuncSetAttribute allowed; of the device, as long as the process lives.
static std::map<const kernel *, int> &dynamic_shared()
{
    static auto *allowed = new std::map<const kernel *, int>;
    return *allowed;
}

API(cuModuleGetFunction, bs__cu_function *f, bs__cu_module m, const char *name)
{
    BEGIN(true);
    if (!the_state().modules.count(m))
        return BS__CU_INVALID_HANDLE;
    const kernel *k = find_kernel(name);
    if (!k)
        return BS__CU_NOT_FOUND;
    *f = reinterpret_cast<bs__cu_function>(const_cast<kernel *>(k));
    return 0;
}

API(cuFuncGetAttribute, int *value, bs__cu_function_attribute a, bs__cu_function f)
{
    BEGIN(true);
    if (a == BS__CU_FUNCTION_MAX_THREADS)
        *value = (int)kernel_of(f)->threads;
    else if (a == BS__CU_FUNCTION_MAX_DYNAMIC_SHARED)
        *value = dynamic_shared().count(kernel_of(f)) ? dynamic_shared()[kernel_of(f)] : 48 << 10;
    else
        return BS__CU_NOT_SUPPORTED; // the compiler's, not known before a run
    return 0;
}

API(cuFuncSetAttribute, bs__cu_function f, bs__cu_function_attribute a, int value)
{
    BEGIN(true);
    if (a != BS__CU_FUNCTION_MAX_DYNAMIC_SHARED || value < 0 ||
        value > shared_opt_in(the_state().plan.capability))
        return BS__CU_INVALID_VALUE;
    dynamic_shared()[kernel_of(f)] = value;
    return 0;
}

API(cuFuncGetParamInfo, bs__cu_function f, size_t index, size_t *offset, size_t *bytes)
{
    BEGIN(true);
    if (index != 0)
        return BS__CU_INVALID_VALUE;
    *offset = 0;
    *bytes = kernel_of(f)->argument_bytes;
    return 0;
}

API(cuLaunchKernel, bs__cu_function f, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
    unsigned block_y, unsigned block_z, unsigned shared, bs__cu_stream on, void **parameters, void **extra)
{
    BEGIN(true);
    driver_state &s = the_state();
    const kernel *k = kernel_of(f);
    size_t allowed = dynamic_shared().count(k) ? (size_t)dynamic_shared()[k] : 48u << 10;
    if (!parameters || extra || block_y != 1 || block_z != 1)
        return BS__CU_INVALID_VALUE;
    if (!grid_x || !grid_y || !grid_z || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535) {
        add_finding("grid", format("%s: a grid of %u x %u x %u blocks", k->name, grid_x, grid_y, grid_z));
        return BS__CU_INVALID_VALUE;
    }
    if (!block_x || block_x > 1024 || block_x > k->threads) {
        add_finding("block too large",
                    format("%s: blocks of %u threads; its launch bound is %u", k->name, block_x, k->threads));
        return BS__CU_INVALID_VALUE;
    }
    if (shared > allowed) {
        add_finding("shared memory", format("%s: %u bytes of dynamic shared memory; %zu are allowed", k->name,
                                            shared, allowed));
        return BS__CU_INVALID_VALUE;
    }
    if (++s.launches == s.plan.fail_launch)
        return BS__CU_LAUNCH_OUT_OF_RESOURCES;
    const char *bytes = static_cast<const char *>(parameters[0]);
    launch l = {k,
                {grid_x, grid_y, grid_z},
                block_x,
                shared,
                allowed > (48u << 10) ? allowed : 48u << 10,
                std::vector<char>(bytes, bytes + k->argument_bytes)};
    return queue(reinterpret_cast<stream *>(on), {[l] {
                     driver_state &now = the_state();
                     if (++now.runs == now.plan.sticky)
                         return now.sticky = BS__CU_ILLEGAL_ADDRESS;
                     return run(l) ? 0 : (int)BS__CU_LAUNCH_FAILED;
                 }});
}
