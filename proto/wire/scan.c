/* A walk over the top level (and one chosen submessage) of a serialised message; see scan.h. */
#include "proto/wire/scan.h"

#include <inttypes.h>
#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* The length of a submessage whose pixels are taken out is not known before its end: five bytes are kept free for it and
   filled with a varint padded to that width, which every parser accepts. */
#define PADDED_VARINT 5

struct scan {
    const struct bs_wire_source *source;
    const uint8_t *at; /* unread part of the current fragment */
    size_t left;
    uint8_t *rest;
    size_t cap, size;
    bool seen_pixels;
};

static bs_status put(struct scan *s, const uint8_t *data, size_t n, struct bs_err *err)
{
    if (n > s->cap - s->size)
        return BS_FAIL(err, BS_ELIMIT, "a message has more than %zu bytes besides its pixels", s->cap);
    if (n)
        memcpy(s->rest + s->size, data, n);
    s->size += n;
    return BS_OK;
}

/* Makes sure that a byte is there; false at the end. */
static bool more(struct scan *s)
{
    while (s->left == 0) {
        if (!s->source->next(s->source->ctx, &s->at, &s->left))
            return false;
    }
    return true;
}

static bs_status cut_short(struct bs_err *err)
{
    return BS_FAIL(err, BS_ECORRUPT, "the message is cut short");
}

/* Reads a varint; its bytes (at most 10) are copied to raw. `remaining` counts down the enclosing message. */
static bs_status varint(struct scan *s, uint64_t *remaining, uint64_t *value, uint8_t *raw, size_t *nraw,
                        struct bs_err *err)
{
    uint64_t v = 0;
    for (size_t i = 0; i < 10; i++) {
        if (*remaining == 0 || !more(s))
            return cut_short(err);
        uint8_t byte = *s->at++;
        s->left--;
        --*remaining;
        raw[i] = byte;
        v |= (uint64_t)(byte & 127u) << (7 * i);
        if (!(byte & 128u)) {
            if (i == 9 && byte > 1)
                break;
            *value = v;
            *nraw = i + 1;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ECORRUPT, "the message holds a number of more than 64 bits");
}

/* Moves n bytes from the source to the rest (pixels NULL) or to the sink. */
static bs_status move(struct scan *s, uint64_t n, const struct bs_wire_pixels *pixels, struct bs_err *err)
{
    bs_status rc;
    while (n > 0) {
        if (!more(s))
            return cut_short(err);
        size_t piece = s->left < n ? s->left : (size_t)n;
        rc = pixels ? pixels->data(pixels->ctx, s->at, piece, err) : put(s, s->at, piece, err);
        if (rc != BS_OK)
            return rc;
        s->at += piece;
        s->left -= piece;
        n -= piece;
    }
    return BS_OK;
}

static bs_status take_pixels(struct scan *s, uint64_t n, const struct bs_wire_pixels *pixels,
                             struct bs_err *err)
{
    bs_status rc;
    if (s->seen_pixels)
        return BS_FAIL(err, BS_ECORRUPT, "the message holds its pixels twice");
    s->seen_pixels = true;
    if (n > 0 && pixels->begin && (rc = pixels->begin(pixels->ctx, n, err)) != BS_OK)
        return rc;
    return move(s, n, pixels, err);
}

static bs_status fields(struct scan *s, uint64_t remaining, bool bounded, const struct bs_wire_pixels *pixels,
                        bool inside, struct bs_err *err);

/* The submessage that holds the pixels: its length is written afterwards. */
static bs_status submessage(struct scan *s, uint64_t n, const struct bs_wire_pixels *pixels,
                            struct bs_err *err)
{
    bs_status rc;
    static const uint8_t free_bytes[PADDED_VARINT] = {0};
    size_t length_at = s->size;
    if ((rc = put(s, free_bytes, sizeof free_bytes, err)) != BS_OK)
        return rc;
    size_t begin = s->size;
    if ((rc = fields(s, n, true, pixels, true, err)) != BS_OK)
        return rc;
    size_t length = s->size - begin;
    for (int i = 0; i < PADDED_VARINT; i++)
        s->rest[length_at + (size_t)i] =
            (uint8_t)((length >> (7 * i) & 127u) | (i + 1 < PADDED_VARINT ? 128u : 0u));
    return BS_OK;
}

static bs_status fields(struct scan *s, uint64_t remaining, bool bounded, const struct bs_wire_pixels *pixels,
                        bool inside, struct bs_err *err)
{
    bs_status rc;
    while (bounded ? remaining > 0 : more(s)) {
        uint64_t tag, length, *budget = &remaining;
        uint8_t raw[10];
        size_t nraw;
        if ((rc = varint(s, budget, &tag, raw, &nraw, err)) != BS_OK)
            return rc;
        uint64_t number = tag >> 3;
        if (number == 0 || number > 0x1fffffff)
            return BS_FAIL(err, BS_ECORRUPT,
                           "the message holds field number %" PRIu64 "; 1 to 536870911 exist", number);
        bool is_pixels =
            pixels && number == pixels->field && (inside || pixels->outer == 0) && (tag & 7) == WIRE_BYTES;
        bool is_outer =
            pixels && !inside && pixels->outer && number == pixels->outer && (tag & 7) == WIRE_BYTES;
        if (!is_pixels && (rc = put(s, raw, nraw, err)) != BS_OK)
            return rc;
        switch (tag & 7) {
        case WIRE_VARINT:
            if ((rc = varint(s, budget, &length, raw, &nraw, err)) != BS_OK ||
                (rc = put(s, raw, nraw, err)) != BS_OK)
                return rc;
            continue;
        case WIRE_FIXED64:
            length = 8;
            break;
        case WIRE_FIXED32:
            length = 4;
            break;
        case WIRE_BYTES:
            if ((rc = varint(s, budget, &length, raw, &nraw, err)) != BS_OK)
                return rc;
            if (!is_pixels && !is_outer && (rc = put(s, raw, nraw, err)) != BS_OK)
                return rc;
            break;
        default:
            return BS_FAIL(err, BS_ECORRUPT, "field %" PRIu64 " has wire type %u, which does not exist",
                           number, (unsigned)(tag & 7));
        }
        if (length > remaining)
            return cut_short(err);
        remaining -= length;
        if (is_pixels)
            rc = take_pixels(s, length, pixels, err);
        else if (is_outer)
            rc = submessage(s, length, pixels, err);
        else
            rc = move(s, length, NULL, err);
        if (rc != BS_OK)
            return rc;
    }
    return BS_OK;
}

bs_status bs_wire_scan(const struct bs_wire_source *source, const struct bs_wire_pixels *pixels,
                       uint8_t *rest, size_t cap, size_t *rest_size, struct bs_err *err)
{
    struct scan s = {.source = source, .rest = rest, .cap = cap};
    bs_status rc = fields(&s, UINT64_MAX, false, pixels, false, err);
    *rest_size = rc == BS_OK ? s.size : 0;
    return rc;
}
