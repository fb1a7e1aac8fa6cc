/* Promises about SHA-256: the examples of the standard, every way to cut a text into parts, lengths around a block, files. */
#include "kernels/base/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void hash_of(const void *data, size_t bytes, size_t part, char text[BS_SHA256_TEXT])
{
    struct bs_sha256 h;
    unsigned char digest[BS_SHA256_BYTES];
    bs_sha256_begin(&h);
    for (size_t at = 0; at < bytes; at += part)
        bs_sha256_add(&h, (const char *)data + at, bytes - at < part ? bytes - at : part);
    bs_sha256_end(&h, digest);
    bs_sha256_text(digest, text);
}

static void the_standards_examples(void **state)
{
    (void)state;
    static const struct {
        const char *message, *want;
    } examples[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    char text[BS_SHA256_TEXT];
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        hash_of(examples[i].message, strlen(examples[i].message), 64, text);
        assert_string_equal(text, examples[i].want);
    }
    char *million = malloc(1000000);
    assert_non_null(million);
    memset(million, 'a', 1000000);
    hash_of(million, 1000000, 4096, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    free(million);
}

static void a_million_letters_in_pieces_of_any_length(void **state)
{
    (void)state;
    char letters[200], text[BS_SHA256_TEXT];
    unsigned char digest[BS_SHA256_BYTES];
    struct bs_sha256 h;
    size_t left = 1000000, piece = 1;
    memset(letters, 'a', sizeof letters);
    bs_sha256_begin(&h);
    while (left) {
        const size_t n = piece < left ? piece : left;
        bs_sha256_add(&h, letters, n);
        left -= n;
        piece = piece % sizeof letters + 1;
    }
    bs_sha256_end(&h, digest);
    bs_sha256_text(digest, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

static void parts_of_any_size_give_the_same(void **state)
{
    (void)state;
    unsigned char data[200];
    char whole[BS_SHA256_TEXT], parts[BS_SHA256_TEXT], before[BS_SHA256_TEXT] = "";
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 37);
    for (size_t bytes = 0; bytes <= sizeof data; bytes++) {
        hash_of(data, bytes, sizeof data, whole);
        for (size_t part = 1; part < 140; part += 3) {
            hash_of(data, bytes, part, parts);
            assert_string_equal(parts, whole);
        }
        assert_string_not_equal(whole, before);
        memcpy(before, whole, sizeof before);
    }
    /* Lengths on both sides of where the padding takes another block; made with hashlib. */
    hash_of(data, 55, 200, whole);
    assert_string_equal(whole, "3b453d648ef01a1ddbc30ef4cee00724bb53fe40b38a08c04cfd6009235c09bf");
    hash_of(data, 56, 200, whole);
    assert_string_equal(whole, "a5f1426b20451b15d1c92aef1b27b36b038d13a77874409d73889c02fa1ca778");
    hash_of(data, 64, 200, whole);
    assert_string_equal(whole, "17ff3615c8f2285b470ee569e15b37503eae49e36882b63ccc1aceb055d7f082");
}

static void a_file_is_hashed_from_its_first_byte(void **state)
{
    (void)state;
    char text[BS_SHA256_TEXT], byte;
    struct bs_err err;
    FILE *f = tmpfile();
    assert_non_null(f);
    fputs("abc", f);
    fflush(f);
    rewind(f);
    assert_int_equal(read(fileno(f), &byte, 1), 1);
    assert_int_equal(bs_sha256_file(fileno(f), text, &err), BS_OK);
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(read(fileno(f), &byte, 1), 1);
    assert_int_equal(byte, 'b');
    fclose(f);
    assert_int_equal(bs_sha256_file(-1, text, &err), BS_EIO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_examples),
        cmocka_unit_test(a_million_letters_in_pieces_of_any_length),
        cmocka_unit_test(parts_of_any_size_give_the_same),
        cmocka_unit_test(a_file_is_hashed_from_its_first_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
