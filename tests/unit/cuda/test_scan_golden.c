/* The scan's kernels, forward and backward, against reference values of another implementation (fixtures/golden/scan), within the
   tolerances of fixtures/golden/README.md. The fixtures are (B, D, L) and (B, N, L) where the kernels take tokens first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/cuda/scan_grad.h"
#include "tests/support/npy.h"
#include "tests/unit/cuda/cuda_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define FORWARD  1e-5 /* of the largest value */
#define BACKWARD 1e-4

struct golden_case {
    char name[32];
    int samples, features, states, tokens;
    int skip, z, bias, softplus; /* used? */
};

static float *room_for(size_t count)
{
    float *v = malloc(count * sizeof *v);
    assert_non_null(v);
    return v;
}

/* A file of (count) values; with columns rows of tokens are made of (columns, tokens). free() it. */
static float *read_values(const struct golden_case *g, const char *file, size_t count, int columns)
{
    char path[512];
    struct bs_npy npy;
    snprintf(path, sizeof path, "%s/golden/scan/%s/%s.npy", BS_TEST_FIXTURES, g->name, file);
    CUDA_MUST(bs_npy_read(path, &npy, err));
    assert_int_equal(npy.type, BS_NPY_F4);
    assert_int_equal(npy.count, count);
    const float *from = npy.data;
    float *v = room_for(count);
    for (size_t i = 0; i < count; i++) {
        const size_t tokens = (size_t)g->tokens, c = (size_t)columns;
        v[columns ? (i / (tokens * c) * tokens + i % tokens) * c + i / tokens % c : i] = from[i];
    }
    bs_npy_free(&npy);
    return v;
}

static bs_address put_values(struct cuda_test *t, const struct golden_case *g, const char *file, size_t count,
                             int columns)
{
    float *v = read_values(g, file, count, columns);
    const bs_address at = cuda_put(t, BS__F32, v, count);
    free(v);
    return at;
}

/* A, which is negative, as the kernels take it: log(-A). */
static bs_address put_a_log(struct cuda_test *t, const struct golden_case *g, float *a)
{
    const size_t count = (size_t)g->features * (size_t)g->states;
    float *a_log = room_for(count);
    for (size_t i = 0; i < count; i++)
        a_log[i] = (float)log(-(double)a[i]);
    const bs_address at = cuda_put(t, BS__F32, a_log, count);
    free(a_log);
    return at;
}

static void check_values(struct cuda_test *t, const struct golden_case *g, const char *file, bs_address at,
                         size_t count, int columns, const float *times, double tolerance)
{
    float *want = read_values(g, file, count, columns), *got = room_for(count);
    double largest = 0;
    for (size_t i = 0; i < count; i++) {
        want[i] *= times ? times[i] : 1;
        largest = fmax(largest, fabs((double)want[i]));
    }
    print_message("%s %s\n", g->name, file);
    cuda_get(t, BS__F32, at, got, count);
    cuda_near(got, want, count, tolerance * largest, 0);
    free(want);
    free(got);
}

static void check_case(struct cuda_test *t, const struct golden_case *g)
{
    const int f = g->features, s = g->states;
    const size_t params = (size_t)f, rows = (size_t)g->samples * (size_t)g->tokens, all = rows * params,
                 weights = rows * (size_t)s;
    float *a = read_values(g, "A", params * (size_t)s, 0);
    struct bs__scan scan = {
        .direction[0] = {.u = {put_values(t, g, "u", all, f), f},
                         .delta = {put_values(t, g, "delta", all, f), f},
                         .b = {put_values(t, g, "B", weights, s), s},
                         .c = {put_values(t, g, "C", weights, s), s},
                         .a_log = put_a_log(t, g, a),
                         .skip = g->skip ? put_values(t, g, "D", params, 0) : 0,
                         .delta_bias = g->bias ? put_values(t, g, "delta_bias", params, 0) : 0},
        .z = {g->z ? put_values(t, g, "z", all, f) : 0, f},
        .y = {cuda_room(t, all * sizeof(float)), f},
        .samples = g->samples,
        .length = g->tokens,
        .features = f,
        .states = s,
        .directions = 1,
        .softplus = g->softplus,
        .scale = 1,
    };
    const size_t forward = bs__cuda_scan_workspace(bs__queue_limits(cuda_queue(t)), &scan);
    CUDA_MUST(bs__cuda_scan(cuda_queue(t), BS__F32, &scan, NULL, forward ? cuda_room(t, forward) : 0, err));
    check_values(t, g, "out", scan.y.at, all, f, NULL, FORWARD);

    struct bs__scan_grad grad = {
        .forward = scan,
        .gy = {put_values(t, g, "grad_out", all, f), f},
        .gz = {g->z ? cuda_room(t, all * sizeof(float)) : 0, f},
        .direction[0] = {.gu = {cuda_room(t, all * sizeof(float)), f},
                         .gdelta = {cuda_room(t, all * sizeof(float)), f},
                         .gb = {cuda_room(t, weights * sizeof(float)), s},
                         .gc = {cuda_room(t, weights * sizeof(float)), s},
                         .ga_log = cuda_room(t, params * (size_t)s * sizeof(float)),
                         .gskip = g->skip ? cuda_room(t, params * sizeof(float)) : 0,
                         .gdelta_bias = g->bias ? cuda_room(t, params * sizeof(float)) : 0},
    };
    const struct bs__scan_grad_direction *to = &grad.direction[0];
    grad.workspace = cuda_room(t, bs__cuda_scan_grad_workspace(bs__queue_limits(cuda_queue(t)), &grad));
    CUDA_MUST(bs__cuda_scan_grad(cuda_queue(t), BS__F32, &grad, err));
    check_values(t, g, "grad_u", to->gu.at, all, f, NULL, BACKWARD);
    check_values(t, g, "grad_delta", to->gdelta.at, all, f, NULL, BACKWARD);
    check_values(t, g, "grad_B", to->gb.at, weights, s, NULL, BACKWARD);
    check_values(t, g, "grad_C", to->gc.at, weights, s, NULL, BACKWARD);
    check_values(t, g, "grad_A", to->ga_log, params * (size_t)s, 0, a,
                 BACKWARD); /* times dA / d log(-A) = A */
    if (g->skip)
        check_values(t, g, "grad_D", to->gskip, params, 0, NULL, BACKWARD);
    if (g->bias)
        check_values(t, g, "grad_delta_bias", to->gdelta_bias, params, 0, NULL, BACKWARD);
    if (g->z)
        check_values(t, g, "grad_z", grad.gz.at, all, f, NULL, BACKWARD);
    free(a);
}

static void reference_values_are_met(void **state)
{
    char line[256];
    int cases = 0;
    FILE *f = fopen(BS_TEST_FIXTURES "/golden/scan/cases.tsv", "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f)); /* the header */
    for (; fgets(line, sizeof line, f); cases++) {
        struct golden_case g;
        if (sscanf(line, "%31s %d %d %d %d %d %d %d %d", g.name, &g.samples, &g.features, &g.states,
                   &g.tokens, &g.skip, &g.z, &g.bias, &g.softplus) != 9)
            fail_msg("a line of another form: %s", line);
        check_case(*state, &g);
    }
    fclose(f);
    assert_true(cases >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(reference_values_are_met, cuda_test_end),
    };
    return cmocka_run_group_tests(tests, cuda_test_open, cuda_test_close);
}
