/* Attention on GPUs against the operator's reference, for every tile, element type and edge. */
#include "tests/unit/cuda/attention_case.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

/* Weights are rounded to the element type before they meet the values, and the result once more. */
static double tolerance(enum bs__element e)
{
    return e == BS__F32 ? 5e-6 : e == BS__F16 ? 1.5e-3 : 1.2e-2;
}

static void compare(struct cuda_test *t, enum bs__element e, const struct attention_case *c)
{
    attention_say(e, c);
    struct attention_inputs in = attention_inputs(t, e, c);
    const size_t count = in.tokens * in.width, rows = in.tokens * (size_t)c->heads;
    float *want = attention_values(count), *got = attention_values(count);
    float *want_lse = attention_values(rows), *got_lse = attention_values(rows);
    struct bs_tensor y = {BS_F32, BS_SHAPE(c->samples, c->grid_h * c->grid_w, (int64_t)in.width), want},
                     lse = {BS_F32, BS_SHAPE(c->samples, c->grid_h * c->grid_w, c->heads), want_lse};
    bs_op_def(BS_OP_ATTENTION)->reference(&in.attr, in.tensor, in.count, &y);
    bs_op_def(BS_OP_ATTENTION_LSE)->reference(&in.attr, in.tensor, in.count, &lse);
    in.call.y = cuda_room(t, count * bs__element_bytes(e));
    in.call.lse = cuda_room(t, rows * sizeof(float));
    CUDA_MUST(bs__cuda_attention(cuda_queue(t), &in.call, err));
    cuda_get(t, e, in.call.y, got, count);
    cuda_get(t, BS__F32, in.call.lse, got_lse, rows);
    cuda_near(got, want, count, tolerance(e), e == BS__F32 ? 1e-5 : tolerance(e));
    cuda_near(got_lse, want_lse, rows, 1e-5, 1e-5);
    free(want);
    free(got);
    free(want_lse);
    free(got_lse);
    attention_inputs_free(&in);
    assert_int_equal(cuda_test_end((void **)&t), 0);
}

static void compare_all(struct cuda_test *t, const struct attention_case *c)
{
    for (int e = BS__F32; e <= BS__BF16; e++)
        compare(t, (enum bs__element)e, c);
}

static void a_grid_without_positions(void **state)
{
    /* One token; grids one below, at and above tiles of 32 and 64 keys and queries. */
    static const struct attention_case cases[] = {
        {1, 1, 1, 1, 4, 0, false, 0, 0, 0},  {1, 1, 1, 2, 16, 0, false, 0, 0, 0},
        {2, 3, 5, 2, 4, 0, false, 0, 0, 0},  {1, 1, 31, 1, 16, 0, false, 0, 0, 0},
        {1, 4, 8, 1, 8, 0, false, 0, 0, 0},  {1, 33, 1, 1, 8, 0, false, 0, 0, 0},
        {1, 7, 9, 1, 16, 0, false, 0, 0, 0}, {1, 8, 8, 1, 8, 0, false, 0, 0, 0},
        {1, 5, 13, 1, 8, 0, false, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all(*state, &cases[i]);
}

static void heads_of_any_number_of_features(void **state)
{
    static const int features[] = {1, 3, 5, 12, 24, 31, 32, 33, 63, 64, 65, 72, 80, 81, 100, 128};
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        const struct attention_case c = {1, 3, 3, 2, features[i], 0, false, -1, -1, 0};
        compare_all(*state, &c);
    }
}

static void relative_positions_of_odd_grids(void **state)
{
    static const struct attention_case cases[] = {
        {1, 1, 1, 1, 4, 0, false, -1, -1, 0},  {2, 5, 3, 2, 8, 0, false, -1, -1, 0},
        {1, 1, 37, 1, 4, 0, false, -1, -1, 0}, {1, 35, 2, 1, 4, 0, false, -1, -1, 0},
        {1, 7, 11, 1, 16, 0, true, -1, -1, 0}, {1, 2, 64, 1, 16, 0, false, -1, -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all(*state, &cases[i]);
}

static void heads_of_the_encoders(void **state)
{
    static const struct attention_case cases[] = {{1, 5, 14, 1, 64, 14, true, -1, -1, 0},
                                                  {1, 9, 8, 1, 64, 0, false, -1, -1, 0},
                                                  {1, 6, 11, 1, 80, 0, false, -1, -1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all(*state, &cases[i]);
}

/* Where a tile of keys is one row of the grid; the window sticks out below and on the right. */
static void rows_as_long_as_a_tile(void **state)
{
    static const struct attention_case cases[] = {{1, 3, 64, 1, 8, 0, false, -1, -1, 0},
                                                  {1, 2, 32, 1, 100, 0, false, -1, -1, 0},
                                                  {1, 2, 33, 1, 96, 32, true, -1, -1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(*state, BS__F16, &cases[i]);
}

static void windows_that_fit_and_that_stick_out(void **state)
{
    static const struct attention_case cases[] = {
        {1, 4, 6, 1, 8, 2, false, -1, -1, 0}, {2, 5, 7, 2, 8, 3, true, -1, -1, 0},
        {1, 5, 7, 1, 4, 3, false, 0, 0, 0},   {1, 5, 7, 1, 4, 3, true, 0, 0, 0},
        {1, 3, 4, 1, 16, 9, true, -1, -1, 0}, {1, 10, 9, 1, 8, 8, true, -1, -1, 0},
        {1, 4, 3, 2, 4, 1, true, -1, -1, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all(*state, &cases[i]);
}

static void tables_of_another_length(void **state)
{
    static const struct attention_case cases[] = {{1, 4, 5, 1, 8, 0, false, 3, 15, 0},
                                                  {1, 6, 4, 1, 8, 3, true, 9, 2, 0},
                                                  {1, 3, 3, 1, 8, 0, false, 1, 4, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare(*state, BS__F32, &cases[i]);
}

/* Logits of some thousands: weights are relative to the largest one, and exact sums show in lse. */
static void large_logits_do_not_overflow(void **state)
{
    const struct attention_case c = {1, 5, 8, 1, 16, 0, false, -1, -1, 30};
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++) {
        struct attention_inputs in = attention_inputs(t, (enum bs__element)e, &c);
        float want[40 * 16], got[40 * 16];
        struct bs_tensor y = {BS_F32, BS_SHAPE(1, 40, 16), want};
        bs_op_def(BS_OP_ATTENTION)->reference(&in.attr, in.tensor, in.count, &y);
        in.call.y = cuda_room(t, sizeof got);
        CUDA_MUST(bs__cuda_attention(cuda_queue(t), &in.call, err));
        cuda_get(t, (enum bs__element)e, in.call.y, got, 40 * 16);
        /* Logits near 10^4 are known to 10^-3 in float. */
        cuda_near(got, want, 40 * 16, e == BS__BF16 ? 2e-2 : 5e-3, 5e-3);
        attention_inputs_free(&in);
    }
}

static void the_same_bits_again(void **state)
{
    const struct attention_case c = {1, 7, 10, 2, 12, 4, true, -1, -1, 0};
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__F16; e++) {
        struct attention_inputs in = attention_inputs(t, (enum bs__element)e, &c);
        float first[70 * 24], again[70 * 24];
        for (uint64_t seed = 1; seed <= 3; seed++) {
            cuda_seed(t, seed);
            in.call.y = cuda_room(t, sizeof first);
            CUDA_MUST(bs__cuda_attention(cuda_queue(t), &in.call, err));
            cuda_get(t, (enum bs__element)e, in.call.y, seed == 1 ? first : again, 70 * 24);
            if (seed > 1)
                assert_memory_equal(first, again, sizeof first);
        }
        attention_inputs_free(&in);
    }
}

/* An address between multiples of 16 bytes takes the path element by element. */
static void arrays_at_odd_addresses(void **state)
{
    const struct attention_case c = {1, 3, 5, 1, 16, 0, false, -1, -1, 0};
    struct cuda_test *t = *state;
    for (int e = BS__F32; e <= BS__BF16; e++) {
        const enum bs__element element = (enum bs__element)e;
        struct attention_inputs in = attention_inputs(t, element, &c);
        float values[1 + 15 * 48] = {0}, want[15 * 16], got[15 * 16];
        struct bs_tensor y = {BS_F32, BS_SHAPE(1, 15, 16), want};
        bs_op_def(BS_OP_ATTENTION)->reference(&in.attr, in.tensor, in.count, &y);
        memcpy(values + 1, in.tensor[0].data, 15 * 48 * sizeof(float));
        in.call.qkv = cuda_put(t, element, values, 1 + 15 * 48) + bs__element_bytes(element);
        in.call.y = cuda_room(t, sizeof got);
        CUDA_MUST(bs__cuda_attention(cuda_queue(t), &in.call, err));
        cuda_get(t, element, in.call.y, got, 15 * 16);
        cuda_near(got, want, 15 * 16, tolerance(element), tolerance(element));
        attention_inputs_free(&in);
    }
}

/* Tiles whose shared memory does not fit the device give way to lower ones. */
static void wide_grids_on_small_devices(void **state)
{
    static const struct attention_case cases[] = {{1, 1, 100, 1, 64, 0, false, -1, -1, 0},
                                                  {1, 130, 1, 1, 80, 0, false, -1, -1, 0},
                                                  {1, 1, 65, 1, 100, 0, false, -1, -1, 0},
                                                  {1, 200, 1, 1, 8, 0, false, -1, -1, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        compare_all(*state, &cases[i]);
}

static void what_cannot_be_done_is_said(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err err = {0};
    const struct bs__cuda_attention good = {
        .samples = 1, .grid_h = 2, .grid_w = 2, .heads = 1, .features = 4};
    struct bs__cuda_attention c = good;
    c.features = 129;
    assert_int_equal(bs__cuda_attention(cuda_queue(t), &c, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "129"));
    c = good, c.rel_h = 256;
    assert_int_equal(bs__cuda_attention(cuda_queue(t), &c, &err), BS_EINVAL);
    c = good, c.heads = 0;
    assert_int_equal(bs__cuda_attention(cuda_queue(t), &c, &err), BS_EINVAL);
    c = good, c.grid_h = 30000, c.rel_h = c.rel_w = 256;
    assert_int_equal(bs__cuda_attention(cuda_queue(t), &c, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "30000"));
    c = good, c.grid_h = c.grid_w = 1 << 20;
    assert_int_equal(bs__cuda_attention(cuda_queue(t), &c, &err), BS_ELIMIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_grid_without_positions, cuda_test_end),
        cmocka_unit_test_teardown(heads_of_any_number_of_features, cuda_test_end),
        cmocka_unit_test_teardown(relative_positions_of_odd_grids, cuda_test_end),
        cmocka_unit_test_teardown(heads_of_the_encoders, cuda_test_end),
        cmocka_unit_test_teardown(rows_as_long_as_a_tile, cuda_test_end),
        cmocka_unit_test_teardown(windows_that_fit_and_that_stick_out, cuda_test_end),
        cmocka_unit_test_teardown(tables_of_another_length, cuda_test_end),
        cmocka_unit_test_teardown(large_logits_do_not_overflow, cuda_test_end),
        cmocka_unit_test_teardown(the_same_bits_again, cuda_test_end),
        cmocka_unit_test_teardown(arrays_at_odd_addresses, cuda_test_end),
        cmocka_unit_test_teardown(wide_grids_on_small_devices, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_done_is_said, cuda_test_end),
    };
    /* bf16 without tensor cores, and little shared memory. (On a GPU the variable changes nothing.) */
    const struct CMUnitTest on_the_oldest[] = {
        cmocka_unit_test_teardown(heads_of_any_number_of_features, cuda_test_end),
        cmocka_unit_test_teardown(windows_that_fit_and_that_stick_out, cuda_test_end),
        cmocka_unit_test_teardown(wide_grids_on_small_devices, cuda_test_end),
        cmocka_unit_test_teardown(what_cannot_be_done_is_said, cuda_test_end),
    };
    const int failed =
        cmocka_run_group_tests_name("attention on GPUs", tests, cuda_test_open, cuda_test_close);
    setenv("BS_FAKE_CUDA_CAPABILITY", "75", 1);
    return failed +
           cmocka_run_group_tests_name("attention on sm_75", on_the_oldest, cuda_test_open, cuda_test_close);
}
