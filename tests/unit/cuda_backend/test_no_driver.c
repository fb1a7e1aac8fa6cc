/* The plugin on a machine without NVIDIA's driver: "cuda" is refused with what is missing, "auto" computes elsewhere and says so.
   Skipped where there is a driver. */
#include "tests/unit/kernels/kernels_support.h"

#include <string.h>

#define MISSING "there is no NVIDIA driver"

static void a_missing_driver_is_named(void **state)
{
    (void)state;
    struct bs_device *dev = NULL;
    struct bs_device_info info;
    struct bs_err err = {.msg = ""};
    if (bs_device_open("cuda", NULL, &dev, &err) == BS_OK || !strstr(err.msg, MISSING)) {
        bs_device_close(dev);
        print_message("skipped: there is a driver (%s)\n", err.msg);
        skip();
    }
    assert_null(dev);
    assert_non_null(strstr(err.msg, "libcuda.so.1"));
    assert_int_equal(bs_device_open("auto", NULL, &dev, &err), BS_OK);
    bs_device_describe(dev, &info);
    assert_string_not_equal(info.backend, "cuda");
    assert_non_null(strstr(info.notice, MISSING));
    bs_device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_missing_driver_is_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
