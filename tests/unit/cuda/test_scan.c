/* The selective scan's kernels against the operator's reference, which sums in double: shapes that fill no block, no chunk and no group
   of states, both directions, every way to cut the sequence, element types, extreme steps, NaN, orders of threads. */
#include "tests/unit/cuda/scan_problem.h"

#include <math.h>
#include <string.h>

/* Of the largest value. Half types round each result, and with two directions the first one's part as well. */
static double tolerance(enum bs__element e)
{
    return e == BS__F32 ? 1e-5 : e == BS__F16 ? 2e-3 : 1.2e-2;
}

/* y of a run; free() it. cut NULL: chosen. */
static float *run_scan(struct cuda_test *t, struct scan_problem *p, const struct bs__scan_cut *cut)
{
    const size_t count = scan_count(p);
    float *y = malloc(count * sizeof *y);
    assert_non_null(y);
    struct bs__scan s = p->scan;
    const enum bs__element e = p->is.element;
    const size_t workspace =
        cut ? bs__scan_cut_workspace(&s, cut) : bs__cuda_scan_workspace(bs__queue_limits(cuda_queue(t)), &s);
    s.y = (struct bs__rows){cuda_room(t, count * bs__element_bytes(e)), s.features};
    CUDA_MUST(bs__cuda_scan(cuda_queue(t), e, &s, cut, workspace ? cuda_room(t, workspace) : 0, err));
    cuda_get(t, e, s.y.at, y, count);
    return y;
}

static void check_cut(struct cuda_test *t, struct scan_problem *p, const float *want,
                      const struct bs__scan_cut *cut)
{
    const size_t count = scan_count(p);
    float *y = run_scan(t, p, cut);
    cuda_near(y, want, count, tolerance(p->is.element) * scan_largest(want, count), 0);
    free(y);
}

static void check(struct cuda_test *t, const struct scan_case *is, const struct bs__scan_cut *cut)
{
    struct scan_problem p;
    scan_problem_open(&p, t, is, 3);
    float *want = scan_wanted(&p);
    check_cut(t, &p, want, cut);
    free(want);
    scan_problem_close(&p);
}

static void the_scan_is_right_for_any_shape(void **state)
{
    const struct scan_case cases[] = {
        {.samples = 1, .length = 1, .features = 1, .states = 1, .directions = 1},
        {.samples = 1, .length = 1, .features = 1, .states = 1, .directions = 2, .gate = true},
        {.samples = 2, .length = 7, .features = 5, .states = 16, .directions = 1, .reverse = true},
        {.samples = 1, .length = 31, .features = 8, .states = 4, .directions = 2, .gate = true, .odd = true},
        {.samples = 3,
         .length = 67,
         .features = 17,
         .states = 5,
         .directions = 2,
         .reverse = true,
         .scale = 0.5F},
        {.samples = 1,
         .length = 131,
         .features = 13,
         .states = 18,
         .directions = 1,
         .gate = true,
         .odd = true},
        {.samples = 2,
         .length = 197,
         .features = 24,
         .states = 16,
         .directions = 2,
         .gate = true,
         .scale = 0.5F},
        {.samples = 1, .length = 40, .features = 3, .states = 256, .directions = 2, .gate = true},
        {.samples = 1,
         .length = 90,
         .features = 9,
         .states = 16,
         .directions = 2,
         .same = true,
         .gate = true},
        {.samples = 1,
         .length = 90,
         .features = 9,
         .states = 7,
         .directions = 2,
         .same = true,
         .reverse = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(*state, &cases[i], NULL);
}

/* A block of 32 threads walks chunks of 32 tokens, one of 512 chunks of 512. */
static void chunks_may_end_anywhere(void **state)
{
    const int threads[] = {32, 96, 128, 512};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        for (int chunks = 1; chunks <= 2; chunks++)
            for (int more = -1; more <= 1; more++) {
                const struct scan_case is = {.samples = 1,
                                             .length = threads[i] * chunks + more,
                                             .features = 2,
                                             .states = 6,
                                             .directions = 2,
                                             .gate = true};
                check(*state, &is, &(struct bs__scan_cut){.segments = 1, .threads = threads[i]});
                check(*state, &is,
                      &(struct bs__scan_cut){.segments = 2, .threads = threads[i], .turns = true});
            }
}

static void segments_and_turns_change_nothing(void **state)
{
    const int lengths[] = {1, 2, 5, 64, 150, 293};
    for (int directions = 1; directions <= 2; directions++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (int reverse = 0; reverse <= 1; reverse++) {
                const struct scan_case is = {.samples = 2,
                                             .length = lengths[i],
                                             .features = reverse ? 8 : 11,
                                             .states = reverse           ? 19
                                                       : directions == 1 ? 12
                                                                         : 16,
                                             .directions = directions,
                                             .reverse = reverse != 0,
                                             .gate = true,
                                             .scale = 0.5F};
                const struct bs__scan_cut cuts[] = {{.segments = 1, .threads = 64},
                                                    {.segments = 2, .threads = 64, .turns = true},
                                                    {.segments = 2, .threads = 64},
                                                    {.segments = 3, .threads = 32},
                                                    {.segments = 7, .threads = 128}};
                struct scan_problem p;
                scan_problem_open(&p, *state, &is, 4);
                float *want = scan_wanted(&p);
                for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++)
                    if (!cuts[k].turns || directions == 2)
                        check_cut(*state, &p, want, &cuts[k]);
                free(want);
                scan_problem_close(&p);
            }
}

static void half_types_lose_what_their_rounding_does(void **state)
{
    const enum bs__element types[] = {BS__F16, BS__BF16};
    for (size_t i = 0; i < 2; i++)
        for (int odd = 0; odd <= 1; odd++) {
            const struct scan_case is = {.element = types[i],
                                         .samples = 2,
                                         .length = 139,
                                         .features = 12,
                                         .states = 16,
                                         .directions = 2,
                                         .gate = true,
                                         .odd = odd != 0,
                                         .scale = 0.5F};
            check(*state, &is, NULL);
            check(*state, &is, &(struct bs__scan_cut){.segments = 3, .threads = 64});
        }
}

/* Steps from 1e-13 (nothing happens for long) to 90 (everything is forgotten at once, exponents beyond float's). */
static void tiny_and_huge_steps_are_right(void **state)
{
    struct scan_case is = {.samples = 1, .length = 150, .features = 9, .states = 16, .directions = 2};
    const float range[][2] = {{-30, -20}, {10, 90}, {-90, 90}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        is.low = range[i][0];
        is.high = range[i][1];
        check(*state, &is, &(struct bs__scan_cut){.segments = 1, .threads = 128});
        check(*state, &is, &(struct bs__scan_cut){.segments = 3, .threads = 32});
    }
    is.no_softplus = true; /* the bias is below 0.5, so every step is positive */
    is.low = 2.1F;
    is.high = 3;
    check(*state, &is, NULL);
}

/* A state that forgets over a thousand tokens is a sum of thousands: errors of the decay that have one sign would show. A decay of 0.999
   is rounded by 3e-8, which is 3e-5 of its distance to 1; the hardware's exponential may be off by 2.4e-7. */
static void a_long_memory_is_kept(void **state)
{
    const struct scan_case is = {.samples = 1,
                                 .length = 5000,
                                 .features = 3,
                                 .states = 1,
                                 .directions = 1,
                                 .low = -6.9F,
                                 .high = -6.89F};
    struct scan_problem p;
    scan_problem_open(&p, *state, &is, 10);
    for (int i = 0; i < 5000 * 3; i++)
        p.d[0].u[i] = 1;
    for (int i = 0; i < 5000; i++)
        p.d[0].b[i] = p.d[0].c[i] = 1;
    memset(p.d[0].a_log, 0, 3 * sizeof(float));
    memset(p.d[0].bias, 0, 3 * sizeof(float));
    struct bs__scan_direction *d = &p.scan.direction[0];
    d->u = scan_put_rows(*state, BS__F32, p.d[0].u, 5000, 3, 0, 3);
    d->b = d->c = scan_put_rows(*state, BS__F32, p.d[0].b, 5000, 1, 0, 1);
    d->a_log = cuda_put(*state, BS__F32, p.d[0].a_log, 3);
    d->delta_bias = 0;
    float *want = scan_wanted(&p),
          *y = run_scan(*state, &p, &(struct bs__scan_cut){.segments = 4, .threads = 256});
    const double relative = cuda_is_emulated(*state) ? 5e-5 : 3e-4;
    cuda_near(y, want, 5000 * 3, relative * scan_largest(want, 5000 * 3), 0);
    free(y);
    free(want);
    scan_problem_close(&p);
}

/* From its token on, a NaN is in every later result of its feature, and nowhere else. */
static void a_nan_stays_in_its_feature_and_is_not_lost(void **state)
{
    enum { LENGTH = 140, FEATURES = 10, WHEN = 70, WHERE = 6 };
    const struct scan_case is = {
        .samples = 1, .length = LENGTH, .features = FEATURES, .states = 16, .directions = 1, .gate = true};
    const struct bs__scan_cut cuts[] = {{.segments = 1, .threads = 64}, {.segments = 3, .threads = 32}};
    for (int in_delta = 0; in_delta <= 1; in_delta++)
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
            struct scan_problem p;
            scan_problem_open(&p, *state, &is, 5);
            float *values = in_delta ? p.d[0].delta : p.d[0].u;
            values[WHEN * FEATURES + WHERE] = NAN;
            *(in_delta ? &p.scan.direction[0].delta : &p.scan.direction[0].u) =
                scan_put_rows(*state, BS__F32, values, LENGTH, FEATURES, 0, FEATURES);
            float *y = run_scan(*state, &p, &cuts[k]);
            for (int i = 0; i < LENGTH * FEATURES; i++)
                assert_int_equal(isnan(y[i]) != 0, i / FEATURES >= WHEN && i % FEATURES == WHERE);
            free(y);
            scan_problem_close(&p);
        }
}

static void the_order_of_threads_changes_no_bit(void **state)
{
    const struct scan_case is = {
        .samples = 1, .length = 203, .features = 10, .states = 10, .directions = 2, .gate = true};
    const struct bs__scan_cut cuts[] = {{.segments = 2, .threads = 96, .turns = true},
                                        {.segments = 3, .threads = 64}};
    for (size_t k = 0; k < sizeof cuts / sizeof *cuts; k++) {
        struct scan_problem p;
        scan_problem_open(&p, *state, &is, 6);
        float *first = NULL;
        for (uint64_t seed = 1; seed <= 6; seed++) {
            cuda_seed(*state, seed);
            float *y = run_scan(*state, &p, &cuts[k]);
            if (first)
                assert_memory_equal(first, y, scan_count(&p) * sizeof *y);
            else
                first = y;
            if (first != y)
                free(y);
        }
        free(first);
        scan_problem_close(&p);
    }
}

/* What is left out counts as zeros. */
static void skip_and_bias_may_be_left_out(void **state)
{
    const struct scan_case is = {.samples = 1, .length = 20, .features = 3, .states = 2, .directions = 1};
    struct scan_problem p;
    scan_problem_open(&p, *state, &is, 7);
    memset(p.d[0].skip, 0, 3 * sizeof(float));
    memset(p.d[0].bias, 0, 3 * sizeof(float));
    p.scan.direction[0].skip = p.scan.direction[0].delta_bias = 0;
    float *want = scan_wanted(&p);
    check_cut(*state, &p, want, NULL);
    free(want);
    scan_problem_close(&p);
}

/* The choice depends on nothing but sizes and multiprocessors, and fills these. */
static void the_cut_fills_the_device(void **state)
{
    (void)state;
    struct bs__scan tiny = {.samples = 1, .length = 4097, .features = 384, .states = 16, .directions = 2};
    tiny.direction[1].reverse = 1;
    const struct bs__cuda_limits big = {90, 132, 227 * 1024}, small = {75, 14, 64 * 1024};
    struct bs__scan_cut cut = {0};
    CUDA_MUST(bs__cuda_scan_cut(&big, &tiny, &cut, err));
    assert_true(cut.turns); /* 96 blocks at once instead of 48, and no exponential twice */
    cut = (struct bs__scan_cut){0};
    tiny.features = 768;
    CUDA_MUST(bs__cuda_scan_cut(&big, &tiny, &cut, err));
    assert_true(cut.turns);
    cut = (struct bs__scan_cut){0};
    tiny.features = 384;
    tiny.samples = 16; /* blocks enough: every other launch would only cost */
    CUDA_MUST(bs__cuda_scan_cut(&small, &tiny, &cut, err));
    assert_int_equal(cut.segments, 1);
    cut = (struct bs__scan_cut){0};
    tiny = (struct bs__scan){.samples = 1, .length = 65536, .features = 8, .states = 16, .directions = 1};
    CUDA_MUST(bs__cuda_scan_cut(&big, &tiny, &cut, err)); /* one block otherwise */
    assert_true(cut.segments > 16 && !cut.turns);
    struct bs_err err;
    const struct bs__cuda_limits none = {90, 132, 1024};
    cut = (struct bs__scan_cut){0};
    assert_int_equal(bs__cuda_scan_cut(&none, &tiny, &cut, &err), BS_ELIMIT);
    assert_non_null(strstr(err.msg, "1024"));
}

static void what_is_no_scan_is_refused(void **state)
{
    const struct scan_case is = {.samples = 1, .length = 4, .features = 4, .states = 4, .directions = 1};
    struct scan_problem p;
    struct bs_err err;
    scan_problem_open(&p, *state, &is, 8);
    struct bs__scan s = p.scan;
    s.directions = 3;
    assert_int_equal(bs__cuda_scan(cuda_queue(*state), BS__F32, &s, NULL, 0, &err), BS_EINTERNAL);
    s = p.scan;
    s.direction[0].b.stride = 3;
    assert_int_equal(bs__cuda_scan(cuda_queue(*state), BS__F32, &s, NULL, 0, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "B"));
    s = p.scan;
    s.states = 257;
    assert_int_equal(bs__cuda_scan(cuda_queue(*state), BS__F32, &s, NULL, 0, &err), BS_EINTERNAL);
    scan_problem_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_scan_is_right_for_any_shape, cuda_test_end),
        cmocka_unit_test_teardown(chunks_may_end_anywhere, cuda_test_end),
        cmocka_unit_test_teardown(segments_and_turns_change_nothing, cuda_test_end),
        cmocka_unit_test_teardown(half_types_lose_what_their_rounding_does, cuda_test_end),
        cmocka_unit_test_teardown(tiny_and_huge_steps_are_right, cuda_test_end),
        cmocka_unit_test_teardown(a_long_memory_is_kept, cuda_test_end),
        cmocka_unit_test_teardown(a_nan_stays_in_its_feature_and_is_not_lost, cuda_test_end),
        cmocka_unit_test_teardown(the_order_of_threads_changes_no_bit, cuda_test_end),
        cmocka_unit_test_teardown(skip_and_bias_may_be_left_out, cuda_test_end),
        cmocka_unit_test_teardown(the_cut_fills_the_device, cuda_test_end),
        cmocka_unit_test_teardown(what_is_no_scan_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
}
