/* Small things that every service needs. Any thread. */
#include "server/service/service_internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

char *bs__format(struct bs_arena *arena, const char *fmt, ...)
{
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char *copy = bs_arena_strdup(arena, text);
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

bs_status bs__page(const struct bs_services *s, const Bioseg__V1__Page *page, int *size, const char **token,
                   struct bs_err *err)
{
    *size = 100;
    *token = NULL;
    if (!page)
        return BS_OK;
    if (page->size > s->limits.max_page_size)
        return BS_FAIL(err, BS_EINVAL, "page.size is %u; 0 to %u is accepted", page->size,
                       s->limits.max_page_size);
    if (strlen(page->token) > 128)
        return BS_FAIL(err, BS_EINVAL, "page.token is none that this server gave");
    if (page->size)
        *size = (int)page->size;
    if (page->token[0])
        *token = page->token;
    return BS_OK;
}

bs_status bs__check_name(const char *what, const char *name, struct bs_err *err)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(name);
    if (n == 0 || n > 64 || !strchr(first, name[0]) || strspn(name, rest) != n)
        return BS_FAIL(err, BS_EINVAL,
                       "%s is \"%.80s\"; 1 to 64 characters of A-Z a-z 0-9 . _ - starting with a letter or "
                       "digit are accepted",
                       what, name);
    return BS_OK;
}

bs_status bs__check_text(const char *what, const char *text, size_t most, struct bs_err *err)
{
    if (strlen(text) > most)
        return BS_FAIL(err, BS_EINVAL, "%s has %zu bytes; at most %zu are accepted", what, strlen(text),
                       most);
    for (const char *c = text; *c; c++)
        if (iscntrl((unsigned char)*c) && *c != '\n')
            return BS_FAIL(err, BS_EINVAL, "%s has a control character in it", what);
    return BS_OK;
}
