/* Addresses, Host and Origin; see address.h. */
#include "server/http/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bs_status no_address(const char *listen, struct bs_err *err)
{
    return BS_FAIL(err, BS_EINVAL,
                   "\"%.100s\" is no address to listen on; expected HOST:PORT, e.g. 127.0.0.1:8080", listen);
}

static bs_status not_loopback(const char *listen, struct bs_err *err)
{
    return BS_FAIL(
        err, BS_EPRECONDITION,
        "--http %.100s can be reached from other machines: TLS and the token, which that needs, come to the "
        "HTTP port with the dashboard in a later version of bioseg; listen on 127.0.0.1, [::1] or localhost",
        listen);
}

static void set_v4(struct bs__http_address *out, struct in_addr host)
{
    struct sockaddr_in *a = (struct sockaddr_in *)&out->socket;
    a->sin_family = AF_INET;
    a->sin_port = htons((uint16_t)out->port);
    a->sin_addr = host;
    out->socket_bytes = sizeof *a;
}

static void set_v6(struct bs__http_address *out, const struct in6_addr *host)
{
    struct sockaddr_in6 *a = (struct sockaddr_in6 *)&out->socket;
    a->sin6_family = AF_INET6;
    a->sin6_port = htons((uint16_t)out->port);
    a->sin6_addr = *host;
    out->socket_bytes = sizeof *a;
}

bs_status bs__http_address_parse(const char *listen, struct bs__http_address *out, struct bs_err *err)
{
    const char *colon = strrchr(listen, ':');
    struct in_addr v4;
    struct in6_addr v6;
    *out = (struct bs__http_address){.port = 0};
    if (!colon || colon == listen)
        return no_address(listen, err);
    size_t digits = strlen(colon + 1), n = (size_t)(colon - listen);
    if (digits < 1 || digits > 5 || strspn(colon + 1, "0123456789") != digits)
        return no_address(listen, err);
    out->port = (int)strtol(colon + 1, NULL, 10);
    if (out->port > 65535)
        return no_address(listen, err);
    if (n >= sizeof out->host) /* a long name: not one of ours */
        return not_loopback(listen, err);
    memcpy(out->host, listen, n);
    if (out->host[0] == '[') {
        char inner[BS__HOST_MAX] = "";
        if (out->host[n - 1] != ']' || n < 3)
            return no_address(listen, err);
        memcpy(inner, out->host + 1, n - 2);
        if (inet_pton(AF_INET6, inner, &v6) != 1)
            return no_address(listen, err);
        set_v6(out, &v6);
        return IN6_IS_ADDR_LOOPBACK(&v6) ? BS_OK : not_loopback(listen, err);
    }
    if (strchr(out->host, ':')) /* IPv6 without brackets: where would the port begin? */
        return no_address(listen, err);
    if (strcasecmp(out->host, "localhost") == 0)
        v4.s_addr = htonl(INADDR_LOOPBACK);
    else if (inet_pton(AF_INET, out->host, &v4) != 1)
        return not_loopback(listen, err);
    set_v4(out, v4);
    return ntohl(v4.s_addr) >> 24 == 127 ? BS_OK : not_loopback(listen, err);
}

static bool names(const char *host, const char *name, int port)
{
    char full[BS__HOST_MAX + 8];
    snprintf(full, sizeof full, "%s:%d", name, port);
    return strcasecmp(host, full) == 0 || (port == 80 && strcasecmp(host, name) == 0);
}

bool bs__http_host_ok(const struct bs__http_address *address, int port, const char *host)
{
    return names(host, "localhost", port) || names(host, "127.0.0.1", port) || names(host, "[::1]", port) ||
           names(host, address->host, port);
}

bool bs__http_origin_ok(const char *origin, const char *host)
{
    static const char scheme[] = "http://";
    return strncasecmp(origin, scheme, sizeof scheme - 1) == 0 &&
           strcasecmp(origin + sizeof scheme - 1, host) == 0;
}
