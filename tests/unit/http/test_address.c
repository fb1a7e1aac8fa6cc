/* Promises of the HTTP port's address: loopback only, and which headers name it. */
#include "server/http/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bs_status parse(const char *text)
{
    struct bs__http_address a;
    struct bs_err err = {.msg = ""};
    bs_status rc = bs__http_address_parse(text, &a, &err);
    if (rc != BS_OK && strlen(text) < 100)
        assert_non_null(strstr(err.msg, text));
    return rc;
}

static void loopback_addresses_are_accepted(void **state)
{
    (void)state;
    struct bs__http_address a;
    struct bs_err err;
    assert_int_equal(bs__http_address_parse("[::1]:8080", &a, &err), BS_OK);
    assert_int_equal(a.port, 8080);
    assert_string_equal(a.host, "[::1]");
    assert_int_equal(a.socket.ss_family, AF_INET6);
    assert_int_equal(parse("127.0.0.1:0"), BS_OK);
    assert_int_equal(parse("127.8.9.10:65535"), BS_OK);
    assert_int_equal(parse("localhost:80"), BS_OK);
    assert_int_equal(parse("LocalHost:80"), BS_OK);
}

static void addresses_that_others_reach_are_refused(void **state)
{
    (void)state;
    static const char *const open[] = {
        "0.0.0.0:80",     "[::]:80",
        "192.168.1.4:80", "example.org:80",
        "128.0.0.1:80",   "[::ffff:1.2.3.4]:80",
        "localhost.:80",  "a-very-long-name-that-is-longer-than-any-address-in-brackets.example.org:80"};
    for (size_t i = 0; i < sizeof open / sizeof open[0]; i++)
        assert_int_equal(parse(open[i]), BS_EPRECONDITION);
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",         "8080",         ":8080",        "127.0.0.1",     "127.0.0.1:",
        "::1:80",   "[::1]",        "[::1:80",      "[]:80",         "127.0.0.1:65536",
        "[::g]:80", "127.0.0.1:-1", "127.0.0.1:8x", "127.0.0.1: 80", "127.0.0.1:000080"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(parse(bad[i]), BS_EINVAL);
}

static void host_must_name_this_machine_and_port(void **state)
{
    (void)state;
    struct bs__http_address a;
    struct bs_err err;
    assert_int_equal(bs__http_address_parse("127.0.0.2:8080", &a, &err), BS_OK);
    static const char *const good[] = {"localhost:8080", "LOCALHOST:8080", "127.0.0.1:8080", "[::1]:8080",
                                       "127.0.0.2:8080"};
    static const char *const bad[] = {
        "",         "localhost",          "localhost:8081",      "localhost:08080", "evil.example:8080",
        "[::1]",    "127.0.0.3:8080",     "localhost:8080:8080", " localhost:8080", "localhost.:8080",
        "::1:8080", "user@localhost:8080"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(bs__http_host_ok(&a, 8080, good[i]));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(bs__http_host_ok(&a, 8080, bad[i]));
    assert_true(bs__http_host_ok(&a, 80, "localhost"));
}

static void origin_must_equal_host(void **state)
{
    (void)state;
    assert_true(bs__http_origin_ok("http://localhost:8080", "localhost:8080"));
    assert_true(bs__http_origin_ok("HTTP://LOCALHOST:8080", "localhost:8080"));
    static const char *const bad[] = {"null",
                                      "",
                                      "https://localhost:8080",
                                      "http://localhost:8081",
                                      "http://127.0.0.1:8080",
                                      "http://localhost:8080/",
                                      "http://evil.example",
                                      "localhost:8080"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(bs__http_origin_ok(bad[i], "localhost:8080"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback_addresses_are_accepted),
        cmocka_unit_test(addresses_that_others_reach_are_refused),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(host_must_name_this_machine_and_port),
        cmocka_unit_test(origin_must_equal_host),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
