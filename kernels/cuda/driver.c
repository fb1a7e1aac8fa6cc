/* See driver.h. */
#include "kernels/cuda/driver.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bs_status find_functions(struct bs__driver *d, const char *file, struct bs_err *err)
{
    /* POSIX has dlsym's void * and a function's pointer alike; C has no cast between them that is not a warning. */
#define FIND(member, symbol, parameters)                                                                     \
    {                                                                                                        \
        void *found = dlsym(d->library, #symbol);                                                            \
        if (!found)                                                                                          \
            return BS_FAIL(err, BS_EUNSUPPORTED,                                                             \
                           "%s has no function %s: the NVIDIA driver is too old; driver 570 (CUDA 12.8) or " \
                           "newer is needed",                                                                \
                           file, #symbol);                                                                   \
        memcpy(&d->member, &found, sizeof found);                                                            \
    }
    BS__DRIVER_FUNCTIONS(FIND)
#undef FIND
    return BS_OK;
}

bs_status bs__driver_open(const char *file, struct bs__driver *driver, struct bs_err *err)
{
    memset(driver, 0, sizeof *driver);
    if (!file)
        file = "libcuda.so.1";
    bs_status rc = BS_OK;
    driver->library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!driver->library) {
        rc = BS_FAIL(
            err, BS_EUNSUPPORTED,
            "there is no NVIDIA driver on this machine (%s cannot be opened: %s); install driver 570 or "
            "newer, or start the container with its GPUs",
            file, dlerror());
        goto cleanup;
    }
    if ((rc = find_functions(driver, file, err)) != BS_OK)
        goto cleanup;
    /* The version can be asked before cuInit, which refuses for other reasons on a driver that is too old. */
    if ((rc = bs__driver_check(driver, driver->version(&driver->driver_version), err,
                               "cannot ask the NVIDIA driver for its version")) != BS_OK)
        goto cleanup;
    if (driver->driver_version < BS__DRIVER_OLDEST) {
        rc = BS_FAIL(err, BS_EUNSUPPORTED,
                     "the driver supports CUDA %d.%d; this build needs %d.%d or newer (driver 570 or newer)",
                     driver->driver_version / 1000, driver->driver_version % 1000 / 10,
                     BS__DRIVER_OLDEST / 1000, BS__DRIVER_OLDEST % 1000 / 10);
        goto cleanup;
    }
    rc = bs__driver_check(driver, driver->init(0), err, "cannot start the NVIDIA driver");
cleanup:
    if (rc != BS_OK)
        bs__driver_close(driver);
    return rc;
}

void bs__driver_close(struct bs__driver *driver)
{
    if (driver->library)
        dlclose(driver->library);
    memset(driver, 0, sizeof *driver);
}

bool bs__driver_lost(bs__cu_result r)
{
    switch ((int)r) {
    case BS__CU_DEVICE_UNAVAILABLE:
    case BS__CU_ECC_UNCORRECTABLE:
    case BS__CU_ILLEGAL_ADDRESS:
    case BS__CU_LAUNCH_TIMEOUT:
    case BS__CU_CONTEXT_IS_DESTROYED:
    case BS__CU_ASSERT:
    case BS__CU_HARDWARE_STACK_ERROR:
    case BS__CU_ILLEGAL_INSTRUCTION:
    case BS__CU_MISALIGNED_ADDRESS:
    case BS__CU_INVALID_ADDRESS_SPACE:
    case BS__CU_INVALID_PC:
    case BS__CU_LAUNCH_FAILED:
    case BS__CU_UNKNOWN:
        return true;
    default:
        return false;
    }
}

static bs_status status_of(bs__cu_result r)
{
    switch ((int)r) {
    case BS__CU_SUCCESS:
        return BS_OK;
    case BS__CU_OUT_OF_MEMORY:
        return BS_ENOMEM;
    case BS__CU_NO_DEVICE:
    case BS__CU_INVALID_DEVICE:
        return BS_ENOTFOUND;
    case BS__CU_STUB_LIBRARY:
    case BS__CU_INVALID_IMAGE:
    case BS__CU_NO_BINARY_FOR_GPU:
    case BS__CU_INVALID_PTX:
    case BS__CU_UNSUPPORTED_PTX_VERSION:
    case BS__CU_NOT_SUPPORTED:
    case BS__CU_SYSTEM_NOT_READY:
    case BS__CU_SYSTEM_DRIVER_MISMATCH:
        return BS_EUNSUPPORTED;
    default:
        return bs__driver_lost(r) ? BS_EIO : BS_EINTERNAL;
    }
}

bs_status bs__driver_check(const struct bs__driver *driver, bs__cu_result r, struct bs_err *err,
                           const char *tried, ...)
{
    bs_status code = status_of(r);
    if (code == BS_OK)
        return BS_OK;
    char what[200];
    va_list ap;
    va_start(ap, tried);
    vsnprintf(what, sizeof what, tried, ap);
    va_end(ap);
    /* The two calls fail on numbers that the driver does not know. */
    const char *name = NULL, *text = NULL;
    if (driver->error_name((bs__cu_result)r, &name) != BS__CU_SUCCESS || !name)
        name = "unknown";
    if (driver->error_string((bs__cu_result)r, &text) != BS__CU_SUCCESS || !text)
        text = "the driver has no text for it";
    return BS_FAIL(err, code, "%s: %s (%s, %d)", what, text, name, (int)r);
}
