/* The kernels of the scan's backward against the operator's reference, which computes in double: every gradient, shapes that fill no
   block and no chunk, both directions, chunks of several lengths, element types, gradients that are not wanted. */
#include "tests/unit/cuda/scan_problem.h"

#include "kernels/cuda/scan_grad.h"

#include <string.h>

enum { U, DELTA, A_LOG, B, C, SKIP, BIAS, Z, INPUTS };

static const char *const names[INPUTS] = {"u", "delta", "a_log", "B", "C", "skip", "delta_bias", "z"};

/* Of the largest value of a gradient. Half types: their own rounding, and of gz, where the first direction's part waits. */
static double tolerance(enum bs__element e)
{
    return e == BS__F32 ? 2e-5 : e == BS__F16 ? 2e-3 : 1.2e-2;
}

struct gradients {
    float *of[2][INPUTS]; /* z in [0] alone */
};

static size_t count_of(const struct scan_problem *p, int which)
{
    const size_t f = (size_t)p->is.features, s = (size_t)p->is.states,
                 rows = (size_t)p->is.samples * (size_t)p->is.length;
    return which == A_LOG                   ? f * s
           : which == B || which == C       ? rows * s
           : which == SKIP || which == BIAS ? f
                                            : rows * f;
}

/* What the operator's own backward says, with gy times the scale; z's gradient summed over directions. */
static void wanted(const struct scan_problem *p, const float *gy, struct gradients *g)
{
    const size_t count = scan_count(p);
    float *scaled = malloc(count * sizeof *scaled), *more = malloc(count * sizeof *more);
    assert_non_null(scaled);
    assert_non_null(more);
    for (size_t i = 0; i < count; i++)
        scaled[i] = p->scan.scale * gy[i];
    for (int d = 0; d < p->is.directions; d++) {
        struct bs_tensor in[8], back[9];
        const int n = scan_inputs(p, d, in);
        memcpy(back, in, 7 * sizeof *in);
        back[7] = (struct bs_tensor){BS_F32, in[0].shape, scaled};
        if (n > Z)
            back[8] = in[Z];
        for (int which = 0; which < n; which++) {
            const bool again = which == Z && d > 0;
            g->of[d][which] = calloc(count_of(p, which), sizeof(float));
            assert_non_null(g->of[d][which]);
            struct bs_tensor out = {BS_F32, in[which].shape, again ? more : g->of[d][which]};
            struct bs_attr attr = scan_attr(p, d);
            attr.which = which;
            bs_op_def(BS_OP_SELECTIVE_SCAN_GRAD)->reference(&attr, back, n + 1, &out);
            for (size_t i = 0; again && i < count; i++)
                g->of[0][Z][i] += more[i];
        }
    }
    free(scaled);
    free(more);
}

static void free_gradients(struct gradients *g)
{
    for (int d = 0; d < 2; d++)
        for (int i = 0; i < INPUTS; i++)
            free(g->of[d][i]);
}

/* Room for one gradient; rows of values lie a gap apart, which no kernel may write. */
static struct bs__rows room(struct cuda_test *t, const struct scan_problem *p, int which, bool params)
{
    const size_t bytes = params ? sizeof(float) : bs__element_bytes(p->is.element);
    const int64_t columns = which == B || which == C ? p->is.states : p->is.features;
    return (struct bs__rows){cuda_room(t, count_of(p, which) * bytes), columns};
}

/* wants: a bit for each input. threads 0: chosen. */
static void run_backward(struct cuda_test *t, const struct scan_problem *p, const float *gy, unsigned wants,
                         int threads, struct gradients *got)
{
    const enum bs__element e = p->is.element;
    const int64_t rows = (int64_t)p->is.samples * p->is.length;
    struct bs__scan_grad g = {.forward = p->scan};
    g.gy = scan_put_rows(t, e, gy, rows, p->is.features, 0, p->is.features + (p->is.odd ? 1 : 0));
    if (wants >> Z & 1)
        g.gz = room(t, p, Z, false);
    for (int d = 0; d < p->is.directions; d++) {
        struct bs__scan_grad_direction *to = &g.direction[d];
        struct bs__rows *const of_rows[INPUTS] = {
            [U] = &to->gu, [DELTA] = &to->gdelta, [B] = &to->gb, [C] = &to->gc};
        bs_address *const of_params[INPUTS] = {
            [A_LOG] = &to->ga_log, [SKIP] = &to->gskip, [BIAS] = &to->gdelta_bias};
        for (int i = 0; i < Z; i++)
            if (wants >> i & 1 && of_rows[i])
                *of_rows[i] = room(t, p, i, false);
            else if (wants >> i & 1)
                *of_params[i] = room(t, p, i, true).at;
    }
    g.workspace = cuda_room(t, bs__scan_grad_cut_workspace(bs__queue_limits(cuda_queue(t)), &g, threads));
    CUDA_MUST(bs__cuda_scan_grad_cut(cuda_queue(t), e, &g, threads, err));
    for (int d = 0; d < p->is.directions; d++) {
        const struct bs__scan_grad_direction *to = &g.direction[d];
        const bs_address at[INPUTS] = {to->gu.at, to->gdelta.at, to->ga_log,      to->gb.at,
                                       to->gc.at, to->gskip,     to->gdelta_bias, d == 0 ? g.gz.at : 0};
        for (int i = 0; i < INPUTS; i++)
            if (at[i]) {
                got->of[d][i] = malloc(count_of(p, i) * sizeof(float));
                assert_non_null(got->of[d][i]);
                cuda_get(t, i == A_LOG || i == SKIP || i == BIAS ? BS__F32 : e, at[i], got->of[d][i],
                         count_of(p, i));
            }
    }
}

static void compare(const struct scan_problem *p, const struct gradients *got, const struct gradients *want)
{
    for (int d = 0; d < p->is.directions; d++)
        for (int i = 0; i < INPUTS; i++)
            if (got->of[d][i]) {
                print_message("direction %d, %s\n", d, names[i]);
                cuda_near(got->of[d][i], want->of[d][i], count_of(p, i),
                          tolerance(p->is.element) * scan_largest(want->of[d][i], count_of(p, i)), 0);
            }
}

static void check(struct cuda_test *t, const struct scan_case *is, unsigned wants, int threads)
{
    struct scan_problem p;
    struct gradients want = {{{NULL}}}, got = {{{NULL}}};
    scan_problem_open(&p, t, is, 9);
    float *gy = scan_floats(is->element, scan_count(&p), 991, -1, 1);
    wanted(&p, gy, &want);
    run_backward(t, &p, gy, wants & (is->gate ? 0xff : 0x7f), threads, &got);
    compare(&p, &got, &want);
    free_gradients(&want);
    free_gradients(&got);
    free(gy);
    scan_problem_close(&p);
}

static void gradients_are_right_for_any_shape(void **state)
{
    const struct scan_case cases[] = {
        {.samples = 1, .length = 1, .features = 1, .states = 1, .directions = 1},
        {.samples = 1, .length = 1, .features = 2, .states = 3, .directions = 2, .gate = true},
        {.samples = 2, .length = 7, .features = 5, .states = 16, .directions = 1, .reverse = true},
        {.samples = 1, .length = 33, .features = 8, .states = 4, .directions = 2, .gate = true, .odd = true},
        {.samples = 3,
         .length = 67,
         .features = 17,
         .states = 5,
         .directions = 2,
         .reverse = true,
         .scale = 0.5F},
        {.samples = 2,
         .length = 200,
         .features = 9,
         .states = 16,
         .directions = 2,
         .gate = true,
         .scale = 0.5F},
        {.samples = 1, .length = 40, .features = 3, .states = 256, .directions = 1, .gate = true},
        {.samples = 1, .length = 70, .features = 9, .states = 7, .directions = 2, .same = true, .gate = true},
        {.samples = 1,
         .length = 50,
         .features = 4,
         .states = 8,
         .directions = 1,
         .no_softplus = true,
         .low = 2.1F,
         .high = 3},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(*state, &cases[i], 0xff, 0);
}

/* A block of 64 threads walks chunks of 32 tokens. */
static void chunks_may_end_anywhere(void **state)
{
    const int threads[] = {64, 192, BS__SCAN_GRAD_THREADS};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++)
        for (int directions = 1; directions <= 2; directions++)
            for (int more = -1; more <= 1; more++) {
                const struct scan_case is = {.samples = 1,
                                             .length = threads[i] / 2 * (directions + 1) + more,
                                             .features = 3,
                                             .states = 6,
                                             .directions = directions,
                                             .gate = true};
                check(*state, &is, 0xff, threads[i]);
            }
}

static void half_types_lose_what_their_rounding_does(void **state)
{
    for (int e = BS__F16; e <= BS__BF16; e++) {
        const struct scan_case is = {.element = (enum bs__element)e,
                                     .samples = 2,
                                     .length = 45,
                                     .features = 12,
                                     .states = 16,
                                     .directions = 2,
                                     .gate = true,
                                     .odd = e == BS__F16};
        check(*state, &is, 0xff, 64);
    }
}

static void tiny_and_huge_steps_are_right(void **state)
{
    struct scan_case is = {
        .samples = 1, .length = 80, .features = 9, .states = 16, .directions = 2, .gate = true};
    const float range[][2] = {{-12, -8}, {10, 90}, {-20, 40}};
    for (size_t i = 0; i < sizeof range / sizeof *range; i++) {
        is.low = range[i][0];
        is.high = range[i][1];
        check(*state, &is, 0xff, 64);
    }
}

static void only_what_is_wanted_is_written(void **state)
{
    const struct scan_case is = {
        .samples = 2, .length = 20, .features = 10, .states = 6, .directions = 2, .gate = true};
    for (int i = 0; i < INPUTS; i++)
        check(*state, &is, 1U << i, 64);
    check(*state, &is, 0xff & ~(1U << B), 64);
}

static void the_order_of_threads_changes_no_bit(void **state)
{
    const struct scan_case is = {
        .samples = 1, .length = 100, .features = 10, .states = 10, .directions = 2, .gate = true};
    struct scan_problem p;
    scan_problem_open(&p, *state, &is, 12);
    float *gy = scan_floats(BS__F32, scan_count(&p), 992, -1, 1);
    struct gradients first = {{{NULL}}};
    for (uint64_t seed = 1; seed <= 5; seed++) {
        struct gradients got = {{{NULL}}};
        cuda_seed(*state, seed);
        run_backward(*state, &p, gy, 0xff, 128, seed == 1 ? &first : &got);
        for (int d = 0; d < 2 && seed > 1; d++)
            for (int i = 0; i < INPUTS; i++)
                if (got.of[d][i])
                    assert_memory_equal(first.of[d][i], got.of[d][i], count_of(&p, i) * sizeof(float));
        free_gradients(&got);
    }
    free_gradients(&first);
    free(gy);
    scan_problem_close(&p);
}

static void what_has_no_gradient_is_refused(void **state)
{
    const struct scan_case is = {.samples = 1, .length = 4, .features = 4, .states = 4, .directions = 1};
    struct scan_problem p;
    struct bs_err err;
    scan_problem_open(&p, *state, &is, 8);
    struct bs__scan_grad g = {.forward = p.scan, .workspace = 16};
    assert_int_equal(bs__cuda_scan_grad(cuda_queue(*state), BS__F32, &g, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "gy"));
    g.gy = p.scan.direction[0].u;
    g.gz = g.gy;
    assert_int_equal(bs__cuda_scan_grad(cuda_queue(*state), BS__F32, &g, &err), BS_EINTERNAL);
    assert_non_null(strstr(err.msg, "z"));
    const struct bs__cuda_limits none = {90, 132, 1024};
    assert_int_equal(bs__cuda_scan_grad_workspace(&none, &g), 0);
    scan_problem_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(gradients_are_right_for_any_shape, cuda_test_end),
        cmocka_unit_test_teardown(chunks_may_end_anywhere, cuda_test_end),
        cmocka_unit_test_teardown(half_types_lose_what_their_rounding_does, cuda_test_end),
        cmocka_unit_test_teardown(tiny_and_huge_steps_are_right, cuda_test_end),
        cmocka_unit_test_teardown(only_what_is_wanted_is_written, cuda_test_end),
        cmocka_unit_test_teardown(the_order_of_threads_changes_no_bit, cuda_test_end),
        cmocka_unit_test_teardown(what_has_no_gradient_is_refused, cuda_test_end),
    };
    return cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
}
