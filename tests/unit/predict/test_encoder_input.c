/* What the original does around an encoder of fixed size: sizes, antialiased resizing, statistics, zero padding, and maps
   brought back. Weights are recomputed here by PyTorch's way of putting it, pixel by pixel and in both directions at once;
   whole networks against the original are compared by golden_check. */
#include "model/predict/encoder_input.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs_encoder_input *open_input(bool resize, bool sam, bool crop, int64_t size, int64_t h,
                                           int64_t w)
{
    const struct bs_encoder_input_options o = {
        .net_h = size, .net_w = size, .resize = resize, .sam_statistics = sam, .crop_larger = crop};
    struct bs_encoder_input *e = NULL;
    struct bs_err err = {0};
    if (bs_encoder_input_create(&o, h, w, &e, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return e;
}

static float *pattern(int64_t channels, int64_t h, int64_t w)
{
    float *v = malloc((size_t)(channels * h * w) * sizeof *v);
    assert_non_null(v);
    for (int64_t i = 0; i < channels * h * w; i++)
        v[i] = (float)((i * 7919 + i / w * 104729 + (i % 13) * 31) % 256);
    return v;
}

/* PyTorch: taps [xmin, xmax) around (i + 0.5) * scale; a triangle as wide as the scale when it is above 1. */
static double weight(int64_t in, int64_t out, int64_t i, int64_t k)
{
    double scale = (double)in / (double)out, support = scale > 1 ? scale : 1, total = 0, mine = 0;
    double centre = scale * ((double)i + 0.5);
    int64_t from = (int64_t)(centre - support + 0.5), to = (int64_t)(centre + support + 0.5);
    from = centre - support + 0.5 < 0 ? 0 : from;
    to = to > in ? in : to;
    for (int64_t j = from; j < to; j++) {
        double d = fabs(((double)j - centre + 0.5) / support), one = d < 1 ? 1 - d : 0;
        total += one;
        mine += j == k ? one : 0;
    }
    return mine / total;
}

static double resized(const float *v, int64_t h, int64_t w, int64_t to_h, int64_t to_w, int64_t y, int64_t x)
{
    double sum = 0;
    for (int64_t j = 0; j < h; j++) {
        double wy = weight(h, to_h, y, j);
        for (int64_t i = 0; wy > 0 && i < w; i++)
            sum += wy * weight(w, to_w, x, i) * v[j * w + i];
    }
    return sum;
}

static void the_longest_side_becomes_the_encoders_and_the_other_is_rounded(void **state)
{
    (void)state;
    static const int64_t cases[][5] = {/* h, w, size -> h, w */
                                       {520, 704, 1024, 756, 1024}, {150, 120, 96, 96, 77},
                                       {50, 96, 96, 50, 96},        {704, 520, 1024, 1024, 756},
                                       {8, 1024, 64, 1, 64},        {33, 33, 1024, 1024, 1024}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t h, w;
        struct bs_encoder_input *e = open_input(true, false, false, cases[i][2], cases[i][0], cases[i][1]);
        bs_encoder_input_shown(e, &h, &w);
        assert_int_equal(h, cases[i][3]);
        assert_int_equal(w, cases[i][4]);
        bs_encoder_input_destroy(e);
    }
}

static void resized_against_the_formula(int64_t h, int64_t w, int64_t size)
{
    struct bs_encoder_input *e = open_input(true, false, false, size, h, w);
    float *image = pattern(2, h, w), *out = malloc((size_t)(2 * size * size) * sizeof *out);
    int64_t shown_h, shown_w;
    assert_non_null(out);
    bs_encoder_input_shown(e, &shown_h, &shown_w);
    bs_encoder_input_fill(e, image, 2, 2, out);
    for (int64_t c = 0; c < 2; c++)
        for (int64_t y = 0; y < size; y++)
            for (int64_t x = 0; x < size; x++) {
                double want =
                    y < shown_h && x < shown_w ? resized(image + c * h * w, h, w, shown_h, shown_w, y, x) : 0;
                double have = out[(c * size + y) * size + x];
                if (fabs(have - want) > 1e-4) /* of values up to 255: float32's last place */
                    fail_msg("%ld, %ld: %g for %g", (long)y, (long)x, have, want);
            }
    free(image);
    free(out);
    bs_encoder_input_destroy(e);
}

static void shrinking_widens_the_triangle_and_growing_does_not(void **state)
{
    (void)state;
    resized_against_the_formula(50, 41, 16); /* factor 3.125 */
    resized_against_the_formula(20, 37, 36);
    resized_against_the_formula(11, 9, 32);
    resized_against_the_formula(24, 24, 24);
}

static void padding_is_zero_behind_the_statistics_and_one_channel_is_shown_in_all(void **state)
{
    (void)state;
    static const double mean[] = {123.675, 116.28, 103.53}, std[] = {58.395, 57.12, 57.375};
    struct bs_encoder_input *e = open_input(false, true, false, 16, 10, 12);
    float *image = pattern(1, 10, 12), out[3 * 256];
    bs_encoder_input_fill(e, image, 1, 3, out);
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 16; y++)
            for (int x = 0; x < 16; x++) {
                double want = y < 10 && x < 12 ? (image[y * 12 + x] - mean[c]) / std[c] : 0;
                assert_true(fabs(out[(c * 16 + y) * 16 + x] - want) < 1e-6);
            }
    bs_encoder_input_destroy(e);
    e = open_input(false, false, false, 16, 10, 12);
    bs_encoder_input_fill(e, image, 1, 3, out);
    assert_memory_equal(out, out + 256, 256 * sizeof *out);
    assert_memory_equal(out, out + 512, 256 * sizeof *out);
    assert_true(out[5] == image[5] && out[13] == 0 && out[15 * 16] == 0);
    free(image);
    bs_encoder_input_destroy(e);
}

/* Half-pixel bilinear, two pixels wide whatever the factor; what lies below and to the right is not mixed in. */
static void maps_come_back_without_antialias_and_without_the_padding(void **state)
{
    (void)state;
    struct bs_encoder_input *e = open_input(true, false, false, 64, 16, 12); /* 4 times, back to a quarter */
    float *maps = pattern(2, 64, 64), back[2 * 16 * 12];
    for (int64_t c = 0; c < 2; c++)
        for (int64_t y = 0; y < 64; y++)
            for (int64_t x = 48; x < 64; x++)
                maps[(c * 64 + y) * 64 + x] = 1e9f;
    bs_encoder_input_maps(e, maps, 2, back);
    for (int c = 0; c < 2; c++)
        for (int y = 0; y < 16; y++)
            for (int x = 0; x < 12; x++) {
                /* The centre of four by four pixels lies between the middle two. */
                const float *m = maps + (c * 64 + 4 * y + 1) * 64 + 4 * x + 1;
                double want = ((double)m[0] + m[1] + m[64] + m[65]) / 4;
                assert_true(fabs(back[(c * 16 + y) * 12 + x] - want) < 1e-4);
            }
    free(maps);
    bs_encoder_input_destroy(e);
    e = open_input(false, false, false, 16, 10, 12);
    maps = pattern(1, 16, 16);
    bs_encoder_input_maps(e, maps, 1, back);
    for (int y = 0; y < 10; y++)
        assert_memory_equal(back + y * 12, maps + y * 16, 12 * sizeof *back);
    free(maps);
    bs_encoder_input_destroy(e);
}

static void a_larger_image_is_refused_and_cropped_only_for_the_comparison(void **state)
{
    (void)state;
    const struct bs_encoder_input_options o = {.net_h = 16, .net_w = 16};
    const struct bs_encoder_input_options long_side = {.net_h = 16, .net_w = 16, .resize = true};
    struct bs_encoder_input *e = NULL;
    struct bs_err err = {0};
    int64_t h, w;
    assert_int_equal(bs_encoder_input_create(&o, 17, 8, &e, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "17 x 8"));
    assert_int_equal(bs_encoder_input_create(&long_side, 2, 4000, &e, &err), BS_EINVAL);
    assert_null(e);
    /* The top left part goes in; its maps are stretched over everything. */
    e = open_input(false, false, true, 16, 32, 8);
    bs_encoder_input_shown(e, &h, &w);
    assert_true(h == 16 && w == 8);
    float *image = pattern(1, 32, 8), out[256], back[32 * 8];
    bs_encoder_input_fill(e, image, 1, 1, out);
    for (int y = 0; y < 16; y++)
        assert_memory_equal(out + y * 16, image + y * 8, 8 * sizeof *out);
    bs_encoder_input_maps(e, out, 1, back);
    for (int x = 0; x < 8; x++) {
        assert_true(back[x] == out[x]);
        assert_true(fabs(back[2 * 8 + x] - (0.25 * out[x] + 0.75 * out[16 + x])) < 1e-4);
    }
    free(image);
    bs_encoder_input_destroy(e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_longest_side_becomes_the_encoders_and_the_other_is_rounded),
        cmocka_unit_test(shrinking_widens_the_triangle_and_growing_does_not),
        cmocka_unit_test(padding_is_zero_behind_the_statistics_and_one_channel_is_shown_in_all),
        cmocka_unit_test(maps_come_back_without_antialias_and_without_the_padding),
        cmocka_unit_test(a_larger_image_is_refused_and_cropped_only_for_the_comparison),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
