/* What the U-Net's graph promises: counts, names, shapes, and refusals of configs that cannot be. */
#include "model/arch/arch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct bs_arch_config unet(int in, int out, int depth, int features, enum bs_norm norm,
                                  enum bs_upsampling up)
{
    return (struct bs_arch_config){.kind = BS_ARCH_UNET, .unet = {in, out, depth, features, norm, up, true}};
}

static uint64_t count_of(struct bs_arch_config cfg)
{
    uint64_t count = 0;
    struct bs_err err = {0};
    if (bs_arch_parameter_count(&cfg, &count, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return count;
}

/* Figures of the original: golden/full and models/README.md. */
static void parameter_counts_are_those_of_the_original(void **state)
{
    (void)state;
    assert_int_equal(count_of(unet(1, 2, 4, 64, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR)), 28941698);
    assert_int_equal(count_of(unet(1, 3, 4, 64, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR)), 28941763);
    assert_int_equal(count_of(unet(1, 3, 4, 64, BS_NORM_INSTANCE, BS_UPSAMPLING_TRANSPOSED)), 31030723);
    assert_int_equal(count_of(unet(1, 3, 4, 16, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR)), 1810291);
}

static void running_statistics_are_no_parameters(void **state)
{
    (void)state;
    assert_int_equal(count_of(unet(1, 2, 3, 8, BS_NORM_BATCH, BS_UPSAMPLING_BILINEAR)),
                     count_of(unet(1, 2, 3, 8, BS_NORM_GROUP, BS_UPSAMPLING_BILINEAR)));
    assert_int_equal(count_of(unet(1, 2, 3, 8, BS_NORM_NONE, BS_UPSAMPLING_BILINEAR)),
                     count_of(unet(1, 2, 3, 8, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR)));
}

static bool has_parameter(const struct bs_graph *g, const char *name)
{
    for (int i = 0; i < bs_graph_node_count(g); i++)
        if (bs_graph_node(g, i)->op == BS_OP_PARAM && !strcmp(bs_graph_node(g, i)->name, name))
            return true;
    return false;
}

static struct bs_graph *build(struct bs_arch_config cfg, int64_t n, int64_t h, int64_t w)
{
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    if (bs_arch_build(&cfg, n, h, w, &g, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return g;
}

static void positions_of_convolutions_shift_without_norm(void **state)
{
    (void)state;
    struct bs_graph *with = build(unet(1, 2, 2, 4, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR), 1, 8, 8);
    struct bs_graph *without = build(unet(1, 2, 2, 4, BS_NORM_NONE, BS_UPSAMPLING_TRANSPOSED), 1, 8, 8);
    assert_true(has_parameter(with, "base.block.1.weight") && has_parameter(with, "base.block.4.bias"));
    assert_true(has_parameter(without, "base.block.0.weight") && has_parameter(without, "base.block.2.bias"));
    assert_true(has_parameter(with, "decoder.samplers.1.conv.weight"));
    assert_true(has_parameter(without, "decoder.samplers.1.block.weight"));
    assert_false(has_parameter(with, "base.block.0.weight") || has_parameter(without, "base.block.1.weight"));
    bs_graph_destroy(with);
    bs_graph_destroy(without);
}

static void logits_come_before_the_activation_and_equal_the_output_without_one(void **state)
{
    (void)state;
    struct bs_arch_config cfg = unet(2, 3, 2, 4, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR);
    for (int sigmoid = 0; sigmoid < 2; sigmoid++) {
        cfg.unet.sigmoid = sigmoid;
        struct bs_graph *g = build(cfg, 2, 12, 20);
        const struct bs_shape expected = BS_SHAPE(2, 3, 12, 20);
        assert_int_equal(bs_graph_output_count(g), 2);
        assert_string_equal(bs_graph_output_name(g, 0), "logits");
        assert_string_equal(bs_graph_output_name(g, 1), "output");
        const struct bs_node *output = bs_graph_node(g, bs_graph_output_value(g, 1));
        assert_true(bs_shape_equal(&output->shape, &expected));
        assert_int_equal(output->op, sigmoid ? BS_OP_SIGMOID : BS_OP_CONV2D);
        bs_graph_destroy(g);
    }
}

static void sizes_that_do_not_halve_are_refused_with_what_is_accepted(void **state)
{
    (void)state;
    struct bs_arch_config cfg = unet(1, 2, 4, 4, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR);
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    static const int64_t sizes[][2] = {{8, 16}, {16, 24}, {0, 16}, {16, -16}, {1 << 20, 16}};
    assert_int_equal(bs_arch_divisor(&cfg), 16);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(bs_arch_build(&cfg, 1, sizes[i][0], sizes[i][1], &g, &err), BS_EINVAL);
        assert_null(g);
        assert_non_null(strstr(err.msg, "multiples of 16"));
    }
    assert_int_equal(bs_arch_build(&cfg, 0, 16, 16, &g, &err), BS_EINVAL);
}

static void impossible_configs_are_refused(void **state)
{
    (void)state;
    const struct bs_arch_config bad[] = {
        unet(0, 2, 4, 16, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR),
        unet(1, 0, 4, 16, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 0, 16, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 9, 16, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 4, 1 << 30, BS_NORM_INSTANCE, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 4, 48, BS_NORM_GROUP, BS_UPSAMPLING_BILINEAR),
        unet(33, 2, 4, 32, BS_NORM_GROUP, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 4, 16, (enum bs_norm)7, BS_UPSAMPLING_BILINEAR),
        unet(1, 2, 4, 16, BS_NORM_NONE, (enum bs_upsampling)7),
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs_graph *g = NULL;
        assert_int_equal(bs_arch_build(&bad[i], 1, 512, 512, &g, NULL), BS_EINVAL);
    }
}

static void networks_of_no_known_kind_are_refused(void **state)
{
    (void)state;
    const struct bs_arch_config cfg = {.kind = (enum bs_arch_kind)7};
    struct bs_graph *g = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_arch_build(&cfg, 1, 64, 64, &g, &err), BS_EUNSUPPORTED);
    assert_non_null(strstr(err.msg, "architecture 7"));
    assert_string_equal(bs_arch_name(BS_ARCH_UNETR), "unetr");
    assert_string_equal(bs_arch_name(BS_ARCH_VIMUNET), "vimunet");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameter_counts_are_those_of_the_original),
        cmocka_unit_test(running_statistics_are_no_parameters),
        cmocka_unit_test(positions_of_convolutions_shift_without_norm),
        cmocka_unit_test(logits_come_before_the_activation_and_equal_the_output_without_one),
        cmocka_unit_test(sizes_that_do_not_halve_are_refused_with_what_is_accepted),
        cmocka_unit_test(impossible_configs_are_refused),
        cmocka_unit_test(networks_of_no_known_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
