/* A reader of just those fields of descriptor.proto that reflection needs; see symbols.h. The data is our own. */
#include "server/service/symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FILES   32
#define MAX_SYMBOLS 1024

enum kind { MESSAGE, ENUM, SERVICE, METHOD };

struct symbol {
    enum kind kind;
    int file;
    char name[120];
};

struct bs__symbols {
    int nfile, nsymbol;
    struct bs__proto_file file[MAX_FILES];
    struct symbol symbol[MAX_SYMBOLS];
};

/* One length-delimited field after the other; others are skipped. */
struct cursor {
    const uint8_t *at, *end;
};

static uint64_t varint(struct cursor *c)
{
    uint64_t v = 0;
    for (unsigned shift = 0; c->at < c->end && shift < 64; shift += 7) {
        uint8_t byte = *c->at++;
        v |= (uint64_t)(byte & 127u) << shift;
        if (!(byte & 128u))
            break;
    }
    return v;
}

static bool next(struct cursor *c, uint32_t *field, const uint8_t **data, size_t *n)
{
    while (c->at < c->end) {
        uint64_t tag = varint(c), length = 0;
        switch (tag & 7) {
        case 0:
            varint(c);
            continue;
        case 1:
            length = 8;
            break;
        case 5:
            length = 4;
            break;
        default:
            length = varint(c);
        }
        if (length > (uint64_t)(c->end - c->at))
            return false;
        *field = (uint32_t)(tag >> 3);
        *data = c->at;
        *n = (size_t)length;
        c->at += length;
        if ((tag & 7) == 2)
            return true;
    }
    return false;
}

static struct bs__text name_of(const uint8_t *data, size_t n)
{
    struct cursor c = {data, data + n};
    uint32_t field;
    const uint8_t *at;
    size_t length;
    while (next(&c, &field, &at, &length)) {
        if (field == 1)
            return (struct bs__text){(const char *)at, length};
    }
    return (struct bs__text){"", 0};
}

static void add(struct bs__symbols *s, enum kind kind, int file, const char *scope, const uint8_t *data,
                size_t n, char *full, size_t cap)
{
    struct bs__text name = name_of(data, n);
    snprintf(full, cap, "%s.%.*s", scope, (int)name.n, name.at);
    if (s->nsymbol == MAX_SYMBOLS)
        return;
    struct symbol *symbol = &s->symbol[s->nsymbol++];
    symbol->kind = kind;
    symbol->file = file;
    snprintf(symbol->name, sizeof symbol->name, "%s", full);
}

/* Nested declarations: DescriptorProto.nested_type = 3, enum_type = 4; ServiceDescriptorProto.method = 2. */
static void add_nested(struct bs__symbols *s, enum kind kind, int file, const char *scope,
                       const uint8_t *data, size_t n)
{
    char full[120], nested[120];
    add(s, kind, file, scope, data, n, full, sizeof full);
    struct cursor c = {data, data + n};
    uint32_t field;
    const uint8_t *at;
    size_t length;
    while (next(&c, &field, &at, &length)) {
        if (kind == MESSAGE && field == 3)
            add(s, MESSAGE, file, full, at, length, nested, sizeof nested); /* one level: map entries */
        else if (kind == MESSAGE && field == 4)
            add(s, ENUM, file, full, at, length, nested, sizeof nested);
        else if (kind == SERVICE && field == 2)
            add(s, METHOD, file, full, at, length, nested, sizeof nested);
    }
}

/* FileDescriptorProto: name = 1, package = 2, dependency = 3, message_type = 4, enum_type = 5, service = 6. */
static void add_file(struct bs__symbols *s, const uint8_t *data, size_t n)
{
    int index = s->nfile++;
    struct bs__proto_file *f = &s->file[index];
    struct cursor c = {data, data + n};
    uint32_t field;
    const uint8_t *at;
    size_t length;
    f->data = data;
    f->size = n;
    while (next(&c, &field, &at, &length)) {
        struct bs__text text = {(const char *)at, length};
        if (field == 1)
            f->name = text;
        else if (field == 2)
            f->package = text;
        else if (field == 3 && f->ndependency < BS__MAX_DEPENDENCIES)
            f->dependency[f->ndependency++] = text;
    }
    char package[80];
    snprintf(package, sizeof package, "%.*s", (int)f->package.n, f->package.at);
    c = (struct cursor){data, data + n};
    while (next(&c, &field, &at, &length)) {
        if (field >= 4 && field <= 6)
            add_nested(s, field == 4 ? MESSAGE : field == 5 ? ENUM : SERVICE, index, package, at, length);
    }
}

bs_status bs__symbols_create(const uint8_t *set, size_t size, struct bs__symbols **out, struct bs_err *err)
{
    struct bs__symbols *s = calloc(1, sizeof *s);
    if (!s)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    struct cursor c = {set, set + size};
    uint32_t field;
    const uint8_t *at;
    size_t length;
    while (next(&c, &field, &at, &length)) {
        if (field == 1 && s->nfile < MAX_FILES)
            add_file(s, at, length);
    }
    *out = s;
    return BS_OK;
}

void bs__symbols_destroy(struct bs__symbols *s)
{
    free(s);
}

int bs__symbols_file(const struct bs__symbols *s, const char *name, size_t n)
{
    for (int i = 0; i < s->nfile; i++) {
        if (s->file[i].name.n == n && memcmp(s->file[i].name.at, name, n) == 0)
            return i;
    }
    return -1;
}

int bs__symbols_declaring(const struct bs__symbols *s, const char *symbol)
{
    for (int i = 0; i < s->nsymbol; i++) {
        if (strcmp(s->symbol[i].name, symbol) == 0)
            return s->symbol[i].file;
    }
    return -1;
}

const struct bs__proto_file *bs__symbols_get(const struct bs__symbols *s, int file)
{
    return &s->file[file];
}

int bs__symbols_files(const struct bs__symbols *s)
{
    return s->nfile;
}

bool bs__symbols_service(const struct bs__symbols *s, int i, char *out, size_t cap)
{
    for (int k = 0; k < s->nsymbol; k++) {
        if (s->symbol[k].kind == SERVICE && i-- == 0) {
            snprintf(out, cap, "%s", s->symbol[k].name);
            return true;
        }
    }
    return false;
}
