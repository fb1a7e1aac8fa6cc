/* Checkpoints are read as data: values are exact, nothing is executed, and what is neither tensor nor plain data is named.
   Files in fuzz/torch/seeds are named after what is special about them. */
#include "model/weights/torch_checkpoint.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static bs_status open_seed(const char *name, struct bs_torch_checkpoint **c, struct bs_err *err)
{
    char path[256];
    snprintf(path, sizeof path, "../fuzz/torch/seeds/%s", name);
    return bs_torch_checkpoint_open(fixture_path(path), c, err);
}

static size_t find(const struct bs_torch_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < bs_torch_checkpoint_count(c); i++)
        if (!strcmp(bs_torch_checkpoint_name(c, i), name))
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

static void check_bytes(struct bs_torch_checkpoint *c, const char *name, const unsigned char *expected,
                        size_t n)
{
    unsigned char bytes[64];
    assert_int_equal(bs_torch_checkpoint_read(c, find(c, name), bytes, n, NULL), BS_OK);
    assert_memory_equal(bytes, expected, n);
}

/* Storages of the seeds hold bytes 0, 1, 2, ... */
static void every_way_to_rebuild_a_tensor_is_understood(void **state)
{
    (void)state;
    static const char *const files[] = {"legacy_1", "legacy_2",    "legacy_3",    "legacy_4",
                                        "legacy_5", "zip_trainer", "zip_deflated"};
    static const unsigned char all[24] = {0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11,
                                          12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
    static const unsigned char transposed[16] = {4, 5, 6, 7, 12, 13, 14, 15, 8, 9, 10, 11, 16, 17, 18, 19};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        struct bs_torch_checkpoint *c = NULL;
        struct bs_err err = {0};
        if (open_seed(files[i], &c, &err) != BS_OK)
            fail_msg("%s: %s", files[i], err.msg);
        assert_int_equal(bs_torch_checkpoint_count(c), 7);
        check_bytes(c, "a.weight", all, 24);
        check_bytes(c, "a.t", transposed, 16);
        check_bytes(c, "b", all, 16);
        check_bytes(c, "c", all, 8);
        check_bytes(c, "p", all, 4);
        check_bytes(c, "q", all + 2, 2);
        check_bytes(c, "e", all, 0);
        assert_int_equal(bs_torch_checkpoint_dtype(c, find(c, "c")), BS_F32);
        assert_int_equal(bs_torch_checkpoint_dtype(c, find(c, "b")), BS_F64);
        assert_int_equal(bs_torch_checkpoint_shape(c, find(c, "q"))->ndim, 0);
        bs_torch_checkpoint_close(c);
    }
}

static void a_trainer_checkpoint_tells_how_it_was_trained(void **state)
{
    (void)state;
    struct bs_torch_checkpoint *c = NULL;
    assert_int_equal(open_seed("zip_trainer", &c, NULL), BS_OK);
    const struct bs_torch_hints *hints = bs_torch_checkpoint_hints(c);
    assert_string_equal(bs_torch_checkpoint_key(c), "model_state");
    assert_string_equal(hints->final_activation, "Sigmoid");
    assert_string_equal(hints->label_transform, "PerObjectDistanceTransform");
    assert_string_equal(hints->normaliser, "standardize");
    assert_int_equal(hints->patch, 256);
    bs_torch_checkpoint_close(c);
}

static void what_cannot_be_data_is_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        bs_status expected;
        const char *word;
    } cases[] = {
        {"legacy_hook", BS_EUNSUPPORTED, "torch_em Dataset"},
        {"legacy_object", BS_EUNSUPPORTED, "torch_em Dataset"},
        {"legacy_model_object", BS_EUNSUPPORTED, "torch_em Dataset"},
        {"legacy_complex", BS_EUNSUPPORTED, "complex"},
        {"legacy_outside", BS_ECORRUPT, "reaches element 8 of storage 0, which has 6"},
        {"legacy_ops", BS_EUNSUPPORTED, "posix system"},
        {"zip_script", BS_EUNSUPPORTED, "TorchScript"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_torch_checkpoint *c = NULL;
        struct bs_err err = {0};
        if (open_seed(cases[i].file, &c, &err) != cases[i].expected || !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s: %s", cases[i].file, bs_status_name(err.code), err.msg);
        assert_null(c);
    }
}

static void a_view_inside_a_storage_is_found(void **state)
{
    (void)state;
    static const unsigned char expected[12] = {8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};
    struct bs_torch_checkpoint *c = NULL;
    assert_int_equal(open_seed("legacy_view", &c, NULL), BS_OK);
    check_bytes(c, "v", expected, sizeof expected);
    bs_torch_checkpoint_close(c);
}

static void a_storage_that_the_file_lacks_is_an_error_when_read(void **state)
{
    (void)state;
    struct bs_torch_checkpoint *c = NULL;
    unsigned char bytes[8];
    assert_int_equal(open_seed("legacy_unlisted", &c, NULL), BS_OK);
    assert_int_equal(bs_torch_checkpoint_read(c, find(c, "c"), bytes, 8, NULL), BS_ECORRUPT);
    bs_torch_checkpoint_close(c);
}

static void hostile_files_are_listed_and_never_executed(void **state)
{
    (void)state;
    static const char *const files[] = {"golden/checkpoints/hostile.pt",
                                        "golden/checkpoints/hostile_oldformat.pth"};
    for (size_t i = 0; i < 2; i++) {
        struct bs_torch_checkpoint *c = NULL;
        assert_int_equal(bs_torch_checkpoint_open(fixture_path(files[i]), &c, NULL), BS_OK);
        assert_int_equal(bs_torch_checkpoint_skipped_count(c), 1);
        assert_string_equal(bs_torch_checkpoint_skipped(c, 0), "posix system");
        bs_torch_checkpoint_close(c);
    }
    struct bs_torch_checkpoint *c = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_torch_checkpoint_open(fixture_path("golden/checkpoints/hostile_bare.pt"), &c, &err),
                     BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "posix system"));
    assert_int_not_equal(access("HOSTILE_WAS_EXECUTED", F_OK), 0);
}

static void flipped_bits_never_break_the_reader(void **state)
{
    (void)state;
    size_t size;
    unsigned char *data = fixture("../fuzz/torch/seeds/zip_trainer", &size);
    for (size_t i = 0; i < size; i++) {
        struct bs_torch_checkpoint *c = NULL;
        data[i] ^= 0x20;
        if (bs_torch_checkpoint_open_fd(memory_file(data, size), &c, NULL) == BS_OK)
            for (size_t t = 0; t < bs_torch_checkpoint_count(c); t++) {
                unsigned char bytes[64];
                const size_t n = bs_shape_count(bs_torch_checkpoint_shape(c, t)) *
                                 bs_dtype_size(bs_torch_checkpoint_dtype(c, t));
                assert_true(n <= sizeof bytes);
                (void)!bs_torch_checkpoint_read(c, t, bytes, n, NULL);
            }
        bs_torch_checkpoint_close(c);
        data[i] ^= 0x20;
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_to_rebuild_a_tensor_is_understood),
        cmocka_unit_test(a_trainer_checkpoint_tells_how_it_was_trained),
        cmocka_unit_test(what_cannot_be_data_is_refused_by_name),
        cmocka_unit_test(a_view_inside_a_storage_is_found),
        cmocka_unit_test(a_storage_that_the_file_lacks_is_an_error_when_read),
        cmocka_unit_test(hostile_files_are_listed_and_never_executed),
        cmocka_unit_test(flipped_bits_never_break_the_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
