/* --server and --token-file: parsing, defaults, and what is refused. Owns nothing; any thread. */
#include "clients/cli/address.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

bs_status bs__default_data_dir(char *out, size_t cap, struct bs_err *err)
{
    const char *xdg = getenv("XDG_DATA_HOME");
    const char *home = getenv("HOME");
    int n;
    if (xdg && xdg[0] == '/')
        n = snprintf(out, cap, "%s/bioseg", xdg);
    else if (home && home[0])
        n = snprintf(out, cap, "%s/.local/share/bioseg", home);
    else
        return BS_FAIL(err, BS_EINVAL,
                       "neither XDG_DATA_HOME nor HOME is set, so there is no default server: give --server");
    if (n < 0 || (size_t)n >= cap)
        return BS_FAIL(err, BS_ELIMIT, "the path of the default data directory is longer than %zu bytes",
                       cap - 1);
    return BS_OK;
}

static bs_status parse_unix(const char *path, struct bs__address *out, struct bs_err *err)
{
    struct sockaddr_un un;
    if (!path[0])
        return BS_FAIL(err, BS_EINVAL, "--server unix: without a path; accepted: unix:PATH");
    if (strlen(path) >= sizeof un.sun_path)
        return BS_FAIL(
            err, BS_EINVAL,
            "the socket path has %zu bytes, the system takes at most %zu: use a shorter data directory",
            strlen(path), sizeof un.sun_path - 1);
    snprintf(out->target, sizeof out->target, "unix:%s", path);
    out->is_unix = out->loopback = true;
    return BS_OK;
}

static bool is_loopback(const char *host)
{
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 || strncmp(host, "127.", 4) == 0;
}

/* "host:port" or "[v6]:port". */
static bs_status parse_tcp(const char *text, struct bs__address *out, struct bs_err *err)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    const char *begin = text, *end = colon;
    if (colon && text[0] == '[') {
        begin = text + 1;
        end = strchr(text, ']');
        if (!end || end + 1 != colon)
            colon = NULL;
    } else if (colon && memchr(text, ':', (size_t)(colon - text))) {
        colon = NULL; /* a bare IPv6 address: where its port begins cannot be told */
    }
    if (!colon || end == begin || (size_t)(end - begin) >= sizeof host)
        return BS_FAIL(err, BS_EINVAL,
                       "--server %s is not an address; accepted: unix:PATH, HOST:PORT, [IPV6]:PORT", text);
    char *rest;
    errno = 0;
    long port = strtol(colon + 1, &rest, 10);
    if (!isdigit((unsigned char)colon[1]) || *rest || errno || port < 1 || port > 65535)
        return BS_FAIL(err, BS_EINVAL, "--server %s: port '%s' is not a number of 1 to 65535", text,
                       colon + 1);
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    for (const char *c = host; *c; c++)
        if (!isalnum((unsigned char)*c) && !strchr(".-_:%", *c))
            return BS_FAIL(err, BS_EINVAL, "--server %s: '%c' cannot be part of a host name", text, *c);
    snprintf(out->target, sizeof out->target, "%s", text);
    out->loopback = is_loopback(host);
    return BS_OK;
}

bs_status bs__address_parse(const char *server, struct bs__address *out, struct bs_err *err)
{
    memset(out, 0, sizeof *out);
    if (!server)
        server = getenv("BIOSEG_SERVER");
    if (!server || !server[0]) {
        char dir[BS__TARGET_MAX - 32], path[BS__TARGET_MAX];
        bs_status rc = bs__default_data_dir(dir, sizeof dir, err);
        if (rc != BS_OK)
            return rc;
        snprintf(path, sizeof path, "%s/biosegd.sock", dir);
        return parse_unix(path, out, err);
    }
    if (strlen(server) >= sizeof out->target - 8)
        return BS_FAIL(err, BS_EINVAL, "--server has %zu bytes, at most %zu are accepted", strlen(server),
                       sizeof out->target - 9);
    if (strncmp(server, "unix://", 7) == 0)
        return parse_unix(server + 7, out, err);
    if (strncmp(server, "unix:", 5) == 0)
        return parse_unix(server + 5, out, err);
    if (server[0] == '/')
        return parse_unix(server, out, err);
    return parse_tcp(server, out, err);
}

bs_status bs__token_read(const char *file, char token[BS__TOKEN_MAX], struct bs_err *err)
{
    char path[512];
    bool required = true;
    token[0] = '\0';
    if (!file)
        file = getenv("BIOSEG_TOKEN_FILE");
    if (!file || !file[0]) {
        char dir[480];
        if (bs__default_data_dir(dir, sizeof dir, NULL) != BS_OK)
            return BS_OK;
        snprintf(path, sizeof path, "%s/token", dir);
        file = path;
        required = false;
    }
    FILE *f = fopen(file, "re");
    if (!f) {
        if (!required)
            return BS_OK;
        return BS_FAIL(err, BS_EIO, "cannot read the token file %s: %s", file, strerror(errno));
    }
    size_t n = fread(token, 1, BS__TOKEN_MAX, f);
    fclose(f);
    if (n == BS__TOKEN_MAX) {
        token[0] = '\0';
        return BS_FAIL(err, BS_EINVAL, "the token file %s holds more than %d bytes: it is not a token file",
                       file, BS__TOKEN_MAX - 1);
    }
    token[n] = '\0';
    n = strcspn(token, "\r\n");
    bool clean = token[n + strspn(token + n, "\r\n")] == '\0';
    token[n] = '\0';
    for (size_t i = 0; i < n && clean; i++)
        clean = token[i] > ' ' && token[i] < 0x7f;
    if (n == 0 || !clean) {
        token[0] = '\0';
        return BS_FAIL(err, BS_EINVAL, "the token file %s does not hold one line of printable characters",
                       file);
    }
    return BS_OK;
}
