/* Model files describe themselves, open only when complete, and keep a bounded number of executables. */
#include "model/model.h"
#include "tests/support/formula_model.h"
#include "tests/unit/weights/weights_support.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct bs_model_info small_model(void)
{
    struct bs_model_info info = {
        .arch = {.kind = BS_ARCH_UNET, .unet = {1, 2, 2, 2, BS_NORM_BATCH, BS_UPSAMPLING_TRANSPOSED, true}},
        .recipe = BS_RECIPE_BOUNDARIES,
        .normalisation = BS_NORMALISE_NONE,
        .training_patch = 128,
        .pixel_size_um = 0.325,
        .defaults = bs_instance_params_default(BS_RECIPE_BOUNDARIES),
        .trained = false,
        .description = "a \"small\" model, \xc2\xb5m",
        .licence = "CC0",
        .source = "test",
        .assumed = "recipe=boundaries",
    };
    info.defaults.min_size = 7;
    assert_int_equal(bs_arch_parameter_count(&info.arch, &info.parameters, NULL), BS_OK);
    return info;
}

static void a_description_survives_writing_and_reading(void **state)
{
    (void)state;
    const struct bs_model_info info = small_model();
    struct bs_model_info again;
    char *json = NULL;
    assert_int_equal(bs_model_info_to_json(&info, &json, NULL), BS_OK);
    assert_int_equal(bs_model_info_from_json(json, strlen(json), &again, NULL), BS_OK);
    assert_int_equal(again.arch.unet.norm, BS_NORM_BATCH);
    assert_int_equal(again.arch.unet.upsampling, BS_UPSAMPLING_TRANSPOSED);
    assert_int_equal(again.arch.unet.depth, 2);
    assert_true(again.arch.unet.sigmoid);
    assert_int_equal(again.recipe, BS_RECIPE_BOUNDARIES);
    assert_int_equal(again.normalisation, BS_NORMALISE_NONE);
    assert_int_equal(again.training_patch, 128);
    assert_true(again.pixel_size_um == 0.325);
    assert_int_equal(again.defaults.min_size, 7);
    assert_false(again.trained);
    assert_int_equal(again.parameters, info.parameters);
    assert_string_equal(again.description, info.description);
    assert_string_equal(again.assumed, info.assumed);
    free(json);
}

/* Each change of a valid description, and what must be said about it. */
static void wrong_descriptions_are_refused_with_the_value(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"\"depth\":2", "\"depth\":99", "depth is 99, accepted is 1 to 8"},
        {"\"depth\":2", "\"depth\":2.5", "depth is a number, an integer is needed"},
        {"\"depth\":2,", "", "depth is missing"},
        {"\"recipe\":\"boundaries\"", "\"recipe\":\"magic\"", "accepted are boundaries, distances"},
        {"\"recipe\":\"boundaries\"", "\"recipe\":\"distances\"", "needs 3 output channels"},
        {"\"norm\":\"BatchNorm\"", "\"norm\":\"LayerNorm\"", "LayerNorm"},
        {"\"format\":1", "\"format\":2", "format is 2"},
        {"\"format\":1", "\"format\":1,\"new\":1", "newer"},
        {"\"architecture\":\"unet\"", "\"architecture\":\"vimunet\"", "vimunet"},
        {"\"min_size\":7", "\"min_size\":-1", "min_size is -1"},
        {"\"pixel_size_um\":0.325", "\"pixel_size_um\":\"x\"", "pixel_size_um is a string"},
        {"\"trained\":false", "\"trained\":0", "true or false"},
        {"\"parameters\":", "\"parameters\":1", "parameters"},
        {"\"unet\":{", "\"unet\":[],\"x\":{", "unet is an array"},
    };
    const struct bs_model_info info = small_model();
    char *json = NULL;
    assert_int_equal(bs_model_info_to_json(&info, &json, NULL), BS_OK);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char changed[4096];
        struct bs_model_info out;
        struct bs_err err = {0};
        const char *at = strstr(json, cases[i].from);
        if (!at)
            fail_msg("%s is not in %s", cases[i].from, json);
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - json), json, cases[i].to,
                 at + strlen(cases[i].from));
        if (bs_model_info_from_json(changed, strlen(changed), &out, &err) == BS_OK ||
            !strstr(err.msg, cases[i].word))
            fail_msg("%s: %s", cases[i].to, err.msg);
    }
    free(json);
}

static struct bs_device *ref(void)
{
    struct bs_device *dev = NULL;
    const struct bs_device_options opt = {0};
    assert_int_equal(bs_device_open("ref", &opt, &dev, NULL), BS_OK);
    return dev;
}

static void executables_are_kept_per_shape_and_bounded(void **state)
{
    (void)state;
    const struct bs_model_info info = small_model();
    const char *path = scratch_path("model");
    struct bs_device *dev = ref();
    struct bs_model *m = NULL;
    struct bs_executable *first = NULL, *again = NULL, *other = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_formula_model_write(path, &info, 3, NULL), BS_OK);
    if (bs_model_open(path, dev, &m, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(bs_model_info_get(m)->description, info.description);
    assert_ptr_equal(bs_model_device(m), dev);
    assert_int_equal(bs_model_executable(m, 1, 8, 8, BS_PRECISION_F32, &first, NULL), BS_OK);
    assert_int_equal(bs_model_executable(m, 1, 8, 8, BS_PRECISION_F32, &again, NULL), BS_OK);
    assert_ptr_equal(first, again);
    const size_t few = bs_model_resident_bytes(m);
    for (int64_t i = 1; i <= 20; i++)
        assert_int_equal(bs_model_executable(m, 1, 4 * i, 4, BS_PRECISION_F32, &other, NULL), BS_OK);
    assert_int_equal(bs_model_executable(m, 1, 8, 8, BS_PRECISION_F32, &again, NULL), BS_OK);
    assert_int_equal(bs_model_resident_bytes(m), few);
    assert_int_equal(bs_model_executable(m, 1, 7, 8, BS_PRECISION_F32, &other, &err), BS_EINVAL);
    assert_null(other);
    bs_model_close(m);
    bs_device_close(dev);
    assert_int_equal(unlink(path), 0);
}

static void a_file_without_description_is_refused_with_advice(void **state)
{
    (void)state;
    struct bs_model_info info;
    struct bs_err err = {0};
    assert_int_equal(
        bs_model_info_read(fixture_path("golden/small/unet_in/weights.safetensors"), &info, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "bioseg convert"));
    assert_int_equal(bs_model_info_read(scratch_path("nothing"), &info, &err), BS_ENOTFOUND);
    assert_int_equal(bs_model_info_read(fixture_path(""), &info, &err), BS_EINVAL);
}

static void a_model_that_lacks_a_tensor_does_not_open(void **state)
{
    (void)state;
    const struct bs_model_info info = small_model();
    struct bs_device *dev = ref();
    struct bs_model *m = NULL;
    struct bs_err err = {0};
    const char *path = scratch_path("lacking");
    size_t size, at = 0;
    assert_int_equal(bs_formula_model_write(path, &info, 3, NULL), BS_OK);
    /* Say another depth in the description: "depth\":2" with the escape of a string in a string. */
    FILE *f = fopen(path, "rb+");
    assert_non_null(f);
    char text[4096];
    size = fread(text, 1, sizeof text, f);
    while (at + 10 < size && memcmp(text + at, "depth\\\":2", 9) != 0)
        at++;
    assert_true(at + 10 < size);
    assert_int_equal(fseek(f, (long)at + 8, SEEK_SET), 0);
    fputc('3', f);
    fclose(f);
    assert_int_not_equal(bs_model_open(path, dev, &m, &err), BS_OK);
    assert_null(m);
    bs_device_close(dev);
    assert_int_equal(unlink(path), 0);
}

static void a_file_truncated_under_an_open_model_is_an_error_when_it_is_read(void **state)
{
    (void)state;
    const struct bs_model_info info = small_model();
    const char *path = scratch_path("shrinking");
    struct bs_device *dev = ref();
    struct bs_model *m = NULL;
    struct bs_executable *exe = NULL;
    static float image[64], out1[128], out2[128];
    struct bs_err err = {0};
    assert_int_equal(bs_formula_model_write(path, &info, 3, NULL), BS_OK);
    assert_int_equal(bs_model_open(path, dev, &m, NULL), BS_OK);
    assert_int_equal(truncate(path, 3000), 0);
    bs_status rc = bs_model_executable(m, 1, 8, 8, BS_PRECISION_F32, &exe, &err);
    if (rc == BS_OK) { /* a backend may read parameters as late as the first run */
        const struct bs_tensor in = {BS_F32, BS_SHAPE(1, 1, 8, 8), image};
        struct bs_tensor out[] = {{BS_F32, BS_SHAPE(1, 2, 8, 8), out1}, {BS_F32, BS_SHAPE(1, 2, 8, 8), out2}};
        rc = bs_executable_run(exe, &in, 1, out, 2, NULL, &err);
    }
    assert_int_equal(rc, BS_EIO);
    bs_model_close(m);
    bs_device_close(dev);
    assert_int_equal(unlink(path), 0);
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
        cmocka_unit_test(a_description_survives_writing_and_reading),
        cmocka_unit_test(wrong_descriptions_are_refused_with_the_value),
        cmocka_unit_test(executables_are_kept_per_shape_and_bounded),
        cmocka_unit_test(a_file_without_description_is_refused_with_advice),
        cmocka_unit_test(a_model_that_lacks_a_tensor_does_not_open),
        cmocka_unit_test(a_file_truncated_under_an_open_model_is_an_error_when_it_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, remove_folder);
}
