/* Promises about samples without a file format: what is said of them is checked, and they come back as they lie. */
#include "model/image/raw.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static int file_of(const void *data, size_t bytes)
{
    int fd = memfd_create("raw", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, bytes), bytes);
    return fd;
}

static void samples_come_back_as_they_lie(void **state)
{
    (void)state;
    const int16_t samples[2 * 3 * 2] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12};
    const struct bs_raw_image raw = {.sample = BS_SAMPLE_I16, .ndim = 3, .axes = "zyx", .dim = {2, 3, 2}};
    struct bs_image *im;
    struct bs_err err;
    int fd = file_of(samples, sizeof samples);
    if (bs_raw_image_read(fd, &raw, NULL, &im, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(im->sample, BS_SAMPLE_I16);
    assert_string_equal(im->axes, "zyx");
    assert_int_equal(im->dim[1], 3);
    assert_memory_equal(im->data, samples, sizeof samples);
    bs_image_unref(im);
    close(fd);
}

static void another_length_is_refused(void **state)
{
    (void)state;
    const char bytes[13] = {0};
    const struct bs_raw_image raw = {.sample = BS_SAMPLE_F32, .ndim = 2, .axes = "yx", .dim = {1, 3}};
    struct bs_image *im;
    struct bs_err err;
    for (size_t n = 11; n <= 13; n++) {
        int fd = file_of(bytes, n);
        assert_int_equal(bs_raw_image_read(fd, &raw, NULL, &im, &err), n == 12 ? BS_OK : BS_EINVAL);
        bs_image_unref(im);
        close(fd);
    }
    assert_non_null(strstr(err.msg, "12 bytes"));
    assert_non_null(strstr(err.msg, "13"));
    const struct bs_image_limits small = {.max_bytes = 8, .max_pixels = 100, .max_pages = 1};
    int fd = file_of(bytes, 12);
    assert_int_equal(bs_raw_image_read(fd, &raw, &small, &im, &err), BS_ELIMIT);
    close(fd);
}

static void what_is_said_is_checked(void **state)
{
    (void)state;
    static const struct {
        struct bs_raw_image raw;
        bs_status rc;
    } cases[] = {
        {{.sample = BS_SAMPLE_U8, .ndim = 2, .axes = "yx", .dim = {1, 1}}, BS_OK},
        {{.sample = BS_SAMPLE_U8, .ndim = 5, .axes = "tczyx", .dim = {1, 1, 1, 1, 1}}, BS_OK},
        {{.sample = BS_SAMPLE_U8, .ndim = 3, .axes = "yxc", .dim = {1, 1, 3}}, BS_OK},
        {{.sample = BS_SAMPLE_U8, .ndim = 2, .axes = "xy", .dim = {1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 3, .axes = "yxz", .dim = {1, 1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 4, .axes = "zzyx", .dim = {1, 1, 1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 3, .axes = "?yx", .dim = {1, 1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 3, .axes = "yx", .dim = {1, 1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 1, .axes = "x", .dim = {1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_COUNT, .ndim = 2, .axes = "yx", .dim = {1, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_U8, .ndim = 2, .axes = "yx", .dim = {0, 1}}, BS_EINVAL},
        {{.sample = BS_SAMPLE_F64, .ndim = 2, .axes = "yx", .dim = {UINT64_C(1) << 31, UINT64_C(1) << 31}},
         BS_ELIMIT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err = {.msg = ""};
        if (bs_raw_image_check(&cases[i].raw, &err) != cases[i].rc)
            fail_msg("%zu: %s", i, err.msg);
    }
    struct bs_raw_image other = cases[0].raw;
    assert_int_equal(bs_raw_image_compare(&cases[0].raw, &other), 0);
    other.dim[1] = 2;
    assert_true(bs_raw_image_compare(&cases[0].raw, &other) < 0);
    other = cases[0].raw;
    other.sample = BS_SAMPLE_I8;
    assert_true(bs_raw_image_compare(&other, &cases[0].raw) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_come_back_as_they_lie),
        cmocka_unit_test(another_length_is_refused),
        cmocka_unit_test(what_is_said_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
