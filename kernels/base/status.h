/* Errors as values: one status type and a caller-owned record of what went wrong, with which value.
   Owns nothing; every function may be called from any thread. */
#ifndef BS_KERNELS_BASE_STATUS_H
#define BS_KERNELS_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/* What kind of failure it is. server/rpc maps each to one gRPC status, in exactly one function. */
typedef enum bs_status {
    BS_OK = 0,
    BS_EINVAL,        /* an argument is wrong: the message names it, its value and what is accepted */
    BS_ECORRUPT,      /* a file or message is malformed */
    BS_ENOTFOUND,     /* nothing of that name */
    BS_EEXIST,        /* the name is taken, or the idempotency key was used with another payload */
    BS_ELIMIT,        /* a stated limit is exceeded: the message names the limit */
    BS_ENOMEM,        /* memory (host or device) ran out */
    BS_EUNSUPPORTED,  /* understood, but not implemented here */
    BS_ECANCELLED,    /* the caller gave up */
    BS_EDEADLINE,     /* the caller's deadline passed */
    BS_EPRECONDITION, /* the state of the system does not allow it now (model in use, directory locked, ...) */
    BS_EUNAVAILABLE,  /* try again later: draining, worker restarting */
    BS_EUNAUTHENTICATED, /* no or wrong credentials */
    BS_EPERMISSION,      /* known caller, not allowed */
    BS_EIO,              /* the operating system failed us: disk full, read error */
    BS_EINTERNAL,        /* our own bug, reported instead of crashing */
} bs_status;

/* Caller-owned error record; the text is for the person who will read it and never holds an internal path. */
struct bs_err {
    bs_status code;
    int line;         /* where it was raised, for the log only */
    const char *file; /* string literal; for the log only */
    char msg[512];
};

#define BS_NODISCARD                    __attribute__((warn_unused_result))
#define BS_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))

/* Raises an error: fills *err (which may be NULL) and yields the code, so that a function can `return BS_FAIL(...)`. */
#define BS_FAIL(err, code, ...) bs_fail_at((err), (code), __FILE__, __LINE__, __VA_ARGS__)
bs_status bs_fail_at(struct bs_err *err, bs_status code, const char *file, int line, const char *fmt, ...)
    BS_PRINTF(5, 6);
#ifdef __clang_analyzer__
/* The static analyser does not see into status.c; this tells it that the code raised is the code returned. */
static inline bs_status bs_fail_as_told(bs_status raised, bs_status code)
{
    (void)raised;
    return code;
}
#undef BS_FAIL
#define BS_FAIL(err, code, ...)                                                                              \
    bs_fail_as_told(bs_fail_at((err), (code), __FILE__, __LINE__, __VA_ARGS__), (code))
#endif

/* Puts "prefix: " in front of the message of an error that passes through; returns err->code (BS_EINTERNAL if err is NULL). */
bs_status bs_err_prefix(struct bs_err *err, const char *fmt, ...) BS_PRINTF(2, 3);

/* A stable lower-case name for logs and tests, e.g. "invalid argument". Never NULL. */
const char *bs_status_name(bs_status code);

/* For our own bugs only, always compiled in: prints expression and place, then aborts. Never for data from outside. */
#define BS_ASSERT(cond) ((cond) ? (void)0 : bs_assert_failed(#cond, __FILE__, __LINE__))
__attribute__((noreturn)) void bs_assert_failed(const char *expr, const char *file, int line);

#endif
