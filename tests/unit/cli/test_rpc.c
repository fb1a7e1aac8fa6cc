/* The client against a server that misbehaves: damaged, short and contradictory results are refused, errors keep their
   sentence, and giving up works at any time. */
#include "clients/cli/message.h"
#include "clients/cli/result.h"
#include "fake_server.h"
#include "folder.h"
#include "proto/wire/crc32c.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#define SIDE 4

/* A good result of 4 x 4 labels in one chunk; tests spoil it. */
struct scene {
    struct fake_answer answer;
    Bioseg__V1__SegmentResult info;
    Bioseg__V1__Axis axis[2], *axes[2];
    Bioseg__V1__ImageDescription image;
    Bioseg__V1__Artifact artifact, *artifacts[1];
    Bioseg__V1__ResultStart start;
    Bioseg__V1__ObjectTable table;
    Bioseg__V1__Chunk chunk;
    Bioseg__V1__ChunkEnd end;
    Bioseg__V1__SegmentStreamResponse part[4];
    uint32_t labels[SIDE * SIDE], id, top, bottom;
    uint64_t area;
    double number;
};

static void set_scene(struct scene *s)
{
    memset(s, 0, sizeof *s);
    bioseg__v1__segment_result__init(&s->info);
    bioseg__v1__image_description__init(&s->image);
    bioseg__v1__artifact__init(&s->artifact);
    bioseg__v1__result_start__init(&s->start);
    bioseg__v1__object_table__init(&s->table);
    bioseg__v1__chunk__init(&s->chunk);
    bioseg__v1__chunk_end__init(&s->end);
    s->info.object_count = 1;
    s->info.height = s->info.width = SIDE;
    for (int i = 0; i < 2; i++) {
        bioseg__v1__axis__init(&s->axis[i]);
        s->axis[i].name = i ? "x" : "y";
        s->axis[i].size = SIDE;
        s->axes[i] = &s->axis[i];
    }
    s->image.encoding = BIOSEG__V1__IMAGE_ENCODING__IMAGE_ENCODING_RAW;
    s->image.sample_type = BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32;
    s->image.axes = s->axes;
    s->image.n_axes = 2;
    s->artifact.output = BIOSEG__V1__OUTPUT__OUTPUT_LABELS;
    s->artifact.image = &s->image;
    s->artifact.total_bytes = sizeof s->labels;
    s->artifacts[0] = &s->artifact;
    s->start.result = &s->info;
    s->start.artifacts = s->artifacts;
    s->start.n_artifacts = 1;
    s->labels[5] = 1;
    s->id = 1;
    s->area = 1;
    s->bottom = 1;
    s->table.id = &s->id;
    s->table.area_px = &s->area;
    s->table.centroid_y_px = s->table.centroid_x_px = s->table.mean_intensity = &s->number;
    s->table.top = s->table.left = &s->top;
    s->table.bottom = s->table.right = &s->bottom;
    s->table.n_id = s->table.n_area_px = s->table.n_centroid_y_px = s->table.n_centroid_x_px =
        s->table.n_top = s->table.n_left = s->table.n_bottom = s->table.n_right = s->table.n_mean_intensity =
            1;
    s->chunk.data = (ProtobufCBinaryData){.len = sizeof s->labels, .data = (uint8_t *)s->labels};
    s->chunk.crc32c = bs_crc32c(0, s->labels, sizeof s->labels);
    s->end.total_bytes = sizeof s->labels;
    for (int i = 0; i < 4; i++) {
        bioseg__v1__segment_stream_response__init(&s->part[i]);
        s->answer.message[i] = &s->part[i].base;
    }
    s->part[0].event_case = BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_START;
    s->part[0].start = &s->start;
    s->part[1].event_case = BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_OBJECTS;
    s->part[1].objects = &s->table;
    s->part[2].event_case = BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_CHUNK;
    s->part[2].chunk = &s->chunk;
    s->part[3].event_case = BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_END;
    s->part[3].end = &s->end;
    s->answer.n = 4;
}

static struct bs__rpc_client *connect_to(const char *target, const char *token)
{
    struct bs__rpc_client *client = NULL;
    struct bs_err err = {0};
    assert_int_equal(
        bs__rpc_client_create(&(struct bs__rpc_options){.target = target, .token = token}, &client, &err),
        BS_OK);
    return client;
}

/* Calls, sends one empty message, and receives the result. */
static bs_status receive(const struct fake_answer *answer, double timeout, struct bs__result *result,
                         struct bs_err *err)
{
    char target[64];
    struct fake_server *server = fake_server_start(answer, target);
    struct bs__rpc_client *client = connect_to(target, NULL);
    struct bs__rpc_call *call = NULL;
    memset(err, 0, sizeof *err);
    bs_status rc =
        bs__rpc_call_start(client, BS__METHOD("Segmentation", "SegmentStream"), timeout, &call, err);
    assert_int_equal(rc, BS_OK);
    rc = bs__rpc_send(call, "", 0, true, err);
    if (rc == BS_OK)
        rc = bs__result_receive(call, NULL, result, err);
    bs__rpc_call_destroy(call);
    bs__rpc_client_destroy(client);
    fake_server_stop(server);
    return rc;
}

static void a_good_result_arrives(void **state)
{
    (void)state;
    struct scene s;
    struct bs__result r = {0};
    struct bs_err err;
    set_scene(&s);
    assert_int_equal(receive(&s.answer, 10, &r, &err), BS_OK);
    assert_int_equal(r.height, SIDE);
    assert_memory_equal(r.labels, s.labels, sizeof s.labels);
    assert_int_equal(r.object_count, 1);
    assert_int_equal(r.objects[0].area_px, 1);
    bs__result_free(&r);
}

static void expect_refusal(struct scene *s, const char *text)
{
    struct bs__result r = {0};
    struct bs_err err;
    assert_int_not_equal(receive(&s->answer, 10, &r, &err), BS_OK);
    if (!strstr(err.msg, text))
        fail_msg("said '%s', expected '%s'", err.msg, text);
    assert_null(r.labels);
}

static void damaged_short_and_contradictory_results_are_refused(void **state)
{
    (void)state;
    struct scene s;
    set_scene(&s);
    s.chunk.crc32c ^= 1;
    expect_refusal(&s, "damaged");
    set_scene(&s);
    s.answer.n = 3;
    expect_refusal(&s, "ends early");
    set_scene(&s);
    s.chunk.data.len -= 4;
    s.chunk.crc32c = bs_crc32c(0, s.labels, sizeof s.labels - 4);
    expect_refusal(&s, "60 of 64 bytes");
    set_scene(&s);
    s.chunk.offset = 4;
    expect_refusal(&s, "offset 4");
    set_scene(&s);
    s.chunk.artifact = 1;
    expect_refusal(&s, "not announced");
    set_scene(&s);
    s.artifact.total_bytes += 4;
    expect_refusal(&s, "one uint32 per pixel");
    set_scene(&s);
    s.axis[0].size = SIDE + 1;
    expect_refusal(&s, "another size");
    set_scene(&s);
    s.info.height = UINT64_MAX;
    expect_refusal(&s, "out of range");
    set_scene(&s);
    s.info.height = s.info.width = 1u << 20;
    expect_refusal(&s, "out of range");
    set_scene(&s);
    s.table.n_area_px = 0;
    expect_refusal(&s, "differ in length");
    set_scene(&s);
    s.answer.message[0] = &s.part[2].base;
    expect_refusal(&s, "not announced");
    set_scene(&s);
    s.answer.message[1] = &s.part[0].base;
    expect_refusal(&s, "begins twice");
    set_scene(&s);
    s.start.result = NULL;
    expect_refusal(&s, "no description");
    set_scene(&s);
    s.answer.n = 0;
    expect_refusal(&s, "ends early");
}

static void errors_keep_the_servers_sentence_and_their_kind(void **state)
{
    (void)state;
    static const struct {
        int grpc;
        bs_status ours;
    } codes[] = {{3, BS_EINVAL},      {4, BS_EDEADLINE}, {5, BS_ENOTFOUND},        {6, BS_EEXIST},
                 {7, BS_EPERMISSION}, {8, BS_ELIMIT},    {9, BS_EPRECONDITION},    {12, BS_EUNSUPPORTED},
                 {13, BS_EINTERNAL},  {15, BS_ECORRUPT}, {16, BS_EUNAUTHENTICATED}};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        struct fake_answer answer = {.status = codes[i].grpc, .details = "the model is on holiday"};
        struct bs__result r = {0};
        struct bs_err err;
        assert_int_equal(receive(&answer, 10, &r, &err), codes[i].ours);
        assert_string_equal(err.msg, "the model is on holiday");
    }
}

static void a_server_that_ends_the_call_early_is_heard(void **state)
{
    (void)state;
    struct fake_answer answer = {.status = 8, .details = "the image is too large", .eager = true};
    char target[64];
    static uint8_t megabyte[1 << 20];
    struct fake_server *server = fake_server_start(&answer, target);
    struct bs__rpc_client *client = connect_to(target, NULL);
    struct bs__rpc_call *call = NULL;
    struct bs_err err = {0};
    assert_int_equal(bs__rpc_call_start(client, "/x/Y", 10, &call, &err), BS_OK);
    bs_status rc = BS_OK;
    for (int i = 0; i < 1000 && rc == BS_OK; i++)
        rc = bs__rpc_send(call, megabyte, sizeof megabyte, false, &err);
    assert_int_equal(rc, BS_ELIMIT);
    assert_string_equal(err.msg, "the image is too large");
    bs__rpc_call_destroy(call);
    bs__rpc_client_destroy(client);
    fake_server_stop(server);
}

static void deadlines_hold(void **state)
{
    (void)state;
    struct fake_answer answer = {.hang = true};
    struct bs__result r = {0};
    struct bs_err err;
    assert_int_equal(receive(&answer, 0.3, &r, &err), BS_EDEADLINE);
}

static void *cancel_soon(void *client)
{
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    bs__rpc_client_cancel_all(client);
    return NULL;
}

static void cancelling_ends_calls_under_way_and_refuses_new_ones(void **state)
{
    (void)state;
    struct fake_answer answer = {.hang = true};
    char target[64];
    struct fake_server *server = fake_server_start(&answer, target);
    struct bs__rpc_client *client = connect_to(target, NULL);
    struct bs__rpc_call *call = NULL, *second = NULL;
    struct bs_err err = {0};
    uint8_t *data;
    size_t size;
    pthread_t thread;
    assert_int_equal(bs__rpc_call_start(client, "/x/Y", 0, &call, &err), BS_OK);
    assert_int_equal(bs__rpc_send(call, "", 0, true, &err), BS_OK);
    pthread_create(&thread, NULL, cancel_soon, client);
    assert_int_equal(bs__rpc_receive(call, &data, &size, &err), BS_ECANCELLED);
    pthread_join(thread, NULL);
    assert_int_equal(bs__rpc_call_start(client, "/x/Y", 0, &second, &err), BS_ECANCELLED);
    bs__rpc_call_destroy(call);
    bs__rpc_client_destroy(client);
    fake_server_stop(server);
}

static void the_token_goes_with_every_call(void **state)
{
    (void)state;
    struct fake_answer answer = {.status = 0};
    char target[64];
    struct fake_server *server = fake_server_start(&answer, target);
    struct bs__rpc_client *client = connect_to(target, "s3cret");
    for (int i = 0; i < 2; i++) {
        struct bs__rpc_call *call = NULL;
        struct bs_err err = {0};
        uint8_t *data;
        size_t size;
        assert_int_equal(bs__rpc_call_start(client, "/x/Y", 10, &call, &err), BS_OK);
        assert_int_equal(bs__rpc_send(call, "", 0, true, &err), BS_OK);
        assert_int_equal(bs__rpc_receive(call, &data, &size, &err), BS_OK);
        assert_null(data);
        assert_string_equal(fake_server_authorization(server), "Bearer s3cret");
        assert_int_equal(fake_server_received(server), 1);
        bs__rpc_call_destroy(call);
    }
    bs__rpc_client_destroy(client);
    fake_server_stop(server);
}

static void a_call_can_be_dropped_at_any_time(void **state)
{
    (void)state;
    struct fake_answer answer = {.hang = true};
    char target[64];
    struct fake_server *server = fake_server_start(&answer, target);
    struct bs__rpc_client *client = connect_to(target, NULL);
    struct bs_err err = {0};
    for (int i = 0; i < 4; i++) {
        struct bs__rpc_call *call = NULL;
        assert_int_equal(bs__rpc_call_start(client, "/x/Y", 0, &call, &err), BS_OK);
        if (i & 1)
            assert_int_equal(bs__rpc_send(call, "abc", 3, i & 2, &err), BS_OK);
        bs__rpc_call_destroy(call);
    }
    bs__rpc_client_destroy(client);
    fake_server_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_result_arrives),
        cmocka_unit_test(damaged_short_and_contradictory_results_are_refused),
        cmocka_unit_test(errors_keep_the_servers_sentence_and_their_kind),
        cmocka_unit_test(a_server_that_ends_the_call_early_is_heard),
        cmocka_unit_test(deadlines_hold),
        cmocka_unit_test(cancelling_ends_calls_under_way_and_refuses_new_ones),
        cmocka_unit_test(the_token_goes_with_every_call),
        cmocka_unit_test(a_call_can_be_dropped_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
