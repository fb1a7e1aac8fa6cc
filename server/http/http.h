/* The daemon's HTTP port: /healthz, /readyz, /metrics and a page that says what this is. It reads only, on loopback only,
   and knows neither engine nor store: what it tells comes from callbacks.
   One thread of its own serves all connections; start and stop from one thread. */
#ifndef BS_SERVER_HTTP_HTTP_H
#define BS_SERVER_HTTP_HTTP_H

#include "server/http/metrics.h"

struct bs_http;

/* Called on the port's thread, one at a time; must not block for long, and not call bs_http_stop. */
struct bs_http_source {
    void *ctx;
    /* Whether new work would be taken now; otherwise reason says why not, for people. */
    bool (*ready)(void *ctx, char *reason, size_t cap);
    void (*metrics)(void *ctx, struct bs_metrics_writer *m);
};

struct bs_http_options {
    const char *listen; /* HOST:PORT, loopback; port 0: any free one */
    struct bs_http_source source;
    int max_connections;    /* 0: 64; more wait in the kernel's queue */
    int connection_seconds; /* 0: 10; a connection lives at most so long, request and answer included */
};

/* Listens and serves when this returns. Copies the options. */
bs_status bs_http_start(const struct bs_http_options *opt, struct bs_http **out,
                        struct bs_err *err) BS_NODISCARD;
int bs_http_port(const struct bs_http *h);
/* Closes every connection and waits for the thread. Accepts NULL. */
void bs_http_stop(struct bs_http *h);

#endif
