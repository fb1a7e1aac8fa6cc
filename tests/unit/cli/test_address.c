/* Where the server is, by option, environment and default; and what is not an address. */
#include "clients/cli/address.h"
#include "folder.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static void unix_paths_and_host_ports_are_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text, *target;
        bool is_unix, loopback;
    } cases[] = {
        {"unix:/run/b.sock", "unix:/run/b.sock", true, true},
        {"unix:///run/b.sock", "unix:/run/b.sock", true, true},
        {"/run/b.sock", "unix:/run/b.sock", true, true},
        {"localhost:50051", "localhost:50051", false, true},
        {"127.0.0.1:1", "127.0.0.1:1", false, true},
        {"[::1]:50051", "[::1]:50051", false, true},
        {"gpu-box.lab.example:50051", "gpu-box.lab.example:50051", false, false},
        {"10.1.2.3:65535", "10.1.2.3:65535", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct bs__address a;
        struct bs_err err = {0};
        assert_int_equal(bs__address_parse(cases[i].text, &a, &err), BS_OK);
        assert_string_equal(a.target, cases[i].target);
        assert_int_equal(a.is_unix, cases[i].is_unix);
        assert_int_equal(a.loopback, cases[i].loopback);
    }
}

static void what_is_no_address_is_refused_with_what_is_accepted(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "unix:",    "host",      ":50051",     "host:",   "host:0", "host:65536",
        "host:12x", "::1:50051", "[::1:50051", "ho st:1", "host:-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bs__address a;
        struct bs_err err = {0};
        assert_int_equal(bs__address_parse(bad[i], &a, &err), BS_EINVAL);
        assert_true(strlen(err.msg) > 0);
    }
    char longest[300];
    struct bs__address a;
    struct bs_err err = {0};
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "unix:/", 6);
    longest[200] = '\0';
    assert_int_equal(bs__address_parse(longest, &a, &err), BS_EINVAL);
    assert_non_null(strstr(err.msg, "shorter data directory"));
}

static void without_an_option_the_environment_decides_and_then_the_default_folder(void **state)
{
    (void)state;
    struct bs__address a;
    struct bs_err err = {0};
    setenv("BIOSEG_SERVER", "unix:/run/other.sock", 1);
    assert_int_equal(bs__address_parse(NULL, &a, &err), BS_OK);
    assert_string_equal(a.target, "unix:/run/other.sock");
    unsetenv("BIOSEG_SERVER");
    setenv("XDG_DATA_HOME", "/data/xdg", 1);
    assert_int_equal(bs__address_parse(NULL, &a, &err), BS_OK);
    assert_string_equal(a.target, "unix:/data/xdg/bioseg/biosegd.sock");
    unsetenv("XDG_DATA_HOME");
    setenv("HOME", "/home/ada", 1);
    assert_int_equal(bs__address_parse(NULL, &a, &err), BS_OK);
    assert_string_equal(a.target, "unix:/home/ada/.local/share/bioseg/biosegd.sock");
}

static void a_token_file_holds_one_clean_line(void **state)
{
    (void)state;
    char token[BS__TOKEN_MAX];
    struct bs_err err = {0};
    put("good", "abcDEF123\n");
    assert_int_equal(bs__token_read("good", token, &err), BS_OK);
    assert_string_equal(token, "abcDEF123");
    put("two", "abc\ndef\n");
    assert_int_equal(bs__token_read("two", token, &err), BS_EINVAL);
    put("empty", "\n");
    assert_int_equal(bs__token_read("empty", token, &err), BS_EINVAL);
    put("space", "ab cd\n");
    assert_int_equal(bs__token_read("space", token, &err), BS_EINVAL);
    assert_string_equal(token, "");
    assert_int_equal(bs__token_read("missing", token, &err), BS_EIO);
    setenv("XDG_DATA_HOME", "/nowhere", 1);
    unsetenv("BIOSEG_TOKEN_FILE");
    assert_int_equal(bs__token_read(NULL, token, &err), BS_OK); /* the default one may be missing */
    assert_string_equal(token, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unix_paths_and_host_ports_are_understood),
        cmocka_unit_test(what_is_no_address_is_refused_with_what_is_accepted),
        cmocka_unit_test(without_an_option_the_environment_decides_and_then_the_default_folder),
        cmocka_unit_test_setup_teardown(a_token_file_holds_one_clean_line, enter_folder, leave_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
