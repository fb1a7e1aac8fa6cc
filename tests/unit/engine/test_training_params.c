/* Promises about the parameters of a training run: every one of them can be set to what its description says, takes effect, and
   what comes of it is a configuration that is accepted or refused in words. */
#include "server/training_params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct bs_train_config begin_with(enum bs_arch_kind kind)
{
    struct bs_train_config c;
    bs_train_config_default(kind, BS_RECIPE_DISTANCES, 1, &c);
    return c;
}

static struct bs_train_config begin(void)
{
    return begin_with(BS_ARCH_UNET);
}

static void set_each(enum bs_arch_kind kind)
{
    const struct bs_train_config defaults = begin_with(kind);
    struct bs_param_spec spec[BS_TRAINING_MAX_PARAMS], now[BS_TRAINING_MAX_PARAMS];
    const int count = bs_training_param_specs(&defaults, spec, BS_TRAINING_MAX_PARAMS);
    struct bs_err err;
    assert_in_range(count, 20, BS_TRAINING_MAX_PARAMS);
    for (int i = 0; i < count; i++) {
        struct bs_train_config c = defaults;
        const double other = spec[i].default_value == spec[i].max ? spec[i].min : spec[i].max;
        if (bs_training_param_set(&c, spec[i].name, other, &err) != BS_OK)
            fail_msg("%s: %s", spec[i].name, err.msg);
        assert_int_equal(bs_training_param_specs(&c, now, BS_TRAINING_MAX_PARAMS), count);
        if (now[i].default_value != other)
            fail_msg("%s is %g, not %g", spec[i].name, now[i].default_value, other);
        assert_int_equal(bs_training_param_set(&c, spec[i].name, spec[i].max + 1, &err), BS_EINVAL);
        assert_non_null(strstr(err.msg, spec[i].name));
    }
    struct bs_train_config c = defaults;
    assert_int_equal(bs_training_param_set(&c, "luck", 1, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "\"luck\""));
}

static void every_parameter_can_be_set_as_described(void **state)
{
    (void)state;
    set_each(BS_ARCH_UNET);
    set_each(BS_ARCH_UNETR);
    set_each(BS_ARCH_VIMUNET);
}

static void a_smaller_vision_mamba_fits_together(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        double value;
    } asked[] = {
        {"encoder_size", 256}, {"encoder_width", 72}, {"encoder_depth", 6}, {"features", 16}, {"patch", 256}};
    struct bs_train_config c = begin_with(BS_ARCH_VIMUNET);
    struct bs_err err;
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++)
        assert_int_equal(bs_training_param_set(&c, asked[i].name, asked[i].value, &err), BS_OK);
    const struct bs_vimunet_config *v = &c.arch.vimunet;
    assert_int_equal(v->image_size, 256);
    assert_int_equal(v->depth, 6);
    assert_int_equal(v->embed_dim, 72);
    assert_int_equal(v->inner_features, 144);
    assert_int_equal(v->dt_rank, 5); /* a sixteenth, rounded up */
    assert_int_equal(bs_train_config_check(&c, &err), BS_OK);
    assert_int_equal(bs_training_param_set(&c, "encoder_size", 250, &err), BS_OK);
    assert_int_equal(bs_train_config_check(&c, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "250"));
    c = begin();
    assert_int_equal(bs_training_param_set(&c, "encoder_width", 64, &err), BS_EINVAL); /* a U-Net has none */
}

static void augmentations_reach_the_samples(void **state)
{
    (void)state;
    struct bs_train_config c = begin();
    struct bs_err err;
    static const char *const names[] = {"blur", "gamma", "contrast", "brightness", "noise"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(bs_training_param_set(&c, names[i], 0.25, &err), BS_OK);
    const struct bs_augment_rule *a = &c.sample.augment;
    assert_true(a->blur == 0.25 && a->gamma == 0.25 && a->contrast == 0.25 && a->brightness == 0.25 &&
                a->noise == 0.25);
    assert_int_equal(bs_train_config_check(&c, &err), BS_OK);
    /* A deformation has the usual spacing until another is stated, and folds nowhere. */
    assert_int_equal(bs_training_param_set(&c, "elastic", 12, &err), BS_OK);
    assert_true(a->elastic == 12 && a->elastic_spacing == 32);
    assert_int_equal(bs_train_config_check(&c, &err), BS_OK);
    assert_int_equal(bs_training_param_set(&c, "elastic", 13, &err), BS_OK);
    assert_int_equal(bs_train_config_check(&c, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "elastic is 13"));
    assert_int_equal(bs_training_param_set(&c, "elastic_spacing", 48, &err), BS_OK);
    assert_int_equal(bs_train_config_check(&c, &err), BS_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_can_be_set_as_described),
        cmocka_unit_test(a_smaller_vision_mamba_fits_together),
        cmocka_unit_test(augmentations_reach_the_samples),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
