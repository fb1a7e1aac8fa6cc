/* What is kept of a comparison comes back as it was, and nothing else is taken for one. */
#include "server/comparison.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct bs_blobs *open_blobs(char folder[64])
{
    struct bs_blobs *blobs = NULL;
    struct bs_err err = {.msg = ""};
    (void)snprintf(folder, 64, "/tmp/bs-comparison-XXXXXX");
    assert_non_null(mkdtemp(folder));
    if (bs_blobs_open(folder, &(struct bs_blob_limits){.max_bytes = 0}, &blobs, &err) != BS_OK)
        fail_msg("%s", err.msg);
    return blobs;
}

static void close_blobs(struct bs_blobs *blobs, const char *folder)
{
    char command[96];
    bs_blobs_close(blobs);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* Two images, the first seen by two versions. */
static struct bs_comparison_images example(void)
{
    struct bs_comparison_images c = {.image = calloc(2, sizeof *c.image), .count = 2};
    struct bs_err err;
    assert_non_null(c.image);
    for (size_t i = 0; i < 2; i++) {
        struct bs_comparison_image *im = &c.image[i];
        im->name = strdup(i ? "<b>\"plain\"</b>.png" : "a.tif");
        strcpy(im->image, HASH);
        strcpy(im->labels, HASH);
        im->files.image = im->files.labels =
            (struct bs_file_info){.sample = BS_SAMPLE_U8, .ndim = 2, .axes = "yx", .dim = {4, 5}};
        im->candidate = (struct bs_label_score){.msa = 0.5 + 0.25 * (double)i, .sa50 = 0.75, .expected = 7};
        im->baseline = (struct bs_label_score){.msa = 0.25, .sa50 = 0.75, .expected = 7, .predicted = 3};
    }
    const struct bs_comparison_use uses[] = {{{.name = "mine", .version = 2}, BS_SPLIT_TRAIN},
                                             {{.name = "mine", .version = 1}, BS_SPLIT_VALIDATION},
                                             {{.name = "mine", .version = 2}, BS_SPLIT_TRAIN}};
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(bs_comparison_add_use(&c.image[0], &uses[i], &err), BS_OK);
    assert_int_equal(c.image[0].nuse, 2); /* the same use once */
    const struct bs_comparison_version unknown = {.name = "nuclei", .version = 1};
    assert_int_equal(bs_comparison_add_unknown(&c, &unknown, &err), BS_OK);
    assert_int_equal(bs_comparison_add_unknown(&c, &unknown, &err), BS_OK);
    assert_int_equal(c.nunknown, 1);
    return c;
}

static void images_come_back_as_they_were(void **state)
{
    (void)state;
    char folder[64], hash[BS_BLOB_HASH_LEN + 1];
    struct bs_blobs *blobs = open_blobs(folder);
    struct bs_comparison_images c = example(), back;
    const struct bs_bootstrap_options options = {.seed = 1, .resamples = 200, .confidence = 0.9};
    struct bs_err err = {.msg = ""};
    assert_int_equal(bs_comparison_images_put(blobs, &c, hash, &err), BS_OK);
    assert_int_equal(bs_comparison_images_get(blobs, hash, &back, &err), BS_OK);
    assert_false(back.scored);
    assert_int_equal(bs_comparison_seen(&back), 1);
    assert_string_equal(back.image[1].name, c.image[1].name);
    assert_string_equal(back.image[1].files.labels.axes, "yx");
    assert_int_equal(back.image[1].files.image.dim[1], 5);
    bs_comparison_images_free(&back);
    assert_int_equal(bs_comparison_summarise(&c, &options, &err), BS_OK);
    assert_true(c.difference[0].difference == 0.375 && c.difference[1].difference == 0);
    assert_int_equal(bs_comparison_images_put(blobs, &c, hash, &err), BS_OK);
    assert_int_equal(bs_comparison_images_get(blobs, hash, &back, &err), BS_OK);
    assert_true(back.scored);
    assert_memory_equal(&back.difference, &c.difference, sizeof c.difference);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.image[0].nuse, 2);
    assert_int_equal(back.image[0].use[1].split, BS_SPLIT_VALIDATION);
    assert_true(back.image[1].candidate.msa == 0.75 && back.image[1].baseline.predicted == 3);
    assert_string_equal(back.unknown[0].name, "nuclei");
    bs_comparison_images_free(&back);
    bs_comparison_images_free(&c);
    close_blobs(blobs, folder);
}

static void one_image_has_no_interval_and_says_so(void **state)
{
    (void)state;
    char folder[64], hash[BS_BLOB_HASH_LEN + 1];
    struct bs_blobs *blobs = open_blobs(folder);
    struct bs_comparison_images c = example(), back;
    const struct bs_bootstrap_options options = {.resamples = 100, .confidence = 0.9};
    struct bs_err err;
    free(c.image[1].name);
    c.count = 1;
    assert_int_equal(bs_comparison_summarise(&c, &options, &err), BS_OK);
    assert_int_equal(bs_comparison_images_put(blobs, &c, hash, &err), BS_OK);
    assert_int_equal(bs_comparison_images_get(blobs, hash, &back, &err), BS_OK);
    assert_true(back.difference[0].difference == 0.25 && isnan(back.difference[0].low));
    bs_comparison_images_free(&back);
    bs_comparison_images_free(&c);
    close_blobs(blobs, folder);
}

static void what_is_no_comparison_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{}",
        "{\"images\":[],\"unknown\":[]}",
        "{\"images\":[{\"name\":\"a\"}],\"unknown\":[]}",
        "{\"images\":[{\"name\":\"a\",\"image\":\"" HASH "\",\"labels\":\"" HASH
        "\",\"files\":\"{}\",\"uses\":[]}],\"unknown\":[],\"differences\":[]}",
        "{\"images\":[{\"name\":\"a\",\"image\":\"" HASH "\",\"labels\":\"" HASH
        "\",\"files\":\"{}\",\"uses\":[{\"name\":\"m\",\"version\":1,\"split\":7}]}]}",
    };
    char folder[64], hash[BS_BLOB_HASH_LEN + 1];
    struct bs_blobs *blobs = open_blobs(folder);
    struct bs_comparison_images back;
    struct bs_err err;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        assert_int_equal(bs_blob_put(blobs, texts[i], strlen(texts[i]), hash, &err), BS_OK);
        assert_int_not_equal(bs_comparison_images_get(blobs, hash, &back, &err), BS_OK);
        assert_null(back.image);
    }
    close_blobs(blobs, folder);
}

static void requests_come_back_as_they_were(void **state)
{
    (void)state;
    const struct bs_comparison_request r = {
        .candidate = {"mine", 2, HASH},
        .baseline = {"nuclei", 1, HASH},
        .dataset = "held-out",
        .dataset_number = 3,
        .split = BS_SPLIT_TEST,
        .forced = true,
        .options = {.seed = INT64_MAX, .resamples = 100, .confidence = 0.9}};
    struct bs_comparison_request back;
    struct bs_err err;
    char *json = NULL;
    assert_int_equal(bs_comparison_request_to_json(&r, &json, &err), BS_OK);
    assert_int_equal(bs_comparison_request_from_json(json, &back, &err), BS_OK);
    assert_string_equal(back.baseline.name, "nuclei");
    assert_true(back.forced && back.options.seed == INT64_MAX && back.options.confidence == 0.9);
    *strstr(json, "resamples") = 'R';
    assert_int_equal(bs_comparison_request_from_json(json, &back, &err), BS_ECORRUPT);
    free(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(images_come_back_as_they_were),
        cmocka_unit_test(one_image_has_no_interval_and_says_so),
        cmocka_unit_test(what_is_no_comparison_is_refused),
        cmocka_unit_test(requests_come_back_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
