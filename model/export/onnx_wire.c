/* See onnx_wire.h. */
#include "model/export/onnx_wire.h"

#include <string.h>

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

static void varint(struct bs__bytes *b, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        bs__bytes_uint(b, (v & 127) | 128, 1);
    bs__bytes_uint(b, v, 1);
}

static void tag(struct bs__bytes *b, int field, int wire)
{
    varint(b, (uint64_t)field << 3 | (uint64_t)wire);
}

void bs__wire_int(struct bs__bytes *b, int field, int64_t value)
{
    tag(b, field, WIRE_VARINT);
    varint(b, (uint64_t)value);
}

void bs__wire_float(struct bs__bytes *b, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    tag(b, field, WIRE_FIXED32);
    bs__bytes_uint(b, bits, 4);
}

void bs__wire_head(struct bs__bytes *b, int field, uint64_t len)
{
    tag(b, field, WIRE_BYTES);
    varint(b, len);
}

void bs__wire_text(struct bs__bytes *b, int field, const char *value)
{
    bs__wire_head(b, field, strlen(value));
    bs__bytes_text(b, value);
}

void bs__wire_message(struct bs__bytes *b, int field, struct bs__bytes *message)
{
    bs__wire_head(b, field, message->len);
    bs__bytes_put(b, message->data, message->len);
    b->failed = b->failed || message->failed;
    bs__bytes_free(message);
}
