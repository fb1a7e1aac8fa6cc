/* One request to its answer: who is asking (Host, Origin), how (method), for what (path); see routes.h. Whatever is not
   in the table of paths does not exist. */
#include "server/http/routes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_REASON 300
#define PLAIN      "text/plain; charset=utf-8"

static const char page[] =
    "<!DOCTYPE html>\n"
    "<html lang=\"en\">\n"
    "<head><meta charset=\"utf-8\"><title>biosegd " BS_VERSION "</title></head>\n"
    "<body>\n"
    "<h1>biosegd " BS_VERSION "</h1>\n"
    "<p>This is the HTTP port of biosegd, a daemon that segments microscopy images. Work is given to it over "
    "gRPC, with the\n"
    "command line (<code>bioseg --help</code>) or any gRPC client; this port only tells how it is.</p>\n"
    "<p>There is no dashboard in this version of bioseg; it comes in a later one.</p>\n"
    "<ul>\n"
    "<li><a href=\"/healthz\">/healthz</a>: the process is alive</li>\n"
    "<li><a href=\"/readyz\">/readyz</a>: it takes work now, or why not</li>\n"
    "<li><a href=\"/metrics\">/metrics</a>: figures for Prometheus</li>\n"
    "</ul>\n"
    "<p>Documentation: the README and the folder docs/ of bioseg's source.</p>\n"
    "</body>\n"
    "</html>\n";

/* ---- answers ---- */

/* text is copied. One answer per connection: so that a connection's whole life can have a deadline. */
static enum MHD_Result send_bytes(struct MHD_Connection *c, unsigned status, const char *type,
                                  const char *text, size_t n, const char *allow)
{
    enum MHD_Result rc;
    struct MHD_Response *r =
        MHD_create_response_from_buffer(n, (void *)(uintptr_t)text, MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    bool ok = MHD_add_response_header(r, "Content-Type", type) == MHD_YES &&
              MHD_add_response_header(r, "Connection", "close") == MHD_YES &&
              MHD_add_response_header(r, "Cache-Control", "no-store") == MHD_YES &&
              MHD_add_response_header(r, "X-Content-Type-Options", "nosniff") == MHD_YES &&
              MHD_add_response_header(r, "Content-Security-Policy",
                                      "default-src 'none'; frame-ancestors 'none'") == MHD_YES &&
              (!allow || MHD_add_response_header(r, "Allow", allow) == MHD_YES);
    rc = ok ? MHD_queue_response(c, status, r) : MHD_NO;
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result send_text(struct MHD_Connection *c, unsigned status, const char *text)
{
    return send_bytes(c, status, PLAIN, text, strlen(text), NULL);
}

static enum MHD_Result healthz(const struct bs__http_site *site, struct MHD_Connection *c)
{
    (void)site;
    return send_text(c, MHD_HTTP_OK, "alive\n");
}

static enum MHD_Result readyz(const struct bs__http_site *site, struct MHD_Connection *c)
{
    char reason[MAX_REASON] = "", text[MAX_REASON + 16];
    if (site->source.ready(site->source.ctx, reason, sizeof reason))
        return send_text(c, MHD_HTTP_OK, "ready\n");
    snprintf(text, sizeof text, "not ready: %s\n", reason);
    return send_text(c, MHD_HTTP_SERVICE_UNAVAILABLE, text);
}

static enum MHD_Result metrics(const struct bs__http_site *site, struct MHD_Connection *c)
{
    enum MHD_Result rc;
    struct bs_err err = {.msg = "no memory for the metrics"};
    const char *text;
    size_t n;
    struct bs_metrics_writer *m = bs_metrics_create();
    if (m)
        site->source.metrics(site->source.ctx, m);
    if (m && bs_metrics_text(m, &text, &n, &err) == BS_OK) {
        rc = send_bytes(c, MHD_HTTP_OK, BS_METRICS_CONTENT_TYPE, text, n, NULL);
    } else {
        char line[sizeof err.msg + 2];
        snprintf(line, sizeof line, "%s\n", err.msg);
        rc = send_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, line);
    }
    bs_metrics_destroy(m);
    return rc;
}

static enum MHD_Result root(const struct bs__http_site *site, struct MHD_Connection *c)
{
    (void)site;
    return send_bytes(c, MHD_HTTP_OK, "text/html; charset=utf-8", page, sizeof page - 1, NULL);
}

/* ---- who is asking ---- */

struct header {
    const char *name, *value;
    int count;
};

static enum MHD_Result note_header(void *ctx, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct header *h = ctx;
    (void)kind;
    if (strcasecmp(name, h->name) == 0) {
        h->count++;
        h->value = value ? value : "";
    }
    return MHD_YES;
}

static struct header header(struct MHD_Connection *c, const char *name)
{
    struct header h = {.name = name};
    MHD_get_connection_values(c, MHD_HEADER_KIND, note_header, &h);
    return h;
}

enum MHD_Result bs__http_answer(const struct bs__http_site *site, struct MHD_Connection *c, const char *url,
                                const char *method)
{
    static const struct {
        const char *path;
        enum MHD_Result (*answer)(const struct bs__http_site *, struct MHD_Connection *);
    } routes[] = {{"/", root}, {"/healthz", healthz}, {"/readyz", readyz}, {"/metrics", metrics}};

    struct header host = header(c, "Host"), origin = header(c, "Origin");
    if (host.count != 1)
        return send_text(c, MHD_HTTP_BAD_REQUEST, "exactly one Host header is needed\n");
    if (!bs__http_host_ok(&site->address, site->port, host.value))
        return send_text(
            c, MHD_HTTP_MISDIRECTED_REQUEST,
            "the Host header does not name this server; localhost, 127.0.0.1, [::1] and the address that it "
            "listens on are accepted, with its port\n");
    if (origin.count > 1 || (origin.count == 1 && !bs__http_origin_ok(origin.value, host.value)))
        return send_text(c, MHD_HTTP_FORBIDDEN,
                         "the Origin header names another site; pages of this server only may ask\n");
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        static const char text[] = "GET and HEAD are accepted; work is given over gRPC\n";
        return send_bytes(c, MHD_HTTP_METHOD_NOT_ALLOWED, PLAIN, text, sizeof text - 1, "GET, HEAD");
    }
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        if (strcmp(url, routes[i].path) == 0)
            return routes[i].answer(site, c);
    }
    return send_text(c, MHD_HTTP_NOT_FOUND, "there are /, /healthz, /readyz and /metrics\n");
}
