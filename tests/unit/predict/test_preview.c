/* The reduced foreground map: every pixel is painted once whatever the tiles, and says what the map says there. */
#include "model/predict/preview.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float sample(size_t y, size_t x)
{
    return (float)((y * 131 + x * 17) % 1000) / 999.0f;
}

static float *make_map(size_t h, size_t w)
{
    float *map = malloc(h * w * sizeof *map);
    assert_non_null(map);
    for (size_t i = 0; i < h * w; i++)
        map[i] = sample(i / w, i % w);
    return map;
}

/* Paints in tiles of that side, the last ones smaller; each pixel may change from 0 once. */
static void paint(struct bs_preview *p, const float *map, size_t h, size_t w, size_t tile)
{
    for (size_t y = 0; y < h; y += tile)
        for (size_t x = 0; x < w; x += tile) {
            const struct bs_segment_core core = {.map_h = h,
                                                 .map_w = w,
                                                 .image_h = 2 * h,
                                                 .image_w = 2 * w,
                                                 .top = y,
                                                 .left = x,
                                                 .bottom = y + tile < h ? y + tile : h,
                                                 .right = x + tile < w ? x + tile : w,
                                                 .foreground = map + y * w + x,
                                                 .stride = w};
            bs_preview_add(p, &core);
        }
}

static void tiles_of_any_size_give_the_same_preview(void **state)
{
    (void)state;
    static const size_t sizes[][2] = {{1, 1}, {9, 9}, {16, 300}, {1000, 3}, {257, 128}, {1023, 1025}};
    static const size_t tiles[] = {7, 32, 5000};
    static const uint32_t sides[] = {16, 100, 1024};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (size_t k = 0; k < 3; k++) {
            const size_t h = sizes[s][0], w = sizes[s][1];
            float *map = make_map(h, w);
            for (size_t t = 0; t < 3; t++) {
                uint8_t *pixels = calloc(sides[k], sides[k]);
                struct bs_preview p = {.max_side = sides[k], .pixels = pixels};
                paint(&p, map, h, w, tiles[t]);
                struct bs_preview_part part = bs_preview_take(&p);
                const size_t f = p.factor, longest = h > w ? h : w;
                assert_true(bs_preview_part_valid(&part, sides[k]));
                assert_true((longest + f - 1) / f <= sides[k] &&
                            (f == 1 || (longest + f - 2) / (f - 1) > sides[k]));
                assert_true(part.top == 0 && part.left == 0);
                assert_true(part.bottom == (h + f - 1) / f && part.right == (w + f - 1) / f);
                assert_true(part.pixel_height == 2.0 * (double)f && part.pixel_width == 2.0 * (double)f);
                for (size_t i = 0; i < part.height; i++)
                    for (size_t j = 0; j < part.width; j++) {
                        size_t y = i * f + f / 2, x = j * f + f / 2;
                        float v = sample(y < h ? y : h - 1, x < w ? x : w - 1);
                        assert_int_equal(pixels[i * part.width + j], lrintf(255 * v));
                    }
                assert_true(bs_preview_empty(&(struct bs_preview_part){.height = 1}));
                part = bs_preview_take(&p);
                assert_true(bs_preview_empty(&part) && part.height > 0);
                free(pixels);
            }
            free(map);
        }
}

static void what_is_new_is_the_tile_and_nothing_before_it(void **state)
{
    (void)state;
    float *map = make_map(100, 100);
    uint8_t pixels[50 * 50] = {0};
    struct bs_preview p = {.max_side = 50, .pixels = pixels};
    struct bs_segment_core core = {.map_h = 100,
                                   .map_w = 100,
                                   .image_h = 100,
                                   .image_w = 100,
                                   .bottom = 40,
                                   .right = 60,
                                   .foreground = map,
                                   .stride = 100};
    bs_preview_add(&p, &core);
    struct bs_preview_part part = bs_preview_take(&p);
    assert_true(part.top == 0 && part.bottom == 20 && part.left == 0 && part.right == 30);
    core.top = 40;
    core.bottom = 100;
    core.left = 60;
    core.right = 100;
    core.foreground = map + 40 * 100 + 60;
    bs_preview_add(&p, &core);
    part = bs_preview_take(&p);
    assert_true(part.top == 20 && part.bottom == 50 && part.left == 30 && part.right == 50);
    assert_int_equal(pixels[10 * 50 + 40], 0); /* no tile was there */
    free(map);
}

static void values_beyond_the_range_are_its_ends(void **state)
{
    (void)state;
    const float map[4] = {-1, 2, NAN, 0.5f};
    uint8_t pixels[16 * 16] = {0};
    struct bs_preview p = {.max_side = 16, .pixels = pixels};
    const struct bs_segment_core core = {.map_h = 1,
                                         .map_w = 4,
                                         .image_h = 1,
                                         .image_w = 4,
                                         .bottom = 1,
                                         .right = 4,
                                         .foreground = map,
                                         .stride = 4};
    bs_preview_add(&p, &core);
    assert_int_equal(pixels[0], 0);
    assert_int_equal(pixels[1], 255);
    assert_int_equal(pixels[2], 0);
    assert_int_equal(pixels[3], 128);
}

static void parts_that_lie_are_not_valid(void **state)
{
    (void)state;
    const struct bs_preview_part good = {.height = 64,
                                         .width = 32,
                                         .top = 1,
                                         .left = 2,
                                         .bottom = 64,
                                         .right = 32,
                                         .pixel_height = 1,
                                         .pixel_width = 1};
    struct bs_preview_part bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].height = 65;
    bad[1].bottom = 65;
    bad[2].top = 65;
    bad[3].right = 33;
    bad[4].pixel_width = NAN;
    bad[5].left = 33;
    assert_true(bs_preview_part_valid(&good, 64));
    for (int i = 0; i < 6; i++)
        assert_false(bs_preview_part_valid(&bad[i], 64));
    assert_true(bs_preview_part_valid(&(struct bs_preview_part){.height = 0}, 0));
    assert_false(bs_preview_part_valid(&good, 0));
}

static void joined_parts_hold_both(void **state)
{
    (void)state;
    struct bs_preview_part sum = {.height = 0};
    const struct bs_preview_part a = {
        .height = 64, .width = 64, .top = 3, .left = 4, .bottom = 5, .right = 6};
    const struct bs_preview_part b = {
        .height = 64, .width = 64, .top = 10, .left = 1, .bottom = 11, .right = 2};
    const struct bs_preview_part other = {
        .height = 32, .width = 64, .top = 0, .left = 1, .bottom = 1, .right = 2};
    bs_preview_join(&sum, &a);
    bs_preview_join(&sum, &b);
    bs_preview_join(&sum, &(struct bs_preview_part){.height = 64, .width = 64});
    assert_true(sum.top == 3 && sum.left == 1 && sum.bottom == 11 && sum.right == 6);
    bs_preview_join(&sum, &other); /* the work began again with another size */
    assert_true(sum.height == 32 && sum.top == 0 && sum.bottom == 1);
}

static void another_plane_begins_on_zeros(void **state)
{
    (void)state;
    uint8_t pixels[32 * 32] = {0};
    const float one = 1;
    struct bs_preview p = {.max_side = 32, .pixels = pixels};
    struct bs_segment_core core = {.map_h = 20,
                                   .map_w = 30,
                                   .image_h = 20,
                                   .image_w = 30,
                                   .z = 4,
                                   .top = 2,
                                   .left = 3,
                                   .bottom = 3,
                                   .right = 4,
                                   .foreground = &one,
                                   .stride = 1};
    bs_preview_add(&p, &core);
    struct bs_preview_part part = bs_preview_take(&p), unseen = part;
    assert_true(part.z == 4 && part.t == 0 && pixels[2 * 30 + 3] == 255);
    core.z = 5;
    core.left = 7;
    core.right = 8;
    bs_preview_add(&p, &core);
    part = bs_preview_take(&p);
    assert_true(part.z == 5 && part.left == 7 && part.right == 8 && part.height == 20);
    assert_true(pixels[2 * 30 + 3] == 0 && pixels[2 * 30 + 7] == 255);
    bs_preview_join(&unseen, &part); /* the plane before is past */
    assert_true(unseen.z == 5 && unseen.left == 7);
    core.t = 1;
    bs_preview_add(&p, &core);
    assert_true(bs_preview_take(&p).t == 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_of_any_size_give_the_same_preview),
        cmocka_unit_test(what_is_new_is_the_tile_and_nothing_before_it),
        cmocka_unit_test(values_beyond_the_range_are_its_ends),
        cmocka_unit_test(parts_that_lie_are_not_valid),
        cmocka_unit_test(joined_parts_hold_both),
        cmocka_unit_test(another_plane_begins_on_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
