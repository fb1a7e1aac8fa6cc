/* Receives results. See result.h. */
#include "clients/cli/result.h"

#include "clients/cli/message.h"
#include "kernels/base/checked.h"
#include "proto/wire/chunks.h"
#include "proto/wire/crc32c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Label images of up to 65,536 x 65,536 pixels; a server that promises more is not ours. */
#define MAX_ARTIFACT_BYTES ((size_t)16 << 30)
#define MAX_ARTIFACTS      2
#define MAX_OBJECTS        ((size_t)1 << 30)

static bs_status refuse(struct bs_err *err, const char *what)
{
    return BS_FAIL(err, BS_ECORRUPT, "the server's result is malformed: %s", what);
}

void bs__result_free(struct bs__result *r)
{
    if (r->info)
        bioseg__v1__segment_result__free_unpacked(r->info, NULL);
    free(r->labels);
    free(r->maps);
    free(r->objects);
    memset(r, 0, sizeof *r);
}

/* A copy that outlives the message it came in: packed and unpacked again, for protobuf-c has no other. */
static Bioseg__V1__SegmentResult *copy_info(const Bioseg__V1__SegmentResult *info)
{
    size_t size = bioseg__v1__segment_result__get_packed_size(info);
    uint8_t *data = malloc(size ? size : 1);
    if (!data)
        return NULL;
    bioseg__v1__segment_result__pack(info, data);
    Bioseg__V1__SegmentResult *copy = bioseg__v1__segment_result__unpack(NULL, size, data);
    free(data);
    return copy;
}

static bs_status set_info(struct bs__result *r, const Bioseg__V1__SegmentResult *info, struct bs_err *err)
{
    size_t pixels, bytes;
    if (!info)
        return refuse(err, "no description");
    r->planes = 1;
    r->height = (size_t)info->height;
    r->width = (size_t)info->width;
    if (info->n_plane_axes > 2)
        return refuse(err, "more than two axes of planes");
    for (size_t i = 0; i < info->n_plane_axes; i++) {
        const Bioseg__V1__Axis *a = info->plane_axes[i];
        bool twice = i > 0 && strcmp(a->name, info->plane_axes[0]->name) == 0;
        if ((strcmp(a->name, "t") != 0 && strcmp(a->name, "z") != 0) || twice ||
            !bs_mul(r->planes, (size_t)a->size, &r->planes))
            return refuse(err, "its planes make no sense");
    }
    if (!bs_mul(r->height, r->width, &pixels) || !bs_mul(pixels, r->planes, &pixels) ||
        !bs_mul(pixels, sizeof(uint32_t), &bytes) || pixels == 0 || bytes > MAX_ARTIFACT_BYTES)
        return refuse(err, "its size is out of range");
    r->info = copy_info(info);
    return r->info ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for the result");
}

static bs_status add_objects(struct bs__result *r, const Bioseg__V1__ObjectTable *t, struct bs_err *err)
{
    size_t n = t->n_id;
    const bool stack = r->info->n_plane_axes > 0;
    if (stack && (t->n_t != n || t->n_z != n || t->n_z_end != n || t->n_centroid_z != n))
        return refuse(err, "the columns of the object table differ in length");
    if (t->n_area_px != n || t->n_centroid_y_px != n || t->n_centroid_x_px != n || t->n_top != n ||
        t->n_left != n || t->n_bottom != n || t->n_right != n || t->n_mean_intensity != n)
        return refuse(err, "the columns of the object table differ in length");
    if (n > MAX_OBJECTS - r->object_count)
        return refuse(err, "more objects than there can be");
    if (r->object_count + n > r->object_cap) {
        size_t cap = r->object_cap ? r->object_cap : 256;
        while (cap < r->object_count + n)
            cap *= 2;
        struct bs__object_row *grown = reallocarray(r->objects, cap, sizeof *grown);
        if (!grown)
            return BS_FAIL(err, BS_ENOMEM, "no memory for a table of %zu objects", cap);
        r->objects = grown;
        r->object_cap = cap;
    }
    for (size_t i = 0; i < n; i++)
        r->objects[r->object_count++] = (struct bs__object_row){.id = t->id[i],
                                                                .area_px = t->area_px[i],
                                                                .centroid_y = t->centroid_y_px[i],
                                                                .centroid_x = t->centroid_x_px[i],
                                                                .top = t->top[i],
                                                                .left = t->left[i],
                                                                .bottom = t->bottom[i],
                                                                .right = t->right[i],
                                                                .mean_intensity = t->mean_intensity[i],
                                                                .t = stack ? t->t[i] : 0,
                                                                .z = stack ? t->z[i] : 0,
                                                                .z_end = stack ? t->z_end[i] : 0,
                                                                .centroid_z = stack ? t->centroid_z[i] : 0};
    r->has_objects = true;
    return BS_OK;
}

bs_status bs__result_from_response(const Bioseg__V1__SegmentResponse *response, struct bs__result *out,
                                   struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    bs_status rc = set_info(out, response->result, err);
    size_t pixels = out->planes * out->height * out->width;
    if (rc == BS_OK && response->labels.len) {
        if (response->labels.len != pixels * sizeof(uint32_t))
            rc = refuse(err, "labels and size do not agree");
        else if (!(out->labels = malloc(response->labels.len)))
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu bytes of labels", response->labels.len);
        else
            memcpy(out->labels, response->labels.data, response->labels.len);
    }
    if (rc == BS_OK && response->maps.len) {
        size_t plane = pixels * sizeof(float);
        out->map_channels = response->map_channels;
        if (response->map_channels == 0 || response->maps.len % plane != 0 ||
            response->maps.len / plane != response->map_channels)
            rc = refuse(err, "maps and size do not agree");
        else if (!(out->maps = malloc(response->maps.len)))
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for %zu bytes of maps", response->maps.len);
        else
            memcpy(out->maps, response->maps.data, response->maps.len);
    }
    if (rc == BS_OK && response->objects)
        rc = add_objects(out, response->objects, err);
    if (rc != BS_OK)
        bs__result_free(out);
    return rc;
}

/* One array on its way in. */
struct incoming {
    uint8_t *data;
    struct bs_chunks chunks;
};

static size_t axis_size(const Bioseg__V1__ImageDescription *image, const char *name)
{
    for (size_t i = 0; image && i < image->n_axes; i++)
        if (image->axes[i]->name && strcmp(image->axes[i]->name, name) == 0)
            return (size_t)image->axes[i]->size;
    return 0;
}

static bs_status expect_artifact(struct bs__result *r, const Bioseg__V1__Artifact *a, struct incoming *in,
                                 struct bs_err *err)
{
    size_t pixels = r->planes * r->height * r->width, bytes;
    bool fits = pixels != 0 && axis_size(a->image, "y") == r->height && axis_size(a->image, "x") == r->width;
    for (size_t i = 0; fits && i < r->info->n_plane_axes; i++)
        fits = axis_size(a->image, r->info->plane_axes[i]->name) == r->info->plane_axes[i]->size;
    if (!fits)
        return refuse(err, "an array has another size than the image");
    if (a->output == BIOSEG__V1__OUTPUT__OUTPUT_LABELS && !r->labels) {
        bytes = pixels * sizeof(uint32_t);
        if (a->image->sample_type != BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_UINT32 || a->total_bytes != bytes)
            return refuse(err, "labels are not one uint32 per pixel");
        in->data = malloc(bytes);
        r->labels = (uint32_t *)(void *)in->data;
    } else if (a->output == BIOSEG__V1__OUTPUT__OUTPUT_MAPS && !r->maps) {
        r->map_channels = axis_size(a->image, "c");
        if (a->image->sample_type != BIOSEG__V1__SAMPLE_TYPE__SAMPLE_TYPE_FLOAT32 || r->map_channels == 0 ||
            !bs_mul(pixels * sizeof(float), r->map_channels, &bytes) || bytes > MAX_ARTIFACT_BYTES ||
            a->total_bytes != bytes)
            return refuse(err, "maps are not one float32 per pixel and channel");
        in->data = malloc(bytes);
        r->maps = (float *)(void *)in->data;
    } else {
        return refuse(err, "an array that was not asked for");
    }
    if (!in->data)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu bytes of results", bytes);
    bs_chunks_begin(&in->chunks, bytes);
    return BS_OK;
}

static bs_status take_chunk(const Bioseg__V1__Chunk *c, struct incoming *in, size_t n, struct bs_err *err)
{
    if (c->artifact >= n)
        return refuse(err, "a chunk of an array that was not announced");
    struct incoming *a = &in[c->artifact];
    bs_status rc = bs_chunks_add(&a->chunks, c->offset, c->data.len, c->crc32c,
                                 bs_crc32c(0, c->data.data, c->data.len), err);
    if (rc == BS_OK)
        memcpy(a->data + c->offset, c->data.data, c->data.len);
    return rc;
}

static bs_status begin_result(struct bs__result *out, const Bioseg__V1__ResultStart *start,
                              struct incoming *in, size_t *n, struct bs_err *err)
{
    if (out->info)
        return refuse(err, "it begins twice");
    if (start->n_artifacts > MAX_ARTIFACTS)
        return refuse(err, "too many arrays");
    bs_status rc = set_info(out, start->result, err);
    for (size_t i = 0; rc == BS_OK && i < start->n_artifacts; i++)
        rc = expect_artifact(out, start->artifacts[i], &in[i], err);
    *n = start->n_artifacts;
    return rc;
}

bs_status bs__result_receive(struct bs__rpc_call *call, const struct bs__result_progress *progress,
                             struct bs__result *out, struct bs_err *err)
{
    struct incoming in[MAX_ARTIFACTS] = {0};
    size_t n = 0;
    bool ended = false;
    bs_status rc = BS_OK;
    memset(out, 0, sizeof *out);
    for (;;) {
        ProtobufCMessage *message = NULL;
        rc = bs__message_receive(call, &bioseg__v1__segment_stream_response__descriptor, &message, err);
        if (rc != BS_OK || !message)
            break;
        const Bioseg__V1__SegmentStreamResponse *r = (const Bioseg__V1__SegmentStreamResponse *)message;
        switch (r->event_case) {
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_ACCEPTED:
            break;
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_PROGRESS:
            if (progress && progress->tiles)
                progress->tiles(progress->ctx, r->progress->tiles_done, r->progress->tiles_total);
            break;
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_START:
            rc = begin_result(out, r->start, in, &n, err);
            break;
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_OBJECTS:
            rc = out->info ? add_objects(out, r->objects, err) : refuse(err, "objects before the beginning");
            break;
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_CHUNK:
            rc = take_chunk(r->chunk, in, n, err);
            break;
        case BIOSEG__V1__SEGMENT_STREAM_RESPONSE__EVENT_END:
            ended = true;
            break;
        default: /* an event of a later version: nothing we asked for depends on it */
            break;
        }
        protobuf_c_message_free_unpacked(message, NULL);
        if (rc != BS_OK)
            break;
    }
    for (size_t i = 0; rc == BS_OK && i < n; i++)
        rc = bs_chunks_end(&in[i].chunks, in[i].chunks.total, err);
    if (rc == BS_OK && (!out->info || !ended))
        rc = refuse(err, "it ends early");
    if (rc != BS_OK)
        bs__result_free(out);
    return rc;
}
