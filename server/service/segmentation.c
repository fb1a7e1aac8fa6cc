/* bioseg.v1.Segmentation: one image while the caller waits. */
#include "server/service/service_internal.h"

#include <stdlib.h>
#include <string.h>

#define FIELD_PIXELS         3 /* SegmentRequest */
#define FIELD_LABELS         2 /* SegmentResponse */
#define FIELD_MAPS           3
#define FIELD_ACCEPTED       1 /* SegmentStreamResponse */
#define FIELD_PROGRESS       2
#define FIELD_PREVIEW        7
#define FIELD_PREVIEW_PIXELS 9 /* PreviewPart */

#define PREVIEW_MIN_MS 20
#define PREVIEW_MAX_MS 60000
#define PREVIEW_MS     100

/* What the engine gave, ready to leave. */
struct outcome {
    char *json;
    Bioseg__V1__SegmentResult *result;
    Bioseg__V1__KeptMaps kept; /* result may point here */
    struct bs_mapping *labels, *maps, *objects;
    uint32_t map_channels;
};

/* An image, or maps that are kept instead of it. */
static bs_status one_of_both(bool has_image, const char *kept_maps_id, struct bs_err *err)
{
    if (has_image && kept_maps_id[0])
        return BS_FAIL(err, BS_EINVAL, "both an image and kept_maps_id are given; one of them is accepted");
    return BS_OK;
}

static void outcome_free(struct outcome *o)
{
    free(o->json);
    bs_mapping_unref(o->labels);
    bs_mapping_unref(o->maps);
    bs_mapping_unref(o->objects);
}

static bs_status take_outcome(struct bs_services *s, struct bs_call *call, const struct bs__work *work,
                              const char *input_hash, const struct bs_engine_result *r, struct outcome *o,
                              struct bs_err *err)
{
    struct bs_engine_state state;
    bs_status rc = bs_mapping_create(r->labels_fd, &o->labels, err), next;
    if ((next = bs_mapping_create(r->maps_fd, &o->maps, err)) != BS_OK) /* all three are taken in any case */
        rc = next;
    if ((next = bs_mapping_create(r->objects_fd, &o->objects, err)) != BS_OK)
        rc = next;
    if (rc != BS_OK)
        return rc;
    bs_engine_state_get(s->engine, &state);
    struct bs_job_provenance p = {&work->request, work->model.blob, input_hash, &r->info, &state.device};
    if ((rc = bs_job_result_to_json(&p, &o->json, err)) != BS_OK)
        return rc;
    return bs__result_message(bs_call_arena(call), o->json, &o->result, &o->map_channels, err);
}

/* The work itself, on the image that has come or the one that was kept. */
static bs_status perform(struct bs_services *s, struct bs_call *call, const struct bs__work *work,
                         const struct bs__inbox *inbox, struct bs__keeping *keeping,
                         const struct bs__audience *audience, struct outcome *o, struct bs_err *err)
{
    const bool sent = inbox->fd >= 0;
    const int image = sent ? inbox->fd : keeping->entry.image_fd;
    const uint64_t bytes = sent ? bs__inbox_bytes(inbox) : keeping->entry.image_bytes;
    struct bs_engine_result result;
    bs_status rc = bs__run(s, call, work, image, bytes, bs__keeping_maps(keeping), audience, &result, err);
    if (rc != BS_OK)
        return rc;
    bs__keeping_end(keeping, s, image, bytes, &result);
    if ((rc = take_outcome(s, call, work, sent ? inbox->hash : keeping->entry.input_hash, &result, o, err)) !=
        BS_OK)
        return rc;
    if (bs__keeping_message(keeping, &o->kept))
        o->result->kept_maps = &o->kept;
    return BS_OK;
}

static size_t object_count(const struct outcome *o, const struct bs__work *work)
{
    size_t stored = bs_mapping_size(o->objects) / sizeof(struct bs_object);
    if (!work->request.want_objects)
        return 0;
    return stored < o->result->object_count ? stored : o->result->object_count;
}

/* ---- unary ---- */

static bs_status answer(struct bs_call *call, const struct outcome *o, const struct bs__work *work,
                        struct bs_err *err)
{
    Bioseg__V1__SegmentResponse response = BIOSEG__V1__SEGMENT_RESPONSE__INIT;
    struct bs_call_bytes bytes[2];
    size_t nbytes = 0, count = object_count(o, work);
    struct bs_arena *arena = bs_arena_create(count * 160 + 4096);
    if (!arena)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the object table");
    response.result = o->result;
    if (work->request.want_objects)
        response.objects = bs__object_table(arena, bs_mapping_data(o->objects), count, o->result);
    if (work->want_labels)
        bytes[nbytes++] = (struct bs_call_bytes){FIELD_LABELS, o->labels, 0, bs_mapping_size(o->labels)};
    if (work->request.want_maps) {
        bytes[nbytes++] = (struct bs_call_bytes){FIELD_MAPS, o->maps, 0, bs_mapping_size(o->maps)};
        response.map_channels = o->map_channels;
    }
    bs_status rc = work->request.want_objects && !response.objects
                       ? BS_FAIL(err, BS_ENOMEM, "no memory for the object table")
                       : bs_call_write_with(call, &response.base, bytes, nbytes, err);
    bs_arena_destroy(arena);
    return rc;
}

static bs_status segment(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                         struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs__inbox inbox = {.fd = -1};
    struct bs__work work = {.want_labels = false};
    struct bs__keeping keeping = BS__KEEPING_NONE;
    struct outcome outcome = {.json = NULL};
    ProtobufCMessage *message;
    bs_status rc;
    (void)unused;
    if ((rc = bs__inbox_receive_unary(&inbox, s, call, FIELD_PIXELS, s->limits.max_unary_image_bytes,
                                      &message, err)) != BS_OK)
        goto cleanup;
    const Bioseg__V1__SegmentRequest *request = (const Bioseg__V1__SegmentRequest *)message;
    if ((rc = one_of_both(inbox.fd >= 0 || request->image, request->kept_maps_id, err)) != BS_OK)
        goto cleanup;
    if (request->kept_maps_id[0])
        rc = bs__keeping_by_id(&keeping, s, call, request->kept_maps_id, request->spec, &work, err);
    else if (inbox.fd < 0)
        rc = BS_FAIL(err, BS_EINVAL, "pixels is empty; an image has at least 1 byte");
    else
        rc = bs__work_decode(s, bs_call_caller(call)->name, request->spec, request->image,
                             bs__inbox_bytes(&inbox), &work, err);
    if (rc == BS_OK && request->keep_maps && inbox.fd >= 0)
        bs__keeping_begin(&keeping, s, call, &work, inbox.hash);
    if (rc != BS_OK || (rc = perform(s, call, &work, &inbox, &keeping, NULL, &outcome, err)) != BS_OK)
        goto cleanup;
    rc = answer(call, &outcome, &work, err);

cleanup:
    outcome_free(&outcome);
    bs__keeping_close(&keeping);
    bs__work_free(&work);
    bs__inbox_close(&inbox);
    return rc;
}

/* ---- stream ---- */

static void part(const ProtobufCMessage *message, const Bioseg__V1__Chunk **chunk,
                 const Bioseg__V1__ChunkEnd **end)
{
    const Bioseg__V1__SegmentStreamRequest *r = (const Bioseg__V1__SegmentStreamRequest *)message;
    if (r->part_case == BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_CHUNK)
        *chunk = r->chunk;
    else if (r->part_case == BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_END)
        *end = r->end;
}

static bs_status tell_accepted(struct bs_call *call, const struct bs__work *work, struct bs_err *err)
{
    Bioseg__V1__SegmentAccepted accepted = BIOSEG__V1__SEGMENT_ACCEPTED__INIT;
    Bioseg__V1__ModelRef model = BIOSEG__V1__MODEL_REF__INIT;
    model.name = work->model.name;
    model.selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    model.version = work->model.version;
    accepted.model = &model;
    accepted.request_id = (char *)(uintptr_t)bs_call_request_id(call);
    return bs_call_write_inside(call, FIELD_ACCEPTED, &accepted.base, NULL, 0, err);
}

static bs_status tell_progress(struct bs_call *call, int done, int total, struct bs_err *err)
{
    Bioseg__V1__Progress progress = BIOSEG__V1__PROGRESS__INIT;
    progress.tiles_done = (uint32_t)done;
    progress.tiles_total = (uint32_t)total;
    return bs_call_write_inside(call, FIELD_PROGRESS, &progress.base, NULL, 0, err);
}

static bs_status tell_preview(struct bs_call *call, const struct bs_preview_part *part,
                              struct bs_mapping *pixels, struct bs_err *err)
{
    Bioseg__V1__PreviewPart message = BIOSEG__V1__PREVIEW_PART__INIT;
    const struct bs_call_bytes bytes = {FIELD_PREVIEW_PIXELS, pixels, 0, bs_mapping_size(pixels)};
    message.height = part->height;
    message.width = part->width;
    message.pixel_height = part->pixel_height;
    message.pixel_width = part->pixel_width;
    message.top = part->top;
    message.left = part->left;
    message.bottom = part->bottom;
    message.right = part->right;
    message.t = part->t;
    message.z = part->z;
    return bs_call_write_inside(call, FIELD_PREVIEW, &message.base, &bytes, 1, err);
}

static bs_status preview(const Bioseg__V1__PreviewRequest *wanted, struct bs__audience *audience,
                         struct bs_err *err)
{
    if (!wanted)
        return BS_OK;
    audience->preview = tell_preview;
    audience->preview_side = wanted->max_side_px ? wanted->max_side_px : BS_PREVIEW_MAX_SIDE;
    audience->preview_ms = wanted->interval_ms ? wanted->interval_ms : PREVIEW_MS;
    if (audience->preview_side < BS_PREVIEW_MIN_SIDE || audience->preview_side > BS_PREVIEW_MAX_SIDE)
        return BS_FAIL(err, BS_EINVAL, "preview.max_side_px is %u; %d to %d is accepted, or 0 for %d",
                       audience->preview_side, BS_PREVIEW_MIN_SIDE, BS_PREVIEW_MAX_SIDE, BS_PREVIEW_MAX_SIDE);
    if (audience->preview_ms < PREVIEW_MIN_MS || audience->preview_ms > PREVIEW_MAX_MS)
        return BS_FAIL(err, BS_EINVAL, "preview.interval_ms is %u; %d to %d is accepted, or 0 for %d",
                       audience->preview_ms, PREVIEW_MIN_MS, PREVIEW_MAX_MS, PREVIEW_MS);
    return BS_OK;
}

static bs_status stream_answer(struct bs_call *call, const struct outcome *o, const struct bs__work *work,
                               struct bs_err *err)
{
    struct bs__artifact artifacts[2];
    size_t n = 0;
    if (work->want_labels)
        artifacts[n++] = (struct bs__artifact){BIOSEG__V1__OUTPUT__OUTPUT_LABELS, 0, o->labels, -1,
                                               bs_mapping_size(o->labels)};
    if (work->request.want_maps)
        artifacts[n++] = (struct bs__artifact){BIOSEG__V1__OUTPUT__OUTPUT_MAPS, o->map_channels, o->maps, -1,
                                               bs_mapping_size(o->maps)};
    return bs__send_result(call, o->result, artifacts, n, bs_mapping_data(o->objects), object_count(o, work),
                           err);
}

static bs_status segment_stream(void *service, struct bs_call *call, const ProtobufCMessage *unused,
                                struct bs_err *err)
{
    struct bs_services *s = service;
    struct bs__inbox inbox = {.fd = -1};
    struct bs__work work = {.want_labels = false};
    struct bs__keeping keeping = BS__KEEPING_NONE;
    struct outcome outcome = {.json = NULL};
    struct bs__audience audience = {.progress = tell_progress};
    ProtobufCMessage *message;
    bs_status rc;
    (void)unused;
    if ((rc = bs_call_read(call, NULL, NULL, &message, err)) != BS_OK)
        goto cleanup;
    const Bioseg__V1__SegmentStreamRequest *request = (const Bioseg__V1__SegmentStreamRequest *)message;
    if (!request || request->part_case != BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_START) {
        rc = BS_FAIL(err, BS_EINVAL, "the stream must begin with a start");
        goto cleanup;
    }
    const Bioseg__V1__SegmentStart *start = request->start;
    if ((rc = preview(start->preview, &audience, err)) != BS_OK ||
        (rc = one_of_both(start->image || start->total_bytes, start->kept_maps_id, err)) != BS_OK)
        goto cleanup;
    if (start->kept_maps_id[0]) {
        if ((rc = bs__keeping_by_id(&keeping, s, call, start->kept_maps_id, start->spec, &work, err)) !=
                BS_OK ||
            (rc = tell_accepted(call, &work, err)) != BS_OK)
            goto cleanup;
    } else if ((rc = bs__inbox_open_memory(&inbox, s, start->total_bytes, err)) != BS_OK ||
               (rc = bs__work_decode(s, bs_call_caller(call)->name, start->spec, start->image,
                                     start->total_bytes, &work, err)) != BS_OK ||
               (rc = tell_accepted(call, &work, err)) != BS_OK ||
               (rc = bs__inbox_receive(&inbox, call, part, err)) != BS_OK) {
        goto cleanup;
    } else if (start->keep_maps) {
        bs__keeping_begin(&keeping, s, call, &work, inbox.hash);
    }
    if ((rc = perform(s, call, &work, &inbox, &keeping, &audience, &outcome, err)) != BS_OK)
        goto cleanup;
    rc = stream_answer(call, &outcome, &work, err);

cleanup:
    outcome_free(&outcome);
    bs__keeping_close(&keeping);
    bs__work_free(&work);
    bs__inbox_close(&inbox);
    return rc;
}

void bs__segmentation_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {
        {.name = "Segment", .run = segment, .reads_itself = true},
        {.name = "SegmentStream", .run = segment_stream, .reads_itself = true, .streams_answers = true},
    };
    bs_rpc_add_service(rpc, &bioseg__v1__segmentation__descriptor, BS__METHODS(methods), s, NULL);
}
