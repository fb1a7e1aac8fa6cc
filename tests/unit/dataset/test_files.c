/* Promises about pairs from files: planes and channels are those the manifest names, whatever file format and sample type; a
   file that was changed, does not fit or is no labels is named; threads share what is decoded; parts are kept apart. */
#include "model/dataset/files.h"

#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { H = 6, W = 8, PLANES = 3 };

static char folder[32];
static struct bs_root *root;
static atomic_int opened;

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void fill(uint32_t *labels, uint32_t first)
{
    for (uint32_t i = 0; i < H * W; i++)
        labels[i] = first + i;
}

/* image.png: 1000 + i; labels.png: i; stack.tif: planes of 100 k + i; labels_stack.tif: the same + 1; maps.tif: channels of
   float; grey.png and colour.png: RGB. */
static int make_files(void **state)
{
    (void)state;
    uint32_t labels[PLANES * H * W];
    float maps[2 * H * W];
    uint8_t rgb[3 * H * W];
    struct bs_err err;
    strcpy(folder, "files-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    fill(labels, 1000);
    bs_status rc = bs_labels_write_png(in_folder("image.png"), labels, H, W, &err);
    fill(labels, 0);
    if (rc == BS_OK)
        rc = bs_labels_write_png(in_folder("labels.png"), labels, H, W, &err);
    if (rc == BS_OK)
        rc = bs_labels_write_png(in_folder("small.png"), labels, H - 1, W, &err);
    for (uint32_t k = 0; k < PLANES; k++)
        fill(labels + k * H * W, 100 * k);
    if (rc == BS_OK)
        rc = bs_labels_write_tiff(in_folder("stack.tif"), labels, PLANES, H, W, NULL, &err);
    for (uint32_t k = 0; k < PLANES * H * W; k++)
        labels[k]++;
    if (rc == BS_OK)
        rc = bs_labels_write_tiff(in_folder("labels_stack.tif"), labels, PLANES, H, W, NULL, &err);
    for (int i = 0; i < 2 * H * W; i++)
        maps[i] = (float)i;
    if (rc == BS_OK)
        rc = bs_maps_write_tiff(in_folder("whole.tif"), maps, 1, H, W, NULL, &err);
    maps[3] = 0.5f;
    if (rc == BS_OK)
        rc = bs_maps_write_tiff(in_folder("half.tif"), maps, 1, H, W, NULL, &err);
    maps[3] = -2;
    if (rc == BS_OK)
        rc = bs_maps_write_tiff(in_folder("negative.tif"), maps, 1, H, W, NULL, &err);
    maps[9] = (float)NAN;
    if (rc == BS_OK)
        rc = bs_maps_write_tiff(in_folder("nan.tif"), maps, 1, H, W, NULL, &err);
    for (int i = 0; i < H * W; i++)
        memset(rgb + 3 * i, i, 3);
    if (rc == BS_OK)
        rc = bs_rgb_write_png(in_folder("grey.png"), rgb, H, W, &err);
    rgb[1] = 200;
    if (rc == BS_OK)
        rc = bs_rgb_write_png(in_folder("colour.png"), rgb, H, W, &err);
    if (rc == BS_OK)
        rc = bs_root_open(folder, &root, &err);
    if (rc != BS_OK)
        print_error("%s\n", err.msg);
    return rc == BS_OK ? 0 : -1;
}

static int remove_files(void **state)
{
    (void)state;
    struct bs_names names = {0};
    if (bs_root_list(root, "", &names, NULL) == BS_OK)
        for (size_t i = 0; i < names.count; i++)
            unlink(in_folder(names.at[i]));
    bs_names_clear(&names);
    bs_root_close(root);
    return rmdir(folder);
}

static bs_status counting_open(void *ctx, const struct bs_manifest_file *file, int *fd, struct bs_err *err)
{
    (void)ctx;
    opened++;
    return bs_root_open_file(root, file->name, fd, err);
}

static const struct bs_file_opener counting = {NULL, counting_open};

static struct bs_manifest_pair pair_of(const char *image, const char *labels)
{
    return (struct bs_manifest_pair){.image = {.name = (char *)image},
                                     .labels = {.name = (char *)labels},
                                     .image_plane = BS_PLANE_ONLY,
                                     .labels_plane = BS_PLANE_ONLY,
                                     .group = (char *)"g"};
}

static void add(struct bs_manifest *m, struct bs_manifest_pair p)
{
    assert_int_equal(bs_manifest_add(m, &p, NULL), BS_OK);
}

static struct bs_pair_files *open_pairs(const struct bs_manifest *m, size_t cache_bytes)
{
    struct bs_pair_files *f;
    struct bs_pair_files_rule rule = {.parts = BS_PARTS_ALL, .cache_bytes = cache_bytes};
    assert_int_equal(bs_pair_files_create(m, &counting, &rule, &f, NULL), BS_OK);
    return f;
}

static struct bs_pair load(const struct bs_pair_files *f, size_t i)
{
    struct bs_pair pair;
    struct bs_err err;
    const struct bs_pair_source *s = bs_pair_files_source(f);
    if (s->load(s->ctx, i, &pair, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(pair.channels, 1);
    assert_int_equal(pair.height, H);
    assert_int_equal(pair.width, W);
    return pair;
}

static void release(const struct bs_pair_files *f, struct bs_pair *pair)
{
    const struct bs_pair_source *s = bs_pair_files_source(f);
    s->release(s->ctx, pair);
}

static void numbers_are_those_of_the_files(void **state)
{
    (void)state;
    static const struct {
        const char *image, *labels;
        int64_t image_plane, labels_plane;
        float first;
        uint32_t first_label;
    } cases[] = {
        {"image.png", "labels.png", -1, -1, 1000, 0},      {"image.png", "labels.png", 0, 0, 1000, 0},
        {"stack.tif", "labels_stack.tif", 2, 1, 200, 101}, {"stack.tif", "labels_stack.tif", 0, 2, 0, 201},
        {"whole.tif", "labels.png", -1, -1, 0, 0},         {"image.png", "whole.tif", -1, -1, 1000, 0},
        {"grey.png", "labels_stack.tif", -1, 0, 0, 1},     {"image.png", "grey.png", -1, -1, 1000, 0},
    };
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_manifest_pair p = pair_of(cases[i].image, cases[i].labels);
        p.image_plane = cases[i].image_plane;
        p.labels_plane = cases[i].labels_plane;
        add(&m, p);
    }
    struct bs_pair_files *f = open_pairs(&m, 0);
    assert_int_equal(bs_pair_files_source(f)->count, m.count);
    assert_false(bs_pair_files_source(f)->partial);
    for (size_t i = 0; i < m.count; i++) {
        struct bs_pair pair = load(f, i);
        assert_null(pair.ignored);
        for (size_t k = 0; k < H * W; k++) {
            assert_true(pair.image[k] == cases[i].first + (float)k);
            assert_int_equal(pair.labels[k], cases[i].first_label + k);
        }
        release(f, &pair);
    }
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

static void a_channel_is_the_one_that_is_asked_for(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = 1};
    add(&m, pair_of("colour.png", "labels.png"));
    struct bs_pair_files *f = open_pairs(&m, 0);
    struct bs_pair pair = load(f, 0);
    assert_true(pair.image[0] == 200 && pair.image[1] == 1);
    release(f, &pair);
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

static void what_cannot_be_a_pair_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *image, *labels, *says;
    } cases[] = {
        {"missing.png", "labels.png", "\"missing.png\""},
        {"image.png", "missing.png", "\"missing.png\""},
        {"image.png", "small.png", "\"small.png\": it has 8 x 5 pixels, its image has 8 x 6"},
        {"stack.tif", "labels.png", "\"stack.tif\": the "},
        {"colour.png", "labels.png", "\"colour.png\": the image has 3 channels that differ"},
        {"image.png", "half.tif", "\"half.tif\": the label at row 0, column 3 is 0.5"},
        {"image.png", "negative.tif", "row 0, column 3 is -2"},
        {"image.png", "nan.tif", "row 0, column 3 is -2"},
        {"nan.tif", "labels.png", "\"nan.tif\": the sample at row 1, column 1 is nan"},
        {"../x", "labels.png", "\"../x\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
        struct bs_pair pair;
        struct bs_err err = {0};
        add(&m, pair_of(cases[i].image, cases[i].labels));
        struct bs_pair_files *f = open_pairs(&m, 0);
        const struct bs_pair_source *s = bs_pair_files_source(f);
        assert_int_not_equal(s->load(s->ctx, 0, &pair, &err), BS_OK);
        if (!strstr(err.msg, cases[i].says))
            fail_msg("%zu: %s", i, err.msg);
        bs_pair_files_destroy(f);
        bs_manifest_clear(&m);
    }
}

static void what_does_not_count_is_marked(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY, .has_ignore_label = true, .ignore_label = -2};
    struct bs_manifest_box box = {2, 0, 4, 3};
    struct bs_manifest_pair p = pair_of("image.png", "negative.tif");
    p.ignore = &box;
    p.nignore = 1;
    add(&m, p);
    p = pair_of("image.png", "labels.png");
    p.prediction.name = (char *)"labels.png";
    add(&m, p);
    p.done = true;
    add(&m, p);
    struct bs_pair_files *f = open_pairs(&m, 0);
    assert_true(bs_pair_files_source(f)->partial);
    struct bs_pair pair = load(f, 0);
    for (size_t k = 0; k < H * W; k++) {
        assert_int_equal(pair.ignored[k], k == 3 || (k / W >= 2 && k / W < 4 && k % W < 3));
        assert_int_equal(pair.labels[k], k == 3 ? 0 : k);
    }
    release(f, &pair);
    pair = load(f, 1); /* nothing was touched */
    for (size_t k = 0; k < H * W; k++)
        assert_int_equal(pair.ignored[k], 1);
    release(f, &pair);
    pair = load(f, 2); /* but here it is marked done */
    for (size_t k = 0; k < H * W; k++)
        assert_int_equal(pair.ignored[k], 0);
    release(f, &pair);
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

static void parts_are_kept_apart(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_pair_files *f;
    struct bs_err err;
    struct bs_manifest_pair p = pair_of("stack.tif", "labels_stack.tif");
    for (int k = 0; k < PLANES; k++) {
        p.image_plane = p.labels_plane = k;
        p.part = k == 1 ? BS_PART_VALIDATION : BS_PART_TRAIN;
        add(&m, p);
    }
    struct bs_pair_files_rule rule = {.parts = BS_PART_BIT(BS_PART_TRAIN), .cache_bytes = 1 << 20};
    assert_int_equal(bs_pair_files_create(&m, &counting, &rule, &f, NULL), BS_OK);
    assert_int_equal(bs_pair_files_source(f)->count, 2);
    assert_ptr_equal(bs_pair_files_pair(f, 1), &m.pair[2]);
    opened = 0;
    for (size_t i = 0; i < 4; i++) {
        struct bs_pair pair = load(f, i % 2);
        assert_true(pair.image[0] == (float)(i % 2 * 200));
        release(f, &pair);
    }
    assert_int_equal(opened, 2); /* a stack is decoded once */
    bs_pair_files_destroy(f);
    rule.parts = BS_PART_BIT(BS_PART_VALIDATION);
    assert_int_equal(bs_pair_files_create(&m, &counting, &rule, &f, NULL), BS_OK);
    assert_int_equal(bs_pair_files_source(f)->count, 1);
    bs_pair_files_destroy(f);
    rule.parts = BS_PART_BIT(BS_PART_TEST);
    assert_int_equal(bs_pair_files_create(&m, &counting, &rule, &f, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "none is for testing"));
    bs_manifest_clear(&m);
}

static void a_file_that_was_changed_is_refused(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_manifest_pair p = pair_of("image.png", "changing.png");
    struct bs_err err;
    uint32_t labels[H * W];
    int fd;
    fill(labels, 5);
    assert_int_equal(bs_labels_write_png(in_folder("changing.png"), labels, H, W, NULL), BS_OK);
    assert_int_equal(bs_root_open_file(root, "changing.png", &fd, NULL), BS_OK);
    assert_int_equal(bs_sha256_file(fd, p.labels.sha256, NULL), BS_OK);
    close(fd);
    add(&m, p);
    struct bs_pair_files *f = open_pairs(&m, 0); /* nothing is kept */
    struct bs_pair pair;
    for (int i = 0; i < 2; i++) {
        pair = load(f, 0);
        release(f, &pair);
    }
    labels[0] = 4;
    assert_int_equal(bs_labels_write_png(in_folder("changing.png"), labels, H, W, NULL), BS_OK);
    const struct bs_pair_source *s = bs_pair_files_source(f);
    assert_int_equal(s->load(s->ctx, 0, &pair, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "\"changing.png\": it was changed since"));
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

enum { THREADS = 4 };

static void *load_many(void *context)
{
    const struct bs_pair_files *f = context;
    const struct bs_pair_source *s = bs_pair_files_source(f);
    for (size_t i = 0; i < 300; i++) {
        struct bs_pair pair;
        size_t k = i * 7 % PLANES;
        if (s->load(s->ctx, k, &pair, NULL) != BS_OK)
            return context;
        bool right = pair.image[0] == (float)(100 * k) && pair.labels[H * W - 1] == 100 * k + H * W;
        s->release(s->ctx, &pair);
        if (!right)
            return context;
    }
    return NULL;
}

static void threads_load_at_once(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_manifest_pair p = pair_of("stack.tif", "labels_stack.tif");
    for (int k = 0; k < PLANES; k++) {
        p.image_plane = p.labels_plane = k;
        add(&m, p);
    }
    /* All of it fits, some of it, nothing. */
    static const size_t room[] = {1 << 20, 1000, 0};
    for (size_t i = 0; i < 3; i++) {
        struct bs_pair_files *f = open_pairs(&m, room[i]);
        pthread_t thread[THREADS];
        opened = 0;
        for (int k = 0; k < THREADS; k++)
            assert_int_equal(pthread_create(&thread[k], NULL, load_many, f), 0);
        for (int k = 0; k < THREADS; k++) {
            void *wrong;
            pthread_join(thread[k], &wrong);
            assert_null(wrong);
        }
        if (i == 0)
            assert_int_equal(opened, 2);
        bs_pair_files_destroy(f);
    }
    bs_manifest_clear(&m);
}

static void samples_are_cut_from_files(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = BS_PLANE_CHANNEL_ANY};
    struct bs_pair_files *f;
    struct bs_pair_files_rule rule = {.parts = BS_PARTS_ALL, .cache_bytes = 1 << 20};
    struct bs_file_opener opener = bs_files_beneath(root);
    add(&m, pair_of("image.png", "labels.png"));
    assert_int_equal(bs_pair_files_create(&m, &opener, &rule, &f, NULL), BS_OK);
    struct bs_sample_rule sample = bs_sample_rule_default();
    sample.height = sample.width = 4;
    float image[16], target[48];
    uint32_t labels[16];
    for (uint64_t i = 0; i < 20; i++) {
        assert_int_equal(bs_sample_make(bs_pair_files_source(f), &sample, 3, i, image, target, labels, NULL),
                         BS_OK);
        assert_true((image[1] > image[0]) == (labels[1] > labels[0]));
    }
    bs_pair_files_destroy(f);
    bs_manifest_clear(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_those_of_the_files),
        cmocka_unit_test(a_channel_is_the_one_that_is_asked_for),
        cmocka_unit_test(what_cannot_be_a_pair_is_named),
        cmocka_unit_test(what_does_not_count_is_marked),
        cmocka_unit_test(parts_are_kept_apart),
        cmocka_unit_test(a_file_that_was_changed_is_refused),
        cmocka_unit_test(threads_load_at_once),
        cmocka_unit_test(samples_are_cut_from_files),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
