/* What stands around the selective scan, with every instruction set this processor has: its exponential, swept over all
   exponents against its error bound, and the causal convolution against a double loop. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/kernels_cpu/rows.h"

/* Units in the last place of a float32 of this size. */
static double last_place(double x)
{
    int exponent;
    frexp(x, &exponent);
    return ldexp(1, exponent - 24);
}

static void exponential(const struct bs__simd *simd)
{
    enum { BATCH = 4096 };
    float *x = vectors_of(BATCH), *y = vectors_of(BATCH);
    double worst = 0, below = 0;
    uint32_t bits = 0;
    /* From 0 to 160 in steps of 97 floats, with both signs: every exponent, 12 million values. */
    for (uint32_t end = 0x43200000; bits < end;) {
        for (int i = 0; i < BATCH; i++, bits += 97) {
            uint32_t one = (bits < end ? bits : end) | (i % 8 ? 0x80000000 : 0);
            memcpy(&x[i], &one, sizeof one);
        }
        simd->exp2(x, y, BATCH);
        for (int i = 0; i < BATCH; i++) {
            const double want = exp2((double)x[i]);
            if (x[i] >= 128)
                assert_true(isinf(y[i]) && y[i] > 0);
            else if (want > 0x1p-126) {
                double e = fabs((double)y[i] - want) / last_place(want);
                worst = e > worst ? e : worst;
            } else {
                double e = fabs((double)y[i] - want);
                below = e > below ? e : below;
            }
        }
    }
    print_message("%s: %.3f units in the last place, %.3f of 2^-126 below\n", simd->name, worst,
                  below * 0x1p126);
    assert_true(worst <= (simd == bs__simd_base() ? 2.5 : 2)); /* without fused multiply-adds */
    assert_true(below <= 0x1p-126);
    const float far[16] = {0,      -0.0F,    -150, -1e3F, -1e6F, -1e9F,   -1e12F,
                           -1e30F, -FLT_MAX, 128,  1e3F,  1e9F,  FLT_MAX, -126};
    memcpy(x, far, sizeof far);
    simd->exp2(x, y, 16);
    assert_true(y[0] == 1 && y[1] == 1);
    for (int i = 2; i < 9; i++)
        assert_true(y[i] >= 0 && y[i] <= 0x1p-126F);
    for (int i = 9; i < 13; i++)
        assert_true(isinf(y[i]));
    assert_true(y[13] == 0x1p-126F);
    free(x);
    free(y);
}

static void exponential_is_as_exact_as_it_says(void **state)
{
    (void)state;
    with_all_instruction_sets(exponential);
}

static void conv_case(const struct bs__simd *simd, int64_t n, int64_t length, int features, int kernel,
                      bool bf16, bool silu, double tolerance)
{
    struct numbers r = {11};
    struct grid x = random_grid(&r, n, length, features, bf16, -2, 2), y[2];
    float *w[2], *bias[2], *held[4];
    struct bs__conv1d c = {.src = x.rows,
                           .n = n,
                           .length = length,
                           .features = features,
                           .kernel = kernel,
                           .ndirection = 2,
                           .silu = silu};
    for (int i = 0; i < 2; i++) {
        y[i] = new_grid(n, length, features, bf16);
        w[i] = plain_floats(&r, (size_t)features * (size_t)kernel, -1, 1);
        bias[i] = plain_floats(&r, (size_t)features, -1, 1);
        c.direction[i].weights = held[i] = packed_floats(simd, w[i], features, kernel);
        c.direction[i].bias = held[2 + i] = packed_floats(simd, bias[i], features, 1);
        c.direction[i].reverse = i == 1;
        c.direction[i].dst = y[i].rows;
    }
    bs__conv1d_split(&c);
    bs__parallel(1, c.n * c.runs, simd->conv1d, &c);
    double worst = 0;
    for (int i = 0; i < 2; i++)
        for (int64_t row = 0; row < n * length; row++)
            for (int f = 0; f < features; f++) {
                double sum = (double)bias[i][f];
                for (int k = 0; k < kernel; k++) {
                    int64_t t = row % length + (i ? 1 : -1) * (kernel - 1 - k);
                    if (t >= 0 && t < length)
                        sum += (double)w[i][f * kernel + k] *
                               x.value[(row / length * length + t) * features + f];
                }
                if (silu)
                    sum /= 1 + exp(-sum);
                double e = fabs(sum - (double)get_grid(&y[i], row / length, row % length, f));
                assert_false(isnan(e));
                worst = e > worst ? e : worst;
            }
    print_message("%s length %d features %d kernel %d: %.1e\n", simd->name, (int)length, features, kernel,
                  worst);
    assert_true(worst < tolerance);
    for (int i = 0; i < 2; i++) {
        assert_untouched_beside(&y[i], n, length, features);
        free_grid(&y[i]);
        free(w[i]);
        free(bias[i]);
    }
    for (int i = 0; i < 4; i++)
        free(held[i]);
    free_grid(&x);
}

static void convolutions(const struct bs__simd *simd)
{
    conv_case(simd, 1, 1, 1, 4, false, true, 3e-6);
    conv_case(simd, 2, 200, 37, 4, false, true, 3e-6);
    conv_case(simd, 1, 64, 48, 4, false, false, 3e-6);
    conv_case(simd, 1, 3, 16, 4, false, true, 3e-6);
    conv_case(simd, 2, 77, 20, 7, false, true, 3e-6);
    conv_case(simd, 2, 100, 33, 4, true, true, 4e-2); /* results up to 8 in steps of 2^-5, half of it */
}

static void convolution_looks_back_or_ahead_only(void **state)
{
    (void)state;
    with_all_instruction_sets(convolutions);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exponential_is_as_exact_as_it_says),
        cmocka_unit_test(convolution_looks_back_or_ahead_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
