/* The HTTP port's life: its socket, its thread, and the deadline of each connection; see http.h. libmicrohttpd parses and
   writes; it is driven from our own loop, because its time-out counts silence only: a client that sends a byte a second
   would stay for ever. */
#include "server/http/http.h"

#include "server/http/routes.h"

#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS        64
#define MAX_CONNECTIONS    1024
#define CONNECTION_SECONDS 10
#define TICK_MS            50
/* Memory of one connection in libmicrohttpd: request line and headers must fit, answers are outside. */
#define CONNECTION_BYTES 16384

/* A connection that is open. */
struct connection {
    int fd; /* -1: free slot */
    int64_t deadline_ms;
};

struct bs_http {
    struct bs__http_site site;
    int listener; /* -1: libmicrohttpd has it */
    int stop;     /* eventfd */
    struct MHD_Daemon *daemon;
    pthread_t thread;
    bool running;
    /* the thread's own */
    int64_t lifetime_ms;
    int nconnection;
    struct connection *connection;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- called by libmicrohttpd ---- */

static enum MHD_Result handle(void *ctx, struct MHD_Connection *c, const char *url, const char *method,
                              const char *version, const char *upload, size_t *upload_bytes, void **request)
{
    const struct bs_http *h = ctx;
    (void)version;
    (void)upload;
    (void)upload_bytes;
    (void)request;
    return bs__http_answer(&h->site, c, url, method);
}

static void note_connection(void *ctx, struct MHD_Connection *c, void **socket_ctx,
                            enum MHD_ConnectionNotificationCode code)
{
    struct bs_http *h = ctx;
    struct connection *slot = NULL;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
        slot = *socket_ctx;
        if (slot)
            slot->fd = -1;
        return;
    }
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    for (int i = 0; i < h->nconnection && !slot; i++) {
        if (h->connection[i].fd < 0)
            slot = &h->connection[i];
    }
    /* libmicrohttpd keeps to the same number of connections */
    BS_ASSERT(info && slot);
    *slot = (struct connection){info->connect_fd, now_ms() + h->lifetime_ms};
    *socket_ctx = slot;
}

/* ---- the thread ---- */

/* Ends connections that are past their deadline; libmicrohttpd sees the end of the stream and cleans up. Returns the
   milliseconds until the next deadline, -1 for none. */
static int end_overdue(struct bs_http *h)
{
    int64_t now = now_ms(), next = -1;
    for (int i = 0; i < h->nconnection; i++) {
        struct connection *c = &h->connection[i];
        if (c->fd < 0)
            continue;
        if (now >= c->deadline_ms) {
            shutdown(c->fd, SHUT_RDWR);
            c->deadline_ms = now + h->lifetime_ms;
        }
        if (next < 0 || c->deadline_ms - now < next)
            next = c->deadline_ms - now;
    }
    return (int)next;
}

static void *serve(void *arg)
{
    struct bs_http *h = arg;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    struct pollfd fds[] = {{.fd = h->stop, .events = POLLIN}, {.fd = info->epoll_fd, .events = POLLIN}};
    bool had_any = false;
    while (!(fds[0].revents & POLLIN)) {
        MHD_UNSIGNED_LONG_LONG limit;
        MHD_run(h->daemon);
        int wait = end_overdue(h);
        /* libmicrohttpd takes a closed connection's place only in a later run, for which nothing wakes us. */
        const bool any = wait >= 0;
        if ((any || had_any) && (wait < 0 || wait > TICK_MS))
            wait = TICK_MS;
        had_any = any;
        if (MHD_get_timeout(h->daemon, &limit) == MHD_YES &&
            (wait < 0 || limit < (MHD_UNSIGNED_LONG_LONG)wait))
            wait = (int)limit;
        if (poll(fds, 2, wait) < 0)
            BS_ASSERT(errno == EINTR);
    }
    return NULL;
}

/* ---- start and stop ---- */

static bs_status open_listener(struct bs_http *h, const char *listen_text, struct bs_err *err)
{
    int yes = 1;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } bound = {.v6 = {.sin6_port = 0}};
    socklen_t bytes = sizeof bound;
    const struct bs__http_address *a = &h->site.address;
    h->listener = socket(a->socket.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (h->listener < 0)
        return BS_FAIL(err, BS_EIO, "cannot make a socket for the HTTP port: %s", strerror(errno));
    /* Else a daemon that was just restarted would find its own port taken; another one's listener still is in its way. */
    setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(h->listener, (const struct sockaddr *)&a->socket, a->socket_bytes) != 0 ||
        listen(h->listener, 64) != 0 || getsockname(h->listener, &bound.any, &bytes) != 0)
        return BS_FAIL(err, BS_EIO, "cannot listen on --http %.100s: %s", listen_text, strerror(errno));
    h->site.port = ntohs(bound.any.sa_family == AF_INET6 ? bound.v6.sin6_port : bound.v4.sin_port);
    return BS_OK;
}

static bs_status open_daemon(struct bs_http *h, struct bs_err *err)
{
    h->daemon = MHD_start_daemon(MHD_USE_EPOLL, 0, NULL, NULL, handle, h, MHD_OPTION_LISTEN_SOCKET,
                                 h->listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned)h->nconnection,
                                 MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
                                 MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_NOTIFY_CONNECTION,
                                 note_connection, h, MHD_OPTION_END);
    if (!h->daemon)
        return BS_FAIL(err, BS_EIO, "the HTTP port cannot be started");
    h->listener = -1;
    return BS_OK;
}

bs_status bs_http_start(const struct bs_http_options *opt, struct bs_http **out, struct bs_err *err)
{
    bs_status rc;
    struct bs_http *h = calloc(1, sizeof *h);
    if (!h)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the HTTP port");
    h->listener = h->stop = -1;
    h->site.source = opt->source;
    h->nconnection = opt->max_connections ? opt->max_connections : CONNECTIONS;
    h->lifetime_ms = (opt->connection_seconds ? opt->connection_seconds : CONNECTION_SECONDS) * (int64_t)1000;
    BS_ASSERT(h->nconnection > 0 && h->nconnection <= MAX_CONNECTIONS && h->lifetime_ms > 0);
    if ((rc = bs__http_address_parse(opt->listen, &h->site.address, err)) != BS_OK)
        goto cleanup;
    h->connection = calloc((size_t)h->nconnection, sizeof *h->connection);
    h->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (!h->connection || h->stop < 0) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the HTTP port");
        goto cleanup;
    }
    for (int i = 0; i < h->nconnection; i++)
        h->connection[i].fd = -1;
    if ((rc = open_listener(h, opt->listen, err)) != BS_OK || (rc = open_daemon(h, err)) != BS_OK)
        goto cleanup;
    if (pthread_create(&h->thread, NULL, serve, h) != 0) {
        rc = BS_FAIL(err, BS_ENOMEM, "cannot start a thread for the HTTP port");
        goto cleanup;
    }
    h->running = true;
    *out = h;
    h = NULL;

cleanup:
    bs_http_stop(h);
    return rc;
}

int bs_http_port(const struct bs_http *h)
{
    return h->site.port;
}

void bs_http_stop(struct bs_http *h)
{
    const uint64_t one = 1;
    if (!h)
        return;
    if (h->running) {
        BS_ASSERT(write(h->stop, &one, sizeof one) == (ssize_t)sizeof one);
        pthread_join(h->thread, NULL);
    }
    if (h->daemon)
        MHD_stop_daemon(h->daemon);
    if (h->listener >= 0)
        close(h->listener);
    if (h->stop >= 0)
        close(h->stop);
    free(h->connection);
    free(h);
}
