/* Tables and JSON. See output.h. */
#include "clients/cli/output.h"

#include "kernels/base/status.h"

#include <inttypes.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_COLUMNS 16
#define CELL        64

json_t *bs__json_text(const char *text)
{
    if (!text)
        return json_null();
    json_t *plain = json_string(text);
    if (plain)
        return plain;
    size_t n = strlen(text);
    char *escaped = malloc(4 * n + 1);
    if (!escaped)
        return NULL;
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x80)
            escaped[m++] = (char)c;
        else
            m += (size_t)snprintf(escaped + m, 5, "\\x%02x", c);
    }
    escaped[m] = '\0';
    plain = json_string(escaped);
    free(escaped);
    return plain;
}

/* The width of one element of a repeated field. */
static size_t element_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        return 4;
    case PROTOBUF_C_TYPE_FLOAT:
        return sizeof(float);
    case PROTOBUF_C_TYPE_DOUBLE:
        return sizeof(double);
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    default:
        return 8;
    }
}

static json_t *real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *json_of_value(const ProtobufCFieldDescriptor *f, const void *value)
{
    switch (f->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return json_integer(*(const int32_t *)value);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return json_integer(*(const uint32_t *)value);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return json_integer((json_int_t) * (const int64_t *)value);
    case PROTOBUF_C_TYPE_FLOAT:
        return real((double)*(const float *)value);
    case PROTOBUF_C_TYPE_DOUBLE:
        return real(*(const double *)value);
    case PROTOBUF_C_TYPE_BOOL:
        return json_boolean(*(const protobuf_c_boolean *)value);
    case PROTOBUF_C_TYPE_ENUM: {
        const ProtobufCEnumValue *e =
            protobuf_c_enum_descriptor_get_value(f->descriptor, *(const int *)value);
        return e ? json_string(e->name) : json_integer(*(const int *)value);
    }
    case PROTOBUF_C_TYPE_STRING:
        return bs__json_text(*(char *const *)value ? *(char *const *)value : "");
    case PROTOBUF_C_TYPE_BYTES:
        return json_integer((json_int_t)((const ProtobufCBinaryData *)value)->len);
    case PROTOBUF_C_TYPE_MESSAGE:
        return bs__json_of_message(*(ProtobufCMessage *const *)value);
    }
    return json_null();
}

/* A map comes as repeated {key, value} messages; people and programs want an object. */
static bool is_map(const ProtobufCFieldDescriptor *f)
{
    if (f->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *d = f->descriptor;
    return d->n_fields == 2 && strcmp(d->fields[0].name, "key") == 0 &&
           strcmp(d->fields[1].name, "value") == 0 && d->fields[0].type == PROTOBUF_C_TYPE_STRING &&
           strlen(d->name) > 5 && strcmp(d->name + strlen(d->name) - 5, "Entry") == 0;
}

static json_t *json_of_repeated(const ProtobufCFieldDescriptor *f, const ProtobufCMessage *m)
{
    size_t n = *(const size_t *)((const char *)m + f->quantifier_offset);
    const char *items = *(const char *const *)((const char *)m + f->offset);
    bool map = is_map(f);
    json_t *out = map ? json_object() : json_array();
    for (size_t i = 0; i < n; i++) {
        json_t *v = json_of_value(f, items + i * element_size(f->type));
        if (map) {
            const char *key = json_string_value(json_object_get(v, "key"));
            json_object_set(out, key ? key : "", json_object_get(v, "value"));
            json_decref(v);
        } else {
            json_array_append_new(out, v);
        }
    }
    return out;
}

json_t *bs__json_of_message(const ProtobufCMessage *m)
{
    json_t *out = json_object();
    for (unsigned i = 0; m && i < m->descriptor->n_fields; i++) {
        const ProtobufCFieldDescriptor *f = &m->descriptor->fields[i];
        const char *at = (const char *)m + f->offset;
        if (f->label == PROTOBUF_C_LABEL_REPEATED) {
            json_object_set_new(out, f->name, json_of_repeated(f, m));
            continue;
        }
        if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF &&
            *(const uint32_t *)((const char *)m + f->quantifier_offset) != f->id)
            continue;
        if (f->type == PROTOBUF_C_TYPE_MESSAGE && !*(ProtobufCMessage *const *)at)
            continue;
        json_object_set_new(out, f->name, json_of_value(f, at));
    }
    return out;
}

void bs__print_json(FILE *out, const json_t *value)
{
    json_dumpf(value, out, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
    fputc('\n', out);
}

const char *bs__human_bytes(double bytes, char text[16])
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    size_t u = 0;
    while (bytes >= 1024 && u + 1 < sizeof unit / sizeof *unit) {
        bytes /= 1024;
        u++;
    }
    snprintf(text, 16, u ? "%.1f %s" : "%.0f %s", bytes, unit[u]);
    return text;
}

void bs__make_times_readable(json_t *object)
{
    json_t *out = json_object(), *value;
    const char *key;
    json_object_foreach(object, key, value)
    {
        size_t n = strlen(key);
        char name[64], when[32];
        if (n <= 3 || n >= sizeof name || strcmp(key + n - 3, "_ms") != 0 || !json_is_integer(value)) {
            json_object_set(out, key, value);
            continue;
        }
        time_t t = (time_t)(json_integer_value(value) / 1000);
        struct tm tm;
        memcpy(name, key, n - 3);
        name[n - 3] = '\0';
        if (t > 0 && localtime_r(&t, &tm) && strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm))
            json_object_set_new(out, name, json_string(when));
    }
    json_object_clear(object);
    json_object_update(object, out);
    json_decref(out);
}

static const json_t *look_up(const json_t *row, const char *path)
{
    char part[64];
    while (row && *path) {
        size_t n = strcspn(path, ".");
        if (n >= sizeof part)
            return NULL;
        memcpy(part, path, n);
        part[n] = '\0';
        row = json_object_get(row, part);
        path += n + (path[n] == '.');
    }
    return row;
}

/* What stands in a file name or comes from a server must not drive the terminal. */
static void copy_printable(char *out, size_t cap, const char *text)
{
    size_t n = 0;
    for (; *text && n + 1 < cap; text++)
        out[n++] = (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text;
    /* What is cut shows it, and not in the middle of a character. */
    if (*text && cap > 4) {
        n = cap - 4;
        while (n > 0 && ((unsigned char)out[n] & 0xc0) == 0x80)
            n--;
        memcpy(out + n, "...", 3);
        n += 3;
    }
    out[n] = '\0';
}

static void format_value(const json_t *v, char *out, size_t cap)
{
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_STRING:
        copy_printable(out, cap, json_string_value(v));
        break;
    case JSON_INTEGER:
        snprintf(out, cap, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
        break;
    case JSON_REAL:
        snprintf(out, cap, "%.4g", json_real_value(v));
        break;
    case JSON_TRUE:
        snprintf(out, cap, "yes");
        break;
    case JSON_FALSE:
        snprintf(out, cap, "no");
        break;
    case JSON_ARRAY:
    case JSON_OBJECT:
        snprintf(out, cap, "(%zu)", json_is_array(v) ? json_array_size(v) : json_object_size(v));
        break;
    default:
        snprintf(out, cap, "-");
    }
}

/* Columns on a terminal, not bytes: UTF-8 continuation bytes take no room. */
static int display_width(const char *text)
{
    int n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void print_cell(FILE *out, const char *text, int width, bool right, bool last)
{
    int pad = width - display_width(text);
    fprintf(out, "%*s%s", right && pad > 0 ? pad : 0, "", text);
    if (!last)
        fprintf(out, "%*s", (right || pad < 0 ? 0 : pad) + 2, "");
}

void bs__print_table(FILE *out, const json_t *rows, const struct bs__column *columns, size_t n)
{
    int width[MAX_COLUMNS];
    char cell[CELL];
    BS_ASSERT(n <= MAX_COLUMNS);
    size_t count = json_array_size(rows);
    for (size_t c = 0; c < n; c++) {
        width[c] = display_width(columns[c].title);
        for (size_t r = 0; r < count; r++) {
            format_value(look_up(json_array_get(rows, r), columns[c].path), cell, sizeof cell);
            if (display_width(cell) > width[c])
                width[c] = display_width(cell);
        }
    }
    for (size_t c = 0; c < n; c++)
        print_cell(out, columns[c].title, width[c], columns[c].right, c + 1 == n);
    fputc('\n', out);
    for (size_t r = 0; r < count; r++) {
        for (size_t c = 0; c < n; c++) {
            format_value(look_up(json_array_get(rows, r), columns[c].path), cell, sizeof cell);
            print_cell(out, cell, width[c], columns[c].right, c + 1 == n);
        }
        fputc('\n', out);
    }
}

void bs__print_fields(FILE *out, const json_t *object, int indent)
{
    const char *key;
    json_t *v;
    int width = 0;
    char text[512];
    json_object_foreach((json_t *)object, key, v) if (display_width(key) > width) width = display_width(key);
    json_object_foreach((json_t *)object, key, v)
    {
        if (json_is_object(v) && json_object_size(v)) {
            fprintf(out, "%*s%s:\n", indent, "", key);
            bs__print_fields(out, v, indent + 2);
        } else if (json_is_array(v) && json_array_size(v)) {
            fprintf(out, "%*s%s:\n", indent, "", key);
            for (size_t i = 0; i < json_array_size(v); i++) {
                const json_t *item = json_array_get(v, i);
                if (json_is_object(item)) {
                    bs__print_fields(out, item, indent + 2);
                    if (i + 1 < json_array_size(v))
                        fputc('\n', out);
                } else {
                    format_value(item, text, sizeof text);
                    fprintf(out, "%*s%s\n", indent + 2, "", text);
                }
            }
        } else if (!json_is_array(v) && !json_is_object(v)) {
            format_value(v, text, sizeof text);
            if (text[0])
                fprintf(out, "%*s%s:%*s %s\n", indent, "", key, width - display_width(key), "", text);
        }
    }
}
