/* When memory runs out at any allocation on the way of an image through a UNETR, the segmentation says so, leaves nothing
   behind (LeakSanitizer looks on), and the next one works. */
#include "model/card.h"
#include "model/predict/encoder_input.h"
#include "model/predict/stack.h"
#include "tests/support/fail_alloc.h"
#include "tests/support/formula_model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_device *device;
static struct bs_model *model;

static struct bs_model_info unetr(void)
{
    return (struct bs_model_info){.arch = {.kind = BS_ARCH_UNETR,
                                           .unetr = {.in_channels = 3,
                                                     .image_size = 32,
                                                     .patch_size = 16,
                                                     .embed_dim = 8,
                                                     .depth = 1,
                                                     .heads = 2,
                                                     .mlp_features = 16,
                                                     .window = 2,
                                                     .neck_channels = 4,
                                                     .decoder = {3, 2, BS_UPSAMPLING_BILINEAR, true},
                                                     .resize_input = true}},
                                  .recipe = BS_RECIPE_DISTANCES,
                                  .training_patch = 16,
                                  .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES)};
}

static int setup(void **state)
{
    char path[] = "/tmp/bioseg-memory.XXXXXX";
    struct bs_device_options options = {.threads = 1};
    const struct bs_model_info info = unetr();
    struct bs_err err = {0};
    (void)state;
    int fd = mkstemp(path);
    if (fd >= 0)
        close(fd);
    bs_status rc = bs_device_open("ref", &options, &device, &err);
    if (rc == BS_OK && (rc = bs_formula_model_write(path, &info, 3, &err)) == BS_OK)
        rc = bs_model_open(path, device, &model, &err);
    unlink(path);
    if (rc != BS_OK)
        printf("%s\n", err.msg);
    return rc == BS_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    bs_model_close(model);
    bs_device_close(device);
    return 0;
}

/* Fails every allocation in turn; how many there were. */
static unsigned until_it_works(bs_status (*operation)(void *), void *ctx)
{
    for (unsigned n = 1; n < 20000; n++) {
        bs_test_fail_alloc_at(n);
        bs_status rc = operation(ctx);
        bool failed = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (rc != (failed ? BS_ENOMEM : BS_OK))
            fail_msg("allocation %u: %s", n, bs_status_name(rc));
        if (!failed)
            return n - 1;
    }
    fail_msg("it never works");
    return 0;
}

static bs_status create_input(void *ctx)
{
    const struct bs_encoder_input_options options = {.net_h = 32, .net_w = 32, .resize = true};
    struct bs_encoder_input *e = NULL;
    (void)ctx;
    bs_status rc = bs_encoder_input_create(&options, 50, 20, &e, NULL);
    bs_encoder_input_destroy(e);
    return rc;
}

static bs_status segment(void *image)
{
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result r;
    params.batch = 2;
    bs_status rc = bs_segment(model, image, &params, true, NULL, NULL, &r, NULL);
    bs_segment_result_free(&r);
    return rc;
}

static bs_status segment_stack(void *image)
{
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    struct bs_segment_result r;
    uint32_t labels[2 * 20 * 18];
    const struct bs_stack_output output = {labels, NULL};
    params.planes = BS_PLANES_LINKED;
    params.linked_min_size = 1;
    params.instances.min_size = 0;
    params.region = (struct bs_region){.y = 2};
    params.statistics = BS_STATISTICS_STACK;
    bs_status rc = bs_segment_stack(model, image, &params, &output, NULL, NULL, NULL, &r, NULL);
    bs_segment_result_free(&r);
    return rc;
}

static bs_status plan(void *ctx)
{
    struct bs_model_card_plan p;
    struct bs_model_card card;
    (void)ctx;
    bs_status rc = bs_model_card(bs_model_info_get(model), &card, NULL);
    return rc != BS_OK ? rc
                       : bs_model_card_plan(bs_model_info_get(model), device, 2, BS_PRECISION_F32, &p, NULL);
}

static void the_way_to_an_encoder_survives_any_failing_allocation(void **state)
{
    (void)state;
    assert_int_equal(until_it_works(create_input, NULL), 10);
}

static void a_segmentation_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct bs_image *im = NULL;
    size_t dim[2] = {20, 18};
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "yx", dim, NULL, &im, NULL), BS_OK);
    for (int i = 0; i < 20 * 18; i++)
        ((uint8_t *)im->data)[i] = (uint8_t)(i * 37 % 200);
    /* Compiled before: otherwise most of the failures would be the compiler's, which the plan below has. */
    assert_int_equal(segment(im), BS_OK);
    assert_true(until_it_works(segment, im) > 30);
    bs_image_unref(im);
}

static void a_stack_survives_any_failing_allocation(void **state)
{
    (void)state;
    struct bs_image *im = NULL;
    size_t dim[3] = {2, 20, 18};
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "zyx", dim, NULL, &im, NULL), BS_OK);
    for (int i = 0; i < 2 * 20 * 18; i++)
        ((uint8_t *)im->data)[i] = (uint8_t)(i * 37 % 200);
    assert_int_equal(segment_stack(im), BS_OK);
    assert_true(until_it_works(segment_stack, im) > 60);
    bs_image_unref(im);
}

static void a_plan_survives_any_failing_allocation(void **state)
{
    (void)state;
    assert_true(until_it_works(plan, NULL) > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_way_to_an_encoder_survives_any_failing_allocation),
        cmocka_unit_test(a_segmentation_survives_any_failing_allocation),
        cmocka_unit_test(a_stack_survives_any_failing_allocation),
        cmocka_unit_test(a_plan_survives_any_failing_allocation),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
