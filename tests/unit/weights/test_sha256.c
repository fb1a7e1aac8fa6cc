/* SHA-256 of the examples in FIPS 180-4, whole and in pieces. */
#include "model/weights/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void the_standards_examples_give_its_digests(void **state)
{
    (void)state;
    static const struct {
        const char *text, *digest;
    } examples[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    };
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        struct bs__sha256 h;
        char text[65];
        bs__sha256_begin(&h);
        bs__sha256_add(&h, examples[i].text, strlen(examples[i].text));
        bs__sha256_end(&h, text);
        assert_string_equal(text, examples[i].digest);
    }
}

static void a_million_letters_in_pieces_of_any_length(void **state)
{
    (void)state;
    char letters[200], text[65];
    struct bs__sha256 h;
    size_t left = 1000000, piece = 1;
    memset(letters, 'a', sizeof letters);
    bs__sha256_begin(&h);
    while (left) {
        const size_t n = piece < left ? piece : left;
        bs__sha256_add(&h, letters, n);
        left -= n;
        piece = piece % sizeof letters + 1;
    }
    bs__sha256_end(&h, text);
    assert_string_equal(text, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_standards_examples_give_its_digests),
        cmocka_unit_test(a_million_letters_in_pieces_of_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
