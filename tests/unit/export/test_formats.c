/* The two formats that files of other programs are made of: pickles and zip archives, byte by byte. What reads them back is
   tested with their users (test_torch_write.c). */
#include "model/export/pickle_write.h"
#include "model/export/zip_write.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

/* What Python's pickle.dumps(value, protocol=2) gives, but for the memo, which is optional. */
static void values_are_pickled_as_python_does(void **state)
{
    (void)state;
    struct bs__bytes p = {0};
    bs__pickler_begin(&p);
    bs__pickler_open_dict(&p);
    bs__pickler_text(&p, "a");
    bs__pickler_open_tuple(&p);
    bs__pickler_int(&p, -2);
    bs__pickler_int(&p, INT64_C(1) << 40);
    bs__pickler_float(&p, 1.5);
    bs__pickler_bool(&p, true);
    bs__pickler_none(&p);
    bs__pickler_close_tuple(&p);
    bs__pickler_close_dict(&p);
    bs__pickler_end(&p);
    static const unsigned char expected[] =
        "\x80\x02}(X\x01\x00\x00\x00"
        "a("
        "J\xfe\xff\xff\xff\x8a\x08\x00\x00\x00\x00\x00\x01\x00\x00G\x3f\xf8\x00\x00\x00\x00\x00\x00\x88Ntu.";
    assert_int_equal(p.len, sizeof expected - 1);
    assert_memory_equal(p.data, expected, p.len);
    bs__bytes_free(&p);
}

static uint32_t le(const unsigned char *at, int bytes)
{
    uint32_t v = 0;
    for (int i = 0; i < bytes; i++)
        v |= (uint32_t)at[i] << 8 * i;
    return v;
}

/* The check value of CRC-32 is that of the digits 1 to 9. */
static void an_archive_has_aligned_data_with_the_checksum_in_both_headers(void **state)
{
    (void)state;
    struct bs__zip_writer z;
    struct bs_err err = {0};
    unsigned char file[4096];
    int fd = memfd_create("zip", MFD_CLOEXEC);
    bs__zip_create(&z, fd);
    for (int i = 0; i < 5; i++) { /* names of different lengths, so that the padding differs */
        char name[] = "entry-----";
        name[6 + i] = 0;
        assert_int_equal(bs__zip_entry(&z, name, "123456789", 9, 64, &err), BS_OK);
    }
    assert_int_equal(bs__zip_finish(&z, &err), BS_OK);
    bs__zip_destroy(&z);
    const ssize_t size = pread(fd, file, sizeof file, 0);
    close(fd);
    assert_in_range(size, 22, sizeof file - 1);
    const unsigned char *end = file + size - 22;
    assert_int_equal(le(end, 4), 0x06054b50);
    assert_int_equal(le(end + 10, 2), 5);
    const unsigned char *entry = file + le(end + 16, 4);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(le(entry, 4), 0x02014b50);
        assert_int_equal(le(entry + 16, 4), 0xcbf43926);
        const unsigned char *local = file + le(entry + 42, 4);
        assert_int_equal(le(local, 4), 0x04034b50);
        assert_int_equal(le(local + 14, 4), 0xcbf43926);
        assert_int_equal(le(local + 18, 4), 9);
        const size_t data = (size_t)(local - file) + 30 + le(local + 26, 2) + le(local + 28, 2);
        assert_int_equal(data % 64, 0);
        assert_memory_equal(file + data, "123456789", 9);
        entry += 46 + le(entry + 28, 2);
    }
    assert_ptr_equal(entry, end);
}

static void what_needs_zip64_is_refused(void **state)
{
    (void)state;
    struct bs__zip_writer z;
    struct bs_err err = {0};
    int fd = memfd_create("zip", MFD_CLOEXEC);
    bs__zip_create(&z, fd);
    assert_int_equal(bs__zip_begin(&z, "large", UINT32_MAX, 64, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "4 GiB"));
    z.at = UINT32_MAX - 100; /* as after that many bytes */
    assert_int_equal(bs__zip_begin(&z, "small", 10, 64, &err), BS_ELIMIT);
    bs__zip_destroy(&z);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_pickled_as_python_does),
        cmocka_unit_test(an_archive_has_aligned_data_with_the_checksum_in_both_headers),
        cmocka_unit_test(what_needs_zip64_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
