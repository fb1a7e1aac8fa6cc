// The driver's functions for modules, kernels and launches.
#include "tests/emulation/api.h"
#include "tests/emulation/findings.h"
#include "tests/emulation/memory.h"
#include "tests/emulation/scheduler.h"

#include <string.h>

using namespace bs_emulation;

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
