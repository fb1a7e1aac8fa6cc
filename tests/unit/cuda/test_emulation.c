/* The emulation itself: right kernels run right in any order of threads, and every planted fault is found, of the right kind and
   at the right place. */
#include "tests/emulation/halves.h"
#include "tests/emulation/selftest.h"
#include "tests/unit/cuda/cuda_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { SEEDS = 20 };

static bs_status launch(struct cuda_test *t, const char *kernel, enum bs__element e, unsigned blocks,
                        unsigned rows, unsigned threads, size_t shared, const struct selftest_arguments *a,
                        struct bs_err *err)
{
    const struct bs__launch l = {kernel, e, {blocks, rows, 1}, threads, shared};
    return bs__queue_launch(cuda_queue(t), &l, a, sizeof *a, err);
}

static void twice_of_every_type_and_size(void **state)
{
    struct cuda_test *t = *state;
    static const size_t sizes[] = {1, 31, 64, 255, 257, 1000};
    float values[1000], want[1000], got[1000];
    for (int e = BS__F32; e <= BS__BF16; e++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            size_t n = sizes[i];
            cuda_fill(values, n, n, -3, 5);
            cuda_round((enum bs__element)e, values, n);
            for (size_t k = 0; k < n; k++)
                want[k] = 2 * values[k];
            const struct selftest_arguments a = {cuda_put(t, (enum bs__element)e, values, n),
                                                 cuda_room(t, n * bs__element_bytes((enum bs__element)e)),
                                                 (int64_t)n, 0};
            CUDA_MUST(launch(t, "selftest_twice", (enum bs__element)e, 3, 1, 64, 0, &a, err));
            cuda_get(t, (enum bs__element)e, a.to, got, n);
            cuda_near(got, want, n, 0, 0);
            if (n % 4 == 0) {
                CUDA_MUST(launch(t, "selftest_twice4", (enum bs__element)e, 8, 1, 64, 0, &a, err));
                cuda_get(t, (enum bs__element)e, a.to, got, n);
                cuda_near(got, want, n, 0, 0);
            }
        }
}

static void right_kernels_are_right_in_any_order(void **state)
{
    struct cuda_test *t = *state;
    enum { COUNT = 1000, ROWS = 50, COLUMNS = 37 };
    float values[ROWS * COLUMNS], want[ROWS * COLUMNS], got[ROWS * COLUMNS];
    cuda_fill(values, ROWS * COLUMNS, 7, 0, 8);
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        cuda_seed(t, seed);
        bs_address from = cuda_put(t, BS__F32, values, ROWS * COLUMNS), to = cuda_room(t, sizeof got);
        struct selftest_arguments a = {from, to, COUNT, 0};
        double sum = 0;
        for (int i = 0; i < COUNT; i++)
            sum += (double)values[i];
        CUDA_MUST(bs__queue_zero(cuda_queue(t), to, sizeof got, err));
        CUDA_MUST(launch(t, "selftest_sum", BS__F32, 8, 1, 128, 0, &a, err));
        cuda_get(t, BS__F32, to, got, 1);
        want[0] = (float)sum;
        cuda_near(got, want, 1, 0, 1e-6);

        a.count = 100;
        sum = 0;
        for (int i = 0; i < a.count; i++)
            want[i] = (float)(sum += (double)values[i]);
        CUDA_MUST(launch(t, "selftest_scan", BS__F32, 1, 1, 128, 16, &a, err));
        cuda_get(t, BS__F32, to, got, 100);
        cuda_near(got, want, 100, 0, 1e-6);

        a.count = ROWS, a.columns = COLUMNS;
        for (int r = 0; r < ROWS; r++)
            for (int c = 0; c < COLUMNS; c++)
                want[c * ROWS + r] = values[r * COLUMNS + c];
        CUDA_MUST(launch(t, "selftest_transpose", BS__F32, 2, 2, 64, 0, &a, err));
        cuda_get(t, BS__F32, to, got, ROWS * COLUMNS);
        cuda_near(got, want, ROWS * COLUMNS, 0, 0);

        for (int i = 0; i < 128; i++)
            want[i] = values[i ^ 31];
        CUDA_MUST(launch(t, "selftest_turn", BS__F32, 1, 1, 128, 0, &a, err));
        cuda_get(t, BS__F32, to, got, 128);
        cuda_near(got, want, 128, 0, 0);

        a.count = COUNT;
        memset(want, 0, sizeof want);
        for (int i = 0; i < COUNT; i++)
            want[(int)values[i]]++;
        CUDA_MUST(bs__queue_zero(cuda_queue(t), to, 8 * sizeof *got, err));
        CUDA_MUST(launch(t, "selftest_histogram", BS__F32, 3, 1, 128, 0, &a, err));
        cuda_get(t, BS__F32, to, got, 8);
        cuda_near(got, want, 8, 0, 0);
        assert_int_equal(cuda_test_end(state), 0);
    }
}

static void products_of_halves_are_right_in_any_order(void **state)
{
    struct cuda_test *t = *state;
    float values[16 * 16 + 16 * 8], want[16 * 8], got[16 * 16];
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        for (int e = BS__F16; e <= BS__BF16; e++) {
            cuda_seed(t, seed);
            cuda_fill(values, 16 * 16 + 16 * 8, seed, -1, 1);
            cuda_round((enum bs__element)e, values, 16 * 16 + 16 * 8);
            for (int i = 0; i < 16; i++)
                for (int j = 0; j < 8; j++) {
                    double sum = 0;
                    for (int k = 0; k < 16; k++)
                        sum += (double)values[16 * i + k] * (double)values[256 + 8 * k + j];
                    want[8 * i + j] = (float)sum;
                }
            bs_address from = cuda_put(t, (enum bs__element)e, values, 16 * 16 + 16 * 8);
            const struct selftest_arguments a = {from, cuda_room(t, sizeof want), 0, 0},
                                            pairs = {from, cuda_room(t, 2 * 256), 256, 0};
            CUDA_MUST(launch(t, "selftest_product", (enum bs__element)e, 1, 1, 32, 768, &a, err));
            cuda_get(t, BS__F32, a.to, got, 128);
            cuda_near(got, want, 128, 1e-6, 0);
            CUDA_MUST(launch(t, "selftest_swap_pairs", (enum bs__element)e, 2, 1, 64, 0, &pairs, err));
            cuda_get(t, (enum bs__element)e, pairs.to, got, 256);
            for (int i = 0; i < 256; i++)
                assert_true(got[i] == values[i ^ 1]);
        }
}

/* One launch of each planted fault: what must be found, and words that the finding must have in it. */
static const struct {
    const char *kernel, *kind, *place;
    unsigned blocks;
} faults[] = {
    {"no_barrier", "race", "shared array part", 1},
    {"weak_barrier", "race", "shared array part", 1},
    {"shuffle_as_barrier", "race", "shared array part", 1},
    {"write_after_read", "race", "shared array part", 1},
    {"no_global_barrier", "race", "allocation", 1},
    {"plain_and_atomic", "race", "byte 0 of allocation", 1},
    {"read_past_end", "read outside", "block (0,0,0) thread 0 reads 4 bytes at byte 256 of allocation", 1},
    {"read_before_begin", "read outside", "thread 0 reads 4 bytes at byte -4 of allocation", 1},
    {"write_past_end", "write outside", "thread 0 writes 4 bytes at byte 256 of allocation", 1},
    {"read_half_past_end", "read outside", "reads 16 bytes at byte 256", 1},
    {"shared_past_end", "write outside",
     "thread 63 writes 4 bytes at byte 256 of shared array part (256 bytes)", 1},
    {"shared_read_past_end", "read outside", "of dynamic shared memory all (256 bytes)", 1},
    {"misaligned", "misaligned", "thread 5 writes 16 bytes at once at byte 8 of allocation", 1},
    {"misaligned_element", "misaligned", "not a multiple of 4", 1},
    {"never_written", "never written", "of allocation", 1},
    {"shared_never_written", "never written", "thread 23 reads byte 160 of shared array part", 1},
    {"nowhere", "no memory", "where no allocation is", 1},
    {"ends_before_barrier", "barrier", "for thread 63, which ended", 1},
    {"two_barriers", "barrier", "waits elsewhere", 1},
    {"ends_before_warp_barrier", "warp barrier", "which ended", 1},
    {"half_shuffles", "shuffle", "which ended", 1},
    {"two_shuffles", "shuffle", "waits elsewhere", 1},
    {"blocks_write", "race between blocks", "byte 0 of allocation", 3},
    {"blocks_read", "race between blocks", "of allocation", 4},
    {"copy_not_waited", "race",
     "of shared array part (1024 bytes), which a copy writes that was not waited for", 1},
    {"copy_not_committed", "race", "which a copy writes that was not waited for", 1},
    {"copy_of_another", "race", "of shared array part", 1},
    {"copy_of_what_changes", "race", "of allocation", 1},
    {"copy_past_end", "read outside", "reads 16 bytes at byte", 1},
    {"half_the_lanes_load_matrices", "shuffle", "which ended", 1},
    {"too_much_shared", "shared memory", "49168 bytes of shared arrays", 1},
};

static void every_planted_fault_is_found_in_any_order(void **state)
{
    struct cuda_test *t = *state;
    float values[256];
    cuda_fill(values, 256, 3, -1, 1);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (uint64_t seed = 1; seed <= SEEDS; seed++) {
            cuda_seed(t, seed);
            size_t count = 64 * faults[i].blocks;
            const struct selftest_arguments a = {cuda_put(t, BS__F32, values, count), cuda_room(t, count * 4),
                                                 (int64_t)count, 0};
            char kernel[64], begin[128];
            snprintf(kernel, sizeof kernel, "fault_%s", faults[i].kernel);
            struct bs_err told = {0};
            CUDA_MUST(launch(t, kernel, BS__F32, faults[i].blocks, 1, 64, 256, &a, err));
            assert_int_equal(bs__queue_wait(cuda_queue(t), &told), BS_EIO);
            const char *finding = cuda_take_finding(t);
            snprintf(begin, sizeof begin, "%s: fault_%s_f32: block (", faults[i].kind, faults[i].kernel);
            if (strncmp(finding, begin, strlen(begin)) != 0 || !strstr(finding, faults[i].place) ||
                (strcmp(faults[i].kind, "shared memory") != 0 &&
                 !strstr(finding, "(tests/emulation/selftest_faults.cu:")))
                fail_msg("%s, seed %d: found \"%s\"; expected \"%s...%s...\"", faults[i].kernel, (int)seed,
                         finding, begin, faults[i].place);
            assert_int_equal(cuda_test_end(state), 0);
        }
}

static void wrong_launches_are_refused(void **state)
{
    struct cuda_test *t = *state;
    struct bs_err told = {0};
    const struct selftest_arguments a = {0, 0, 0, 0};
    const struct bs__launch good = {"selftest_twice", BS__F32, {1, 1, 1}, 64, 0};
    struct bs__launch l = good;
    l.kernel = "no_such_kernel";
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    assert_non_null(strstr(told.msg, "no_such_kernel_f32"));
    assert_int_equal(bs__queue_launch(cuda_queue(t), &good, &a, sizeof a - 8, &told), BS_EINTERNAL);
    assert_non_null(strstr(told.msg, "takes 32 bytes of arguments; 24 were given"));
    l = good, l.threads = 257;
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    l = good, l.threads = 288;
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    assert_non_null(strstr(told.msg, "blocks of 288 threads; multiples of 32 up to 256"));
    l = good, l.grid[1] = 65536;
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    l = good, l.grid[0] = 0;
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    l = good, l.shared = bs__queue_limits(cuda_queue(t))->shared_block + 1;
    assert_int_equal(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, &told), BS_EINTERNAL);
    l = good, l.shared = 64 << 10; /* more than 48 KiB, asked for */
    CUDA_MUST(bs__queue_launch(cuda_queue(t), &l, &a, sizeof a, err));
}

static void halves_round_to_nearest_even(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = bs_half_to_float((uint16_t)h), b = bs_bfloat_to_float((uint16_t)h);
        if (!isnan(f))
            assert_int_equal(bs_float_to_half(f), h);
        if (!isnan(b))
            assert_int_equal(bs_float_to_bfloat(b), h);
        /* Between two neighbours: the middle goes to the even one, and what is beside it to the nearer. */
        if ((h & 0x7fff) < 0x7bff) {
            double low = (double)f, high = (double)bs_half_to_float((uint16_t)(h + 1)),
                   middle = (low + high) / 2;
            assert_int_equal(bs_float_to_half((float)middle), h & 1 ? h + 1 : h);
            assert_int_equal(bs_float_to_half(nextafterf((float)middle, (float)low)), h);
            assert_int_equal(bs_float_to_half(nextafterf((float)middle, (float)high)), h + 1);
        }
        if ((h & 0x7fff) < 0x7f7f) {
            double low = (double)b, high = (double)bs_bfloat_to_float((uint16_t)(h + 1)),
                   middle = (low + high) / 2;
            assert_int_equal(bs_float_to_bfloat((float)middle), h & 1 ? h + 1 : h);
            assert_int_equal(bs_float_to_bfloat(nextafterf((float)middle, (float)low)), h);
            assert_int_equal(bs_float_to_bfloat(nextafterf((float)middle, (float)high)), h + 1);
        }
    }
    assert_int_equal(bs_float_to_half(65520.0f), 0x7c00);
    assert_int_equal(bs_float_to_half(nextafterf(65520.0f, 0)), 0x7bff);
    assert_true(isnan(bs_half_to_float(bs_float_to_half(NAN))));
    assert_true(isnan(bs_bfloat_to_float(bs_float_to_bfloat(NAN))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_round_to_nearest_even),
        cmocka_unit_test_teardown(twice_of_every_type_and_size, cuda_test_end),
        cmocka_unit_test_teardown(right_kernels_are_right_in_any_order, cuda_test_end),
        cmocka_unit_test_teardown(products_of_halves_are_right_in_any_order, cuda_test_end),
        cmocka_unit_test_teardown(every_planted_fault_is_found_in_any_order, cuda_test_end),
        cmocka_unit_test_teardown(wrong_launches_are_refused, cuda_test_end),
    };
    return cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
}
