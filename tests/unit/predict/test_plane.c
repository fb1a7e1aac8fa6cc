/* From image to the numbers a network sees: the channel rule, no data, standardisation, resampling, the tile grid. */
#include "model/predict/predict_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs_image *make(enum bs_sample sample, const char *axes, size_t a, size_t b, size_t c)
{
    struct bs_image *im = NULL;
    size_t dim[3] = {a, b, c};
    assert_int_equal(bs_image_create(sample, axes, dim, NULL, &im, NULL), BS_OK);
    return im;
}

static struct bs_segment_params plain(void)
{
    return (struct bs_segment_params){.channel = -1, .scale = 1};
}

static void grey_saved_as_colour_is_taken_and_real_colour_asks(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_U8, "yxc", 4, 5, 4);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    struct bs_err err = {0};
    uint8_t *v = im->data;
    for (size_t i = 0; i < 20; i++) {
        v[4 * i] = v[4 * i + 1] = v[4 * i + 2] = (uint8_t)(i * 3);
        v[4 * i + 3] = 255;
    }
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_OK);
    double row[5];
    bs__plane_raw_row(&p, 2, 1, 4, row);
    assert_true(row[0] == 33 && row[3] == 42);
    bs__plane_close(&p);
    v[4 * 7 + 2]++;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "channel"));
    params.channel = 2;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_OK);
    bs__plane_raw_row(&p, 1, 2, 1, row);
    assert_true(row[0] == 22);
    bs__plane_close(&p);
    params.channel = 4;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "0 to 3"));
    bs_image_unref(im);
}

static void channels_first_work_like_channels_last(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_I16, "cyx", 2, 3, 4);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    double row[4];
    for (int i = 0; i < 24; i++)
        ((int16_t *)im->data)[i] = (int16_t)(-i);
    params.channel = 1;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, NULL), BS_OK);
    bs__plane_raw_row(&p, 2, 0, 4, row);
    assert_true(row[0] == -20 && row[3] == -23);
    bs__plane_close(&p);
    bs_image_unref(im);
}

static void pages_of_unknown_meaning_ask(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_U8, "?yx", 2, 3, 4);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    struct bs_err err = {0};
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "2 pages"));
    bs_image_unref(im);
}

static void nan_without_a_no_data_value_is_refused_with_its_place(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_F32, "yx", 6, 7, 0);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    struct bs__statistics s;
    struct bs_err err = {0};
    float *v = im->data;
    for (int i = 0; i < 42; i++)
        v[i] = (float)i;
    v[3 * 7 + 4] = NAN;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_OK);
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "row 3, column 4"));
    bs__plane_close(&p);
    params.has_no_data = true;
    params.no_data = NAN;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_OK);
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, &err), BS_OK);
    assert_int_equal(s.count, 41);
    bs__plane_close(&p);
    params.no_data = 0; /* zero is no data, NaN is still a mistake */
    assert_int_equal(bs__plane_open(&p, im, &params, 1, &err), BS_OK);
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, &err), BS_EINVAL);
    v[3 * 7 + 4] = INFINITY;
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, &err), BS_EINVAL);
    v[3 * 7 + 4] = 5;
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, &err), BS_OK);
    assert_int_equal(s.count, 41);
    bs__plane_close(&p);
    bs_image_unref(im);
}

static void statistics_of_bright_16_bit_images_stay_exact(void **state)
{
    (void)state;
    size_t side = 600;
    struct bs_image *im = make(BS_SAMPLE_U16, "yx", side, side, 0);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    struct bs__statistics s;
    for (size_t i = 0; i < side * side; i++)
        ((uint16_t *)im->data)[i] = (uint16_t)(65000 + (i & 1)); /* mean 65000.5, deviation 0.5 */
    assert_int_equal(bs__plane_open(&p, im, &params, 1, NULL), BS_OK);
    assert_int_equal(bs__plane_statistics(&p, NULL, &s, NULL), BS_OK);
    assert_true(fabs(s.mean - 65000.5) < 1e-9 && fabs(s.std - 0.5) < 1e-9);
    bs__plane_close(&p);
    bs_image_unref(im);
}

static void white_is_zero_is_turned_round_for_the_network_only(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_U8, "yx", 2, 3, 0);
    struct bs_segment_params params = plain();
    struct bs__plane p;
    double raw[3], seen[3];
    memcpy(im->data, (uint8_t[]){0, 10, 255, 1, 2, 3}, 6);
    im->white_is_zero = true;
    assert_int_equal(bs__plane_open(&p, im, &params, 1, NULL), BS_OK);
    bs__plane_raw_row(&p, 0, 0, 3, raw);
    bs__plane_source_row(&p, 0, 0, 3, seen);
    for (int i = 0; i < 3; i++)
        assert_true(raw[i] + seen[i] == 255);
    bs__plane_close(&p);
    bs_image_unref(im);
}

static void resampling_keeps_a_ramp_and_the_mean(void **state)
{
    (void)state;
    struct bs_image *im = make(BS_SAMPLE_F32, "yx", 40, 60, 0);
    struct bs_segment_params params = plain();
    for (int y = 0; y < 40; y++)
        for (int x = 0; x < 60; x++)
            ((float *)im->data)[y * 60 + x] = (float)(3 * x - 2 * y);
    const double scales[] = {2, 0.5, 1.3, 0.3};
    for (int k = 0; k < 4; k++) {
        struct bs__plane p;
        assert_int_equal(bs__plane_open(&p, im, &params, scales[k], NULL), BS_OK);
        assert_int_equal(p.h, (size_t)round(40 * scales[k]));
        float *row = malloc(p.w * sizeof *row), part[3];
        size_t y = p.h / 2;
        bs__plane_row(&p, y, 0, p.w, row);
        double sy = (double)40 / (double)p.h, sx = (double)60 / (double)p.w;
        for (size_t x = p.w / 4; x < 3 * p.w / 4;
             x++) { /* away from the border, a linear image stays linear */
            double want = 3 * (((double)x + 0.5) * sx - 0.5) - 2 * (((double)y + 0.5) * sy - 0.5);
            /* A widened triangle meets the samples unevenly unless it shrinks by a whole number. */
            assert_true(fabs(row[x] - want) < (scales[k] == 0.3 ? 0.3 : 1e-3));
        }
        bs__plane_row(&p, y, 4, 3, part); /* a part of a row equals the row's part */
        assert_memory_equal(part, row + 4, sizeof part);
        free(row);
        bs__plane_close(&p);
    }
    bs_image_unref(im);
}

static void labels_come_back_nearest_with_consecutive_ids(void **state)
{
    (void)state;
    const uint32_t in[4] = {1, 1, 0, 2};
    uint32_t out[16], count = 2;
    assert_int_equal(bs__labels_resize(in, 2, 2, out, 4, 4, &count, NULL), BS_OK);
    assert_int_equal(count, 2);
    assert_int_equal(out[0], 1);
    assert_int_equal(out[5], 1);
    assert_int_equal(out[15], 2);
    const uint32_t crowded[8] = {1, 2, 3, 4, 1, 2, 3, 4};
    count = 4;
    assert_int_equal(bs__labels_resize(crowded, 2, 4, out, 1, 2, &count, NULL), BS_OK);
    assert_int_equal(count, 2); /* two vanished: no holes are left */
    assert_true(out[0] >= 1 && out[0] <= 2 && out[1] >= 1 && out[1] <= 2 && out[0] != out[1]);
}

static void reflection_is_that_of_numpy(void **state)
{
    (void)state;
    /* numpy.pad([0, 1, 2, 3], 7, mode="reflect") */
    const int64_t want[] = {1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2};
    for (int64_t i = -7; i <= 10; i++)
        assert_int_equal(bs__reflect(i, 4), want[i + 7]);
    assert_int_equal(bs__reflect(-1, 4), 1);
    assert_int_equal(bs__reflect(4, 4), 2);
    assert_int_equal(bs__reflect(100, 1), 0);
}

static void windows_cover_every_pixel_once_with_their_halo(void **state)
{
    (void)state;
    for (int64_t n = 16; n <= 400; n += 16)
        for (int64_t core = 16; core <= 96; core += 16)
            for (int64_t halo = 0; halo <= 48; halo += 16) {
                int64_t window = core + 2 * halo < n ? core + 2 * halo : n, at = 0;
                int64_t count = bs__window_count(n, window, halo);
                for (int64_t k = 0; k < count; k++) {
                    struct bs__window w = bs__window_at(n, window, halo, k);
                    assert_int_equal(w.from, at);
                    assert_true(w.to > w.from);
                    assert_true(w.origin >= 0 && w.origin + window <= n && w.origin % 16 == 0);
                    assert_true(w.from - w.origin >= halo || w.origin == 0);
                    assert_true(w.origin + window - w.to >= halo || w.origin + window == n);
                    at = w.to;
                }
                assert_int_equal(at, n);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grey_saved_as_colour_is_taken_and_real_colour_asks),
        cmocka_unit_test(channels_first_work_like_channels_last),
        cmocka_unit_test(pages_of_unknown_meaning_ask),
        cmocka_unit_test(nan_without_a_no_data_value_is_refused_with_its_place),
        cmocka_unit_test(statistics_of_bright_16_bit_images_stay_exact),
        cmocka_unit_test(white_is_zero_is_turned_round_for_the_network_only),
        cmocka_unit_test(resampling_keeps_a_ramp_and_the_mean),
        cmocka_unit_test(labels_come_back_nearest_with_consecutive_ids),
        cmocka_unit_test(reflection_is_that_of_numpy),
        cmocka_unit_test(windows_cover_every_pixel_once_with_their_halo),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
