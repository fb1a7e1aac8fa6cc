/* Chunked streams: the checksum, the books, and the scanner that takes pixels out of fragmented messages. */
#include "proto/wire/chunks.h"
#include "proto/wire/crc32c.h"
#include "proto/wire/scan.h"
#include "proto/wire/unpack.h"

#include "bioseg/v1/segmentation.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void crc32c_gives_the_values_of_rfc_3720(void **state)
{
    uint8_t data[32];
    (void)state;
    memset(data, 0, sizeof data);
    assert_int_equal(bs_crc32c(0, data, 32), 0x8a9136aa);
    memset(data, 0xff, sizeof data);
    assert_int_equal(bs_crc32c(0, data, 32), 0x62a8ab43);
    for (unsigned i = 0; i < 32; i++)
        data[i] = (uint8_t)i;
    assert_int_equal(bs_crc32c(0, data, 32), 0x46dd794e);
    assert_int_equal(bs_crc32c(0, "123456789", 9), 0xe3069283);
    assert_int_equal(bs_crc32c(0, NULL, 0), 0);
}

static void crc32c_by_instruction_equals_by_table_in_any_pieces(void **state)
{
    uint8_t data[1000];
    (void)state;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i * 7 + 3);
    for (size_t cut = 0; cut <= sizeof data; cut += 13) {
        uint32_t whole = bs_crc32c_table(0, data, sizeof data);
        assert_int_equal(bs_crc32c(bs_crc32c(0, data, cut), data + cut, sizeof data - cut), whole);
    }
}

static void chunks_must_come_in_order_whole_and_undamaged(void **state)
{
    struct bs_chunks c;
    struct bs_err err;
    (void)state;
    bs_chunks_begin(&c, 100);
    assert_int_equal(bs_chunks_add(&c, 0, 60, 5, 5, &err), BS_OK);
    assert_int_equal(bs_chunks_add(&c, 0, 40, 5, 5, &err), BS_EINVAL);  /* again */
    assert_int_equal(bs_chunks_add(&c, 61, 39, 5, 5, &err), BS_EINVAL); /* gap */
    assert_int_equal(bs_chunks_add(&c, 60, 41, 5, 5, &err), BS_EINVAL); /* beyond the total */
    assert_int_equal(bs_chunks_add(&c, 60, 0, 0, 0, &err), BS_EINVAL);  /* empty */
    assert_int_equal(bs_chunks_add(&c, 60, 40, 5, 6, &err), BS_EINVAL); /* damaged */
    assert_int_equal(bs_chunks_add(&c, 60, BS_CHUNK_MAX_BYTES + 1, 5, 5, &err), BS_ELIMIT);
    assert_int_equal(bs_chunks_end(&c, 100, &err), BS_EINVAL); /* short */
    assert_int_equal(bs_chunks_add(&c, 60, 40, 5, 5, &err), BS_OK);
    assert_int_equal(bs_chunks_end(&c, 99, &err), BS_EINVAL);
    assert_int_equal(bs_chunks_end(&c, 100, &err), BS_OK);
    bs_chunks_begin(&c, UINT64_MAX);
    assert_int_equal(bs_chunks_add(&c, 0, UINT64_MAX, 0, 0, &err), BS_ELIMIT);
}

/* A message handed out in pieces of a given length. */
struct pieces {
    const uint8_t *data;
    size_t n, piece, at;
};

static bool next_piece(void *ctx, const uint8_t **data, size_t *n)
{
    struct pieces *p = ctx;
    if (p->at == p->n)
        return false;
    *data = p->data + p->at;
    *n = p->n - p->at < p->piece ? p->n - p->at : p->piece;
    p->at += *n;
    return true;
}

struct sink {
    uint8_t data[5000];
    size_t n;
    uint64_t announced;
};

static bs_status sink_begin(void *ctx, uint64_t total, struct bs_err *err)
{
    struct sink *s = ctx;
    s->announced = total;
    return total <= sizeof s->data ? BS_OK : BS_FAIL(err, BS_ELIMIT, "too much");
}

static bs_status sink_data(void *ctx, const uint8_t *data, size_t n, struct bs_err *err)
{
    struct sink *s = ctx;
    (void)err;
    assert_true(n <= sizeof s->data - s->n);
    memcpy(s->data + s->n, data, n);
    s->n += n;
    return BS_OK;
}

static uint8_t *pack_chunk(size_t pixels, size_t *n)
{
    Bioseg__V1__SegmentStreamRequest request = BIOSEG__V1__SEGMENT_STREAM_REQUEST__INIT;
    Bioseg__V1__Chunk chunk = BIOSEG__V1__CHUNK__INIT;
    static uint8_t data[4096];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i % 251);
    chunk.offset = 77;
    chunk.crc32c = 0xdeadbeef;
    chunk.data = (ProtobufCBinaryData){pixels, data};
    request.part_case = BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_CHUNK;
    request.chunk = &chunk;
    *n = bioseg__v1__segment_stream_request__get_packed_size(&request);
    uint8_t *packed = malloc(*n);
    assert_non_null(packed);
    bioseg__v1__segment_stream_request__pack(&request, packed);
    return packed;
}

static void pixels_leave_a_message_whatever_its_fragments_and_the_rest_unpacks(void **state)
{
    size_t n;
    uint8_t *packed = pack_chunk(4096, &n), rest[256];
    (void)state;
    static const size_t lengths[] = {1, 2, 3, 7, 64, 1000, 5000};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct pieces p = {packed, n, lengths[i], 0};
        struct sink sink = {.n = 0};
        const struct bs_wire_source source = {&p, next_piece};
        const struct bs_wire_pixels pixels = {2, 3, &sink, sink_begin, sink_data};
        struct bs_arena *arena = bs_arena_create(65536);
        ProtobufCMessage *message;
        struct bs_err err;
        size_t size;
        assert_int_equal(bs_wire_scan(&source, &pixels, rest, sizeof rest, &size, &err), BS_OK);
        assert_int_equal(sink.n, 4096);
        assert_int_equal(sink.announced, 4096);
        for (size_t k = 0; k < sink.n; k++)
            assert_int_equal(sink.data[k], k % 251);
        assert_int_equal(bs_wire_unpack(&bioseg__v1__segment_stream_request__descriptor, rest, size, true,
                                        arena, &message, &err),
                         BS_OK);
        const Bioseg__V1__SegmentStreamRequest *r = (const Bioseg__V1__SegmentStreamRequest *)message;
        assert_int_equal(r->part_case, BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_CHUNK);
        assert_int_equal(r->chunk->offset, 77);
        assert_int_equal(r->chunk->crc32c, 0xdeadbeef);
        assert_int_equal(r->chunk->data.len, 0);
        bs_arena_destroy(arena);
    }
    free(packed);
}

static void a_message_cut_anywhere_is_an_error_and_never_read_beyond(void **state)
{
    size_t n;
    uint8_t *packed = pack_chunk(300, &n), rest[256];
    (void)state;
    for (size_t cut = 1; cut < n; cut++) {
        uint8_t *exact = malloc(cut); /* so that a sanitizer sees a read beyond */
        assert_non_null(exact);
        memcpy(exact, packed, cut);
        struct pieces p = {exact, cut, 5, 0};
        struct sink sink = {.n = 0};
        const struct bs_wire_source source = {&p, next_piece};
        const struct bs_wire_pixels pixels = {2, 3, &sink, sink_begin, sink_data};
        struct bs_err err;
        size_t size;
        assert_int_equal(bs_wire_scan(&source, &pixels, rest, sizeof rest, &size, &err), BS_ECORRUPT);
        free(exact);
    }
    free(packed);
}

static void the_rest_keeps_to_its_buffer_and_pixels_come_once(void **state)
{
    size_t n, size;
    uint8_t *packed = pack_chunk(300, &n), rest[256], twice[2000];
    struct sink sink = {.n = 0};
    struct bs_err err;
    (void)state;
    struct pieces p = {packed, n, 50, 0};
    const struct bs_wire_source source = {&p, next_piece};
    assert_int_equal(bs_wire_scan(&source, NULL, rest, 100, &size, &err), BS_ELIMIT);
    memcpy(twice, packed, n);
    memcpy(twice + n, packed, n);
    p = (struct pieces){twice, 2 * n, 50, 0};
    const struct bs_wire_pixels pixels = {2, 3, &sink, sink_begin, sink_data};
    assert_int_equal(bs_wire_scan(&source, &pixels, rest, sizeof rest, &size, &err), BS_ECORRUPT);
    free(packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_gives_the_values_of_rfc_3720),
        cmocka_unit_test(crc32c_by_instruction_equals_by_table_in_any_pieces),
        cmocka_unit_test(chunks_must_come_in_order_whole_and_undamaged),
        cmocka_unit_test(pixels_leave_a_message_whatever_its_fragments_and_the_rest_unpacks),
        cmocka_unit_test(a_message_cut_anywhere_is_an_error_and_never_read_beyond),
        cmocka_unit_test(the_rest_keeps_to_its_buffer_and_pixels_come_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
