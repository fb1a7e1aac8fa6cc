/* The safetensors reader believes nothing that the file says of itself, and the writer leaves a whole file or none. */
#include "model/weights/safetensors.h"
#include "tests/unit/weights/weights_support.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bs_status open_text(const char *header, size_t bytes, struct bs_err *err)
{
    static const unsigned char zeros[64];
    struct bs_safetensors *st = NULL;
    bs_status rc = bs_safetensors_open_fd(safetensors_file(header, zeros, bytes), &st, err);
    bs_safetensors_close(st);
    return rc;
}

static void headers_that_disagree_with_the_file_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header;
        size_t bytes;
        bs_status expected;
    } cases[] = {
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BS_OK},
        {"{}", 0, BS_OK},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8],\"x\":1}}", 8, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F31\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, BS_EUNSUPPORTED},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, BS_EUNSUPPORTED},
        /* 2^32 * 2^32 * 4 = 0 modulo 2^64 */
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0,4294967296,4294967296],\"data_offsets\":[0,0]}}", 0,
         BS_ECORRUPT},
        /* a hole, an overlap, a twin */
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"b\":{\"dtype\":\"U8\",\"shape\":["
         "1],"
         "\"data_offsets\":[2,3]}}",
         3, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":["
         "2],"
         "\"data_offsets\":[1,3]}}",
         3, BS_ECORRUPT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":["
         "1],"
         "\"data_offsets\":[1,2]}}",
         2, BS_ECORRUPT},
        {"{\"\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, BS_ECORRUPT},
        {"{\"__metadata__\":{\"k\":1}}", 0, BS_ECORRUPT},
        {"{\"__metadata__\":[]}", 0, BS_ECORRUPT},
        {" {}", 0, BS_ECORRUPT},
        {"[]", 0, BS_ECORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_err err = {0};
        if (open_text(cases[i].header, cases[i].bytes, &err) != cases[i].expected)
            fail_msg("%s with %zu bytes: %s %s", cases[i].header, cases[i].bytes, bs_status_name(err.code),
                     err.msg);
    }
}

static void absurd_header_lengths_are_refused_before_anything_is_allocated(void **state)
{
    (void)state;
    static const unsigned char lengths[][8] = {
        {255, 255, 255, 255, 255, 255, 255, 255}, {0, 0, 0, 0, 0, 0, 0, 128}, {3}, {0}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char file[10] = {0};
        struct bs_safetensors *st = NULL;
        memcpy(file, lengths[i], 8);
        file[8] = '{';
        file[9] = '}';
        assert_int_equal(bs_safetensors_open_fd(memory_file(file, sizeof file), &st, NULL), BS_ECORRUPT);
        assert_null(st);
    }
    /* A sparse file can be as long as it says: the stated limit stops it. */
    unsigned char begin[9] = {0, 0, 0, 0, 1, 0, 0, 0, '{'};
    struct bs_safetensors *st = NULL;
    int fd = memory_file(begin, sizeof begin);
    assert_int_equal(ftruncate(fd, (off_t)1 << 33), 0);
    assert_int_equal(bs_safetensors_open_fd(fd, &st, NULL), BS_ELIMIT);
}

static void floats_of_every_width_become_float32(void **state)
{
    (void)state;
    static const char header[] = "{\"d\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[16,22]},"
                                 "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[22,26]},"
                                 "\"i\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[26,28]}}";
    unsigned char data[28] = {0};
    const double wide[] = {1.0 / 3, -1e10};
    const uint16_t half[] = {0x3C00, 0x0001, 0xFC00}, brain[] = {0x3F80, 0xC0A0};
    memcpy(data, wide, 16);
    memcpy(data + 16, half, 6);
    memcpy(data + 22, brain, 4);
    struct bs_safetensors *st = NULL;
    float v[3];
    assert_int_equal(bs_safetensors_open_fd(safetensors_file(header, data, sizeof data), &st, NULL), BS_OK);
    assert_int_equal(bs_safetensors_read_f32(st, bs_safetensors_find(st, "d"), v, 2, NULL), BS_OK);
    assert_true(v[0] == (float)(1.0 / 3) && v[1] == -1e10f);
    assert_int_equal(bs_safetensors_read_f32(st, bs_safetensors_find(st, "h"), v, 3, NULL), BS_OK);
    assert_true(v[0] == 1 && v[1] == 0x1p-24f && isinf(v[2]) && v[2] < 0);
    assert_int_equal(bs_safetensors_read_f32(st, bs_safetensors_find(st, "b"), v, 2, NULL), BS_OK);
    assert_true(v[0] == 1 && v[1] == -5);
    assert_int_equal(bs_safetensors_read_f32(st, bs_safetensors_find(st, "i"), v, 1, NULL), BS_EINVAL);
    assert_null(bs_safetensors_find(st, "x"));
    bs_safetensors_close(st);
}

static void a_file_truncated_under_us_is_an_error_and_no_signal(void **state)
{
    (void)state;
    size_t size;
    unsigned char *data = fixture("golden/small/unet_in/weights.safetensors", &size);
    int fd = memory_file(data, size);
    struct bs_safetensors *st = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_safetensors_open_fd(fd, &st, NULL), BS_OK);
    assert_int_equal(ftruncate(fd, (off_t)size / 2), 0);
    size_t lost = 0;
    for (size_t i = 0; i < bs_safetensors_count(st); i++) {
        const struct bs_safetensors_entry *e = bs_safetensors_entry(st, i);
        float *values = malloc(e->bytes + 1);
        bs_status rc = bs_safetensors_read_f32(st, e, values, bs_shape_count(&e->shape), &err);
        assert_int_equal(rc, e->offset + e->bytes > size / 2 ? BS_EIO : BS_OK);
        lost += rc != BS_OK;
        free(values);
    }
    assert_true(lost > 0);
    assert_non_null(strstr(err.msg, "truncated"));
    bs_safetensors_close(st);
    free(data);
}

static bs_status fill(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
    if (ctx && i == *(size_t *)ctx)
        return BS_FAIL(err, BS_EIO, "as asked");
    memset(dst, (int)i + 1, bytes);
    return BS_OK;
}

static const struct bs_safetensors_item items[] = {{"b.weight", BS_F32, {2, {2, 3}}},
                                                   {"a", BS_I64, {0, {0}}},
                                                   {"empty", BS_U8, {1, {0}}},
                                                   {"c", BS_BF16, {1, {5}}}};

static void what_is_written_reads_back(void **state)
{
    (void)state;
    const struct bs_safetensors_pair metadata[] = {{"bioseg", "{\"a\":\"\\\"\"}"}, {"format", "pt"}};
    const char *path = scratch_path("written");
    struct bs_safetensors *st = NULL;
    unsigned char bytes[24];
    assert_int_equal(bs_safetensors_write(path, metadata, 2, items, 4, fill, NULL, NULL), BS_OK);
    assert_int_equal(bs_safetensors_open(path, &st, NULL), BS_OK);
    assert_int_equal(bs_safetensors_count(st), 4);
    assert_string_equal(bs_safetensors_metadata(st, "bioseg"), "{\"a\":\"\\\"\"}");
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, "b.weight");
    assert_int_equal(e->bytes, 24);
    assert_int_equal(e->offset % 8, 0);
    assert_int_equal(bs_safetensors_read(st, e, bytes, 24, NULL), BS_OK);
    assert_true(bytes[0] == 1 && bytes[23] == 1);
    assert_int_equal(bs_safetensors_find(st, "empty")->bytes, 0);
    bs_safetensors_close(st);
    assert_int_equal(unlink(path), 0);
}

static void a_failed_write_leaves_the_old_file_and_nothing_else(void **state)
{
    (void)state;
    const char *path = scratch_path("kept");
    char folder[4096];
    for (size_t at = 0; at < 4; at++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fputs("old", f);
        fclose(f);
        assert_int_equal(bs_safetensors_write(path, NULL, 0, items, 4, fill, &at, NULL), BS_EIO);
        char text[8] = "";
        f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fread(text, 1, sizeof text, f), 3);
        fclose(f);
        assert_string_equal(text, "old");
    }
    assert_int_equal(unlink(path), 0);
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    assert_int_equal(rmdir(folder), 0); /* empty: no temporary file is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_disagree_with_the_file_are_refused),
        cmocka_unit_test(absurd_header_lengths_are_refused_before_anything_is_allocated),
        cmocka_unit_test(floats_of_every_width_become_float32),
        cmocka_unit_test(a_file_truncated_under_us_is_an_error_and_no_signal),
        cmocka_unit_test(what_is_written_reads_back),
        cmocka_unit_test(a_failed_write_leaves_the_old_file_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
