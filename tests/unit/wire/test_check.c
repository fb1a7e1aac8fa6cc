/* Promises of the strict look at a message: what protobuf-c would let through, cut or merge is refused, with its name. */
#include "proto/wire/check.h"
#include "proto/wire/unpack.h"

#include "bioseg/v1/segmentation.pb-c.h"
#include "grpc/health/v1/health.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SEGMENT &bioseg__v1__segment_request__descriptor
#define HEALTH  &grpc__health__v1__health_check_request__descriptor

static void expect(const ProtobufCMessageDescriptor *type, bool strict, const char *bytes, size_t n,
                   bs_status status, const char *words)
{
    struct bs_err err = {.msg = ""};
    uint8_t *exact = malloc(n ? n : 1); /* so that ASan sees a read beyond the end */
    memcpy(exact, bytes, n);
    assert_int_equal(bs_wire_check(type, exact, n, strict, &err), status);
    if (words && !strstr(err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", err.msg, words);
    free(exact);
}
#define EXPECT(type, strict, bytes, status, words)                                                           \
    expect((type), (strict), (bytes), sizeof(bytes) - 1, (status), (words))

static void texts_with_nul_or_bad_utf8_are_refused(void **state)
{
    (void)state;
    EXPECT(HEALTH, false,
           "\x0a\x03"
           "abc",
           BS_OK, NULL);
    EXPECT(HEALTH, false,
           "\x0a\x03"
           "a\0c",
           BS_EINVAL, "service");
    EXPECT(HEALTH, false, "\x0a\x02\xc0\x80", BS_EINVAL, "service");         /* overlong NUL */
    EXPECT(HEALTH, false, "\x0a\x03\xed\xa0\x80", BS_EINVAL, "service");     /* surrogate */
    EXPECT(HEALTH, false, "\x0a\x04\xf4\x90\x80\x80", BS_EINVAL, "service"); /* beyond U+10FFFF */
    EXPECT(HEALTH, false, "\x0a\x01\xc3", BS_EINVAL, "service");             /* cut short */
}

static void messages_cut_anywhere_are_refused(void **state)
{
    (void)state;
    static const char whole[] = "\x0a\x0c\x0a\x06\x0a\x04name\x3a\x02\x08\x01"; /* spec { model, ... } */
    EXPECT(SEGMENT, true, "\x0a", BS_ECORRUPT, "SegmentRequest");
    EXPECT(SEGMENT, true, "\x0a\x05\x0a\x08\x0a\x01n", BS_ECORRUPT,
           "SegmentSpec"); /* longer than what holds it */
    EXPECT(SEGMENT, true, "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", BS_ECORRUPT, "SegmentRequest");
    for (size_t n = 1; n + 1 < sizeof whole - 1; n++) {
        struct bs_err err;
        uint8_t *exact = malloc(n);
        memcpy(exact, whole, n);
        assert_int_not_equal(bs_wire_check(SEGMENT, exact, n, true, &err), BS_OK);
        free(exact);
    }
}

static void unknown_fields_are_refused_in_our_own_protocol_only(void **state)
{
    (void)state;
    EXPECT(SEGMENT, true, "\xf8\x07\x01", BS_EUNSUPPORTED, "no field 127");
    EXPECT(HEALTH, false, "\xf8\x07\x01", BS_OK, NULL);
}

static void a_map_key_comes_once(void **state)
{
    (void)state;
    /* spec { parameters { key: "a" } parameters { key: "b" } } */
    EXPECT(SEGMENT, true,
           "\x0a\x0a\x12\x03\x0a\x01"
           "a\x12\x03\x0a\x01"
           "b",
           BS_OK, NULL);
    EXPECT(SEGMENT, true,
           "\x0a\x0a\x12\x03\x0a\x01"
           "a\x12\x03\x0a\x01"
           "a",
           BS_EINVAL, "parameters");
}

static void a_map_key_cannot_hide_in_a_second_copy_of_its_message(void **state)
{
    (void)state;
    /* spec { parameters { key: "a" } } twice: protobuf-c would merge them into two entries "a" */
    EXPECT(SEGMENT, true,
           "\x0a\x05\x12\x03\x0a\x01"
           "a\x0a\x05\x12\x03\x0a\x01"
           "a",
           BS_EINVAL, "spec comes twice");
}

static void unpacking_keeps_to_the_arena(void **state)
{
    struct bs_err err;
    ProtobufCMessage *m;
    static const uint8_t bytes[] = "\x0a\x28"
                                   "0123456789012345678901234567890123456789";
    struct bs_arena *small = bs_arena_create(48), *large = bs_arena_create(4096);
    (void)state;
    assert_int_equal(bs_wire_unpack(HEALTH, bytes, sizeof bytes - 1, false, small, &m, &err), BS_ELIMIT);
    assert_int_equal(bs_wire_unpack(HEALTH, bytes, sizeof bytes - 1, false, large, &m, &err), BS_OK);
    assert_int_equal(strlen(((Grpc__Health__V1__HealthCheckRequest *)m)->service), 40);
    bs_arena_destroy(small);
    bs_arena_destroy(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_with_nul_or_bad_utf8_are_refused),
        cmocka_unit_test(messages_cut_anywhere_are_refused),
        cmocka_unit_test(unknown_fields_are_refused_in_our_own_protocol_only),
        cmocka_unit_test(a_map_key_comes_once),
        cmocka_unit_test(a_map_key_cannot_hide_in_a_second_copy_of_its_message),
        cmocka_unit_test(unpacking_keeps_to_the_arena),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
