/* Checkpoints that we write are read back bit for bit by our own reader. That PyTorch and torch_em read them: tests/exports. */
#include "model/export/export.h"
#include "model/weights/convert.h"
#include "model/weights/safetensors.h"
#include "tests/support/formula_model.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_convert_report report;
static const struct bs_export_options nothing;

static void convert(const char *in, const char *out)
{
    const struct bs_convert_options options = {0};
    struct bs_err err = {0};
    if (bs_convert_checkpoint(in, out, &options, &report, &err) != BS_OK)
        fail_msg("%s: %s", in, err.msg);
}

static void tensors_equal(const char *a, const char *b)
{
    struct bs_safetensors *x = NULL, *y = NULL;
    assert_int_equal(bs_safetensors_open(a, &x, NULL), BS_OK);
    assert_int_equal(bs_safetensors_open(b, &y, NULL), BS_OK);
    assert_int_equal(bs_safetensors_count(x), bs_safetensors_count(y));
    for (size_t i = 0; i < bs_safetensors_count(x); i++) {
        const struct bs_safetensors_entry *e = bs_safetensors_entry(x, i),
                                          *f = bs_safetensors_find(y, e->name);
        assert_non_null(f);
        assert_true(e->bytes == f->bytes && e->dtype == f->dtype && bs_shape_equal(&e->shape, &f->shape));
        void *p = malloc(e->bytes + 1), *q = malloc(e->bytes + 1);
        assert_int_equal(bs_safetensors_read(x, e, p, e->bytes, NULL), BS_OK);
        assert_int_equal(bs_safetensors_read(y, f, q, e->bytes, NULL), BS_OK);
        assert_memory_equal(p, q, e->bytes);
        free(p);
        free(q);
    }
    bs_safetensors_close(x);
    bs_safetensors_close(y);
}

static void comes_back_from_both(const char *model)
{
    const char *again = scratch_path("again.safetensors"), *exported = scratch_path("exported.pt");
    struct bs_err err = {0};
    for (int trainer = 0; trainer < 2; trainer++) {
        if (bs_export(trainer ? BS_EXPORT_TRAINER : BS_EXPORT_STATE_DICT, model, exported, &nothing, &err) !=
            BS_OK)
            fail_msg("%s", err.msg);
        convert(exported, again);
        assert_string_equal(report.format, "PyTorch");
        assert_string_equal(report.key, trainer ? "model_state" : "");
        tensors_equal(model, again);
        assert_int_equal(unlink(exported), 0);
        assert_int_equal(unlink(again), 0);
    }
    assert_int_equal(unlink(model), 0);
}

static void every_network_comes_back_from_both_kinds_of_checkpoint(void **state)
{
    (void)state;
    static const char *const networks[] = {
        "golden/small/unet_in/model.pt", "golden/checkpoints/state_dict.pth",
        "golden/small/vimunet/weights.safetensors", "golden/small/vimunet_rope_clsfirst/weights.safetensors"};
    const struct bs_model_info unetr = {
        .arch = {.kind = BS_ARCH_UNETR,
                 .unetr = {.in_channels = 3,
                           .image_size = 64,
                           .patch_size = 16,
                           .embed_dim = 32,
                           .depth = 3,
                           .heads = 4,
                           .mlp_features = 128,
                           .window = 3,
                           .global_blocks = 7,
                           .neck_channels = 16,
                           .skip_connections = true,
                           .resize_input = true,
                           .decoder = {.out_channels = 3, .initial_features = 4, .sigmoid = true}}},
        .recipe = BS_RECIPE_DISTANCES,
        .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
        .trained = true};
    const char *model = scratch_path("model.safetensors");
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        convert(fixture_path(networks[i]), model);
        comes_back_from_both(model);
    }
    assert_int_equal(bs_formula_model_write(model, &unetr, 1, NULL), BS_OK);
    comes_back_from_both(model);
}

/* A trainer's checkpoint tells the final activation; nothing in it has to be left alone but transposed upsampling's class. */
static void what_the_trainer_form_says_of_the_network_is_understood(void **state)
{
    (void)state;
    struct bs_err err = {0};
    const char *model = scratch_path("model.safetensors"), *again = scratch_path("again.safetensors");
    const char *exported = scratch_path("exported.pt");
    for (int transposed = 0; transposed < 2; transposed++) {
        struct bs_model_info info = {
            .arch = {.kind = BS_ARCH_UNET,
                     .unet = {.in_channels = 1,
                              .out_channels = 3,
                              .depth = 2,
                              .initial_features = 4,
                              .upsampling = transposed ? BS_UPSAMPLING_TRANSPOSED : BS_UPSAMPLING_BILINEAR}},
            .recipe = BS_RECIPE_DISTANCES,
            .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
            .trained = true};
        assert_int_equal(bs_formula_model_write(model, &info, 1, &err), BS_OK);
        assert_int_equal(bs_export(BS_EXPORT_TRAINER, model, exported, &nothing, &err), BS_OK);
        convert(exported, again);
        assert_null(strstr(report.info.assumed, "final_activation"));
        assert_false(report.info.arch.unet.sigmoid);
        assert_int_equal(report.nskipped, transposed);
        if (transposed)
            assert_string_equal(report.skipped[0], "torch_em.model.unetr SingleDeconv2DBlock");
        unlink(model);
        unlink(exported);
        unlink(again);
    }
}

static void what_is_no_model_file_writes_nothing(void **state)
{
    (void)state;
    struct bs_err err = {0};
    const char *out = scratch_path("never.pt");
    assert_int_equal(bs_export(BS_EXPORT_TRAINER, fixture_path("golden/checkpoints/expected.safetensors"),
                               out, &nothing, &err),
                     BS_EINVAL);
    assert_non_null(strstr(err.msg, "no model description"));
    assert_int_equal(
        bs_export(BS_EXPORT_STATE_DICT, fixture_path("golden/checkpoints/README.md"), out, &nothing, &err),
        BS_ECORRUPT);
    assert_int_not_equal(access(out, F_OK), 0);
}

static int remove_folder(void **state)
{
    (void)state;
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", scratch_path("x"));
    *strrchr(folder, '/') = 0;
    return rmdir(folder); /* fails when anything was left behind */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_network_comes_back_from_both_kinds_of_checkpoint),
        cmocka_unit_test(what_the_trainer_form_says_of_the_network_is_understood),
        cmocka_unit_test(what_is_no_model_file_writes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
