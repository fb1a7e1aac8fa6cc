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
    c.freeze_encoder = true;
    c.batch = 5;
    c.iterations = 0;
    c.epochs = 12;
    c.epoch_samples = 34;
    c.validate_every = 9;
    c.validation_count = 6;
    c.checkpoint_every = 11;
    c.stop_after = 8;
    c.memory_budget = 4096;
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
    assert_true(back.freeze_encoder);
    assert_int_equal(back.memory_budget, 4096);
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
        {",\"recipe\":\"distances\",\"precision\":\"bf15\"", "\"bf15\""},
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
    bs_train_config_default(BS_ARCH_UNETR, BS_RECIPE_DISTANCES, 3, &c);
    assert_int_equal(bs_initial_params(&c.arch, 7, &p[0], &err), BS_EUNSUPPORTED);
}

/* free() it. */
static float *values_of(struct bs_params *p, const char *name, size_t *count)
{
    struct bs_shape shape;
    struct bs_err err = {.msg = ""};
    if (bs_params_shape(p, name, &shape, &err) != BS_OK)
        fail_msg("%s", err.msg);
    *count = bs_shape_count(&shape);
    float *v = malloc(*count * sizeof *v);
    if (bs_params_read(p, name, v, *count, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return v;
}

static double deviation(const float *v, size_t count)
{
    double squares = 0;
    for (size_t i = 0; i < count; i++)
        squares += (double)v[i] * (double)v[i];
    return sqrt(squares / (double)count);
}

static struct bs_arch_config small_vimunet(void)
{
    struct bs_train_config c;
    bs_train_config_default(BS_ARCH_VIMUNET, BS_RECIPE_DISTANCES, 1, &c);
    c.arch.vimunet.image_size = 64;
    c.arch.vimunet.embed_dim = 48;
    c.arch.vimunet.inner_features = 96;
    c.arch.vimunet.dt_rank = 3;
    c.arch.vimunet.depth = 4;
    c.arch.vimunet.decoder.initial_features = 4;
    return c.arch;
}

static void vision_mamba_begins_as_its_authors_begin(void **state)
{
    (void)state;
    const struct bs_arch_config arch = small_vimunet();
    struct bs_params *p = NULL;
    struct bs_err err = {.msg = ""};
    size_t n;
    if (bs_initial_params(&arch, 3, &p, &err) != BS_OK)
        fail_msg("%s", err.msg);
    float *v = values_of(p, "encoder.layers.1.mixer.A_b_log", &n);
    for (size_t i = 0; i < n; i++)
        assert_true(fabs((double)v[i] - log(1 + (double)(i % 16))) < 1e-6);
    free(v);
    v = values_of(p, "encoder.layers.2.mixer.dt_proj.bias", &n);
    for (size_t i = 0; i < n; i++) {
        const double delta = log1p(exp((double)v[i]));
        assert_true(delta > 0.99e-3 && delta < 1.01e-1);
    }
    free(v);
    v = values_of(p, "encoder.layers.0.mixer.D", &n);
    assert_true(v[0] == 1 && v[n - 1] == 1);
    free(v);
    v = values_of(p, "encoder.pos_embed", &n);
    assert_true(fabs(deviation(v, n) / 0.02 - 1) < 0.1);
    free(v);
    v = values_of(p, "encoder.patch_embed.proj.weight", &n);
    assert_true(fabs(deviation(v, n) * sqrt(256) - 1) < 0.05);
    free(v);
    v = values_of(p, "encoder.layers.3.mixer.out_proj.weight", &n);
    assert_true(fabs(deviation(v, n) * sqrt(3 * 96.0 * 4) - 1) < 0.05);
    free(v);
    v = values_of(p, "encoder.layers.3.norm.weight", &n);
    assert_true(v[0] == 1 && v[n - 1] == 1);
    free(v);
    bs_params_unref(p);
}

/* Everything comes from the model but the last convolution, which has another number of outputs. */
static void a_new_head_leaves_the_rest_as_it_was(void **state)
{
    (void)state;
    struct bs_train_config c;
    struct bs_model_info model = {0};
    struct bs_params *base = NULL, *with = NULL;
    struct bs_err err = {.msg = ""};
    bool new_head = false;
    size_t n, m;
    bs_train_config_default(BS_ARCH_UNET, BS_RECIPE_BOUNDARIES, 1, &c);
    c.arch.unet.initial_features = 4;
    model.arch = c.arch;
    assert_int_equal(bs_train_config_check_initial(&c, &model, &new_head, &err), BS_OK);
    assert_false(new_head);
    assert_int_equal(bs_initial_params(&model.arch, 7, &base, &err), BS_OK);
    bs_train_config_set_recipe(&c, BS_RECIPE_DISTANCES);
    assert_int_equal(bs_train_config_check_initial(&c, &model, &new_head, &err), BS_OK);
    assert_true(new_head);
    assert_int_equal(bs_initial_head(base, &c.arch, 8, &with, &err), BS_OK);
    float *a = values_of(base, "base.block.1.weight", &n), *b = values_of(with, "base.block.1.weight", &m);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n * sizeof *a);
    free(a);
    free(b);
    b = values_of(with, "out_conv.weight", &m);
    assert_int_equal(m, 3 * 4);
    assert_true(deviation(b, m) > 0.05);
    free(b);
    c.arch.unet.depth = 3;
    assert_int_equal(bs_train_config_check_initial(&c, &model, &new_head, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "\"depth\":4 in the model, \"depth\":3 in the configuration"));
    bs_params_unref(base);
    bs_params_unref(with);
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
        cmocka_unit_test(vision_mamba_begins_as_its_authors_begin),
        cmocka_unit_test(a_new_head_leaves_the_rest_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
