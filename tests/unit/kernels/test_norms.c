/* Norms compute what torch computes (eps inside the root, biased variance): by hand, by independent code, and where
   single precision alone would fail. */
#include "kernels_support.h"

#include <math.h>

static void instance_norm_by_hand(void **state)
{
    (void)state;
    struct bs_tensor x = tensor_of(BS_SHAPE(1, 2, 2, 2), (float[]){1, 2, 3, 4, 7, 7, 7, 7});
    struct bs_tensor y = apply(BS_OP_INSTANCE_NORM, (struct bs_attr){.eps = 1e-5f}, &x, 1);
    double s = sqrt(1.25 + 1e-5); /* mean 2.5, squares 2.25 + 0.25 + 0.25 + 2.25 over 4 */
    for (int i = 0; i < 4; i++)
        assert_close(floats(&y)[i], (i - 1.5) / s, 1e-6);
    for (int i = 4; i < 8; i++)
        assert_close(floats(&y)[i], 0, 0); /* a flat channel, e.g. an empty image, is zero and not noise */
    free_tensor(&x);
    free_tensor(&y);
}

static void instance_norm_survives_a_large_offset(void **state)
{
    (void)state;
    /* 16-bit camera counts around 40,000 with a contrast of 1: the variance drowns in single-precision squares */
    struct numbers r = {11};
    struct bs_tensor x = new_tensor(BS_SHAPE(1, 1, 64, 64));
    double sum = 0, squares = 0;
    for (int i = 0; i < 4096; i++)
        sum += (double)(floats(&x)[i] = (float)(40000 + next_int(&r, 0, 3)));
    for (int i = 0; i < 4096; i++)
        squares += ((double)floats(&x)[i] - sum / 4096) * ((double)floats(&x)[i] - sum / 4096);
    struct bs_tensor y = apply(BS_OP_INSTANCE_NORM, (struct bs_attr){.eps = 1e-5f}, &x, 1);
    for (int i = 0; i < 4096; i++)
        assert_close(floats(&y)[i], ((double)floats(&x)[i] - sum / 4096) / sqrt(squares / 4096 + 1e-5), 1e-5);
    free_tensor(&x);
    free_tensor(&y);
}

static void samples_and_channels_do_not_mix_in_instance_norm(void **state)
{
    (void)state;
    struct numbers r = {12};
    struct bs_tensor x = random_tensor(&r, BS_SHAPE(2, 3, 4, 5));
    struct bs_tensor y = apply(BS_OP_INSTANCE_NORM, (struct bs_attr){.eps = 1e-5f}, &x, 1);
    for (int plane = 0; plane < 6; plane++) {
        struct bs_tensor one = tensor_of(BS_SHAPE(1, 1, 4, 5), floats(&x) + plane * 20);
        struct bs_tensor alone = apply(BS_OP_INSTANCE_NORM, (struct bs_attr){.eps = 1e-5f}, &one, 1);
        assert_tensor(&alone, floats(&y) + plane * 20, 0);
        free_tensor(&one);
        free_tensor(&alone);
    }
    free_tensor(&x);
    free_tensor(&y);
}

static void group_norm_follows_its_formula(void **state)
{
    (void)state;
    struct numbers r = {13};
    for (int groups = 1; groups <= 6; groups++) {
        if (6 % groups)
            continue;
        struct bs_tensor in[] = {random_tensor(&r, BS_SHAPE(2, 6, 3, 4)), random_tensor(&r, BS_SHAPE(6)),
                                 random_tensor(&r, BS_SHAPE(6))};
        struct bs_tensor y = apply(BS_OP_GROUP_NORM, (struct bs_attr){.groups = groups, .eps = 1e-5f}, in, 3);
        const float *x = floats(&in[0]);
        for (int e = 0; e < 2 * 6 * 12; e++) {
            int n = e / 72, c = e / 12 % 6, per = 6 / groups, first = n * 72 + c / per * per * 12,
                count = per * 12;
            double sum = 0, squares = 0;
            for (int i = 0; i < count; i++)
                sum += (double)x[first + i];
            for (int i = 0; i < count; i++)
                squares += ((double)x[first + i] - sum / count) * ((double)x[first + i] - sum / count);
            double want =
                ((double)x[e] - sum / count) / sqrt(squares / count + 1e-5) * (double)floats(&in[1])[c] +
                (double)floats(&in[2])[c];
            assert_close(floats(&y)[e], want, 1e-6);
        }
        for (int i = 0; i < 3; i++)
            free_tensor(&in[i]);
        free_tensor(&y);
    }
}

static void batch_norm_uses_the_running_statistics(void **state)
{
    (void)state;
    struct bs_tensor in[] = {
        tensor_of(BS_SHAPE(2, 2, 1, 1), (float[]){1, 2, 3, 4}),
        tensor_of(BS_SHAPE(2), (float[]){2, 3}),
        tensor_of(BS_SHAPE(2), (float[]){0.5f, -1}),
        tensor_of(BS_SHAPE(2), (float[]){1, 4}),
        tensor_of(BS_SHAPE(2), (float[]){4, 0.25f}),
    };
    struct bs_tensor y = apply(BS_OP_BATCH_NORM, (struct bs_attr){.eps = 1e-5f}, in, 5);
    double a = 2 / sqrt(4 + 1e-5), b = 3 / sqrt(0.25 + 1e-5);
    assert_close(floats(&y)[0], 0.5, 1e-6);
    assert_close(floats(&y)[1], -2 * b - 1, 1e-5);
    assert_close(floats(&y)[2], 2 * a + 0.5, 1e-6);
    assert_close(floats(&y)[3], -1, 1e-6);
    for (int i = 0; i < 5; i++)
        free_tensor(&in[i]);
    free_tensor(&y);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instance_norm_by_hand),
        cmocka_unit_test(instance_norm_survives_a_large_offset),
        cmocka_unit_test(samples_and_channels_do_not_mix_in_instance_norm),
        cmocka_unit_test(group_norm_follows_its_formula),
        cmocka_unit_test(batch_norm_uses_the_running_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
