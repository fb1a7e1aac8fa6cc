/* Whole networks on the CPU backend against the reference backend: tolerances of golden/README.md (Winograd: rms 1e-4,
   max 1e-3 on logits; direct: 2e-5 and 2e-4), sharing of packed weights, and repeatability to the bit. */
#include "tests/unit/kernels_cpu/compare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check_unet(struct how how, int64_t n, int in, int out, int features, int depth, int64_t h,
                       int64_t w, char norm, bool transposed, double max, double rms)
{
    struct bs_graph *g = small_unet(n, in, out, features, depth, h, w, norm, transposed, true);
    struct difference d = compare(g, how, 7);
    print_message("n %d in %d features %2d depth %d norm %c%s%s%s: max %.2e rms %.2e of %.2f\n", (int)n, in,
                  features, depth, norm ? norm : '-', transposed ? " transposed" : "",
                  how.winograd ? " winograd" : " direct", how.bf16 ? " bf16" : "", d.max, d.rms, d.largest);
    assert_true(d.max <= max);
    assert_true(d.rms <= rms);
    bs_graph_destroy(g);
}

static void winograd_keeps_the_tolerance_end_to_end(void **state)
{
    (void)state;
    const struct how how = {.winograd = true, .threads = 2};
    check_unet(how, 1, 1, 2, 16, 3, 64, 48, 'i', false, 1e-3, 1e-4);
    check_unet(how, 1, 1, 3, 32, 4, 64, 64, 'i', true, 1e-3, 1e-4);
    check_unet(how, 2, 3, 1, 12, 2, 36, 28, 'i', false, 1e-3, 1e-4);
    check_unet(how, 1, 2, 5, 5, 2, 20, 44, 'i', true, 1e-3, 1e-4);
    check_unet(how, 2, 1, 9, 16, 2, 32, 32, 'b', false, 1e-3, 1e-4);
    check_unet(how, 3, 1, 2, 8, 2, 24, 32, 'g', false, 1e-3, 1e-4);
    check_unet(how, 1, 1, 2, 16, 2, 32, 32, 0, false, 1e-3, 1e-4);
    check_unet(how, 1, 1, 2, 7, 2, 32, 32, 0, true, 1e-3, 1e-4);
}

static void direct_convolution_keeps_its_tighter_tolerance(void **state)
{
    (void)state;
    const struct how how = {.winograd = false, .threads = 2};
    check_unet(how, 1, 1, 2, 16, 3, 64, 48, 'i', false, 2e-4, 2e-5);
    check_unet(how, 2, 3, 1, 12, 2, 36, 28, 'i', true, 2e-4, 2e-5);
    check_unet(how, 1, 2, 5, 5, 2, 20, 44, 'g', false, 2e-4, 2e-5);
    check_unet(how, 1, 1, 2, 7, 2, 32, 32, 0, false, 2e-4, 2e-5);
    check_unet(how, 1, 1, 2, 16, 2, 32, 32, 'b', false, 2e-4, 2e-5);
}

static void bf16_stays_within_a_few_roundings(void **state)
{
    (void)state;
    check_unet((struct how){.winograd = true, .bf16 = true, .threads = 2}, 1, 1, 2, 16, 3, 64, 48, 'i', false,
               0.5, 0.06);
    check_unet((struct how){.winograd = true, .bf16 = true, .threads = 2}, 2, 3, 2, 12, 2, 36, 28, 'i', true,
               0.5, 0.06);
    check_unet((struct how){.winograd = false, .bf16 = true, .threads = 2}, 1, 1, 2, 16, 3, 64, 48, 'i',
               false, 0.5, 0.06);
}

/* Which thread does what is left to chance; the result is not. */
static void any_number_of_threads_and_any_repetition_gives_the_same_bits(void **state)
{
    (void)state;
    struct bs_graph *g = small_unet(2, 1, 2, 16, 3, 64, 64, 'i', false, true);
    struct filled f;
    fill_params(&f, g, 3);
    struct numbers r = {11};
    struct bs_tensor in = random_tensor(&r, BS_SHAPE(2, 1, 64, 64)), first[2];
    run_cpu(g, f.params, (struct how){.winograd = true, .threads = 1}, &in, first);
    for (int threads = 1; threads <= 4; threads++)
        for (int repeat = 0; repeat < 3; repeat++) {
            struct bs_tensor again[2];
            run_cpu(g, f.params, (struct how){.winograd = true, .threads = threads}, &in, again);
            for (int i = 0; i < 2; i++) {
                assert_memory_equal(first[i].data, again[i].data,
                                    bs_shape_count(&first[i].shape) * sizeof(float));
                free_tensor(&again[i]);
            }
        }
    free_tensor(&first[0]);
    free_tensor(&first[1]);
    free_tensor(&in);
    free_params(&f);
    bs_graph_destroy(g);
}

static void executables_of_other_shapes_share_the_packed_weights(void **state)
{
    (void)state;
    struct bs_graph *small = small_unet(1, 1, 2, 16, 3, 32, 32, 'i', false, false);
    struct bs_graph *large = small_unet(2, 1, 2, 16, 3, 96, 64, 'i', false, false);
    struct filled f;
    fill_params(&f, small, 3);
    struct bs_err err;
    struct bs_device *dev = NULL;
    struct bs_executable *a = NULL, *b = NULL;
    assert_int_equal(
        bs_device_open("cpu", &(struct bs_device_options){.threads = 2, .allow_winograd = true}, &dev, &err),
        BS_OK);
    assert_int_equal(bs_executable_create(dev, small, f.params, BS_PRECISION_F32, &a, &err), BS_OK);
    size_t bytes = bs_params_packed_bytes(f.params);
    assert_true(bytes > 0);
    assert_int_equal(bs_executable_create(dev, large, f.params, BS_PRECISION_F32, &b, &err), BS_OK);
    assert_int_equal(bs_params_packed_bytes(f.params), bytes);
    print_message("%s; %s\n", bs_executable_algorithms(a), bs_executable_algorithms(b));
    bs_executable_destroy(a);
    bs_executable_destroy(b);
    bs_device_close(dev);
    free_params(&f);
    bs_graph_destroy(small);
    bs_graph_destroy(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(winograd_keeps_the_tolerance_end_to_end),
        cmocka_unit_test(direct_convolution_keeps_its_tighter_tolerance),
        cmocka_unit_test(bf16_stays_within_a_few_roundings),
        cmocka_unit_test(any_number_of_threads_and_any_repetition_gives_the_same_bits),
        cmocka_unit_test(executables_of_other_shapes_share_the_packed_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
