/* Segmentation.Segment and Segmentation.SegmentStream from the client's side. See segment_call.h. */
#include "clients/cli/segment_call.h"

#include "clients/cli/message.h"
#include "clients/cli/upload.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Compressed files unpack to more pixels than they have bytes, and labels take four bytes for each: beyond this the
   answer may not fit a message, and the stream costs hardly more. */
#define UNARY_FILE_BYTES (4u << 20)
/* More pixels than this are worth a progress bar. */
#define UNARY_PIXELS (4u << 20)
/* Sending is the smaller part of the work. */
#define UPLOAD_SHARE 0.1

static bs_status call_unary(struct bs__rpc_client *client, const struct bs__spec *spec, const char *path,
                            char input_sha256[BS__SHA256_TEXT], struct bs__result *result, struct bs_err *err)
{
    uint8_t *data = NULL;
    size_t size = 0;
    ProtobufCMessage *response = NULL;
    Bioseg__V1__SegmentRequest request = BIOSEG__V1__SEGMENT_REQUEST__INIT;
    bs_status rc = bs__cli_read_file(path, UNARY_FILE_BYTES, &data, &size, err);
    if (rc == BS_OK)
        rc = bs__sha256_hex(data, size, input_sha256, err);
    if (rc != BS_OK)
        goto cleanup;
    request.spec = (Bioseg__V1__SegmentSpec *)&spec->spec;
    request.image = (Bioseg__V1__ImageDescription *)&spec->image;
    request.pixels = (ProtobufCBinaryData){.len = size, .data = data};
    rc = bs__unary(client, BS__METHOD("Segmentation", "Segment"), 0, &request.base,
                   &bioseg__v1__segment_response__descriptor, &response, err);
    if (rc == BS_OK)
        rc = bs__result_from_response((const Bioseg__V1__SegmentResponse *)response, result, err);
cleanup:
    if (response)
        protobuf_c_message_free_unpacked(response, NULL);
    free(data);
    return rc;
}

static void on_sent(void *ctx, uint64_t done, uint64_t total)
{
    const struct bs__segment_progress *p = ctx;
    if (p->share)
        p->share(p->ctx, UPLOAD_SHARE * (double)done / (double)total);
}

static void on_tiles(void *ctx, unsigned done, unsigned total)
{
    const struct bs__segment_progress *p = ctx;
    if (p->share && total)
        p->share(p->ctx, UPLOAD_SHARE + (1 - UPLOAD_SHARE) * (double)done / (double)total);
}

static bs_status call_stream(struct bs__rpc_client *client, const struct bs__spec *spec, const char *path,
                             const struct bs__segment_progress *progress, char input_sha256[BS__SHA256_TEXT],
                             struct bs__result *result, struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    int fd = -1;
    uint64_t bytes = 0;
    bs_status rc = bs__upload_open(path, &fd, &bytes, err);
    if (rc != BS_OK)
        goto cleanup;
    if ((rc = bs__rpc_call_start(client, BS__METHOD("Segmentation", "SegmentStream"), 0, &call, err)) !=
        BS_OK)
        goto cleanup;
    Bioseg__V1__SegmentStart start = BIOSEG__V1__SEGMENT_START__INIT;
    Bioseg__V1__SegmentStreamRequest first = BIOSEG__V1__SEGMENT_STREAM_REQUEST__INIT;
    start.spec = (Bioseg__V1__SegmentSpec *)&spec->spec;
    start.image = (Bioseg__V1__ImageDescription *)&spec->image;
    start.total_bytes = bytes;
    first.part_case = BIOSEG__V1__SEGMENT_STREAM_REQUEST__PART_START;
    first.start = &start;
    if ((rc = bs__message_send(call, &first.base, false, err)) != BS_OK)
        goto cleanup;
    struct bs__upload_progress up = {.ctx = (void *)progress, .sent = on_sent};
    if ((rc = bs__upload(call, fd, bytes, path, &up, input_sha256, err)) != BS_OK)
        goto cleanup;
    struct bs__result_progress down = {.ctx = (void *)progress, .tiles = on_tiles};
    rc = bs__result_receive(call, &down, result, err);
cleanup:
    bs__rpc_call_destroy(call);
    if (fd >= 0)
        close(fd);
    return rc;
}

static uint64_t big_endian(const unsigned char *b)
{
    return (uint64_t)b[0] << 24 | (uint64_t)b[1] << 16 | (uint64_t)b[2] << 8 | b[3];
}

/* Few bytes can be many pixels. A PNG says at once how many (signature, length, "IHDR", width, height); for other files
   the bytes must do. Only a hint: nothing is believed because of it. */
static bool has_few_pixels(int fd)
{
    unsigned char head[24];
    if (pread(fd, head, sizeof head, 0) != (ssize_t)sizeof head || memcmp(head, "\x89PNG", 4) != 0)
        return true;
    uint64_t width = big_endian(head + 16), height = big_endian(head + 20);
    return width * height <= UNARY_PIXELS;
}

bs_status bs__segment_call(struct bs__rpc_client *client, const struct bs__spec *spec, const char *path,
                           uint64_t unary_limit, const struct bs__segment_progress *progress,
                           char input_sha256[BS__SHA256_TEXT], struct bs__result *result, struct bs_err *err)
{
    int fd = -1;
    uint64_t bytes = 0;
    bool maps = false;
    for (size_t i = 0; i < spec->spec.n_outputs; i++)
        maps |= spec->spec.outputs[i] == BIOSEG__V1__OUTPUT__OUTPUT_MAPS;
    bs_status rc = bs__upload_open(path, &fd, &bytes, err);
    if (rc != BS_OK)
        return rc;
    bool few_pixels = has_few_pixels(fd);
    close(fd);
    if (!maps && few_pixels && bytes <= unary_limit && bytes <= UNARY_FILE_BYTES) {
        rc = call_unary(client, spec, path, input_sha256, result, err);
        if (rc != BS_ELIMIT)
            return rc;
        /* Few bytes, many pixels: the answer did not fit into one message. */
    }
    return call_stream(client, spec, path, progress, input_sha256, result, err);
}
