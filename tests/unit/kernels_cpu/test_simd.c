/* Every instruction set this processor has computes the same 3x3 convolution: the portable kernels are tested on machines
   that would never choose them. */
#include "kernels/cpu/simd.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/kernels/kernels_support.h"

static float *floats_of(size_t count)
{
    float *p = aligned_alloc(64, (count * sizeof *p + 63) / 64 * 64);
    assert_non_null(p);
    memset(p, 0, (count * sizeof *p + 63) / 64 * 64);
    return p;
}

/* in and out are whole blocks; the reference is the definition. */
static void check_winograd(const struct bs__simd *simd, int in_blocks, int out_blocks, int64_t h, int64_t w,
                           bool transformed)
{
    const int lanes = simd->lanes, in = in_blocks * lanes, out = out_blocks * lanes;
    const int width = lanes * simd->out_vectors,
              chunks = (out_blocks + simd->out_vectors - 1) / simd->out_vectors;
    struct numbers r = {9};
    float *x = floats_of((size_t)(in * h * w)), *y = floats_of((size_t)(out * h * w));
    float *weights = floats_of((size_t)(chunks * in * 9 * width)), *bias = floats_of((size_t)out);
    float *changed = floats_of((size_t)(chunks * in * 36 * width));
    for (int64_t i = 0; i < in * h * w; i++)
        x[i] = (float)next_real(&r, -1, 1);
    for (int64_t i = 0; i < (int64_t)chunks * in * 9 * width; i++)
        weights[i] = (float)next_real(&r, -0.2, 0.2);
    for (int i = 0; i < out; i++)
        bias[i] = (float)next_real(&r, -1, 1);
    for (int o = 0; o < chunks; o++)
        for (int k = 0; k < in_blocks; k += simd->in_chunk) {
            int n = in_blocks - k < simd->in_chunk ? in_blocks - k : simd->in_chunk;
            int64_t at = ((int64_t)o * in_blocks + k) * lanes * width;
            simd->transform_weights(weights + at * 9, n, changed + at * 36);
        }
    struct bs__winograd c = {
        .source = {{.data = x, .blocks = in_blocks, .stride = in_blocks}},
        .nsource = 1,
        .n = 1,
        .h = h,
        .w = w,
        .in_blocks = in_blocks,
        .out_blocks = out_blocks,
        .weights = transformed ? changed : weights,
        .transformed = transformed,
        .bias = bias,
        .dst = y,
        .tiles_y = (h + 3) / 4,
        .tiles_x = (w + 3) / 4,
        .split = {.run = 12, .out_chunks_per_task = chunks, .out_groups = 1},
    };
    c.split.runs = (c.tiles_y * c.tiles_x + c.split.run - 1) / c.split.run;
    c.scratch_floats = bs__tile_scratch(simd, in_blocks, c.split.run, 36, 36);
    c.scratch = floats_of(c.scratch_floats);
    bs__parallel(1, c.split.runs, simd->f32.winograd, &c);
    double worst = 0;
    for (int o = 0; o < out; o++)
        for (int64_t i = 0; i < h; i++)
            for (int64_t j = 0; j < w; j++) {
                double sum = (double)bias[o];
                for (int k = 0; k < in; k++)
                    for (int t = 0; t < 9; t++) {
                        int64_t p = i + t / 3 - 1, q = j + t % 3 - 1;
                        if (p >= 0 && q >= 0 && p < h && q < w)
                            sum += (double)x[((k / lanes * h + p) * w + q) * lanes + k % lanes] *
                                   (double)weights[((o / width * in + k) * 9 + t) * width + o % width];
                    }
                double e = fabs(sum - (double)y[((o / lanes * h + i) * w + j) * lanes + o % lanes]);
                worst = e > worst ? e : worst;
            }
    print_message("%s %d -> %d: %.1e\n", simd->name, in, out, worst);
    assert_true(worst < 3e-5); /* sums of up to 1296 products of size 0.1 */
    free(x);
    free(y);
    free(weights);
    free(changed);
    free(bias);
    free(c.scratch);
}

static void check_all(const struct bs__simd *simd)
{
    for (int transformed = 0; transformed < 2; transformed++) {
        check_winograd(simd, 1, 1, 9, 10, transformed);
        check_winograd(simd, 3, 5, 16, 7, transformed);
        check_winograd(simd, 9, 2, 5, 4, transformed);
    }
}

static void winograd_is_right_on_any_processor(void **state)
{
    (void)state;
    check_all(bs__simd_base());
}

static void winograd_is_right_with_avx2(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
        skip();
    check_all(bs__simd_avx2());
}

static void winograd_is_right_with_the_best_instructions(void **state)
{
    (void)state;
    check_all(bs__simd_select());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(winograd_is_right_on_any_processor),
        cmocka_unit_test(winograd_is_right_with_avx2),
        cmocka_unit_test(winograd_is_right_with_the_best_instructions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
