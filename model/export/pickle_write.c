/* See pickle_write.h. Opcodes as in the documentation of Python's module pickletools. */
#include "model/export/pickle_write.h"

#include <string.h>

enum {
    OP_MARK = '(',
    OP_STOP = '.',
    OP_BINFLOAT = 'G',
    OP_BININT = 'J',
    OP_NONE = 'N',
    OP_BINPERSID = 'Q',
    OP_REDUCE = 'R',
    OP_BINUNICODE = 'X',
    OP_EMPTY_LIST = ']',
    OP_GLOBAL = 'c',
    OP_APPENDS = 'e',
    OP_EMPTY_TUPLE = ')',
    OP_TUPLE = 't',
    OP_SETITEMS = 'u',
    OP_EMPTY_DICT = '}',
    OP_PROTO = 0x80,
    OP_NEWTRUE = 0x88,
    OP_NEWFALSE = 0x89,
    OP_LONG1 = 0x8a
};

static void op(struct bs__bytes *p, int code)
{
    bs__bytes_uint(p, (uint64_t)code, 1);
}

void bs__pickler_begin(struct bs__bytes *p)
{
    op(p, OP_PROTO);
    op(p, 2);
}

void bs__pickler_end(struct bs__bytes *p)
{
    op(p, OP_STOP);
}

void bs__pickler_none(struct bs__bytes *p)
{
    op(p, OP_NONE);
}

void bs__pickler_bool(struct bs__bytes *p, bool value)
{
    op(p, value ? OP_NEWTRUE : OP_NEWFALSE);
}

void bs__pickler_int(struct bs__bytes *p, int64_t value)
{
    if (value >= INT32_MIN && value <= INT32_MAX) {
        op(p, OP_BININT);
        bs__bytes_uint(p, (uint64_t)value, 4);
    } else {
        op(p, OP_LONG1);
        op(p, 8); /* bytes of two's complement */
        bs__bytes_uint(p, (uint64_t)value, 8);
    }
}

void bs__pickler_float(struct bs__bytes *p, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    op(p, OP_BINFLOAT);
    bs__bytes_uint(p, __builtin_bswap64(bits), 8); /* the only big endian number of the format */
}

void bs__pickler_text(struct bs__bytes *p, const char *value)
{
    const size_t len = strlen(value);
    op(p, OP_BINUNICODE);
    bs__bytes_uint(p, len, 4);
    bs__bytes_put(p, value, len);
}

void bs__pickler_global(struct bs__bytes *p, const char *module, const char *name)
{
    op(p, OP_GLOBAL);
    bs__bytes_text(p, module);
    bs__bytes_text(p, "\n");
    bs__bytes_text(p, name);
    bs__bytes_text(p, "\n");
}

void bs__pickler_open_tuple(struct bs__bytes *p)
{
    op(p, OP_MARK);
}

void bs__pickler_close_tuple(struct bs__bytes *p)
{
    op(p, OP_TUPLE);
}

void bs__pickler_open_list(struct bs__bytes *p)
{
    op(p, OP_EMPTY_LIST);
    op(p, OP_MARK);
}

void bs__pickler_close_list(struct bs__bytes *p)
{
    op(p, OP_APPENDS);
}

void bs__pickler_open_dict(struct bs__bytes *p)
{
    op(p, OP_EMPTY_DICT);
    op(p, OP_MARK);
}

void bs__pickler_open_ordered_dict(struct bs__bytes *p)
{
    bs__pickler_global(p, "collections", "OrderedDict");
    op(p, OP_EMPTY_TUPLE);
    op(p, OP_REDUCE);
    op(p, OP_MARK);
}

void bs__pickler_close_dict(struct bs__bytes *p)
{
    op(p, OP_SETITEMS);
}

void bs__pickler_call(struct bs__bytes *p)
{
    op(p, OP_REDUCE);
}

void bs__pickler_persistent(struct bs__bytes *p)
{
    op(p, OP_BINPERSID);
}
