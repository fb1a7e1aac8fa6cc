/* Accuracy of the trained checkpoints on real images equals that of the original pipeline (models/README.md of the shared
   data): mSA, SA50 and SA75 within 0.003, where the shared data is; and the model that comes with bioseg does its work.
   With the plain backend the whole sets take minutes and are left out unless BS_TEST_SLOW is set. */
#include "model/instances/evaluate.h"
#include "model/predict/segment.h"
#include "model/weights/convert.h"
#include "tests/support/sanitized.h"

#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Under a sanitizer the networks run ten times slower; the other tests walk the same code there. */

#define NUCLEI BS_TEST_FIXTURES "/../../deploy/models/unet-nuclei.safetensors"

static struct bs_device *device;
static bool fast;

static int setup(void **state)
{
    struct bs_device_options options = {.allow_winograd = true};
    struct bs_device_info info;
    struct bs_err err = {0};
    (void)state;
    if (bs_device_open("auto", &options, &device, &err) != BS_OK) {
        printf("%s\n", err.msg);
        return -1;
    }
    bs_device_describe(device, &info);
    fast = getenv("BS_TEST_SLOW") || (strcmp(info.backend, "ref") != 0 && !SANITIZED);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bs_device_close(device);
    return 0;
}

static struct bs_image *read_image(const char *folder, const char *name)
{
    char path[1024];
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (bs_image_read_file(path, NULL, &im, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return im;
}

static void labels_of(const struct bs_image *im, uint32_t *out)
{
    size_t n = im->dim[0] * im->dim[1];
    assert_int_equal(im->ndim, 2);
    assert_true(im->sample == BS_SAMPLE_U16 || im->sample == BS_SAMPLE_U8 || im->sample == BS_SAMPLE_U32);
    for (size_t i = 0; i < n; i++)
        out[i] = im->sample == BS_SAMPLE_U16  ? ((const uint16_t *)im->data)[i]
                 : im->sample == BS_SAMPLE_U8 ? ((const uint8_t *)im->data)[i]
                                              : ((const uint32_t *)im->data)[i];
}

/* Adds the accuracy of one image to sum. */
static void score(struct bs_model *model, const struct bs_segment_params *params, struct bs_image *image,
                  struct bs_image *labels, double sum[3])
{
    struct bs_segment_result r;
    struct bs_accuracy a;
    struct bs_err err = {0};
    if (bs_segment(model, image, params, false, NULL, NULL, &r, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_false(r.tiled);
    assert_int_equal(r.height, labels->dim[0]);
    assert_int_equal(r.width, labels->dim[1]);
    uint32_t *expected = malloc(r.height * r.width * sizeof *expected);
    labels_of(labels, expected);
    assert_int_equal(bs_evaluate(r.labels, expected, r.height, r.width, 0, &a, &err), BS_OK);
    sum[0] += a.msa;
    sum[1] += a.at[0];
    sum[2] += a.at[5];
    free(expected);
    bs_segment_result_free(&r);
    bs_image_unref(image);
    bs_image_unref(labels);
}

/* Every .png or .tif of folder/images against the file of the same name in folder/labels. */
static size_t score_folder(struct bs_model *model, const struct bs_segment_params *params, const char *folder,
                           double mean[3])
{
    char images[600], labels[600];
    size_t n = 0;
    snprintf(images, sizeof images, "%s/images", folder);
    snprintf(labels, sizeof labels, "%s/labels", folder);
    DIR *d = opendir(images);
    if (!d)
        return 0;
    memset(mean, 0, 3 * sizeof *mean);
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        score(model, params, read_image(images, e->d_name), read_image(labels, e->d_name), mean);
        n++;
    }
    closedir(d);
    for (int i = 0; i < 3; i++)
        mean[i] /= (double)n;
    return n;
}

static void check(const char *what, size_t n, const double have[3], const double want[3])
{
    printf("%s: %zu images, mSA %.4f SA50 %.4f SA75 %.4f (reference %.4f %.4f %.4f)\n", what, n, have[0],
           have[1], have[2], want[0], want[1], want[2]);
    for (int i = 0; i < 3; i++)
        assert_true(fabs(have[i] - want[i]) <= 0.003);
}

static struct bs_model *open_model(const char *path)
{
    struct bs_model *model = NULL;
    struct bs_err err = {0};
    if (bs_model_open(path, device, &model, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return model;
}

/* The model that comes with bioseg: the mean of four images of its test set is held. */
static void committed_nuclei_images_reach_their_score(void **state)
{
    (void)state;
    static const char *const names[] = {"dsb_0147", "dsb_0148", "dsb_0152", "dsb_0161"};
    struct bs_model *model = open_model(NUCLEI);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    double sum[3] = {0};
    size_t n = fast ? 4 : 1;
    for (size_t i = 0; i < n; i++) {
        char image[64], labels[64];
        snprintf(image, sizeof image, "%s.png", names[i]);
        snprintf(labels, sizeof labels, "%s.labels.png", names[i]);
        double one[3] = {0};
        score(model, &params, read_image(BS_TEST_FIXTURES "/images", image),
              read_image(BS_TEST_FIXTURES "/images", labels), one);
        printf("%s: mSA %.4f SA50 %.4f SA75 %.4f\n", names[i], one[0], one[1], one[2]);
        for (int k = 0; k < 3; k++)
            sum[k] += one[k] / (double)n;
    }
    bs_model_close(model);
    assert_true(sum[0] > 0.45 && sum[1] > 0.7);
}

/* A checkpoint of the reference, converted, against its scores on a folder of so many images. */
struct reference {
    const char *what, *checkpoint, *data;
    enum bs_recipe recipe;
    double threshold1;
    size_t images;
    double want[3];
};

static void check_reference(const struct reference *ref)
{
    struct bs_convert_options options = {
        .has_recipe = true, .recipe = ref->recipe, .has_final_activation = true, .sigmoid = true};
    struct bs_convert_report report;
    struct bs_err err = {0};
    double have[3] = {0};
    char path[] = "/tmp/bioseg-parity.XXXXXX";
    if (!fast || access(ref->checkpoint, R_OK) != 0 || access(ref->data, R_OK) != 0) {
        printf("left out: needs the shared data and a fast backend\n");
        skip();
    }
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    if (bs_convert_checkpoint(ref->checkpoint, path, &options, &report, &err) != BS_OK)
        fail_msg("%s", err.msg);
    struct bs_model *model = open_model(path);
    struct bs_segment_params params = bs_segment_params_default(bs_model_info_get(model));
    params.instances.threshold1 = ref->threshold1;
    size_t n = score_folder(model, &params, ref->data, have);
    bs_model_close(model);
    unlink(path);
    assert_int_equal(n, ref->images);
    check(ref->what, n, have, ref->want);
}

static void nuclei_test_set_equals_the_reference(void **state)
{
    (void)state;
    check_reference(&(struct reference){.what = "nuclei",
                                        .checkpoint = BS_TEST_SHARED "/models/unet-nuclei.pt",
                                        .data = BS_TEST_SHARED "/data/dsb2018/test",
                                        .recipe = BS_RECIPE_DISTANCES,
                                        .threshold1 = 0.5,
                                        .images = 25,
                                        .want = {0.5344, 0.7565, 0.5556}});
}

static void membrane_validation_set_equals_the_reference(void **state)
{
    (void)state;
    check_reference(&(struct reference){.what = "membrane",
                                        .checkpoint = BS_TEST_SHARED "/models/unet-membrane.pt",
                                        .data = BS_TEST_SHARED "/data/isbi2012/val",
                                        .recipe = BS_RECIPE_BOUNDARIES,
                                        .threshold1 = 0.7,
                                        .images = 6,
                                        .want = {0.4798, 0.6703, 0.5532}});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(committed_nuclei_images_reach_their_score),
        cmocka_unit_test(nuclei_test_set_equals_the_reference),
        cmocka_unit_test(membrane_validation_set_equals_the_reference),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
