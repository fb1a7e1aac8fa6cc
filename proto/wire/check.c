/* Recursive walk along a message descriptor; see check.h. */
#include "proto/wire/check.h"

#include <inttypes.h>
#include <string.h>

#define MAX_DEPTH       16 /* our messages nest 6 deep */
#define MAX_MAP_ENTRIES 64 /* per map; keys are compared pairwise */
#define MAX_MAPS        4  /* per message */

/* Where a map's keys stand in the data, for the comparison. */
struct map_keys {
    const ProtobufCFieldDescriptor *field;
    size_t count;
    struct {
        const uint8_t *key;
        size_t n;
    } key[MAX_MAP_ENTRIES];
};

struct cursor {
    const uint8_t *at, *end;
};

bool bs_wire_text_ok(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n;) {
        uint8_t c = p[i];
        if (c == 0)
            return false;
        if (c < 0x80) {
            i++;
            continue;
        }
        size_t follow = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
        if (c < 0xc2 || c > 0xf4 || follow > n - i - 1)
            return false;
        for (size_t k = 1; k <= follow; k++) {
            if ((p[i + k] & 0xc0) != 0x80)
                return false;
        }
        uint8_t second = p[i + 1];
        if ((c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) || (c == 0xf0 && second < 0x90) ||
            (c == 0xf4 && second > 0x8f))
            return false;
        i += 1 + follow;
    }
    return true;
}

static bool get_varint(struct cursor *c, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned i = 0; i < 10 && c->at < c->end; i++) {
        uint8_t byte = *c->at++;
        v |= (uint64_t)(byte & 127u) << (7 * i);
        if (!(byte & 128u)) {
            *out = v;
            return i < 9 || byte <= 1;
        }
    }
    return false;
}

/* protobuf-c does not mark map entries: they are the repeated messages with fields key = 1 and value = 2 only, named
   after their field with "Entry" (the compiler reserves that name). */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    if (f->label != PROTOBUF_C_LABEL_REPEATED || f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = f->descriptor;
    size_t len = strlen(entry->short_name);
    return entry->n_fields == 2 && len > 5 && strcmp(entry->short_name + len - 5, "Entry") == 0 &&
           strcmp(entry->fields[0].name, "key") == 0 && strcmp(entry->fields[1].name, "value") == 0;
}

static unsigned wire_type_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

/* The key (field 1) of a map entry as raw bytes; an absent key is the empty one. */
static void map_key(const uint8_t *data, size_t n, const uint8_t **key, size_t *nkey)
{
    struct cursor c = {data, data + n};
    *key = data;
    *nkey = 0;
    uint64_t tag, length;
    while (c.at < c.end && get_varint(&c, &tag)) {
        const uint8_t *begin = c.at;
        switch (tag & 7) {
        case 0:
            if (!get_varint(&c, &length))
                return;
            break;
        case 1:
        case 5:
            length = (tag & 7) == 1 ? 8 : 4;
            if (length > (uint64_t)(c.end - c.at))
                return;
            c.at += length;
            break;
        case 2:
            if (!get_varint(&c, &length) || length > (uint64_t)(c.end - c.at))
                return;
            begin = c.at;
            c.at += length;
            break;
        default:
            return;
        }
        if (tag >> 3 == 1) {
            *key = begin;
            *nkey = (size_t)(c.at - begin);
        }
    }
}

static bs_status note_map_key(struct map_keys *maps, size_t *nmaps, const ProtobufCFieldDescriptor *f,
                              const uint8_t *data, size_t n, struct bs_err *err)
{
    struct map_keys *m = NULL;
    for (size_t i = 0; i < *nmaps; i++) {
        if (maps[i].field == f)
            m = &maps[i];
    }
    if (!m) {
        BS_ASSERT(*nmaps < MAX_MAPS);
        m = &maps[(*nmaps)++];
        m->field = f;
        m->count = 0;
    }
    if (m->count == MAX_MAP_ENTRIES)
        return BS_FAIL(err, BS_ELIMIT, "%s has more than %d entries", f->name, MAX_MAP_ENTRIES);
    const uint8_t *key;
    size_t nkey;
    map_key(data, n, &key, &nkey);
    for (size_t i = 0; i < m->count; i++) {
        if (m->key[i].n == nkey && memcmp(m->key[i].key, key, nkey) == 0)
            return BS_FAIL(err, BS_EINVAL, "%s holds the key \"%.*s\" twice", f->name,
                           (int)(nkey < 64 ? nkey : 64), (const char *)key);
    }
    m->key[m->count].key = key;
    m->key[m->count].n = nkey;
    m->count++;
    return BS_OK;
}

static bs_status check_enum(const ProtobufCFieldDescriptor *f, uint64_t value, struct bs_err *err)
{
    const ProtobufCEnumDescriptor *e = f->descriptor;
    if (!protobuf_c_enum_descriptor_get_value(e, (int)(int32_t)(uint32_t)value))
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "%s is %" PRId32 ", which %s does not have in this version of bioseg", f->name,
                       (int32_t)(uint32_t)value, e->short_name);
    return BS_OK;
}

static bs_status check_message(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n,
                               bool strict, int depth, struct bs_err *err);

/* Body of a length-delimited field. */
static bs_status check_body(const ProtobufCFieldDescriptor *f, const uint8_t *data, size_t n, bool strict,
                            int depth, struct bs_err *err)
{
    if (f->type == PROTOBUF_C_TYPE_STRING) {
        if (!bs_wire_text_ok(data, n))
            return BS_FAIL(err, BS_EINVAL, "%s is not text: it must be UTF-8 without NUL", f->name);
        return BS_OK;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) {
        if (depth == MAX_DEPTH)
            return BS_FAIL(err, BS_ELIMIT, "%s nests deeper than %d messages", f->name, MAX_DEPTH);
        return check_message(f->descriptor, data, n, strict, depth + 1, err);
    }
    if (f->type == PROTOBUF_C_TYPE_BYTES)
        return BS_OK;
    /* Packed numbers. */
    unsigned wire = wire_type_of(f->type);
    if (wire != 0)
        return n % (wire == 1 ? 8 : 4) == 0 ? BS_OK : BS_FAIL(err, BS_ECORRUPT, "%s is cut short", f->name);
    struct cursor c = {data, data + n};
    while (c.at < c.end) {
        uint64_t value;
        bs_status rc;
        if (!get_varint(&c, &value))
            return BS_FAIL(err, BS_ECORRUPT, "%s is cut short", f->name);
        if (strict && f->type == PROTOBUF_C_TYPE_ENUM && (rc = check_enum(f, value, err)) != BS_OK)
            return rc;
    }
    return BS_OK;
}

static bs_status check_message(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n,
                               bool strict, int depth, struct bs_err *err)
{
    struct map_keys maps[MAX_MAPS];
    size_t nmaps = 0;
    uint64_t seen = 0; /* single submessages, by their place in the descriptor */
    struct cursor c = {data, data + n};
    bs_status rc;
    BS_ASSERT(type->n_fields <= 64);
    while (c.at < c.end) {
        uint64_t tag, value = 0;
        if (!get_varint(&c, &tag) || tag >> 3 == 0 || tag >> 3 > 0x1fffffff)
            return BS_FAIL(err, BS_ECORRUPT, "%s is no valid protobuf message", type->short_name);
        const ProtobufCFieldDescriptor *f =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        const uint8_t *body = c.at;
        switch (tag & 7) {
        case 0:
            if (!get_varint(&c, &value))
                return BS_FAIL(err, BS_ECORRUPT, "%s is no valid protobuf message", type->short_name);
            break;
        case 1:
        case 5:
            value = (tag & 7) == 1 ? 8 : 4;
            if (value > (uint64_t)(c.end - c.at))
                return BS_FAIL(err, BS_ECORRUPT, "%s is cut short", type->short_name);
            c.at += value;
            break;
        case 2:
            if (!get_varint(&c, &value))
                return BS_FAIL(err, BS_ECORRUPT, "%s is cut short", type->short_name);
#ifndef BS_FUZZ_PLANT /* see tests/fuzz/fuzz.cmake */
            if (value > (uint64_t)(c.end - c.at))
                return BS_FAIL(err, BS_ECORRUPT, "%s is cut short", type->short_name);
#endif
            body = c.at;
            c.at += value;
            break;
        default:
            return BS_FAIL(err, BS_ECORRUPT, "%s is no valid protobuf message", type->short_name);
        }
        if (!f) {
            if (strict)
                return BS_FAIL(err, BS_EUNSUPPORTED, "%s has no field %" PRIu64 " in this version of bioseg",
                               type->short_name, tag >> 3);
            continue;
        }
        unsigned wire = (unsigned)(tag & 7);
        bool packed = wire == 2 && wire_type_of(f->type) != 2 && f->label == PROTOBUF_C_LABEL_REPEATED;
        if (wire != wire_type_of(f->type) && !packed)
            return BS_FAIL(err, BS_ECORRUPT, "%s of %s has the wrong wire type", f->name, type->short_name);
        if (strict && wire == 0 && f->type == PROTOBUF_C_TYPE_ENUM &&
            (rc = check_enum(f, value, err)) != BS_OK)
            return rc;
        /* protobuf-c would merge both, and with them maps whose keys are different in each but not in the sum. */
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && f->label != PROTOBUF_C_LABEL_REPEATED) {
            uint64_t bit = (uint64_t)1 << (f - type->fields);
            if (seen & bit)
                return BS_FAIL(err, BS_EINVAL, "%s comes twice in %s", f->name, type->short_name);
            seen |= bit;
        }
        if (wire == 2 && (rc = check_body(f, body, (size_t)value, strict, depth, err)) != BS_OK)
            return rc;
        if (wire == 2 && is_map(f) && (rc = note_map_key(maps, &nmaps, f, body, (size_t)value, err)) != BS_OK)
            return rc;
    }
    return BS_OK;
}

bs_status bs_wire_check(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t n, bool strict,
                        struct bs_err *err)
{
    return check_message(type, data, n, strict, 0, err);
}
