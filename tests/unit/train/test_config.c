/* The configuration of a run: texts come back as they were, what is wrong is refused by its name. First weights. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model/train/config.h"
#include "model/train/initial.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *json_of(const struct bs_train_config *c)
{
    char *json = NULL;
    struct bs_err err = {.msg = ""};
    if (bs_train_config_to_json(c, &json, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return json;
}

static void the_defaults_are_the_publications(void **state)
{
    (void)state;
    struct bs_train_config c;
    for (int kind = BS_ARCH_UNET; kind <= BS_ARCH_VIMUNET; kind++)
        for (int recipe = BS_RECIPE_BOUNDARIES; recipe <= BS_RECIPE_DISTANCES; recipe++) {
            struct bs_err err = {.msg = ""};
            bs_train_config_default((enum bs_arch_kind)kind, (enum bs_recipe)recipe, kind ? 3 : 1, &c);
            if (bs_train_config_check(&c, &err) != BS_OK)
                fail_msg("%s", err.msg);
        }
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_BOUNDARIES, 1, &c);
    assert_int_equal(c.arch.unet.out_channels, 2);
    assert_int_equal(c.loss.kind, BS_LOSS_DICE);
    bs_train_config_set_recipe(&c, BS_RECIPE_DISTANCES);
    assert_int_equal(c.arch.unet.out_channels, 3);
    assert_int_equal(c.loss.kind, BS_LOSS_DICE_DISTANCE);
    assert_true(c.loss.mask_background);
    assert_int_equal(c.arch.unet.initial_features, 64);
    assert_true(fabs(c.optimizer.learning_rate - 1e-4) < 1e-12);
    assert_true(fabs(c.plateau.factor - 0.9) < 1e-12);
    assert_int_equal(c.plateau.patience, 10);
    assert_int_equal(c.batch, 2);
    assert_int_equal(c.sample.height, 512);
    assert_int_equal(c.iterations, 100000);
}

/* Every member is changed, so that one which is forgotten on the way shows. */
static void a_configuration_comes_back_as_it_was(void **state)
{
    (void)state;
    struct bs_train_config c, back;
    struct bs_err err = {.msg = ""};
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_DISTANCES, 2, &c);
    bs_train_config_set_patch(&c, 96);
    c.loss = (struct bs_loss){.kind = BS_LOSS_BCE_DICE, .all_channels = true, .alpha = 0.25f, .beta = 3};
    c.optimizer = (struct bs_optimizer){BS_ADAMW, 3e-4, 0.8, 0.99, 1e-7, 0.05};
    c.plateau.factor = 0.5;
    c.plateau.patience = 3;
    c.plateau.threshold = 1e-3;
    c.plateau.least = 1e-6;
    c.sample.flips = c.sample.quarter_turns = false;
    c.sample.target_min_size = 7;
    c.sample.min_objects = 4;
    c.batch = 5;
    c.iterations = 0;
    c.epochs = 12;
    c.epoch_samples = 34;
    c.validate_every = 9;
    c.validation_count = 6;
    c.checkpoint_every = 11;
    c.stop_after = 8;
    c.seed = INT64_MAX;
    char *json = json_of(&c);
    if (bs_train_config_from_json(json, strlen(json), &back, &err) != BS_OK)
        fail_msg("%s: %s", json, err.msg);
    char *again = json_of(&back);
    assert_string_equal(json, again);
    assert_int_equal(back.optimizer.kind, BS_ADAMW);
    assert_int_equal(back.seed, INT64_MAX);
    assert_int_equal(back.epochs, 12);
    assert_int_equal(back.iterations, 0);
    assert_int_equal(back.sample.min_objects, 4);
    assert_true(isinf(back.plateau.best));
    free(json);
    free(again);
}

#define NETWORK                                                                                              \
    "\"architecture\":\"unet\",\"unet\":{\"in_channels\":1,\"out_channels\":3,\"depth\":2,"                  \
    "\"initial_features\":4,\"norm\":\"InstanceNorm\",\"upsampling\":\"bilinear\","                          \
    "\"final_activation\":\"Sigmoid\"}"

static bs_status read_config(const char *members, struct bs_train_config *c, struct bs_err *err)
{
    char text[2048];
    snprintf(text, sizeof text, "{%s%s}", NETWORK, members);
    return bs_train_config_from_json(text, strlen(text), c, err);
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    struct bs_train_config c;
    struct bs_err err = {.msg = ""};
    if (read_config(",\"recipe\":\"distances\",\"epochs\":3,\"optimizer\":{\"kind\":\"adamw\"}", &c, &err) !=
        BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(c.iterations, 0);
    assert_int_equal(c.epochs, 3);
    assert_true(fabs(c.optimizer.weight_decay - 0.01) < 1e-12);
    assert_int_equal(c.arch.unet.initial_features, 4);
    assert_int_equal(c.sample.width, 512);
}

static void what_is_wrong_is_refused_by_its_name(void **state)
{
    (void)state;
    static const struct {
        const char *members, *named;
    } bad[] = {
        {"", "recipe is missing"},
        {",\"recipe\":\"boundaries\"", "out_channels is 3"},
        {",\"recipe\":\"stars\"", "recipe is \"stars\""},
        {",\"recipe\":\"distances\",\"batch\":0", "batch is 0"},
        {",\"recipe\":\"distances\",\"batch\":1.5", "batch is a number"},
        {",\"recipe\":\"distances\",\"patchs\":12", "\"patchs\""},
        {",\"recipe\":\"distances\",\"optimizer\":{\"lr\":1}", "\"lr\""},
        {",\"recipe\":\"distances\",\"optimizer\":{\"learning_rate\":0}", "learning_rate is 0"},
        {",\"recipe\":\"distances\",\"optimizer\":{\"kind\":\"sgd\"}", "\"sgd\""},
        {",\"recipe\":\"distances\",\"plateau\":{\"factor\":1}", "factor of the plateau is 1"},
        {",\"recipe\":\"distances\",\"sample\":{\"height\":510}", "multiples of 4"},
        {",\"recipe\":\"distances\",\"sample\":7", "sample is"},
        {",\"recipe\":\"distances\",\"iterations\":5,\"epochs\":5", "iterations is 5 and epochs is 5"},
        {",\"recipe\":\"distances\",\"iterations\":0", "iterations is 0 and epochs is 0"},
        {",\"recipe\":\"distances\",\"seed\":-1", "seed is -1"},
        {",\"recipe\":\"distances\",\"precision\":\"bf16\"", "precision is bf16"},
        {",\"recipe\":\"distances\",\"loss\":{\"kind\":\"dice\",\"all_channels\":true,\"channel_mean\":true}",
         "channel"},
        {",\"recipe\":\"distances\",\"format\":2", "format is 2"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_train_config c;
        struct bs_err err = {.msg = ""};
        if (read_config(bad[i].members, &c, &err) == BS_OK)
            fail_msg("accepted: %s", bad[i].members);
        if (!strstr(err.msg, bad[i].named))
            fail_msg("\"%s\" is not named by: %s", bad[i].named, err.msg);
    }
}

/* An encoder has a size of its own. */
static void patches_an_encoder_cannot_see_are_refused(void **state)
{
    (void)state;
    struct bs_train_config c;
    struct bs_err err = {.msg = ""};
    bs_train_config_default(BS_ARCH_VIMUNET, BS_RECIPE_DISTANCES, 3, &c);
    bs_train_config_set_patch(&c, 1040);
    assert_int_equal(bs_train_config_check(&c, &err), BS_EINVAL);
    bs_train_config_default(BS_ARCH_UNETR, BS_RECIPE_DISTANCES, 3, &c);
    c.arch.unetr.resize_input = true;
    assert_int_equal(bs_train_config_check(&c, &err), BS_EUNSUPPORTED);
    c.arch.unetr.resize_input = false;
    c.arch.unetr.sam_statistics = true;
    assert_int_equal(bs_train_config_check(&c, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "sam_statistics"));
}

/* Within the bounds of PyTorch, spread over them, the same for the same seed and others for another. */
static void first_weights_follow_from_the_seed(void **state)
{
    (void)state;
    struct bs_train_config c;
    struct bs_params *p[3] = {NULL};
    struct bs_shape shape;
    struct bs_err err = {.msg = ""};
    static const char *const weight = "encoder.blocks.1.block.1.weight";
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_DISTANCES, 1, &c);
    c.arch.unet.initial_features = 8;
    c.arch.unet.depth = 2;
    float *v[3];
    for (int i = 0; i < 3; i++) {
        assert_int_equal(bs_initial_params(&c.arch, i == 2 ? 8 : 7, &p[i], &err), BS_OK);
        assert_int_equal(bs_params_shape(p[i], weight, &shape, &err), BS_OK);
        v[i] = malloc(bs_shape_count(&shape) * sizeof *v[i]);
        assert_int_equal(bs_params_read(p[i], weight, v[i], bs_shape_count(&shape), &err), BS_OK);
    }
    const size_t count = bs_shape_count(&shape);
    const double bound = 1 / sqrt((double)(shape.dim[1] * 9));
    double squares = 0;
    for (size_t i = 0; i < count; i++) {
        assert_true(fabs((double)v[0][i]) <= bound);
        squares += (double)v[0][i] * (double)v[0][i];
    }
    assert_true(fabs(squares / (double)count / (bound * bound / 3) - 1) < 0.15);
    assert_memory_equal(v[0], v[1], count * sizeof(float));
    assert_memory_not_equal(v[0], v[2], count * sizeof(float));
    for (int i = 0; i < 3; i++) {
        free(v[i]);
        bs_params_unref(p[i]);
    }
    bs_train_config_default(BS_ARCH_VIMUNET, BS_RECIPE_DISTANCES, 3, &c);
    assert_int_equal(bs_initial_params(&c.arch, 7, &p[0], &err), BS_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_the_publications),
        cmocka_unit_test(a_configuration_comes_back_as_it_was),
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(what_is_wrong_is_refused_by_its_name),
        cmocka_unit_test(patches_an_encoder_cannot_see_are_refused),
        cmocka_unit_test(first_weights_follow_from_the_seed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
