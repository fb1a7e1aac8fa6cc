/* See bytes.h. */
#include "model/export/bytes.h"

#include "kernels/base/checked.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bs__bytes_put(struct bs__bytes *b, const void *data, size_t len)
{
    size_t need = 0;
    if (b->failed || len == 0)
        return;
    if (!bs_add(b->len, len, &need) || need > SIZE_MAX / 2) {
        b->failed = true;
        return;
    }
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 256;
        while (cap < need)
            cap *= 2;
        unsigned char *grown = realloc(b->data, cap);
        if (!grown) {
            b->failed = true;
            return;
        }
        b->data = grown;
        b->cap = cap;
    }
    memcpy(b->data + b->len, data, len);
    b->len = need;
}

void bs__bytes_text(struct bs__bytes *b, const char *text)
{
    bs__bytes_put(b, text, strlen(text));
}

void bs__bytes_format(struct bs__bytes *b, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    const int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    BS_ASSERT(len >= 0 && (size_t)len < sizeof text);
    bs__bytes_put(b, text, (size_t)len);
}

void bs__bytes_uint(struct bs__bytes *b, uint64_t value, int width)
{
    unsigned char le[8];
    for (int i = 0; i < width; i++)
        le[i] = (unsigned char)(value >> 8 * i);
    bs__bytes_put(b, le, (size_t)width);
}

bs_status bs__bytes_check(const struct bs__bytes *b, const char *what, struct bs_err *err)
{
    if (b->failed)
        return BS_FAIL(err, BS_ENOMEM, "no memory for %s", what);
    return BS_OK;
}

void bs__bytes_free(struct bs__bytes *b)
{
    free(b->data);
    *b = (struct bs__bytes){0};
}
