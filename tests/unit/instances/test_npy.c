/* Promises of the test-side .npy reader: it reads what NumPy writes and survives everything else. */
#include "tests/support/npy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A file of one's own making; the name stays the same within a test program. */
static const char *file_with(const void *bytes, size_t n)
{
    static char path[] = "npy-test-XXXXXX";
    static int made = 0;
    int fd = made ? -1 : mkstemp(path);
    if (fd >= 0)
        close(fd);
    made = 1;
    FILE *out = fopen(path, "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(bytes, 1, n, out), n);
    assert_int_equal(fclose(out), 0);
    return path;
}

/* Bytes of a file with this dictionary and these values; returns the length. */
static size_t make(char *out, const char *dictionary, const void *values, size_t bytes)
{
    size_t n = strlen(dictionary);
    memcpy(out, "\x93NUMPY\x01\x00", 8);
    out[8] = (char)(n & 255);
    out[9] = (char)(n >> 8);
    memcpy(out + 10, dictionary, n);
    memcpy(out + 10 + n, values, bytes);
    return 10 + n + bytes;
}

static void arrays_come_back_with_shape_and_values(void **state)
{
    (void)state;
    const int32_t values[6] = {1, 2, 3, 4, 5, 4000};
    char bytes[512];
    struct bs_npy a;
    struct bs_err err;
    uint32_t *u32;
    uint8_t *u8;
    float *f32;
    size_t n =
        make(bytes, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }\n", values, sizeof values);
    assert_int_equal(bs_npy_read(file_with(bytes, n), &a, &err), BS_OK);
    assert_int_equal(a.ndim, 2);
    assert_int_equal(a.shape[0], 2);
    assert_int_equal(a.shape[1], 3);
    assert_int_equal(bs_npy_to_u32(&a, &u32, &err), BS_OK);
    assert_int_equal(u32[5], 4000);
    assert_int_equal(bs_npy_to_f32(&a, &f32, &err), BS_OK);
    assert_true(f32[2] == 3);
    assert_int_equal(bs_npy_to_u8(&a, &u8, &err), BS_EINVAL);
    free(u32);
    free(f32);
    bs_npy_free(&a);
}

static void every_truncation_is_an_error(void **state)
{
    (void)state;
    const float values[4] = {1, 2, 3, 4};
    char bytes[512];
    struct bs_npy a;
    struct bs_err err;
    size_t n =
        make(bytes, "{'descr': '<f4', 'fortran_order': False, 'shape': (4,), }\n", values, sizeof values);
    for (size_t length = 0; length < n; length++) {
        assert_int_not_equal(bs_npy_read(file_with(bytes, length), &a, &err), BS_OK);
        assert_null(a.data);
    }
    assert_int_equal(bs_npy_read(file_with(bytes, n), &a, &err), BS_OK);
    bs_npy_free(&a);
}

static void headers_that_lie_are_errors(void **state)
{
    (void)state;
    const char *dictionaries[] = {
        "{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': True, 'shape': (1,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1",
        "{'descr'",
        "",
    };
    const float value = 1;
    for (size_t i = 0; i < sizeof dictionaries / sizeof *dictionaries; i++) {
        char bytes[512];
        struct bs_npy a;
        struct bs_err err;
        size_t n = make(bytes, dictionaries[i], &value, sizeof value);
        assert_int_not_equal(bs_npy_read(file_with(bytes, n), &a, &err), BS_OK);
        assert_null(a.data);
    }
}

static void a_missing_file_is_said_to_be_missing(void **state)
{
    (void)state;
    struct bs_npy a;
    struct bs_err err;
    assert_int_equal(bs_npy_read("no/such/file.npy", &a, &err), BS_ENOTFOUND);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file_with("", 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arrays_come_back_with_shape_and_values),
        cmocka_unit_test(every_truncation_is_an_error),
        cmocka_unit_test(headers_that_lie_are_errors),
        cmocka_unit_test(a_missing_file_is_said_to_be_missing),
    };
    return cmocka_run_group_tests(tests, NULL, remove_file);
}
