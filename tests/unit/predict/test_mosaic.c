/* Tiles of a network with instance norm on a mosaic of an empty, a dim, a bright and a plain quarter: the case in which
   tiles that normalise themselves invent objects and do not fit together. The trained nuclei model on real images.
   1,280 x 1,280 pixels; 4,000 x 4,000 when BS_TEST_SLOW is set. Needs a fast backend. */
#include "model/instances/evaluate.h"
#include "model/predict/segment.h"
#include "tests/support/sanitized.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Under a sanitizer the networks run ten times slower; the other tests walk the same code there. */

#define BACKGROUND 15.0
#define CELL       256

static struct bs_image *read_cell(int k)
{
    static const char *const names[] = {"dsb_0147", "dsb_0148", "dsb_0152", "dsb_0161"};
    char path[512];
    struct bs_image *im = NULL;
    snprintf(path, sizeof path, BS_TEST_FIXTURES "/images/%s.png", names[k]);
    assert_int_equal(bs_image_read_file(path, NULL, &im, NULL), BS_OK);
    assert_true(im->dim[0] == CELL && im->dim[1] == CELL && im->sample == BS_SAMPLE_U8);
    return im;
}

/* A number in [-1, 1) that depends on the place alone. */
static double noise(size_t y, size_t x)
{
    uint64_t z = (y * 1000003u + x) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 29)) * 0xBF58476D1CE4E5B9u;
    return (double)(z >> 11) * 0x1p-52 - 1;
}

static struct bs_image *mosaic(size_t side)
{
    struct bs_image *cell[4], *im = NULL;
    size_t dim[2] = {side, side};
    assert_int_equal(bs_image_create(BS_SAMPLE_U16, "yx", dim, NULL, &im, NULL), BS_OK);
    for (int k = 0; k < 4; k++)
        cell[k] = read_cell(k);
    for (size_t y = 0; y < side; y++)
        for (size_t x = 0; x < side; x++) {
            bool lower = y >= side / 2, right = x >= side / 2;
            size_t cy = y / CELL, cx = x / CELL, iy = y % CELL, ix = x % CELL;
            iy = cy & 1 ? CELL - 1 - iy : iy;
            ix = cx & 1 ? CELL - 1 - ix : ix;
            double v = ((const uint8_t *)cell[(cy * 7 + cx * 3) % 4]->data)[iy * CELL + ix];
            double gain = lower ? (right ? 1.0 : 2.0) : right ? 0.25 : 0.0;
            v = BACKGROUND + gain * (v > BACKGROUND ? v - BACKGROUND : 0) + 1.5 * noise(y, x);
            ((uint16_t *)im->data)[y * side + x] = (uint16_t)(v > 0 ? 64 * v : 0);
        }
    for (int k = 0; k < 4; k++)
        bs_image_unref(cell[k]);
    return im;
}

/* Mean absolute difference of the maps between two neighbouring lines. */
static double step(const struct bs_segment_result *r, size_t line, bool vertical)
{
    double sum = 0;
    size_t n = vertical ? r->height : r->width, along = vertical ? r->width : 1,
           across = vertical ? 1 : r->width;
    for (int c = 0; c < r->channels; c++) {
        const float *m = r->maps + (size_t)c * r->height * r->width + line * across;
        for (size_t i = 0; i < n; i++)
            sum += fabs((double)m[i * along] - m[i * along - across]);
    }
    return sum / (double)(n * (size_t)r->channels);
}

static double steps_at_tile_lines_over_others(const struct bs_segment_result *r)
{
    double at_lines = 0, elsewhere = 0;
    size_t lines = 0, others = 0;
    for (int vertical = 0; vertical < 2; vertical++) {
        size_t length = vertical ? r->width : r->height;
        for (size_t at = 1; at < length; at++) {
            bool line = at >= (size_t)(r->tile + r->halo) && (at - (size_t)r->halo) % (size_t)r->tile == 0;
            if (line) {
                at_lines += step(r, at, vertical);
                lines++;
            } else if (at % 7 == 3) {
                elsewhere += step(r, at, vertical);
                others++;
            }
        }
    }
    assert_true(lines > 4 && others > 100);
    return at_lines / (double)lines / (elsewhere / (double)others);
}

static void tiles_do_not_show_on_empty_dim_and_bright_parts(void **state)
{
    (void)state;
    struct bs_device_options options = {.allow_winograd = true};
    struct bs_device_info info;
    struct bs_device *device = NULL;
    struct bs_model *model = NULL;
    struct bs_segment_result whole, tiled;
    struct bs_accuracy accuracy;
    struct bs_err err = {0};
    size_t side = getenv("BS_TEST_SLOW") ? 4000 : 1280, invented = 0;
    assert_int_equal(bs_device_open("auto", &options, &device, &err), BS_OK);
    bs_device_describe(device, &info);
    if (strcmp(info.backend, "ref") == 0 || (SANITIZED && !getenv("BS_TEST_SLOW"))) {
        bs_device_close(device);
        printf("left out: needs a fast backend without sanitizers\n");
        skip();
    }
    if (bs_model_open(BS_TEST_FIXTURES "/../../deploy/models/unet-nuclei.safetensors", device, &model,
                      &err) != BS_OK)
        fail_msg("%s", err.msg);
    struct bs_image *im = mosaic(side);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    if (bs_segment(model, im, &params, false, NULL, NULL, &whole, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_false(whole.tiled);
    params.tile = side / 6 / 16 * 16;
    if (bs_segment(model, im, &params, true, NULL, NULL, &tiled, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_true(tiled.tiled);
    assert_int_equal(bs_evaluate(tiled.labels, whole.labels, side, side, 0, &accuracy, &err), BS_OK);
    for (uint32_t i = 0; i < tiled.count; i++) {
        const struct bs_object *o = &tiled.objects[i];
        size_t y = (size_t)o->centroid_y, x = (size_t)o->centroid_x;
        if (y >= side / 2 - 8 || x >= side / 2 - 8) /* objects of the other quarters may reach in */
            continue;
        bool known = false;
        for (size_t k = o->top; k < o->bottom; k++)
            for (size_t j = o->left; j < o->right; j++)
                known = known || (tiled.labels[k * side + j] == o->id && whole.labels[k * side + j]);
        invented += !known;
    }
    double ratio = steps_at_tile_lines_over_others(&tiled);
    printf("%zu x %zu, tiles of %lld: %u objects, whole image %u; mSA %.4f; %zu invented; steps at tile "
           "lines %.3f of others\n",
           side, side, (long long)tiled.tile, tiled.count, whole.count, accuracy.msa, invented, ratio);
    assert_true(whole.count > 50);
    assert_true(accuracy.msa >= 0.9);
    assert_int_equal(invented, 0);
    assert_true(ratio <= 1.2);
    bs_segment_result_free(&whole);
    bs_segment_result_free(&tiled);
    bs_image_unref(im);
    bs_model_close(model);
    bs_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiles_do_not_show_on_empty_dim_and_bright_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
