/* Image files from outside: every valid variant gives exactly its samples, and no malformed or truncated one does harm. */
#include "image_support.h"
#include "model/image/image.h"
#include "tests/support/sanitized.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define VALID BS_TEST_FIXTURES "/badfiles/valid/"
#define BAD   BS_TEST_FIXTURES "/badfiles/bad/"

static void shape_text(const struct bs_image *im, char *buf, size_t len)
{
    size_t n = 0;
    for (int i = 0; i < im->ndim; i++)
        n += (size_t)snprintf(buf + n, len - n, "%s%zu", i ? "x" : "", im->dim[i]);
}

static void every_valid_variant_gives_its_samples(void **state)
{
    (void)state;
    char line[256], name[64], shape[32], type[16], have[64], path[512];
    unsigned long long hash;
    int count = 0;
    FILE *f = fopen(VALID "expected.tsv", "r");
    assert_non_null(f);
    assert_non_null(fgets(line, sizeof line, f));
    while (fgets(line, sizeof line, f)) {
        assert_int_equal(sscanf(line, "%63s %31s %15s %llx", name, shape, type, &hash), 4);
        snprintf(path, sizeof path, VALID "%s", name);
        struct bs_image *from_file = NULL, *from_memory = NULL;
        struct bs_err err = {0};
        size_t size;
        unsigned char *bytes = read_all(path, &size);
        assert_non_null(bytes);
        if (bs_image_read_file(path, NULL, &from_file, &err) != BS_OK ||
            bs_image_decode(bytes, size, NULL, &from_memory, &err) != BS_OK)
            fail_msg("%s: %s", name, err.msg);
        shape_text(from_file, have, sizeof have);
        assert_string_equal(have, shape);
        assert_string_equal(bs_sample_name(from_file->sample), type);
        if (fnv1a64(from_file->data, from_file->bytes) != hash)
            fail_msg("%s: other samples than expected", name);
        assert_int_equal(from_memory->bytes, from_file->bytes);
        assert_memory_equal(from_memory->data, from_file->data, from_file->bytes);
        bs_image_unref(from_file);
        bs_image_unref(from_memory);
        free(bytes);
        count++;
    }
    fclose(f);
    assert_int_equal(count, 29);
}

static struct bs_image *read_valid(const char *name)
{
    char path[512];
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    snprintf(path, sizeof path, VALID "%s", name);
    if (bs_image_read_file(path, NULL, &im, &err) != BS_OK)
        fail_msg("%s: %s", name, err.msg);
    return im;
}

static void pages_without_stated_axes_ask_instead_of_guessing(void **state)
{
    (void)state;
    struct bs_image *im = read_valid("tiff_multipage_5.tif");
    assert_string_equal(im->axes, "?yx");
    bs_image_unref(im);
    im = read_valid("tiff_imagej_5z.tif");
    assert_string_equal(im->axes, "zyx");
    assert_int_equal(im->dim[0], 5);
    bs_image_unref(im);
}

static void white_is_zero_is_flagged_and_samples_stay_as_stored(void **state)
{
    (void)state;
    struct bs_image *im = read_valid("tiff_miniswhite.tif");
    assert_true(im->white_is_zero);
    bs_image_unref(im);
    im = read_valid("tiff_u8_strips.tif");
    assert_false(im->white_is_zero);
    bs_image_unref(im);
}

/* Everything a malformed file may do: fail with a sentence, or give its well-formed part. */
static bs_status decode_and_check(const unsigned char *bytes, size_t size,
                                  const struct bs_image_limits *limits, const char *name, bool *read)
{
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    bs_status rc = bs_image_decode(bytes, size, limits, &im, &err);
    if (rc == BS_OK) {
        assert_non_null(im);
        assert_true(im->bytes <= limits->max_bytes);
        volatile unsigned char sum = 0; /* every byte that was promised is there */
        for (size_t i = 0; i < im->bytes; i += 4096)
            sum = (unsigned char)(sum + ((unsigned char *)im->data)[i]);
        (void)sum;
        bs_image_unref(im);
    } else {
        assert_null(im);
        assert_int_equal(err.code, rc);
        if (strlen(err.msg) < 8 || rc == BS_EINTERNAL)
            fail_msg("%s: %s: \"%s\"", name, bs_status_name(rc), err.msg);
    }
    if (read)
        *read = rc == BS_OK;
    return rc;
}

static void no_malformed_file_does_harm_or_needs_much_memory(void **state)
{
    (void)state;
    /* What another reader can decode as well; everything else must be refused. */
    static const char *const readable[] = {
        "no_iend.png",         "png_chunk_len_huge.png",    "png_long_idat.png",
        "png_named.tif",       "png_palette_index_out.png", "png_palette_missing.png",
        "tiff_cyclic_ifd.tif", "tiff_cyclic_ifd_two.tif",   "tiff_deflate_bomb.tif",
        "tiff_rps_zero.tif",   "tiff_tile_zero.tif",        "png_bomb_16384_complete.png"};
    struct bs_image_limits limits = {
        .max_bytes = (size_t)300 << 20, .max_pixels = (size_t)1 << 30, .max_pages = 1000};
    struct rlimit before, tight;
    getrlimit(RLIMIT_AS, &before);
    tight = before;
    tight.rlim_cur = (rlim_t)1 << 30;
    if (!SANITIZED)
        setrlimit(RLIMIT_AS, &tight); /* an allocation of gigabytes would now fail as out of memory */
    int checked = 0, refused = 0;
    for (int pass = 0; pass < 2; pass++) {
        char **names, path[600];
        size_t n = list_names(BAD, pass ? ".tif" : ".png", &names);
        for (size_t i = 0; i < n; i++, checked++) {
            size_t size;
            bool read, may = false;
            snprintf(path, sizeof path, BAD "%s", names[i]);
            unsigned char *bytes = read_all(path, &size);
            assert_non_null(bytes);
            bs_status rc = decode_and_check(bytes, size, &limits, names[i], &read);
            for (size_t k = 0; k < sizeof readable / sizeof *readable; k++)
                may = may || strcmp(readable[k], names[i]) == 0;
            if (read && !may)
                fail_msg("%s was read, but nothing in it is an image", names[i]);
            if (rc == BS_ENOMEM)
                fail_msg("%s made us ask for too much memory", names[i]);
            refused += !read;
            free(bytes);
        }
        free_names(names, n);
    }
    setrlimit(RLIMIT_AS, &before);
    assert_true(checked >= 49);
    assert_true(refused >= checked - 12);
}

static void bombs_are_refused_by_the_limit(void **state)
{
    (void)state;
    struct bs_image_limits limits = {
        .max_bytes = (size_t)16 << 20, .max_pixels = (size_t)1 << 30, .max_pages = 10};
    size_t size;
    bool read;
    unsigned char *bytes = read_all(BAD "png_bomb_16384_complete.png", &size);
    assert_non_null(bytes);
    assert_int_equal(decode_and_check(bytes, size, &limits, "png_bomb_16384_complete.png", &read), BS_ELIMIT);
    free(bytes);
}

/* Cuts at every length of two files, and of the others at the beginning, where the structure is, and at seeded places. */
static void no_truncation_does_harm(void **state)
{
    (void)state;
    struct bs_image_limits limits = {
        .max_bytes = (size_t)16 << 20, .max_pixels = (size_t)1 << 30, .max_pages = 100};
    uint64_t seed = 7;
    for (int pass = 0; pass < 2; pass++) {
        char **names, path[600];
        size_t n = list_names(VALID, pass ? ".tif" : ".png", &names);
        for (size_t i = 0; i < n; i++) {
            size_t size;
            snprintf(path, sizeof path, VALID "%s", names[i]);
            unsigned char *bytes = read_all(path, &size);
            assert_non_null(bytes);
            bool all = !strcmp(names[i], "png_palette.png") || !strcmp(names[i], "tiff_deflate_pred2.tif");
            for (size_t cut = 0; cut < size;) {
                unsigned char *part = malloc(cut ? cut : 1); /* exactly as long: reads beyond it are seen */
                assert_non_null(part);
                memcpy(part, bytes, cut);
                (void)decode_and_check(part, cut, &limits, names[i], NULL);
                free(part);
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                cut += all || cut < 300 || size - cut < 40 ? 1 : 1 + (size_t)((seed >> 33) % (size / 30));
            }
            free(bytes);
        }
        free_names(names, n);
    }
}

static void no_flipped_byte_does_harm(void **state)
{
    (void)state;
    struct bs_image_limits limits = {
        .max_bytes = (size_t)16 << 20, .max_pixels = (size_t)1 << 26, .max_pages = 100};
    uint64_t seed = 11;
    for (int pass = 0; pass < 2; pass++) {
        char **names, path[600];
        size_t n = list_names(VALID, pass ? ".tif" : ".png", &names);
        for (size_t i = 0; i < n; i++) {
            size_t size;
            snprintf(path, sizeof path, VALID "%s", names[i]);
            unsigned char *bytes = read_all(path, &size);
            assert_non_null(bytes);
            for (int trial = 0; trial < 60; trial++) {
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                /* Mostly where structure lives: the head, and the directory at the tail of a TIFF. */
                size_t r = (size_t)(seed >> 33), where = trial % 3 == 0 ? r % size
                                                         : trial % 3 == 1
                                                             ? r % (size < 256 ? size : 256)
                                                             : size - 1 - r % (size < 300 ? size : 300);
                unsigned char old = bytes[where];
                bytes[where] = (unsigned char)(seed >> 20);
                (void)decode_and_check(bytes, size, &limits, names[i], NULL);
                bytes[where] = old;
            }
            free(bytes);
        }
        free_names(names, n);
    }
}

static void nothing_is_said_on_stderr(void **state)
{
    (void)state;
    char folder[256], path[600], **names;
    make_folder(folder);
    snprintf(path, sizeof path, "%s/stderr", folder);
    int saved = dup(STDERR_FILENO), fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_true(saved >= 0 && fd >= 0);
    fflush(stderr);
    dup2(fd, STDERR_FILENO);
    size_t n = list_names(BAD, ".tif", &names);
    for (size_t i = 0; i < n; i++) {
        char file[600];
        struct bs_image *im = NULL;
        snprintf(file, sizeof file, BAD "%s", names[i]);
        (void)!bs_image_read_file(file, NULL, &im, NULL);
        bs_image_unref(im);
    }
    free_names(names, n);
    fflush(stderr);
    off_t said = lseek(fd, 0, SEEK_END);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(fd);
    remove_folder(folder);
    assert_int_equal(said, 0);
}

static void missing_and_special_files_are_named(void **state)
{
    (void)state;
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs_image_read_file("/no/such/folder/cells.tif", NULL, &im, &err), BS_ENOTFOUND);
    assert_non_null(strstr(err.msg, "cells.tif"));
    assert_null(strstr(err.msg, "/no/such")); /* never an internal path */
    assert_int_equal(bs_image_read_file("/dev/null", NULL, &im, &err), BS_EINVAL);
    assert_int_equal(bs_image_decode(NULL, 0, NULL, &im, &err), BS_ECORRUPT);
}

static void absurd_sizes_are_refused_before_allocating(void **state)
{
    (void)state;
    struct bs_image *im = NULL;
    struct bs_err err = {0};
    size_t zero[2] = {0, 5}, vast[2] = {SIZE_MAX / 2, 4}, big[2] = {70000, 70000};
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "yx", zero, NULL, &im, &err), BS_EINVAL);
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "yx", vast, NULL, &im, &err), BS_ELIMIT);
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "yx", big, NULL, &im, &err), BS_ELIMIT);
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "xx", big, NULL, &im, &err), BS_EINVAL);
    assert_int_equal(bs_image_create(BS_SAMPLE_U8, "zc", big, NULL, &im, &err), BS_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_valid_variant_gives_its_samples),
        cmocka_unit_test(pages_without_stated_axes_ask_instead_of_guessing),
        cmocka_unit_test(white_is_zero_is_flagged_and_samples_stay_as_stored),
        cmocka_unit_test(no_malformed_file_does_harm_or_needs_much_memory),
        cmocka_unit_test(bombs_are_refused_by_the_limit),
        cmocka_unit_test(no_truncation_does_harm),
        cmocka_unit_test(no_flipped_byte_does_harm),
        cmocka_unit_test(nothing_is_said_on_stderr),
        cmocka_unit_test(missing_and_special_files_are_named),
        cmocka_unit_test(absurd_sizes_are_refused_before_allocating),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
