/* Model files of UNETR and ViM-UNet describe their networks and the preprocessing that belongs to them, strictly; cards say
   what a model needs before it runs; what a model holds is known to the byte. */
#include "model/card.h"
#include "model/weights/safetensors.h"
#include "tests/support/formula_model.h"
#include "tests/support/same_arch.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_model_info vimunet(void)
{
    return (struct bs_model_info){.arch = {.kind = BS_ARCH_VIMUNET,
                                           .vimunet = {.in_channels = 3,
                                                       .image_size = 64,
                                                       .patch_size = 16,
                                                       .embed_dim = 32,
                                                       .depth = 2,
                                                       .inner_features = 64,
                                                       .state_size = 16,
                                                       .dt_rank = 2,
                                                       .conv_kernel = 4,
                                                       .head_classes = 10,
                                                       .class_token = true,
                                                       .class_token_first = true,
                                                       .rotary = true,
                                                       .decoder = {3, 4, BS_UPSAMPLING_TRANSPOSED, true}}},
                                  .recipe = BS_RECIPE_DISTANCES,
                                  .training_patch = 32,
                                  .source = "Vim",
                                  .licence = "Apache-2.0",
                                  .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES)};
}

static struct bs_model_info unetr(void)
{
    return (struct bs_model_info){.arch = {.kind = BS_ARCH_UNETR,
                                           .unetr = {.in_channels = 3,
                                                     .image_size = 96,
                                                     .patch_size = 16,
                                                     .embed_dim = 32,
                                                     .depth = 6,
                                                     .heads = 4,
                                                     .mlp_features = 128,
                                                     .window = 4,
                                                     .global_blocks = 1u << 1 | 1u << 3 | 1u << 5,
                                                     .neck_channels = 16,
                                                     .skip_connections = true,
                                                     .decoder = {2, 4, BS_UPSAMPLING_BILINEAR, false},
                                                     .resize_input = true,
                                                     .sam_statistics = true}},
                                  .recipe = BS_RECIPE_BOUNDARIES,
                                  .normalisation = BS_NORMALISE_RANGE_255,
                                  .trained = true,
                                  .defaults = bs_instance_params_default(BS_RECIPE_BOUNDARIES)};
}

static void descriptions_survive_writing_and_reading(void **state)
{
    (void)state;
    const struct bs_model_info infos[] = {vimunet(), unetr()};
    struct bs_model_info again[2];
    for (int i = 0; i < 2; i++) {
        char *json = NULL, *twice = NULL;
        struct bs_err err = {0};
        assert_int_equal(bs_model_info_to_json(&infos[i], &json, NULL), BS_OK);
        if (bs_model_info_from_json(json, strlen(json), &again[i], &err) != BS_OK)
            fail_msg("%s", err.msg);
        assert_true(same_unetr(&again[i].arch.unetr, &infos[i].arch.unetr));
        assert_true(same_vimunet(&again[i].arch.vimunet, &infos[i].arch.vimunet));
        assert_int_equal(again[i].normalisation, infos[i].normalisation);
        assert_int_equal(again[i].training_patch, infos[i].training_patch);
        assert_int_equal(again[i].trained, infos[i].trained);
        again[i].parameters = 0; /* counted on the way in */
        assert_int_equal(bs_model_info_to_json(&again[i], &twice, NULL), BS_OK);
        assert_string_equal(twice, json);
        free(json);
        free(twice);
    }
}

/* Each change of a valid description, and what must be said about it. */
static void wrong_descriptions_are_refused_with_the_value(void **state)
{
    (void)state;
    static const struct {
        bool sam;
        const char *from, *to, *word;
    } cases[] = {
        {true, "\"image_size\":96", "\"image_size\":97", "97"},
        {true, "\"image_size\":96", "\"image_size\":1000000", "accepted is 16 to 16384"},
        {true, "\"heads\":4", "\"heads\":5", "5 heads"},
        {true, "\"heads\":4", "\"heads\":0", "heads is 0"},
        {true, "[1,3,5]", "[1,3,6]", "global_blocks has 6, accepted is 0 to 5"},
        {true, "[1,3,5]", "[1,3,3]", "global_blocks has 3"},
        {true, "[1,3,5]", "[1,3]", "3 global blocks"},
        {true, "[1,3,5]", "7", "global_blocks is an integer, an array is needed"},
        {true, "\"resize_input\":true", "\"resize_input\":1", "true or false"},
        {true, "\"resize_input\":true,", "", "resize_input is missing"},
        {true, "\"sam_statistics\":true", "\"sam_statistics\":true,\"dino_statistics\":true", "newer"},
        {true, "\"in_channels\":3", "\"in_channels\":1", "3 channels"},
        {true, "range_255", "standardise", "0 to 255"},
        {true, "\"recipe\":\"boundaries\"", "\"recipe\":\"distances\"", "needs 3 output channels"},
        {true, "\"unetr\":{", "\"unet\":{", "unetr is missing"},
        {false, "\"depth\":2", "\"depth\":100000", "depth is 100000"},
        {false, "\"class_token\":\"first\"", "\"class_token\":\"last\"", "none, middle, first"},
        {false, "\"conv_kernel\":4", "\"conv_kernel\":0", "conv_kernel is 0"},
        {false, "\"final_activation\":\"Sigmoid\"", "\"final_activation\":\"ReLU\"", "ReLU"},
        {false, "\"decoder\":{", "\"decoder\":{\"depth\":3,", "newer"},
        {false, "\"initial_features\":4", "\"initial_features\":5", "5"},
        {false, "\"training_patch\":32", "\"training_patch\":-1", "training_patch is -1"},
    };
    const struct bs_model_info infos[] = {vimunet(), unetr()};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char changed[4096], *json = NULL;
        struct bs_model_info out;
        struct bs_err err = {0};
        assert_int_equal(bs_model_info_to_json(&infos[cases[i].sam], &json, NULL), BS_OK);
        const char *at = strstr(json, cases[i].from);
        if (!at)
            fail_msg("%s is not in %s", cases[i].from, json);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - json), json, cases[i].to,
                 at + strlen(cases[i].from));
        if (bs_model_info_from_json(changed, strlen(changed), &out, &err) == BS_OK ||
            !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s", cases[i].to, err.msg);
        free(json);
    }
}

/* docs/models.md, "The six of the paper". */
static void the_documentation_counts_right(void **state)
{
    (void)state;
    enum { U, B, L, H, T, S };
    static const struct {
        int model;
        bool skip, transposed;
        int out;
        uint64_t count;
    } cases[] = {
        {U, false, false, 3, 28941763},  {U, false, false, 2, 28941698},  {U, false, true, 3, 31030723},
        {B, true, true, 3, 113060099},   {L, true, true, 3, 334419971},   {H, true, true, 3, 665920259},
        {B, true, false, 3, 108108035},  {L, true, false, 3, 328288259},  {H, true, false, 3, 658608899},
        {B, false, true, 3, 104107715},  {L, false, true, 3, 324419011},  {H, false, true, 3, 654870723},
        {B, false, false, 3, 101883587}, {L, false, false, 3, 321801667}, {H, false, false, 3, 651860163},
        {T, false, true, 3, 18499755},   {S, false, true, 3, 39175083},   {T, false, false, 3, 17160363},
        {S, false, false, 3, 37540779},
    };
    static const struct {
        int features, depth, heads, every; /* of UNETR: each `every`-th block is global */
    } size[] = {[B] = {768, 12, 12, 3}, [L] = {1024, 24, 16, 6}, [H] = {1280, 32, 16, 8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const int m = cases[i].model;
        const enum bs_upsampling up = cases[i].transposed ? BS_UPSAMPLING_TRANSPOSED : BS_UPSAMPLING_BILINEAR;
        const struct bs_unetr_decoder_config decoder = {3, 64, up, true};
        struct bs_arch_config arch = {.kind = BS_ARCH_UNET,
                                      .unet = {1, cases[i].out, 4, 64, BS_NORM_INSTANCE, up, true}};
        uint64_t count = 0;
        if (m == T || m == S) {
            arch.kind = BS_ARCH_VIMUNET;
            arch.vimunet = vimunet().arch.vimunet;
            arch.vimunet.image_size = 1024;
            arch.vimunet.embed_dim = m == T ? 192 : 384;
            arch.vimunet.depth = 24;
            arch.vimunet.inner_features = 2 * arch.vimunet.embed_dim;
            arch.vimunet.dt_rank = arch.vimunet.embed_dim / 16;
            arch.vimunet.head_classes = 1000;
            arch.vimunet.class_token_first = arch.vimunet.rotary = false;
            arch.vimunet.decoder = decoder;
        } else if (m != U) {
            arch.kind = BS_ARCH_UNETR;
            arch.unetr = (struct bs_unetr_config){.in_channels = 3,
                                                  .image_size = 1024,
                                                  .patch_size = 16,
                                                  .embed_dim = size[m].features,
                                                  .depth = size[m].depth,
                                                  .heads = size[m].heads,
                                                  .mlp_features = 4 * size[m].features,
                                                  .window = 14,
                                                  .neck_channels = 256,
                                                  .skip_connections = cases[i].skip,
                                                  .decoder = decoder};
            for (int block = size[m].every - 1; block < size[m].depth; block += size[m].every)
                arch.unetr.global_blocks |= UINT64_C(1) << block;
        }
        assert_int_equal(bs_arch_parameter_count(&arch, &count, NULL), BS_OK);
        assert_int_equal(count, cases[i].count);
    }
}

static struct bs_model *open_model(const struct bs_model_info *info, const char *spec, struct bs_device **dev)
{
    const struct bs_device_options opt = {.threads = 1, .allow_winograd = true};
    const char *path = scratch_path("encoder");
    struct bs_model *m = NULL;
    struct bs_err err = {0};
    if (bs_device_open(spec, &opt, dev, &err) != BS_OK ||
        bs_formula_model_write(path, info, 3, &err) != BS_OK || bs_model_open(path, *dev, &m, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(unlink(path), 0); /* the open descriptor is enough */
    return m;
}

static void a_card_needs_no_weights_and_says_where_the_model_comes_from(void **state)
{
    (void)state;
    struct bs_model_info info = vimunet();
    struct bs_model_card card;
    uint64_t count;
    assert_int_equal(bs_model_card(&info, &card, NULL), BS_OK);
    assert_int_equal(bs_arch_parameter_count(&info.arch, &count, NULL), BS_OK);
    assert_int_equal(card.parameters, count);
    assert_int_equal(card.weight_bytes, 4 * count);
    assert_int_equal(card.tile, 32);
    assert_int_equal(card.network, 64);
    assert_false(card.trained);
    assert_string_equal(card.source, "Vim");
    assert_string_equal(card.licence, "Apache-2.0");
    struct bs_graph *g = NULL;
    assert_int_equal(bs_arch_build(&info.arch, 1, 64, 64, &g, NULL), BS_OK);
    assert_true(card.flops > 0 && card.flops == bs_graph_flops(g));
    bs_graph_destroy(g);
    info.training_patch = 0;
    assert_int_equal(bs_model_card(&info, &card, NULL), BS_OK);
    assert_int_equal(card.tile, 64);
    /* A U-Net's tile is what the network sees; 30 pixels are not a multiple of its divisor. */
    info.arch = (struct bs_arch_config){.kind = BS_ARCH_UNET,
                                        .unet = {1, 3, 3, 2, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR, true}};
    info.training_patch = 30;
    assert_int_equal(bs_model_card(&info, &card, NULL), BS_OK);
    assert_true(card.tile == 32 && card.network == 32);
    info.training_patch = 0;
    assert_int_equal(bs_model_card(&info, &card, NULL), BS_OK);
    assert_int_equal(card.tile, 512);
}

static void a_plan_is_the_memory_of_a_run_and_takes_none_of_it(void **state)
{
    (void)state;
    static const char *const specs[] = {"ref", "auto"};
    struct bs_model_info infos[] = {unetr(), vimunet(), unetr()};
    infos[1].arch.vimunet.rotary = false; /* its tables have no formula */
    infos[2].arch = (struct bs_arch_config){
        .kind = BS_ARCH_UNET, .unet = {1, 2, 3, 16, BS_NORM_GROUP, BS_UPSAMPLING_BILINEAR, true}};
    infos[2].normalisation = BS_NORMALISE_NONE;
    infos[2].training_patch = 64;
    for (int i = 0; i < 6; i++) {
        const struct bs_model_info *info = &infos[i / 2];
        struct bs_device *dev = NULL;
        struct bs_model_card_plan one, four, none;
        struct bs_executable *exe = NULL;
        struct bs_err err = {0};
        struct bs_model *m = open_model(info, specs[i % 2], &dev);
        bs_status rc = bs_model_card_plan(info, dev, 1, BS_PRECISION_F32, &one, &err);
        if (rc == BS_EUNSUPPORTED && i % 2) { /* a backend without these operators says so */
            bs_model_close(m);
            bs_device_close(dev);
            continue;
        }
        if (rc != BS_OK)
            fail_msg("%s", err.msg);
        assert_true(one.peak_bytes == one.arena_bytes + one.weight_bytes + one.window_bytes);
        assert_int_equal(bs_model_resident_bytes(m), 0);
        assert_int_equal(bs_model_executable(m, 1, one.network, one.network, BS_PRECISION_F32, &exe, NULL),
                         BS_OK);
        assert_int_equal(one.arena_bytes, bs_executable_arena_bytes(exe));
        assert_int_equal(one.weight_bytes, bs_params_packed_bytes(bs_model_params(m)));
        assert_string_equal(one.algorithms, bs_executable_algorithms(exe));
        assert_int_equal(bs_model_card_plan(info, dev, 4, BS_PRECISION_F32, &four, NULL), BS_OK);
        assert_true(four.arena_bytes > one.arena_bytes && four.window_bytes > one.window_bytes);
        assert_int_equal(bs_model_card_plan(info, dev, 65, BS_PRECISION_F32, &none, &err), BS_EINVAL);
        assert_non_null(strstr(err.msg, "65"));
        bs_model_close(m);
        bs_device_close(dev);
    }
}

static void run(struct bs_model *m, int64_t h, int64_t w, struct bs_executable **exe)
{
    struct bs_err err = {0};
    const size_t n = (size_t)(h * w);
    float *image = calloc(n, sizeof *image), *out = calloc(4 * n, sizeof *out);
    assert_true(image && out);
    const struct bs_tensor in = {BS_F32, BS_SHAPE(1, 1, h, w), image};
    struct bs_tensor outs[] = {{BS_F32, BS_SHAPE(1, 2, h, w), out},
                               {BS_F32, BS_SHAPE(1, 2, h, w), out + 2 * n}};
    if (bs_model_executable(m, 1, h, w, BS_PRECISION_F32, exe, &err) != BS_OK ||
        bs_executable_run(*exe, &in, 1, outs, 2, NULL, &err) != BS_OK)
        fail_msg("%s", err.msg);
    free(image);
    free(out);
}

static void what_a_model_holds_is_known_to_the_byte(void **state)
{
    (void)state;
    struct bs_model_info info = unetr();
    info.arch = (struct bs_arch_config){.kind = BS_ARCH_UNET,
                                        .unet = {1, 2, 2, 16, BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR, true}};
    info.normalisation = BS_NORMALISE_STANDARDISE;
    struct bs_device *dev = NULL;
    struct bs_model *m = open_model(&info, "auto", &dev);
    struct bs_executable *small = NULL, *large = NULL;
    assert_int_equal(bs_model_resident_bytes(m), 0);
    assert_int_equal(bs_model_executable(m, 1, 32, 32, BS_PRECISION_F32, &small, NULL), BS_OK);
    /* Compiled, but not yet run: weights only. */
    const size_t weights = bs_params_packed_bytes(bs_model_params(m));
    assert_int_equal(bs_model_resident_bytes(m), weights);
    run(m, 32, 32, &small);
    assert_int_equal(bs_model_resident_bytes(m),
                     bs_params_packed_bytes(bs_model_params(m)) + bs_executable_arena_bytes(small));
    /* Another size takes the arena over. */
    run(m, 64, 64, &large);
    assert_int_equal(bs_executable_held_bytes(small), 0);
    const size_t packed = bs_params_packed_bytes(bs_model_params(m)),
                 arena = bs_executable_arena_bytes(large);
    assert_int_equal(bs_model_resident_bytes(m), packed + arena);
    assert_int_equal(bs_model_trim(m), arena);
    assert_int_equal(bs_model_resident_bytes(m), packed);
    assert_int_equal(bs_model_trim(m), 0);
    run(m, 64, 64, &large); /* the same executable, its arena again */
    assert_int_equal(bs_model_resident_bytes(m), packed + arena);
    bs_model_close(m);
    bs_device_close(dev);
}

static int remove_folder(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", scratch_path("x"));
    *strrchr(folder, '/') = 0;
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(descriptions_survive_writing_and_reading),
        cmocka_unit_test(wrong_descriptions_are_refused_with_the_value),
        cmocka_unit_test(the_documentation_counts_right),
        cmocka_unit_test(a_card_needs_no_weights_and_says_where_the_model_comes_from),
        cmocka_unit_test(a_plan_is_the_memory_of_a_run_and_takes_none_of_it),
        cmocka_unit_test(what_a_model_holds_is_known_to_the_byte),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
