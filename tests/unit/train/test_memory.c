/* Memory may run out at any allocation between a network's description and a step applied: that ends with BS_ENOMEM and
   leaves nothing behind (LeakSanitizer looks on). */
#include "train_support.h"

#include "tests/support/fail_alloc.h"

#include <stdlib.h>

static bs_status whole_life(const float *image, const float *target, const struct bs_step_options *options,
                            struct bs_err *err)
{
    const struct bs_arch_config arch = small_unet(BS_NORM_BATCH);
    const struct bs_train_size size = {.samples = 1, .h = SIDE, .w = SIDE};
    const struct bs_loss loss = {.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true};
    const struct bs_optimizer o = bs_optimizer_defaults(BS_ADAMW);
    struct bs_device *dev = NULL;
    struct bs_step *step = NULL;
    double value;
    bs_status rc = BS_OK;
    struct bs_params *params = formula_params(&arch, 1, err);
    if (!params)
        return err->code;
    if ((rc = bs_device_open("ref", NULL, &dev, err)) != BS_OK ||
        (rc = bs_step_create_with(dev, &arch, &size, &loss, options, params, &step, err)) != BS_OK ||
        (rc = bs_step_compute(step, image, target, NULL, &value, err)) != BS_OK)
        goto cleanup;
    rc = bs_step_apply(step, &o, err);
cleanup:
    bs_step_destroy(step);
    bs_params_unref(params);
    bs_device_close(dev);
    return rc;
}

static void run_out(const struct bs_step_options *options)
{
    float *image = random_values(SIDE * SIDE, 1, -1, 1), *target = random_values(3 * SIDE * SIDE, 2, 0, 1);
    unsigned n = 1;
    for (bool failed = true; failed; n++) {
        struct bs_err err = {.msg = ""};
        assert_true(n < 20000);
        bs_test_fail_alloc_at(n);
        bs_status rc = whole_life(image, target, options, &err);
        failed = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        if (rc != (failed ? BS_ENOMEM : BS_OK))
            fail_msg("allocation %u: %s, \"%s\"", n, bs_status_name(rc), err.msg);
    }
    print_message("%zu: %u allocations failed in turn\n", options->bytes, n - 2);
    assert_true(n > 100);
    free(image);
    free(target);
}

static void memory_may_run_out_anywhere_in_a_step(void **state)
{
    (void)state;
    const struct bs_step_options options = {.bytes = 0};
    run_out(&options);
}

/* With a budget that some values have to be made again for, and that is met at once. */
static void memory_may_run_out_where_a_budget_is_met(void **state)
{
    (void)state;
    struct fixture f = begin_step(BS_NORM_BATCH, BS_LOSS_DICE_DISTANCE);
    const struct bs_train_size size = {.samples = 1, .h = SIDE, .w = SIDE};
    const struct bs_loss loss = {.kind = BS_LOSS_DICE_DISTANCE, .mask_background = true};
    const struct bs_arch_config arch = small_unet(BS_NORM_BATCH);
    struct bs_step *whole = NULL;
    assert_int_equal(bs_step_create(f.dev, &arch, &size, &loss, f.params, &whole, NULL), BS_OK);
    const struct bs_step_options options = {.bytes = bs_step_bytes(whole) - bs_step_arena_bytes(whole) / 10};
    bs_step_destroy(whole);
    end_step(&f);
    run_out(&options);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(memory_may_run_out_anywhere_in_a_step),
                                       cmocka_unit_test(memory_may_run_out_where_a_budget_is_met)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
