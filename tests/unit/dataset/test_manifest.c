/* Promises about manifests: the same manifest has one text, reading it back loses nothing, its hash follows content and not names,
   nothing odd is read. */
#include "model/dataset/manifest.h"
#include "tests/support/fail_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HASH_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define HASH_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static struct bs_manifest_pair plain(void)
{
    return (struct bs_manifest_pair){.image = {(char *)"a/cells \"1\".tif", NULL, HASH_A, {.ndim = 0}},
                                     .labels = {(char *)"a/labels.tif", NULL, HASH_B, {.ndim = 0}},
                                     .image_plane = BS_PLANE_ONLY,
                                     .labels_plane = BS_PLANE_ONLY,
                                     .group = (char *)"a",
                                     .part = BS_PART_TRAIN};
}

static struct bs_manifest_box boxes[] = {{0, 1, 20, 30}, {5, 5, 6, 6}};

static struct bs_manifest_pair full(void)
{
    struct bs_manifest_pair p = plain();
    p.image.volume = (char *)"volumes/raw";
    p.image_plane = 3;
    p.labels_plane = 0;
    p.part = BS_PART_VALIDATION;
    p.ignore = boxes;
    p.nignore = 2;
    p.only = boxes;
    p.nonly = 1;
    p.prediction = (struct bs_manifest_file){(char *)"pred.tif", NULL, HASH_A, {.ndim = 0}};
    p.done = true;
    p.has_ignore_label = true;
    p.ignore_label = -7;
    p.labels.raw =
        (struct bs_raw_image){.sample = BS_SAMPLE_I32, .ndim = 3, .axes = "zyx", .dim = {2, 20, 30}};
    return p;
}

static void make(struct bs_manifest *m)
{
    struct bs_manifest_pair p = plain(), q = full();
    *m = (struct bs_manifest){.channel = 2, .has_ignore_label = true, .ignore_label = -1};
    assert_int_equal(bs_manifest_add(m, &p, NULL), BS_OK);
    assert_int_equal(bs_manifest_add(m, &q, NULL), BS_OK);
}

static const char text_of_both[] =
    "{\"format\":\"bioseg data set\",\"version\":1,\"channel\":2,\"ignore_label\":-1,\"pairs\":["
    "{\"image\":{\"file\":\"a/cells \\\"1\\\".tif\",\"sha256\":\"" HASH_A "\"},"
    "\"labels\":{\"file\":\"a/labels.tif\",\"sha256\":\"" HASH_B "\"},\"group\":\"a\",\"part\":\"train\"},"
    "{\"image\":{\"file\":\"a/cells \\\"1\\\".tif\",\"volume\":\"volumes/raw\",\"sha256\":\"" HASH_A "\"},"
    "\"labels\":{\"file\":\"a/"
    "labels.tif\",\"raw\":{\"sample\":\"int32\",\"axes\":\"zyx\",\"shape\":[2,20,30]},"
    "\"sha256\":\"" HASH_B "\"},\"image_plane\":3,\"labels_plane\":0,"
    "\"group\":\"a\",\"part\":\"validation\",\"ignore_label\":-7,\"ignore\":[[0,1,20,30],[5,5,6,6]],\"only\":"
    "[[0,1,20,30]],"
    "\"prediction\":{\"file\":\"pred.tif\",\"sha256\":\"" HASH_A "\"},\"done\":true}]}";

static void a_manifest_has_one_text_and_comes_back_from_it(void **state)
{
    (void)state;
    struct bs_manifest m, back = {0};
    struct bs_err err;
    char *text, *again;
    make(&m);
    assert_int_equal(bs_manifest_write(&m, &text, &err), BS_OK);
    assert_string_equal(text, text_of_both);
    if (bs_manifest_parse(text, strlen(text), &back, &err) != BS_OK)
        fail_msg("%s", err.msg);
    assert_int_equal(back.count, 2);
    assert_int_equal(back.pair[1].image_plane, 3);
    assert_int_equal(back.pair[1].ignore[1].right, 6);
    assert_true(back.pair[1].done && !back.pair[0].done);
    assert_true(back.pair[1].has_ignore_label && !back.pair[0].has_ignore_label);
    assert_int_equal(back.pair[1].ignore_label, -7);
    assert_int_equal(bs_raw_image_compare(&back.pair[1].labels.raw, &m.pair[1].labels.raw), 0);
    assert_int_equal(back.pair[0].labels.raw.ndim, 0);
    assert_null(back.pair[0].prediction.name);
    assert_int_equal(bs_manifest_write(&back, &again, &err), BS_OK);
    assert_string_equal(again, text);
    bs_manifest_clear(&back);
    /* Members may come in any order. */
    const char *other = "{\"pairs\":[{\"part\":\"test\",\"group\":\"g\",\"labels\":{\"file\":\"l\"},"
                        "\"image\":{\"file\":\"i\"}}],\"version\":1,\"format\":\"bioseg data set\"}";
    assert_int_equal(bs_manifest_parse(other, strlen(other), &back, &err), BS_OK);
    assert_int_equal(back.count, 1);
    assert_int_equal(back.channel, BS_PLANE_CHANNEL_ANY);
    assert_int_equal(back.pair[0].part, BS_PART_TEST);
    bs_manifest_clear(&back);
    bs_manifest_clear(&m);
    free(text);
    free(again);
}

static void hash_of(const struct bs_manifest_pair *pairs, size_t count, int channel,
                    char hash[BS_SHA256_TEXT])
{
    struct bs_manifest m = {.channel = channel};
    struct bs_err err;
    for (size_t i = 0; i < count; i++)
        assert_int_equal(bs_manifest_add(&m, &pairs[i], NULL), BS_OK);
    if (bs_manifest_hash(&m, hash, &err) != BS_OK)
        fail_msg("%s", err.msg);
    bs_manifest_clear(&m);
}

static void the_hash_follows_what_training_sees(void **state)
{
    (void)state;
    char hash[BS_SHA256_TEXT], other[BS_SHA256_TEXT];
    struct bs_manifest_pair p[2] = {plain(), full()}, changed[2];
    struct bs_manifest_box box = {0, 1, 20, 31};
    hash_of(p, 2, -1, hash);
    memcpy(changed, p, sizeof p);
    changed[0].image.name = (char *)"elsewhere.tif";
    changed[0].group = (char *)"renamed";
    changed[1].prediction.name = (char *)"p2.tif";
    hash_of(changed, 2, -1, other);
    assert_string_equal(other, hash);
    hash_of(p, 2, 0, other);
    assert_string_not_equal(other, hash);
    hash_of(p, 1, -1, other);
    assert_string_not_equal(other, hash);
    for (int what = 0; what < 12; what++) {
        memcpy(changed, p, sizeof p);
        switch (what) {
        case 0:
            memcpy(changed[0].image.sha256, HASH_B, BS_SHA256_TEXT);
            break;
        case 1:
            memcpy(changed[0].labels.sha256, HASH_A, BS_SHA256_TEXT);
            break;
        case 2:
            changed[0].part = BS_PART_TEST;
            break;
        case 3:
            changed[0].image_plane = 0;
            break;
        case 4:
            changed[1].labels_plane = 1;
            break;
        case 5:
            changed[1].done = false;
            break;
        case 6:
            changed[1].only = &box;
            break;
        case 7:
            changed[1].image.volume = (char *)"volumes/other";
            break;
        case 8:
            changed[0].has_ignore_label = true;
            break;
        case 9:
            changed[1].ignore_label = -8;
            break;
        case 10:
            changed[1].labels.raw.dim[2] = 15;
            changed[1].labels.raw.dim[1] = 40;
            break;
        default:
            changed[0] = p[1];
            changed[1] = p[0];
        }
        hash_of(changed, 2, -1, other);
        assert_string_not_equal(other, hash);
    }
    struct bs_manifest m = {.channel = -1};
    struct bs_err err;
    p[1].labels.sha256[0] = '\0';
    assert_int_equal(bs_manifest_add(&m, &p[1], NULL), BS_OK);
    assert_int_equal(bs_manifest_hash(&m, hash, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "a/labels.tif"));
    bs_manifest_clear(&m);
}

#define PAIR(more)                                                                                           \
    "{\"image\":{\"file\":\"i\"},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"train\"" more "}"
#define SET(more, pairs) "{\"format\":\"bioseg data set\",\"version\":1" more ",\"pairs\":[" pairs "]}"

static void what_is_odd_is_refused_with_its_place(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]", "is an object"},
        {"{}", "\"format\" is missing"},
        {"{\"format\":\"coco\",\"version\":1,\"pairs\":[]}", "\"coco\""},
        {"{\"format\":\"bioseg data set\",\"pairs\":[]}", "\"version\" is missing"},
        {"{\"format\":\"bioseg data set\",\"version\":2,\"pairs\":[]}", "\"version\" is 2"},
        {"{\"format\":\"bioseg data set\",\"version\":1}", "\"pairs\" is missing"},
        {SET(",\"more\":1", ""), "not known"},
        {SET(",\"channel\":-2", ""), "\"channel\" is -2"},
        {SET(",\"ignore_label\":0.5", ""), "\"ignore_label\" is a number"},
        {SET("", PAIR("") ",3"), "pair 1 of the data set: it is an integer"},
        {SET("", PAIR(",\"x\":1")), "pair 0 of the data set: it has members that are not known"},
        {SET("", PAIR(",\"image_plane\":-1")), "\"image_plane\" is -1"},
        {SET("", PAIR(",\"done\":1")), "\"done\" is an integer"},
        {SET("", PAIR(",\"ignore_label\":4294967296")), "\"ignore_label\" is 4294967296"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"raw\":{\"sample\":\"uint9\",\"axes\":\"yx\","
                      "\"shape\":[1,2]}}")),
         "\"raw\" needs a known type"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"raw\":{\"sample\":\"uint8\",\"axes\":\"yx\","
                      "\"shape\":[1]}}")),
         "as many sizes"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"raw\":{\"sample\":\"uint8\",\"axes\":\"yx\"}}")),
         "as many sizes"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"raw\":{\"sample\":\"uint8\",\"axes\":\"xy\","
                      "\"shape\":[1,2]}}")),
         "axes \"xy\""},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"raw\":3}")), "is missing"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"volume\":\"v\",\"raw\":{\"sample\":\"uint8\","
                      "\"axes\":\"yx\",\"shape\":[1,2]}}")),
         "one of them"},
        {SET("", PAIR(",\"ignore\":[]")), "no list of 1 to"},
        {SET("", PAIR(",\"ignore\":[[1,2,3]]")), "box 1 of \"ignore\""},
        {SET("", PAIR(",\"ignore\":[[1,2,3,4],[1,2,3,4.5]]")), "box 2 of \"ignore\""},
        {SET("", PAIR(",\"only\":[[3,2,3,4]]")), "holds nothing"},
        {SET("", PAIR(",\"only\":[[-3,2,3,4]]")), "holds nothing"},
        {SET("", PAIR(",\"prediction\":\"p\"")), "\"prediction\" is a string"},
        {SET("", PAIR(",\"prediction\":{\"file\":\"p\",\"sha256\":\"12\"}")), "64 are accepted"},
        {SET("",
             "{\"image\":{\"file\":\"\"},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"train\"}"),
         "the image has 0 bytes"},
        {SET("",
             "{\"image\":{\"file\":\"i\"},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"some\"}"),
         "\"some\""},
        {SET("", "{\"image\":{\"file\":\"i\",\"x\":0},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":"
                 "\"test\"}"),
         "a file has members"},
        {SET("", "{\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"test\"}"), "\"image\" is missing"},
        {SET("", "{\"image\":{},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"test\"}"),
         "\"file\" is missing"},
        {SET("", "{\"image\":{\"file\":\"i\"},\"labels\":{\"file\":\"l\"},\"part\":\"test\"}"),
         "\"group\" is missing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs_manifest m = {0};
        struct bs_err err = {0};
        bs_status rc = bs_manifest_parse(cases[i].text, strlen(cases[i].text), &m, &err);
        if (rc != BS_EINVAL || !strstr(err.msg, cases[i].says))
            fail_msg("%s: %s: %s", cases[i].text, bs_status_name(rc), err.msg);
        assert_int_equal(m.count, 0);
    }
    struct bs_manifest m = {0};
    struct bs_manifest_pair p = plain();
    struct bs_err err;
    p.image.name = (char *)"bad\xff.tif";
    assert_int_equal(bs_manifest_add(&m, &p, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "from byte 3 on"));
    p = plain();
    memset(p.image.sha256, 'A', BS_SHA256_TEXT - 1);
    assert_int_equal(bs_manifest_add(&m, &p, &err), BS_EINVAL);
}

/* Same content in two parts, whatever the files are called; another plane of it, or the same part, is fine. */
static void parts_do_not_share_images(void **state)
{
    (void)state;
    struct bs_manifest m = {.channel = -1};
    struct bs_manifest_pair p = plain();
    struct bs_err err;
    assert_int_equal(bs_manifest_add(&m, &p, NULL), BS_OK);
    p.image.name = (char *)"copy.tif";
    assert_int_equal(bs_manifest_add(&m, &p, NULL), BS_OK);
    p.part = BS_PART_TEST;
    p.image_plane = 4;
    assert_int_equal(bs_manifest_add(&m, &p, NULL), BS_OK);
    assert_int_equal(bs_manifest_check_parts(&m, &err), BS_OK);
    p.image_plane = BS_PLANE_ONLY;
    assert_int_equal(bs_manifest_add(&m, &p, NULL), BS_OK);
    assert_int_equal(bs_manifest_check_parts(&m, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "(train)"));
    assert_non_null(strstr(err.msg, "\"copy.tif\" (test)"));
    /* Without hashes names are compared. */
    for (size_t i = 0; i < m.count; i++)
        m.pair[i].image.sha256[0] = '\0';
    assert_int_equal(bs_manifest_check_parts(&m, &err), BS_EINVAL);
    m.pair[3].image.name[0] = 'k';
    assert_int_equal(bs_manifest_check_parts(&m, &err), BS_OK);
    bs_manifest_clear(&m);
    static const char twice[] =
        "{\"format\":\"bioseg data set\",\"version\":1,\"pairs\":["
        "{\"image\":{\"file\":\"i\"},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"train\"},"
        "{\"image\":{\"file\":\"i\"},\"labels\":{\"file\":\"l\"},\"group\":\"g\",\"part\":\"test\"}]}";
    assert_int_equal(bs_manifest_parse(twice, strlen(twice), &m, &err), BS_EINVAL);
    assert_int_equal(m.count, 0);
}

static void whichever_allocation_fails_it_is_an_error_value(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        struct bs_manifest m = {0};
        struct bs_err err = {0};
        char hash[BS_SHA256_TEXT], *text = NULL;
        bs_test_fail_alloc_at(n);
        bs_status rc = bs_manifest_parse(text_of_both, strlen(text_of_both), &m, &err);
        if (rc == BS_OK)
            rc = bs_manifest_hash(&m, hash, &err);
        if (rc == BS_OK)
            rc = bs_manifest_write(&m, &text, &err);
        bool hit = bs_test_alloc_failed();
        bs_test_fail_alloc_at(0);
        assert_int_equal(rc, hit ? BS_ENOMEM : BS_OK);
        bs_manifest_clear(&m);
        free(text);
        if (!hit)
            break;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_has_one_text_and_comes_back_from_it),
        cmocka_unit_test(the_hash_follows_what_training_sees),
        cmocka_unit_test(what_is_odd_is_refused_with_its_place),
        cmocka_unit_test(parts_do_not_share_images),
        cmocka_unit_test(whichever_allocation_fails_it_is_an_error_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
