/* Who may call what: the one gate in front of every method of every port. Deny by default: a method that is not in the
   table of auth_table.c may be called by nobody. Immutable after creation, so any thread may ask. */
#ifndef BS_SERVER_AUTH_H
#define BS_SERVER_AUTH_H

#include "kernels/base/status.h"

enum bs_who {
    BS_WHO_NOBODY, /* not in the table */
    BS_WHO_USER,
    BS_WHO_ADMIN
};

/* How a call reached us. */
enum bs_transport {
    BS_TRANSPORT_UNIX, /* the socket in the data directory: whoever can open it is the directory's owner (or root) */
    BS_TRANSPORT_TCP /* needs a token */
};

/* Owner of what a call makes. */
struct bs_caller {
    char name[64];
    bool admin;
};

struct bs_auth;

/* Reads DIR/token, or makes it (mode 0600, 32 random bytes in hex). A token file that others may read is refused. More
   users stand in DIR/users (mode 0600, optional), one a line: name, "user" or "admin", SHA-256 of the token in hex. */
bs_status bs_auth_create(const char *data_dir, struct bs_auth **out, struct bs_err *err) BS_NODISCARD;
void bs_auth_destroy(struct bs_auth *a); /* accepts NULL */

/* Full method name as on the wire ("/bioseg.v1.Jobs/Submit"); authorization is that header's value or NULL. Fills caller
   when BS_OK. BS_EUNAUTHENTICATED or BS_EPERMISSION otherwise; which methods exist is told to nobody who may call none. */
bs_status bs_auth_check(const struct bs_auth *a, const char *method, enum bs_transport transport,
                        const char *authorization, struct bs_caller *caller, struct bs_err *err) BS_NODISCARD;

/* The table. */
enum bs_who bs_auth_who(const char *method);
/* Entries in order, NULL after the last; for the test that table and services agree. */
const char *bs_auth_table_method(size_t i);

/* Whether HOST:PORT ("127.0.0.1:0", "[::1]:7443", "localhost:7443") can be reached from this machine only. */
bs_status bs_auth_is_loopback(const char *listen, bool *loopback, struct bs_err *err) BS_NODISCARD;

#endif
