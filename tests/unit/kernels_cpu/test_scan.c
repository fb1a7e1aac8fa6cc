/* The selective scan against double loops, with every instruction set this processor has: shapes that fill no vector and no
   piece, both directions, float32 and bf16 rows, extreme step sizes, NaN, threads. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/kernels_cpu/rows.h"

struct scan_case {
    int64_t n, length;
    int features, states, rank; /* rank 0: step sizes are given */
    int ndirection;
    bool reverse; /* of the first direction; a second one runs the other way */
    bool gate, no_softplus, bf16, bf16_projections;
    double low, high; /* of the given step sizes before softplus */
};

struct direction {
    struct grid u, delta, low, b, c;
    float *weights, *bias, *skip, *a_log;                             /* plain */
    float *packed_weights, *packed_bias, *packed_skip, *packed_a_log; /* as the kernel takes them */
};

struct problem {
    struct scan_case is;
    const struct bs__simd *simd;
    struct direction d[2];
    struct grid z, dst;
    struct bs__scan scan;
};

static void new_direction(struct problem *p, struct numbers *r, int i)
{
    const struct scan_case *is = &p->is;
    struct direction *d = &p->d[i];
    const int f = is->features;
    d->u = random_grid(r, is->n, is->length, f, is->bf16, -1, 1);
    d->b = random_grid(r, is->n, is->length, is->states, is->bf16_projections, -1, 1);
    d->c = random_grid(r, is->n, is->length, is->states, is->bf16_projections, -1, 1);
    if (is->rank)
        d->low = random_grid(r, is->n, is->length, is->rank, is->bf16_projections, -1, 1);
    else
        d->delta = random_grid(r, is->n, is->length, f, is->bf16, is->low, is->high);
    d->weights = plain_floats(r, (size_t)f * (size_t)is->rank, -1, 1);
    d->bias = plain_floats(r, (size_t)f, -6, -1);
    d->skip = plain_floats(r, (size_t)f, 0.5, 1.5);
    d->a_log = plain_floats(r, (size_t)f * (size_t)is->states, -1, 3);
    d->packed_weights = packed_floats(p->simd, d->weights, f, is->rank);
    d->packed_bias = packed_floats(p->simd, d->bias, f, 1);
    d->packed_skip = packed_floats(p->simd, d->skip, f, 1);
    d->packed_a_log = vectors_of(bs__scan_packed(p->simd, f, is->states));
    bs__scan_pack_a(p->simd, d->a_log, f, is->states, d->packed_a_log);
    p->scan.direction[i] = (struct bs__scan_direction){.u = d->u.rows,
                                                       .delta = d->delta.rows,
                                                       .low = d->low.rows,
                                                       .b = d->b.rows,
                                                       .c = d->c.rows,
                                                       .delta_weights = d->packed_weights,
                                                       .delta_bias = d->packed_bias,
                                                       .skip = d->packed_skip,
                                                       .a = d->packed_a_log,
                                                       .reverse = is->reverse != (i == 1)};
}

static void new_problem(struct problem *p, const struct bs__simd *simd, const struct scan_case *is)
{
    struct numbers r = {5};
    *p = (struct problem){.is = *is, .simd = simd};
    p->scan = (struct bs__scan){.n = is->n,
                                .length = is->length,
                                .features = is->features,
                                .states = is->states,
                                .rank = is->rank,
                                .ndirection = is->ndirection,
                                .scale = 0.5F,
                                .softplus = !is->no_softplus};
    for (int i = 0; i < is->ndirection; i++)
        new_direction(p, &r, i);
    if (is->gate) {
        p->z = random_grid(&r, is->n, is->length, is->features, is->bf16, -4, 4);
        p->scan.z = p->z.rows;
    }
    p->dst = new_grid(is->n, is->length, is->features, is->bf16);
    p->scan.dst = p->dst.rows;
}

static void free_problem(struct problem *p)
{
    for (int i = 0; i < p->is.ndirection; i++) {
        struct direction *d = &p->d[i];
        struct grid *grids[] = {&d->u, &d->delta, &d->low, &d->b, &d->c};
        float *arrays[] = {d->weights,        d->bias,        d->skip,        d->a_log,
                           d->packed_weights, d->packed_bias, d->packed_skip, d->packed_a_log};
        for (size_t k = 0; k < sizeof grids / sizeof *grids; k++)
            free_grid(grids[k]);
        for (size_t k = 0; k < sizeof arrays / sizeof *arrays; k++)
            free(arrays[k]);
    }
    free_grid(&p->z);
    free_grid(&p->dst);
}

static void run_fused_or_not(struct problem *p, int threads, int vectors, bool fused)
{
    bs__scan_split(p->simd, threads, &p->scan);
    p->scan.fused = fused;
    if (vectors) {
        const int64_t blocks = (p->is.features + p->simd->lanes - 1) / p->simd->lanes;
        p->scan.vectors = vectors;
        p->scan.groups = (blocks + vectors - 1) / vectors;
    }
    p->scan.scratch_floats = bs__scan_scratch(p->simd, &p->scan);
    p->scan.scratch = vectors_of(p->scan.scratch_floats * (size_t)threads);
    bs__parallel(threads, p->scan.n * p->scan.groups, p->simd->scan, &p->scan);
    free(p->scan.scratch);
}

/* vectors 0: what bs__scan_split says. */
static void run_scan(struct problem *p, int threads, int vectors)
{
    run_fused_or_not(p, threads, vectors, true);
}

/* One direction of one feature by the definition; adds to want (length). */
static void scan_feature(const struct problem *p, const struct direction *d, bool reverse, int64_t n, int f,
                         double *want)
{
    const struct scan_case *is = &p->is;
    double h[64] = {0};
    assert_true(is->states <= 64);
    for (int64_t i = 0; i < is->length; i++) {
        const int64_t row = n * is->length + (reverse ? is->length - 1 - i : i);
        double dt = (double)d->bias[f], y = 0;
        for (int r = 0; r < is->rank; r++)
            dt += (double)d->weights[f * is->rank + r] * d->low.value[row * is->rank + r];
        if (!is->rank)
            dt += d->delta.value[row * is->features + f];
        if (!is->no_softplus)
            dt = dt > 20 ? dt : log1p(exp(dt));
        const double u = d->u.value[row * is->features + f];
        for (int s = 0; s < is->states; s++) {
            h[s] = exp(-exp((double)d->a_log[f * is->states + s]) * dt) * h[s] +
                   dt * u * d->b.value[row * is->states + s];
            y += h[s] * d->c.value[row * is->states + s];
        }
        want[row - n * is->length] += y + (double)d->skip[f] * u;
    }
}

/* Largest difference, in units of the feature's largest value. */
static double worst_difference(const struct problem *p)
{
    const struct scan_case *is = &p->is;
    double worst = 0, *want = malloc((size_t)is->length * sizeof *want);
    assert_non_null(want);
    for (int64_t n = 0; n < is->n; n++)
        for (int f = 0; f < is->features; f++) {
            double largest = 0, difference = 0;
            memset(want, 0, (size_t)is->length * sizeof *want);
            for (int i = 0; i < is->ndirection; i++)
                scan_feature(p, &p->d[i], p->scan.direction[i].reverse, n, f, want);
            for (int64_t t = 0; t < is->length; t++) {
                double y = 0.5 * want[t];
                if (is->gate) {
                    double z = p->z.value[(n * is->length + t) * is->features + f];
                    y *= z / (1 + exp(-z));
                }
                double e = fabs(y - (double)get_grid(&p->dst, n, t, f));
                assert_false(isnan(e));
                largest = fabs(y) > largest ? fabs(y) : largest;
                difference = e > difference ? e : difference;
            }
            worst = difference / largest > worst ? difference / largest : worst;
        }
    free(want);
    return worst;
}

static void check_scan(const struct bs__simd *simd, const struct scan_case *is, double tolerance)
{
    struct problem p;
    new_problem(&p, simd, is);
    for (int fused = 0; fused <= 1; fused++) {
        run_fused_or_not(&p, 1, 0, fused);
        double worst = worst_difference(&p);
        print_message("%s%s length %d features %d states %d rank %d%s: %.1e\n", simd->name,
                      fused ? " fused" : "", (int)is->length, is->features, is->states, is->rank,
                      is->bf16 ? " bf16" : "", worst);
        assert_true(worst < tolerance);
        assert_untouched_beside(&p.dst, is->n, is->length, is->features);
    }
    free_problem(&p);
}

static void shapes(const struct bs__simd *simd)
{
    const struct scan_case cases[] = {
        {.n = 1, .length = 1, .features = 1, .states = 1, .ndirection = 1, .low = -2, .high = 2},
        {.n = 1, .length = 1, .features = 16, .states = 16, .rank = 3, .ndirection = 2, .gate = true},
        {.n = 2, .length = 7, .features = 5, .states = 16, .ndirection = 1, .reverse = true, .high = 3},
        {.n = 1, .length = 63, .features = 17, .states = 16, .rank = 12, .ndirection = 2, .gate = true},
        {.n = 2, .length = 64, .features = 48, .states = 16, .rank = 24, .ndirection = 2, .gate = true},
        {.n = 1, .length = 65, .features = 31, .states = 5, .ndirection = 2, .reverse = true, .high = 2},
        {.n = 1, .length = 200, .features = 16, .states = 33, .rank = 1, .ndirection = 1, .gate = true},
        {.n = 3, .length = 130, .features = 24, .states = 18, .rank = 2, .ndirection = 2, .gate = true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_scan(simd, &cases[i], 2e-6);
}

static void scan_is_right_for_any_shape(void **state)
{
    (void)state;
    with_all_instruction_sets(shapes);
}

/* The projections' rows may keep float32 beside bf16 features. bf16 has 8 bits; a first direction is rounded too. */
static void narrow_rows(const struct bs__simd *simd)
{
    struct scan_case is = {.n = 2,
                           .length = 129,
                           .features = 37,
                           .states = 16,
                           .rank = 12,
                           .ndirection = 2,
                           .gate = true,
                           .bf16 = true};
    check_scan(simd, &is, 1e-2);
    is.bf16_projections = true;
    check_scan(simd, &is, 1e-2);
    is.rank = 0;
    is.ndirection = 1;
    check_scan(simd, &is, 5e-3);
}

static void scan_is_right_with_bf16_rows(void **state)
{
    (void)state;
    with_all_instruction_sets(narrow_rows);
}

/* Step sizes from 1e-13 (nothing happens for long) to 90 (everything is forgotten at once, exponents beyond float32's). */
static void step_sizes(const struct bs__simd *simd)
{
    struct scan_case is = {.n = 1, .length = 150, .features = 20, .states = 16, .ndirection = 2};
    is.low = -30, is.high = -20;
    check_scan(simd, &is, 2e-6);
    is.low = 10, is.high = 90;
    check_scan(simd, &is, 2e-6);
    is.low = -90, is.high = 90;
    check_scan(simd, &is, 2e-6);
    /* Without softplus a step may be negative: the state grows. */
    is.no_softplus = true;
    is.low = 5.7, is.high = 6.1, is.length = 12; /* minus a bias of 1 to 6 */
    check_scan(simd, &is, 1e-4);
}

static void scan_is_right_for_tiny_and_huge_steps(void **state)
{
    (void)state;
    with_all_instruction_sets(step_sizes);
}

/* Products of step size and rate beyond what the fused decay takes: what overflows or underflows in them is forgotten. */
static void huge_rates(const struct bs__simd *simd)
{
    struct problem p;
    const struct scan_case is = {
        .n = 1, .length = 70, .features = 20, .states = 16, .ndirection = 1, .high = 2};
    new_problem(&p, simd, &is);
    for (int f = 0; f < is.features; f += 3)
        p.d[0].a_log[f * is.states + f % is.states] =
            28 + 4 * (float)f; /* e^28 is 2^40; e^100 is beyond float32 */
    bs__scan_pack_a(simd, p.d[0].a_log, is.features, is.states, p.d[0].packed_a_log);
    for (int fused = 0; fused <= 1; fused++) {
        run_fused_or_not(&p, 1, 0, fused);
        assert_true(worst_difference(&p) < 2e-6);
    }
    free_problem(&p);
}

static void scan_is_right_for_rates_beyond_all_reason(void **state)
{
    (void)state;
    with_all_instruction_sets(huge_rates);
}

/* A state that forgets over a thousand tokens is a sum of thousands: errors of the decay that had one sign would show. */
static void long_memory(const struct bs__simd *simd)
{
    struct problem p;
    const struct scan_case is = {.n = 1, .length = 9000, .features = 16, .states = 1, .ndirection = 1};
    new_problem(&p, simd, &is);
    for (int64_t t = 0; t < is.length; t++) {
        set_grid(&p.d[0].b, is.length, 1, 0, t, 0, 1);
        set_grid(&p.d[0].c, is.length, 1, 0, t, 0, 1);
        for (int f = 0; f < is.features; f++) {
            /* softplus(-6.9) is about 0.001 */
            set_grid(&p.d[0].delta, is.length, is.features, 0, t, f,
                     -6.9F + 0.1F * (float)f - p.d[0].bias[f]);
            set_grid(&p.d[0].u, is.length, is.features, 0, t, f, 1);
        }
    }
    memset(p.d[0].a_log, 0, (size_t)is.features * sizeof *p.d[0].a_log);
    bs__scan_pack_a(simd, p.d[0].a_log, is.features, 1, p.d[0].packed_a_log);
    run_scan(&p, 1, 0);
    double worst = worst_difference(&p);
    print_message("%s: %.1e\n", simd->name, worst);
    /* A decay of 0.999 is rounded by 3e-8, which is 3e-5 of its distance to 1; the exponential adds 1.5e-5. */
    assert_true(worst < 5e-5);
    free_problem(&p);
}

static void scan_keeps_a_long_memory(void **state)
{
    (void)state;
    with_all_instruction_sets(long_memory);
}

/* From its token on, a NaN is in every later result of its feature, and in no other feature. */
static void nan_in(const struct bs__simd *simd, bool in_delta)
{
    const int64_t when = 70;
    const int where = 18;
    const struct scan_case is = {.n = 1,
                                 .length = 140,
                                 .features = 23,
                                 .states = 16,
                                 .ndirection = 1,
                                 .gate = true,
                                 .low = -1,
                                 .high = 1};
    struct problem p;
    new_problem(&p, simd, &is);
    set_grid(in_delta ? &p.d[0].delta : &p.d[0].u, is.length, is.features, 0, when, where, NAN);
    run_scan(&p, 1, 0);
    for (int64_t t = 0; t < is.length; t++)
        for (int f = 0; f < is.features; f++)
            assert_int_equal(isnan(get_grid(&p.dst, 0, t, f)) != 0, t >= when && f == where);
    free_problem(&p);
}

static void nans(const struct bs__simd *simd)
{
    nan_in(simd, false);
    nan_in(simd, true);
}

static void a_nan_stays_in_its_feature_and_is_not_lost(void **state)
{
    (void)state;
    with_all_instruction_sets(nans);
}

static void any_split(const struct bs__simd *simd)
{
    const struct scan_case is = {
        .n = 2, .length = 150, .features = 90, .states = 16, .rank = 6, .ndirection = 2, .gate = true};
    struct problem p;
    new_problem(&p, simd, &is);
    run_scan(&p, 1, 0);
    const size_t bytes = p.dst.elements * sizeof(float);
    void *first = malloc(bytes);
    assert_non_null(first);
    memcpy(first, p.dst.memory, bytes);
    for (int threads = 1; threads <= 5; threads++)
        for (int vectors = 0; vectors <= 5; vectors++) {
            for (int64_t t = 0; t < is.length; t++)
                set_grid(&p.dst, is.length, is.features, 0, t, 0, -1);
            run_scan(&p, threads, vectors);
            assert_memory_equal(first, p.dst.memory, bytes);
        }
    free(first);
    free_problem(&p);
}

static void threads_and_tasks_do_not_change_a_bit(void **state)
{
    (void)state;
    with_all_instruction_sets(any_split);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan_is_right_for_any_shape),
        cmocka_unit_test(scan_is_right_with_bf16_rows),
        cmocka_unit_test(scan_is_right_for_tiny_and_huge_steps),
        cmocka_unit_test(scan_is_right_for_rates_beyond_all_reason),
        cmocka_unit_test(scan_keeps_a_long_memory),
        cmocka_unit_test(a_nan_stays_in_its_feature_and_is_not_lost),
        cmocka_unit_test(threads_and_tasks_do_not_change_a_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
