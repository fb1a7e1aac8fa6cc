/* Checkpoints become model files that say what is known, what was assumed, and nothing that is not so. */
#include "model/weights/convert.h"
#include "model/weights/safetensors.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void convert(const char *fixture_name, const char *out, const struct bs_convert_options *options,
                    struct bs_convert_report *report)
{
    struct bs_err err = {0};
    if (bs_convert_checkpoint(fixture_path(fixture_name), out, options, report, &err) != BS_OK)
        fail_msg("%s: %s", fixture_name, err.msg);
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

static void every_format_gives_the_same_weights(void **state)
{
    (void)state;
    static const char *const files[] = {"state_dict.pth",
                                        "state_dict_oldformat.pth",
                                        "state_dict_compiled_prefix.pth",
                                        "vim_style.pth",
                                        "hostile.pt",
                                        "hostile_oldformat.pth",
                                        "expected.safetensors"};
    const char *out = scratch_path("out");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        const struct bs_convert_options options = {0};
        static struct bs_convert_report report;
        snprintf(name, sizeof name, "golden/checkpoints/%s", files[i]);
        convert(name, out, &options, &report);
        assert_int_equal(report.tensors, 46);
        assert_int_equal(report.info.parameters, 28494);
        assert_string_equal(report.info.assumed,
                            "final_activation=Sigmoid,recipe=boundaries,normalisation=standardise");
        tensors_equal(out, fixture_path("golden/checkpoints/expected.safetensors"));
        struct bs_model_info info;
        assert_int_equal(bs_model_info_read(out, &info, NULL), BS_OK);
        assert_int_equal(info.recipe, BS_RECIPE_BOUNDARIES);
        assert_true(info.trained && info.arch.unet.initial_features == 2);
    }
    assert_int_not_equal(access("HOSTILE_WAS_EXECUTED", F_OK), 0);
    assert_int_equal(unlink(out), 0);
}

static void what_the_caller_knows_is_not_assumed(void **state)
{
    (void)state;
    const char *out = scratch_path("known"), *again = scratch_path("again");
    struct bs_convert_options options = {.has_recipe = true,
                                         .recipe = BS_RECIPE_DISTANCES,
                                         .has_final_activation = true,
                                         .sigmoid = false,
                                         .has_normalisation = true,
                                         .normalisation = BS_NORMALISE_NONE,
                                         .has_min_size = true,
                                         .min_size = 12,
                                         .training_patch = 512,
                                         .pixel_size_um = 0.5,
                                         .description = "d",
                                         .licence = "l",
                                         .source = "s"};
    static struct bs_convert_report report;
    convert("golden/small/unet_in/model.pt", out, &options, &report);
    assert_string_equal(report.info.assumed, "");
    assert_string_equal(report.key, "model_state");
    tensors_equal(out, fixture_path("golden/small/unet_in/weights.safetensors"));
    /* Converting again changes only what is said anew. */
    options = (struct bs_convert_options){.description = "new"};
    assert_int_equal(bs_convert_checkpoint(out, again, &options, &report, NULL), BS_OK);
    assert_string_equal(report.info.description, "new");
    assert_string_equal(report.info.licence, "l");
    assert_int_equal(report.info.defaults.min_size, 12);
    assert_false(report.info.arch.unet.sigmoid);
    assert_true(report.info.pixel_size_um == 0.5 && report.info.training_patch == 512);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(again), 0);
}

/* Where keys and shapes are silent about an encoder, what was assumed is named, and what the caller says is not. */
static void what_keys_do_not_tell_of_an_encoder_is_asked_for_or_assumed(void **state)
{
    (void)state;
    const char *out = scratch_path("vim"), *again = scratch_path("vim_again");
    struct bs_convert_options options = {.has_final_activation = true, .sigmoid = true, .has_recipe = true};
    static struct bs_convert_report report;
    options.recipe = BS_RECIPE_DISTANCES;
    convert("golden/small/vimunet/weights.safetensors", out, &options, &report);
    const struct bs_vimunet_config *v = &report.info.arch.vimunet;
    assert_string_equal(report.info.assumed,
                        "class_token=middle,divide_by_directions=true,normalisation=standardise");
    assert_true(!v->class_token_first && v->divide_by_directions);
    /* A model file of ours, and a caller who knows better. */
    options = (struct bs_convert_options){.divide_by_directions = BS_CONVERT_NO};
    assert_int_equal(bs_convert_checkpoint(out, again, &options, &report, NULL), BS_OK);
    assert_string_equal(report.info.assumed, "class_token=middle,normalisation=standardise");
    assert_true(!v->class_token_first && !v->divide_by_directions);
    options = (struct bs_convert_options){.has_normalisation = true};
    assert_int_equal(bs_convert_checkpoint(again, out, &options, &report, NULL), BS_OK);
    assert_string_equal(report.info.assumed, "class_token=middle");
    assert_false(v->divide_by_directions);
    options = (struct bs_convert_options){.class_token_first = BS_CONVERT_YES};
    assert_int_equal(bs_convert_checkpoint(out, again, &options, &report, NULL), BS_OK);
    assert_string_equal(report.info.assumed, "");
    assert_true(v->class_token_first);
    /* The older kind is known by its rotary embedding. */
    options = (struct bs_convert_options){.divide_by_directions = BS_CONVERT_YES};
    convert("golden/small/vimunet_rope_clsfirst/weights.safetensors", out, &options, &report);
    assert_string_equal(
        report.info.assumed,
        "final_activation=Sigmoid,class_token=first,recipe=distances,normalisation=standardise");
    assert_true(v->class_token_first && v->rotary && v->divide_by_directions);
    struct bs_model_info info;
    assert_int_equal(bs_model_info_read(out, &info, NULL), BS_OK);
    assert_int_equal(info.arch.kind, BS_ARCH_VIMUNET);
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(again), 0);
}

static void contradictions_and_broken_files_write_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        struct bs_convert_options options;
        const char *word;
    } cases[] = {
        {"golden/checkpoints/state_dict.pth",
         {.has_recipe = true, .recipe = BS_RECIPE_DISTANCES},
         "3 output channels"},
        {"golden/checkpoints/state_dict.pth", {.has_min_size = true, .min_size = -1}, "-1 pixels"},
        {"golden/checkpoints/state_dict.pth", {.pixel_size_um = -2}, "-2 um"},
        {"golden/checkpoints/state_dict.pth", {.training_patch = 1 << 20}, "1048576"},
        {"golden/checkpoints/state_dict.pth", {.description = "not \xff UTF-8"}, "UTF-8"},
        {"golden/checkpoints/state_dict.pth", {.class_token_first = BS_CONVERT_NO}, "this is a unet"},
        {"golden/checkpoints/state_dict.pth", {.resize_input = BS_CONVERT_YES}, "this is a unet"},
        {"golden/small/vimunet/weights.safetensors", {.sam_statistics = BS_CONVERT_YES}, "this is a vimunet"},
        {"golden/checkpoints/truncated.pth", {0}, "truncated"},
        {"golden/checkpoints/hostile_bare.pt", {0}, "posix system"},
        {"golden/checkpoints/odd_tensors.pt", {0}, "not a U-Net"},
        {"golden/checkpoints/README.md", {0}, "not a PyTorch checkpoint"},
    };
    const char *out = scratch_path("never");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static struct bs_convert_report report;
        struct bs_err err = {0};
        if (bs_convert_checkpoint(fixture_path(cases[i].file), out, &cases[i].options, &report, &err) ==
                BS_OK ||
            !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s", cases[i].file, err.msg);
        assert_int_not_equal(access(out, F_OK), 0);
    }
}

static bs_status poison(void *ctx, size_t i, void *dst, size_t bytes, struct bs_err *err)
{
    struct bs_safetensors *st = ctx;
    bs_status rc = bs_safetensors_read(st, bs_safetensors_entry(st, i), dst, bytes, err);
    if (i == 5)
        memset(dst, 0xff, 4); /* a NaN */
    return rc;
}

static void weights_that_are_not_finite_are_refused(void **state)
{
    (void)state;
    const char *in = scratch_path("nan"), *out = scratch_path("never");
    struct bs_safetensors *st = NULL;
    struct bs_safetensors_item item[64];
    const struct bs_convert_options options = {0};
    static struct bs_convert_report report;
    struct bs_err err = {0};
    assert_int_equal(bs_safetensors_open(fixture_path("golden/checkpoints/expected.safetensors"), &st, NULL),
                     BS_OK);
    for (size_t i = 0; i < bs_safetensors_count(st); i++) {
        const struct bs_safetensors_entry *e = bs_safetensors_entry(st, i);
        item[i] = (struct bs_safetensors_item){e->name, e->dtype, e->shape};
    }
    assert_int_equal(bs_safetensors_write(in, NULL, 0, item, bs_safetensors_count(st), poison, st, NULL),
                     BS_OK);
    assert_int_equal(bs_convert_checkpoint(in, out, &options, &report, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "not finite at element 0"));
    assert_int_not_equal(access(out, F_OK), 0);
    bs_safetensors_close(st);
    assert_int_equal(unlink(in), 0);
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
        cmocka_unit_test(every_format_gives_the_same_weights),
        cmocka_unit_test(what_the_caller_knows_is_not_assumed),
        cmocka_unit_test(what_keys_do_not_tell_of_an_encoder_is_asked_for_or_assumed),
        cmocka_unit_test(contradictions_and_broken_files_write_nothing),
        cmocka_unit_test(weights_that_are_not_finite_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
