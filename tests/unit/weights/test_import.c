/* Encoders that others trained become UNETRs and ViM-UNets: complete ones at once, an encoder alone only when its decoder is
   asked for, and then the file says that it is untrained. */
#include "model/predict/encoder_input.h"
#include "model/weights/convert.h"
#include "model/weights/safetensors.h"
#include "model/weights/torch_checkpoint.h"
#include "tests/support/npy.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_convert_report report;

static void convert(const char *file, const char *out, struct bs_convert_options options)
{
    struct bs_err err = {0};
    if (bs_convert_checkpoint(fixture_path(file), out, &options, &report, &err) != BS_OK)
        fail_msg("%s: %s", file, err.msg);
}

static void refuse(const char *file, struct bs_convert_options options, const char *words)
{
    struct bs_err err = {0};
    const char *out = scratch_path("never");
    assert_int_not_equal(bs_convert_checkpoint(fixture_path(file), out, &options, &report, &err), BS_OK);
    if (!strstr(err.msg, words))
        fail_msg("%s: \"%s\" does not say \"%s\"", file, err.msg, words);
    assert_int_not_equal(access(out, F_OK), 0);
}

/* Every tensor of the checkpoint whose name begins with `from` is in the model file, with `to` instead. Returns how many. */
static size_t tensors_moved(const char *file, const char *out, const char *from, const char *to)
{
    struct bs_torch_checkpoint *c = NULL;
    struct bs_safetensors *st = NULL;
    size_t moved = 0;
    assert_int_equal(bs_torch_checkpoint_open(fixture_path(file), &c, NULL), BS_OK);
    assert_int_equal(bs_safetensors_open(out, &st, NULL), BS_OK);
    for (size_t i = 0; i < bs_torch_checkpoint_count(c); i++) {
        char name[256];
        const char *old = bs_torch_checkpoint_name(c, i);
        if (strncmp(old, from, strlen(from)) != 0)
            continue;
        snprintf(name, sizeof name, "%s%s", to, old + strlen(from));
        const struct bs_safetensors_entry *e = bs_safetensors_find(st, name);
        if (!e)
            fail_msg("%s is not there", name);
        assert_true(bs_shape_equal(&e->shape, bs_torch_checkpoint_shape(c, i)));
        void *a = malloc(e->bytes + 1), *b = malloc(e->bytes + 1);
        assert_int_equal(bs_torch_checkpoint_read(c, i, a, e->bytes, NULL), BS_OK);
        assert_int_equal(bs_safetensors_read(st, e, b, e->bytes, NULL), BS_OK);
        assert_memory_equal(a, b, e->bytes);
        free(a);
        free(b);
        moved++;
    }
    bs_torch_checkpoint_close(c);
    bs_safetensors_close(st);
    return moved;
}

static float *tensor(const char *path, const char *name, size_t *count)
{
    struct bs_safetensors *st = NULL;
    assert_int_equal(bs_safetensors_open(path, &st, NULL), BS_OK);
    const struct bs_safetensors_entry *e = bs_safetensors_find(st, name);
    assert_non_null(e);
    *count = bs_shape_count(&e->shape);
    float *values = malloc(*count * sizeof *values);
    assert_non_null(values);
    assert_int_equal(bs_safetensors_read_f32(st, e, values, *count, NULL), BS_OK);
    bs_safetensors_close(st);
    return values;
}

static void an_encoder_alone_is_refused_with_the_option_that_takes_it(void **state)
{
    (void)state;
    refuse("encoders/sam.pth", (struct bs_convert_options){0}, "--with-untrained-decoder");
    refuse("encoders/vim.pth", (struct bs_convert_options){0}, "--with-untrained-decoder");
}

static void segment_anything_becomes_an_untrained_unetr_when_asked_for(void **state)
{
    (void)state;
    const char *out = scratch_path("sam");
    convert("encoders/sam.pth", out, (struct bs_convert_options){.untrained_decoder = 3, .decoder_seed = 7});
    struct bs_model_info info;
    assert_int_equal(bs_model_info_read(out, &info, NULL), BS_OK);
    const struct bs_unetr_config *u = &info.arch.unetr;
    assert_int_equal(info.arch.kind, BS_ARCH_UNETR);
    assert_false(info.trained);
    assert_true(u->image_size == 64 && u->embed_dim == 16 && u->depth == 3 && u->heads == 2 &&
                u->window == 3);
    assert_true(u->global_blocks == 6 && u->neck_channels == 8 && !u->apply_neck && !u->skip_connections);
    assert_true(u->decoder.initial_features == 64 && u->decoder.out_channels == 3 && u->decoder.sigmoid);
    /* 148 tensors of Sam; the image encoder has 3 + 3 blocks of 14 + 6 of the neck */
    assert_int_equal(tensors_moved("encoders/sam.pth", out, "image_encoder.", "encoder."), 51);
    assert_int_equal(report.left_out, 148 - 51);
    assert_int_equal(unlink(out), 0);
}

static void initial_values_are_pytorchs_and_follow_from_the_seed(void **state)
{
    (void)state;
    const char *out = scratch_path("a"), *same = scratch_path("b"), *other = scratch_path("c");
    convert("encoders/sam.pth", out, (struct bs_convert_options){.untrained_decoder = 2});
    convert("encoders/sam.pth", same, (struct bs_convert_options){.untrained_decoder = 2});
    convert("encoders/sam.pth", other,
            (struct bs_convert_options){.untrained_decoder = 2, .decoder_seed = 1});
    static const struct {
        const char *name;
        double inputs; /* of one output of the convolution */
    } convolutions[] = {
        {"base.block.1.weight", 16 * 9}, {"base.block.1.bias", 16 * 9}, {"out_conv.weight", 64}};
    for (size_t i = 0; i < sizeof convolutions / sizeof *convolutions; i++) {
        size_t n, m, k;
        float *v = tensor(out, convolutions[i].name, &n), *w = tensor(same, convolutions[i].name, &m),
              *x = tensor(other, convolutions[i].name, &k);
        double sum = 0, squares = 0;
        for (size_t e = 0; e < n; e++) {
            sum += (double)v[e];
            squares += (double)v[e] * (double)v[e];
            assert_true(fabs((double)v[e]) <= 1 / sqrt(convolutions[i].inputs));
        }
        /* uniform: mean 0, variance bound^2 / 3, within five standard errors */
        const double variance = 1 / convolutions[i].inputs / 3, count = (double)n;
        assert_true(fabs(sum / count) < 5 * sqrt(variance / count));
        assert_true(fabs(squares / count / variance - 1) < 5 * sqrt(0.8 / count));
        assert_true(n == m && n == k);
        assert_memory_equal(v, w, n * sizeof *v);
        assert_memory_not_equal(v, x, n * sizeof *v);
        free(v);
        free(w);
        free(x);
    }
    static const struct {
        const char *name;
        float value;
    } norms[] = {{"deconv1.block.2.weight", 1},
                 {"deconv1.block.2.bias", 0},
                 {"deconv1.block.2.running_mean", 0},
                 {"deconv1.block.2.running_var", 1}};
    for (size_t i = 0; i < sizeof norms / sizeof *norms; i++) {
        size_t n;
        float *v = tensor(out, norms[i].name, &n);
        for (size_t e = 0; e < n; e++)
            assert_true(v[e] == norms[i].value);
        free(v);
    }
    assert_int_equal(unlink(out), 0);
    assert_int_equal(unlink(same), 0);
    assert_int_equal(unlink(other), 0);
}

static void vision_mamba_becomes_an_untrained_vimunet_when_asked_for(void **state)
{
    (void)state;
    const char *out = scratch_path("vim");
    convert("encoders/vim.pth", out, (struct bs_convert_options){.untrained_decoder = 2});
    assert_string_equal(report.key, "model");
    assert_int_equal(report.left_out, 0);
    struct bs_model_info info;
    assert_int_equal(bs_model_info_read(out, &info, NULL), BS_OK);
    assert_int_equal(info.arch.kind, BS_ARCH_VIMUNET);
    assert_int_equal(info.recipe, BS_RECIPE_BOUNDARIES);
    assert_false(info.trained);
    assert_true(info.arch.vimunet.embed_dim == 32 && info.arch.vimunet.depth == 1 &&
                info.arch.vimunet.head_classes == 10 && info.arch.vimunet.class_token);
    assert_true(tensors_moved("encoders/vim.pth", out, "", "encoder.") > 20);
    assert_int_equal(unlink(out), 0);
}

/* micro-sam's program makes its UNETR in one way, so nothing has to be assumed, and the file computes what it computes. */
static void micro_sam_becomes_the_complete_unetr_that_its_program_makes(void **state)
{
    (void)state;
    const char *out = scratch_path("micro");
    struct bs_npy image = {0}, want = {0};
    struct bs_err err = {0};
    convert("encoders/micro_sam.pt", out, (struct bs_convert_options){0});
    assert_string_equal(report.info.assumed, "");
    assert_int_equal(report.info.parameters, 33009);
    const struct bs_unetr_config *u = &report.info.arch.unetr;
    assert_true(report.info.trained && u->apply_neck && u->resize_input && u->sam_statistics &&
                u->decoder.sigmoid && u->decoder.initial_features == 2);
    assert_int_equal(report.info.normalisation, BS_NORMALISE_RANGE_255);
    assert_int_equal(tensors_moved("encoders/micro_sam.pt", out, "image_encoder.", "encoder."), 51);
    assert_int_equal(tensors_moved("encoders/micro_sam.pt", out, "decon", "decon") +
                         tensors_moved("encoders/micro_sam.pt", out, "base", "base"),
                     4 * 9 + 2 + 4);

    assert_int_equal(bs_npy_read(fixture_path("encoders/micro_sam_input.npy"), &image, NULL), BS_OK);
    assert_int_equal(bs_npy_read(fixture_path("encoders/micro_sam_output.npy"), &want, NULL), BS_OK);
    const int64_t h = (int64_t)image.shape[2], w = (int64_t)image.shape[3], side = 64;
    const struct bs_encoder_input_options options = {
        .net_h = side, .net_w = side, .resize = true, .sam_statistics = true};
    struct bs_encoder_input *encoder = NULL;
    struct bs_device *dev = NULL;
    struct bs_model *model = NULL;
    struct bs_executable *exe = NULL;
    assert_int_equal(bs_encoder_input_create(&options, h, w, &encoder, NULL), BS_OK);
    assert_int_equal(bs_device_open("ref", NULL, &dev, NULL), BS_OK);
    if (bs_model_open(out, dev, &model, &err) != BS_OK ||
        bs_model_executable(model, 1, side, side, BS_PRECISION_F32, &exe, &err) != BS_OK)
        fail_msg("%s", err.msg);
    float *in = calloc(3 * 64 * 64, sizeof *in), *logits = calloc(3 * 64 * 64, sizeof *logits),
          *maps = calloc(3 * 64 * 64, sizeof *maps), *have = calloc(want.count, sizeof *have);
    assert_true(in && logits && maps && have);
    bs_encoder_input_fill(encoder, image.data, 3, 3, in);
    const struct bs_tensor input = {BS_F32, BS_SHAPE(1, 3, side, side), in};
    struct bs_tensor outputs[] = {{BS_F32, BS_SHAPE(1, 3, side, side), logits},
                                  {BS_F32, BS_SHAPE(1, 3, side, side), maps}};
    assert_int_equal(bs_executable_run(exe, &input, 1, outputs, 2, NULL, NULL), BS_OK);
    bs_encoder_input_maps(encoder, maps, 3, have);
    for (size_t i = 0; i < want.count; i++)
        assert_true(fabs((double)have[i] - (double)((const float *)want.data)[i]) < 1e-4);
    free(in);
    free(logits);
    free(maps);
    free(have);
    bs_encoder_input_destroy(encoder);
    bs_model_close(model);
    bs_device_close(dev);
    bs_npy_free(&image);
    bs_npy_free(&want);
    assert_int_equal(unlink(out), 0);
}

static void what_the_caller_says_of_micro_sam_holds(void **state)
{
    (void)state;
    const char *out = scratch_path("said");
    convert("encoders/micro_sam.pt", out,
            (struct bs_convert_options){.sam_statistics = BS_CONVERT_NO, .has_final_activation = true});
    assert_false(report.info.arch.unetr.sam_statistics || report.info.arch.unetr.decoder.sigmoid);
    assert_string_equal(report.info.assumed, "normalisation=standardise");
    assert_int_equal(unlink(out), 0);
    refuse("encoders/micro_sam.pt",
           (struct bs_convert_options){.has_recipe = true, .recipe = BS_RECIPE_BOUNDARIES},
           "2 output channels");
}

static void a_decoder_is_not_replaced_by_an_untrained_one(void **state)
{
    (void)state;
    refuse("encoders/micro_sam.pt", (struct bs_convert_options){.untrained_decoder = 3},
           "not an encoder alone");
    refuse("golden/checkpoints/state_dict.pth", (struct bs_convert_options){.untrained_decoder = 3},
           "not an encoder alone");
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
        cmocka_unit_test(an_encoder_alone_is_refused_with_the_option_that_takes_it),
        cmocka_unit_test(segment_anything_becomes_an_untrained_unetr_when_asked_for),
        cmocka_unit_test(initial_values_are_pytorchs_and_follow_from_the_seed),
        cmocka_unit_test(vision_mamba_becomes_an_untrained_vimunet_when_asked_for),
        cmocka_unit_test(micro_sam_becomes_the_complete_unetr_that_its_program_makes),
        cmocka_unit_test(what_the_caller_says_of_micro_sam_holds),
        cmocka_unit_test(a_decoder_is_not_replaced_by_an_untrained_one),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
