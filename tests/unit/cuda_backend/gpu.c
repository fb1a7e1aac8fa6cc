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

void forget_findings(void)
{
    void (*forget)(void);
    void *found = emulation("bs_emulation_forget");
    memcpy(&forget, &found, sizeof forget);
    forget();
}
