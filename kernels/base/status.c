/* Errors as values; see status.h. */
#include "kernels/base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bs_status bs_fail_at(struct bs_err *err, bs_status code, const char *file, int line, const char *fmt, ...)
{
    if (!err)
        return code;
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    err->file = file;
    err->line = line;
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

bs_status bs_err_prefix(struct bs_err *err, const char *fmt, ...)
{
    if (!err)
        return BS_EINTERNAL;
    char prefix[sizeof err->msg / 2], whole[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    size_t used = (size_t)snprintf(whole, sizeof whole, "%s: ", prefix);
    size_t room = sizeof whole - used - 1;
    size_t len = strnlen(err->msg, sizeof err->msg);
    if (len > room)
        len = room;
    memcpy(whole + used, err->msg, len);
    whole[used + len] = '\0';
    memcpy(err->msg, whole, used + len + 1);
    return err->code;
}

const char *bs_status_name(bs_status code)
{
    switch (code) {
    case BS_OK:
        return "ok";
    case BS_EINVAL:
        return "invalid argument";
    case BS_ECORRUPT:
        return "malformed data";
    case BS_ENOTFOUND:
        return "not found";
    case BS_EEXIST:
        return "already exists";
    case BS_ELIMIT:
        return "limit exceeded";
    case BS_ENOMEM:
        return "out of memory";
    case BS_EUNSUPPORTED:
        return "unsupported";
    case BS_ECANCELLED:
        return "cancelled";
    case BS_EDEADLINE:
        return "deadline exceeded";
    case BS_EPRECONDITION:
        return "failed precondition";
    case BS_EUNAVAILABLE:
        return "unavailable";
    case BS_EUNAUTHENTICATED:
        return "unauthenticated";
    case BS_EPERMISSION:
        return "permission denied";
    case BS_EIO:
        return "input/output error";
    case BS_EINTERNAL:
        return "internal error";
    }
    return "unknown status";
}

void bs_assert_failed(const char *expr, const char *file, int line)
{
    fprintf(stderr, "bioseg bug: %s does not hold at %s:%d\n", expr, file, line);
    abort();
}
