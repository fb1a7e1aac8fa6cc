/* The foundations' promises: errors keep their text, arithmetic is checked, arenas keep their caps, number formats round
   as IEEE says. */
#include "kernels_support.h"

#include "kernels/base/arena.h"
#include "kernels/base/cancel.h"
#include "kernels/base/checked.h"
#include "kernels/base/pages.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void an_error_carries_code_text_and_prefix(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    assert_int_equal(BS_FAIL(&err, BS_EINVAL, "width is %d", 0), BS_EINVAL);
    assert_int_equal(bs_err_prefix(&err, "image \"%s\"", "a.png"), BS_EINVAL);
    assert_string_equal(err.msg, "image \"a.png\": width is 0");
    assert_int_equal(BS_FAIL(NULL, BS_EIO, "nobody listens"), BS_EIO);
    assert_int_equal(bs_err_prefix(NULL, "x"), BS_EINTERNAL);
}

static void a_long_error_is_cut_and_stays_a_string(void **state)
{
    (void)state;
    struct bs_err err = {.msg = ""};
    char text[2000];
    memset(text, 'a', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    (void)BS_FAIL(&err, BS_EINVAL, "%s", text);
    for (int i = 0; i < 3; i++)
        bs_err_prefix(&err, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof err.msg - 1);
}

static void every_status_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (int a = BS_OK; a <= BS_EINTERNAL; a++)
        for (int b = BS_OK; b < a; b++)
            assert_string_not_equal(bs_status_name((bs_status)a), bs_status_name((bs_status)b));
}

static void arithmetic_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    size_t out = 7;
    assert_false(bs_mul(SIZE_MAX / 2, 3, &out));
    assert_false(bs_add(SIZE_MAX, 1, &out));
    assert_false(bs_round_up(SIZE_MAX - 3, 64, &out));
    assert_int_equal(out, 7);
    assert_true(bs_mul(SIZE_MAX / 2, 2, &out));
    assert_int_equal(out, SIZE_MAX - 1);
    assert_true(bs_round_up(65, 64, &out));
    assert_int_equal(out, 128);
    assert_true(bs_round_up(0, 64, &out));
    assert_int_equal(out, 0);
}

static void an_arena_never_hands_out_more_than_its_cap(void **state)
{
    (void)state;
    struct bs_arena *a = bs_arena_create(1000);
    size_t total = 0;
    for (unsigned char *p; (p = bs_arena_alloc(a, 48)); total += 48) {
        assert_int_equal((uintptr_t)p % 16, 0);
        for (int i = 0; i < 48; i++)
            assert_int_equal(p[i], 0);
        memset(p, 0xff, 48);
    }
    assert_int_equal(total, 960);
    assert_true(bs_arena_used(a) <= 1000);
    assert_null(bs_arena_alloc(a, SIZE_MAX));
    assert_null(bs_arena_array(a, SIZE_MAX / 2, 4));
    bs_arena_destroy(a);
}

static void an_arena_serves_blocks_larger_than_its_own(void **state)
{
    (void)state;
    struct bs_arena *a = bs_arena_create((size_t)1 << 20);
    char *small = bs_arena_strdup(a, "kept");
    unsigned char *large = bs_arena_alloc(a, 300000);
    assert_non_null(large);
    memset(large, 1, 300000);
    assert_string_equal(small, "kept");
    assert_null(bs_arena_strdup(a, NULL));
    bs_arena_destroy(a);
    bs_arena_destroy(NULL);
}

static void large_pages_are_zeroed_and_aligned(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 4096, 100000, ((size_t)2 << 20) + 1, (size_t)5 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        unsigned char *p = bs_pages_alloc(sizes[i]);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (sizes[i] >= (size_t)2 << 20 ? (size_t)2 << 20 : 64), 0);
        assert_int_equal(p[0] | p[sizes[i] - 1], 0);
        p[0] = p[sizes[i] - 1] = 1;
        bs_pages_free(p, sizes[i]);
    }
    assert_null(bs_pages_alloc(SIZE_MAX));
    assert_null(bs_pages_alloc((size_t)1 << 60));
}

static void bf16_rounds_to_nearest_even(void **state)
{
    (void)state;
    /* 1 + 2^-8 lies between 1 and 1 + 2^-7: the even one is 1; 1 + 3 2^-8 goes up */
    assert_int_equal(bs_f32_to_bf16(1.0f), 0x3f80);
    assert_int_equal(bs_f32_to_bf16(1.0f + 0x1p-8f), 0x3f80);
    assert_int_equal(bs_f32_to_bf16(1.0f + 0x1p-8f + 0x1p-20f), 0x3f81);
    assert_int_equal(bs_f32_to_bf16(1.0f + 0x1.8p-7f), 0x3f82);
    assert_int_equal(bs_f32_to_bf16(-0.0f), 0x8000);
    assert_int_equal(bs_f32_to_bf16(0x1.fffffep127f), 0x7f80); /* the largest float rounds to infinity */
    assert_int_equal(bs_f32_to_bf16(-INFINITY), 0xff80);
    assert_true(isnan(bs_bf16_to_f32(bs_f32_to_bf16(NAN))));
    for (uint32_t v = 0; v < 0x10000; v++) {
        float f = bs_bf16_to_f32((uint16_t)v);
        if (!isnan(f))
            assert_int_equal(bs_f32_to_bf16(f), v);
    }
}

static void f16_rounds_to_nearest_even(void **state)
{
    (void)state;
    static const struct {
        float value;
        uint16_t bits;
    } known[] = {{1 + 0x1p-11f, 0x3c00},    {1 + 0x1.8p-10f, 0x3c02}, {65519.996f, 0x7bff},
                 {65520.0f, 0x7c00},        {-1e30f, 0xfc00},         {0x1p-25f, 0x0000},
                 {0x1.000002p-25f, 0x0001}, {0x1.8p-24f, 0x0002},     {-0x1.ffep-15f, 0x8400},
                 {0x1.ff8p-15f, 0x03ff},    {-0.0f, 0x8000},          {0x1p-149f, 0}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_int_equal(bs_f32_to_f16(known[i].value), known[i].bits);
    assert_true(isnan(bs_f16_to_f32(bs_f32_to_f16(NAN))));
    for (uint32_t v = 0; v < 0x10000; v++) {
        float f = bs_f16_to_f32((uint16_t)v);
        if (!isnan(f))
            assert_int_equal(bs_f32_to_f16(f), v);
    }
}

static void f16_reads_every_class_of_number(void **state)
{
    (void)state;
    static const struct {
        uint16_t bits;
        float value;
    } known[] = {{0x3c00, 1.0f},      {0xc000, -2.0f},        {0x7bff, 65504.0f}, {0x0400, 0x1p-14f},
                 {0x0001, 0x1p-24f},  {0x03ff, 0x1.ff8p-15f}, {0x0000, 0.0f},     {0x7c00, INFINITY},
                 {0xfc00, -INFINITY}, {0x3555, 0x1.554p-2f}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_true(bs_f16_to_f32(known[i].bits) == known[i].value);
    assert_true(isnan(bs_f16_to_f32(0x7e00)));
    assert_true(signbit(bs_f16_to_f32(0x8000)));
}

static void shapes_are_written_compared_and_counted(void **state)
{
    (void)state;
    char text[BS_SHAPE_TEXT], tiny[6];
    struct bs_shape a = BS_SHAPE(1, 64, 512, 512), b = BS_SHAPE(1, 64, 512), scalar = {0};
    assert_string_equal(bs_shape_text(&a, text, sizeof text), "1x64x512x512");
    assert_string_equal(bs_shape_text(&scalar, text, sizeof text), "scalar");
    assert_string_equal(bs_shape_text(&a, tiny, sizeof tiny), "1x64x");
    assert_false(bs_shape_equal(&a, &b));
    assert_true(bs_shape_equal(&a, &a));
    assert_int_equal(bs_shape_count(&a), 64 * 512 * 512);
    assert_int_equal(bs_shape_count(&scalar), 1);
    struct bs_shape longest = {.ndim = 5};
    for (int i = 0; i < 5; i++)
        longest.dim[i] = INT64_MIN;
    assert_true(strlen(bs_shape_text(&longest, text, sizeof text)) < sizeof text - 1);
}

static void shapes_from_outside_are_refused_with_their_value(void **state)
{
    (void)state;
    struct bs_err err;
    struct bs_shape zero = BS_SHAPE(1, 0, 3), huge = BS_SHAPE(1 << 30, 1 << 30),
                    wrapping = BS_SHAPE(INT64_MAX, INT64_MAX), deep = {.ndim = 6}, negative = {.ndim = -1},
                    fine = BS_SHAPE(1 << 20, 1 << 20);
    assert_int_equal(bs_shape_check("image", &zero, &err), BS_EINVAL);
    assert_string_equal(err.msg, "image is 1x0x3; every dimension must be at least 1");
    assert_int_equal(bs_shape_check("image", &huge, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "1073741824x1073741824"));
    assert_int_equal(bs_shape_check("image", &wrapping, &err), BS_ELIMIT);
    assert_int_equal(bs_shape_check("image", &deep, &err), BS_EINVAL);
    assert_int_equal(bs_shape_check("image", &negative, &err), BS_EINVAL);
    assert_int_equal(bs_shape_check("image", &fine, &err), BS_OK);
}

static void cancel_is_seen_and_null_never_asks(void **state)
{
    (void)state;
    struct bs_cancel c = {.requested = false};
    assert_false(bs_cancel_requested(NULL));
    assert_false(bs_cancel_requested(&c));
    bs_cancel_request(&c);
    assert_true(bs_cancel_requested(&c));
}

static void element_types_have_sizes_and_names(void **state)
{
    (void)state;
    static const size_t sizes[] = {4, 2, 2, 8, 8, 4, 2, 1, 1, 1};
    for (int t = 0; t < BS_DTYPE_COUNT; t++) {
        assert_int_equal(bs_dtype_size((enum bs_dtype)t), sizes[t]);
        assert_non_null(bs_dtype_name((enum bs_dtype)t));
    }
    assert_string_equal(bs_dtype_name(BS_BF16), "bf16");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_error_carries_code_text_and_prefix),
        cmocka_unit_test(a_long_error_is_cut_and_stays_a_string),
        cmocka_unit_test(every_status_has_a_name_of_its_own),
        cmocka_unit_test(arithmetic_that_does_not_fit_is_refused),
        cmocka_unit_test(an_arena_never_hands_out_more_than_its_cap),
        cmocka_unit_test(an_arena_serves_blocks_larger_than_its_own),
        cmocka_unit_test(large_pages_are_zeroed_and_aligned),
        cmocka_unit_test(bf16_rounds_to_nearest_even),
        cmocka_unit_test(f16_rounds_to_nearest_even),
        cmocka_unit_test(f16_reads_every_class_of_number),
        cmocka_unit_test(shapes_are_written_compared_and_counted),
        cmocka_unit_test(shapes_from_outside_are_refused_with_their_value),
        cmocka_unit_test(cancel_is_seen_and_null_never_asks),
        cmocka_unit_test(element_types_have_sizes_and_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
