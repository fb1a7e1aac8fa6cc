/* Where the HTTP port listens, and which Host and Origin headers name it. Pure; any thread. */
#ifndef BS_SERVER_HTTP_ADDRESS_H
#define BS_SERVER_HTTP_ADDRESS_H

#include "kernels/base/status.h"

#include <sys/socket.h>

#define BS__HOST_MAX 64 /* an IPv6 address in brackets has at most 47 */

struct bs__http_address {
    char host[BS__HOST_MAX]; /* as given, IPv6 in brackets */
    int port;                /* 0: any free one */
    struct sockaddr_storage socket;
    socklen_t socket_bytes;
};

/* "127.0.0.1:8080", "[::1]:0", "localhost:8080". BS_EINVAL for what is no such address, BS_EPRECONDITION for one that
   other machines can reach. */
bs_status bs__http_address_parse(const char *listen, struct bs__http_address *out,
                                 struct bs_err *err) BS_NODISCARD;

/* Whether a Host header names this port of this machine: one of localhost, 127.0.0.1, [::1] and the listening host, and
   the port. A browser that was led here by a rebound DNS name sends that name instead. */
bool bs__http_host_ok(const struct bs__http_address *address, int port, const char *host);
/* Whether an Origin header names the same place as this (accepted) Host header. */
bool bs__http_origin_ok(const char *origin, const char *host);

#endif
