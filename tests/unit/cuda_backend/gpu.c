/* See gpu.h. */
#include "tests/unit/cuda_backend/gpu.h"

#include <dlfcn.h>
#include <string.h>

/* A function of the fake driver, which the test's own device has loaded or which is loaded now. */
static void *emulation(const char *name)
{
    void *driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    void *found = driver ? dlsym(driver, name) : NULL;
    if (!found)
        fail_msg("libcuda.so.1 is not the emulation: %s", dlerror());
    return found;
}

void expect_no_findings(void)
{
    int (*count)(void);
    const char *(*kind)(int), *(*text)(int);
    void *found[3] = {emulation("bs_emulation_finding_count"), emulation("bs_emulation_finding_kind"),
                      emulation("bs_emulation_finding_text")};
    memcpy(&count, &found[0], sizeof count);
    memcpy(&kind, &found[1], sizeof kind);
    memcpy(&text, &found[2], sizeof text);
    if (count() > 0)
        fail_msg("%s: %s", kind(0), text(0));
}

int no_findings(void **state)
{
    (void)state;
    expect_no_findings();
    return 0;
}

int forget_findings(void)
{
    void (*forget)(void);
    int (*count)(void);
    void *found[2] = {emulation("bs_emulation_forget"), emulation("bs_emulation_finding_count")};
    memcpy(&forget, &found[0], sizeof forget);
    memcpy(&count, &found[1], sizeof count);
    const int n = count();
    forget();
    return n;
}

uint64_t take_device_memory(size_t bytes)
{
    int (*take)(uint64_t *, size_t);
    uint64_t at = 0;
    void *found = emulation("cuMemAlloc_v2");
    memcpy(&take, &found, sizeof take);
    assert_int_equal(take(&at, bytes), 0);
    return at;
}

void give_device_memory(uint64_t at)
{
    int (*give)(uint64_t);
    void *found = emulation("cuMemFree_v2");
    memcpy(&give, &found, sizeof give);
    assert_int_equal(give(at), 0);
}

void set_order(uint64_t seed)
{
    void (*order)(uint64_t);
    void *found = emulation("bs_emulation_seed");
    memcpy(&order, &found, sizeof order);
    order(seed);
}
