/* Life of the server and the way of a new call: accepted, looked up, through the gate, onto a thread; see rpc.h.
   The end follows one rule: the completion queue is closed only when the core says that the server has ended AND no call of
   ours exists any more, for the core aborts when a batch is started on a closed queue. */
#include "server/rpc/rpc_internal.h"

#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define ARMED_CALLS   16 /* accepts that wait; more than that arriving at once queue up in the core */
#define QUEUE_THREADS 2
#define MEMORY_QUOTA  ((size_t)1 << 30) /* of everything that the core buffers for all connections */
#define MAX_HEADER    (16 << 10)
#define ARENA_FACTOR                                                                                         \
    16 /* memory of one request per byte of message: fields of two bytes unpack to about that */

static void *queue_thread(void *arg)
{
    struct bs_rpc *r = arg;
    for (;;) {
        grpc_event e = grpc_completion_queue_next(r->cq, gpr_inf_future(GPR_CLOCK_REALTIME), NULL);
        if (e.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        struct bs__op *op = e.tag;
        op->done(op->owner, e.success);
    }
}

/* ---- the end of calls and server ---- */

static void close_queue_if_last(struct bs_rpc *r)
{
    pthread_mutex_lock(&r->mu);
    bool close = r->shut_down && r->live == 0 && !r->queue_closed;
    if (close)
        r->queue_closed = true;
    pthread_mutex_unlock(&r->mu);
    if (close)
        grpc_completion_queue_shutdown(r->cq);
}

void bs__rpc_call_gone(struct bs_rpc *r)
{
    pthread_mutex_lock(&r->mu);
    r->live--;
    pthread_mutex_unlock(&r->mu);
    close_queue_if_last(r);
}

static void shutdown_done(void *owner, bool ok)
{
    struct bs_rpc *r = owner;
    (void)ok;
    pthread_mutex_lock(&r->mu);
    r->shut_down = true;
    pthread_mutex_unlock(&r->mu);
    close_queue_if_last(r);
}

/* ---- a new call ---- */

static const struct bs__entry *find(const struct bs_rpc *r, const char *path)
{
    for (size_t i = 0; i < r->nentry; i++) {
        if (strcmp(r->entry[i].path, path) == 0)
            return &r->entry[i];
    }
    return NULL;
}

/* The header's value in out; false when it is absent, too long or comes twice. */
static bool header(const struct bs_call *c, const char *key, char *out, size_t cap)
{
    int seen = 0;
    for (size_t i = 0; i < c->metadata.count; i++) {
        const grpc_metadata *m = &c->metadata.metadata[i];
        size_t n = GRPC_SLICE_LENGTH(m->value);
        if (grpc_slice_str_cmp(m->key, key) != 0)
            continue;
        if (++seen > 1 || n >= cap)
            return false;
        memcpy(out, GRPC_SLICE_START_PTR(m->value), n);
        out[n] = 0;
    }
    return seen == 1;
}

static enum bs_transport transport_of(const struct bs_call *c)
{
    char *peer = grpc_call_get_peer(c->call);
    enum bs_transport t = peer && strncmp(peer, "unix:", 5) == 0 ? BS_TRANSPORT_UNIX : BS_TRANSPORT_TCP;
    gpr_free(peer);
    return t;
}

static bool has_header(const struct bs_call *c, const char *key)
{
    for (size_t i = 0; i < c->metadata.count; i++) {
        if (grpc_slice_str_cmp(c->metadata.metadata[i].key, key) == 0)
            return true;
    }
    return false;
}

/* Everything that can be said before a byte of the request is read. */
static bs_status admit(struct bs_call *c, struct bs_err *err)
{
    struct bs_rpc *r = c->rpc;
    char authorization[512];
    bool given = header(c, "authorization", authorization, sizeof authorization);
    if (!given && has_header(c, "authorization"))
        snprintf(authorization, sizeof authorization, "malformed");
    bs_status rc = r->opt.gate.check(r->opt.gate.ctx, c->method, transport_of(c),
                                     has_header(c, "authorization") ? authorization : NULL, &c->caller, err);
    memset(authorization, 0, sizeof authorization);
    if (rc == BS_EUNAUTHENTICATED)
        bs_call_set_reason(c, has_header(c, "authorization") ? "token-unknown" : "token-missing");
    if (rc != BS_OK)
        return rc;
    c->entry = find(r, c->method);
    if (!c->entry)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "there is no method %.100s; server reflection lists what there is", c->method);
    if (!c->entry->method)
        return BS_FAIL(err, BS_EUNSUPPORTED, "%s", c->entry->later);
    if (atomic_load(&r->draining) && !c->entry->method->while_draining)
        return BS_FAIL(err, BS_EUNAVAILABLE, "the server is ending; try again when it is back");
    if (!(c->arena = bs_arena_create(r->opt.max_message_bytes * ARENA_FACTOR)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the request");
    return BS_OK;
}

static bs_status run_method(struct bs_call *c, struct bs_err *err)
{
    ProtobufCMessage *request = NULL;
    bs_status rc;
    if (!c->entry->method->reads_itself) {
        if ((rc = bs_call_read(c, NULL, NULL, &request, err)) != BS_OK)
            return rc;
        if (!request)
            return BS_FAIL(err, BS_EINVAL, "the request has no message");
    }
    return c->entry->method->run(c->entry->service, c, request, err);
}

static void handle(void *arg)
{
    struct bs_call *c = arg;
    struct bs_rpc *r = c->rpc;
    struct bs_err err = {.code = BS_OK};
    bool lasting = c->entry->method->lasting;
    bs_status rc = run_method(c, &err);
    if (rc == BS_OK && !c->entry->method->streams_answers && !c->reply)
        rc = BS_FAIL(&err, BS_EINTERNAL, "a handler gave no answer");
    bs__call_finish(c, rc, &err);
    atomic_fetch_sub(lasting ? &r->lasting : &r->busy, 1);
    bs__call_unref(c);
}

static void arm(struct bs_rpc *r);

static void accepted(void *owner, bool ok)
{
    struct bs_call *c = owner;
    struct bs_rpc *r = c->rpc;
    struct bs_err err = {.code = BS_OK};
    bs_status rc;
    if (!ok) { /* the server ends */
        bs__call_unref(c);
        return;
    }
    arm(r);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    c->began_us = (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    snprintf(c->request_id, sizeof c->request_id, "%s-%llu", r->request_prefix,
             (unsigned long long)atomic_fetch_add(&r->next_request, 1));
    size_t n = GRPC_SLICE_LENGTH(c->details.method);
    if (n >= sizeof c->method)
        n = sizeof c->method - 1;
    memcpy(c->method, GRPC_SLICE_START_PTR(c->details.method), n);
    bs__call_watch_close(c);
    rc = admit(c, &err);
    if (rc == BS_OK) {
        bool lasting = c->entry->method->lasting;
        atomic_int *counter = lasting ? &r->lasting : &r->busy;
        int limit = lasting ? r->opt.max_lasting_calls : r->opt.max_calls - r->opt.max_lasting_calls;
        if (atomic_fetch_add(counter, 1) < limit) {
            bs__call_read_ahead(c);
            if (bs_pool_run(r->pool, handle, c))
                return;
        }
        atomic_fetch_sub(counter, 1);
        rc = BS_FAIL(&err, BS_EUNAVAILABLE, "the server is busy with %d calls, which is its limit; try again",
                     limit);
    }
    bs__call_finish(c, rc, &err);
    bs__call_unref(c);
}

static void arm(struct bs_rpc *r)
{
    if (atomic_load(&r->stopping))
        return;
    struct bs_call *c = bs__call_create(r);
    if (!c)
        return; /* others are armed; this one comes back with the next call */
    c->accept_op = (struct bs__op){accepted, c};
    pthread_mutex_lock(&r->mu);
    r->live++;
    pthread_mutex_unlock(&r->mu);
    grpc_call_error e =
        grpc_server_request_call(r->server, &c->call, &c->details, &c->metadata, r->cq, r->cq, &c->accept_op);
    BS_ASSERT(e == GRPC_CALL_OK);
}

/* ---- set-up ---- */

static grpc_arg integer(const char *key, size_t value)
{
    grpc_arg a = {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)key};
    a.value.integer = (int)value;
    return a;
}

bs_status bs_rpc_create(const struct bs_rpc_options *opt, struct bs_rpc **out, struct bs_err *err)
{
    unsigned char random[5];
    struct bs_rpc *r = calloc(1, sizeof *r);
    if (!r)
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    r->opt = *opt;
    r->shutdown_op = (struct bs__op){shutdown_done, r};
    pthread_mutex_init(&r->mu, NULL);
    if (!(r->pool = bs_pool_create(opt->max_calls)) ||
        getrandom(random, sizeof random, 0) != (ssize_t)sizeof random) {
        bs_pool_destroy(r->pool);
        free(r);
        return BS_FAIL(err, BS_ENOMEM, "no memory or random numbers");
    }
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(r->request_prefix + 2 * i, 3, "%02x", random[i]);
    grpc_init();
    grpc_resource_quota *quota = grpc_resource_quota_create("biosegd");
    grpc_resource_quota_resize(quota, MEMORY_QUOTA);
    grpc_arg args[] = {
        integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, opt->max_receive_bytes),
        integer(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (size_t)-1),
        integer(GRPC_ARG_MAX_CONCURRENT_STREAMS, (size_t)opt->max_streams),
        integer(GRPC_ARG_MAX_METADATA_SIZE, MAX_HEADER),
        integer(GRPC_ARG_ALLOW_REUSEPORT, 0), /* else two daemons share a port silently */
        integer(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, 10000),
        integer(GRPC_ARG_KEEPALIVE_TIME_MS, 30000), /* a client that vanished frees what it holds */
        integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
        integer(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0),
        integer(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10000),
        {.type = GRPC_ARG_POINTER,
         .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA,
         .value.pointer = {quota, grpc_resource_quota_arg_vtable()}},
    };
    grpc_channel_args channel_args = {sizeof args / sizeof args[0], args};
    r->cq = grpc_completion_queue_create_for_next(NULL);
    r->server = grpc_server_create(&channel_args, NULL);
    grpc_resource_quota_unref(quota);
    grpc_server_register_completion_queue(r->server, r->cq, NULL);
    *out = r;
    return BS_OK;
}

void bs_rpc_add_service(struct bs_rpc *r, const ProtobufCServiceDescriptor *descriptor,
                        const struct bs_method *methods, size_t nmethod, void *service, const char *later)
{
    for (unsigned i = 0; i < descriptor->n_methods; i++) {
        if (r->nentry == r->entry_cap) {
            r->entry_cap = r->entry_cap ? 2 * r->entry_cap : 64;
            r->entry = realloc(r->entry, r->entry_cap * sizeof *r->entry);
            BS_ASSERT(r->entry);
        }
        struct bs__entry *e = &r->entry[r->nentry++];
        *e = (struct bs__entry){.descriptor = &descriptor->methods[i], .service = service, .later = later};
        snprintf(e->path, sizeof e->path, "/%s/%s", descriptor->name, descriptor->methods[i].name);
        e->strict = strncmp(descriptor->name, "bioseg.", 7) == 0;
        for (size_t k = 0; k < nmethod; k++) {
            if (strcmp(methods[k].name, e->descriptor->name) == 0)
                e->method = &methods[k];
        }
        BS_ASSERT(e->method || later);
    }
}

bs_status bs_rpc_listen_unix(struct bs_rpc *r, const char *path, struct bs_err *err)
{
    char address[160];
    /* sockaddr_un holds 108 bytes */
    if (strlen(path) > 100)
        return BS_FAIL(err, BS_EINVAL,
                       "the data directory's path is too long for a Unix socket in it (%zu characters, at "
                       "most 100 with the "
                       "socket's name); use a shorter one or a symbolic link",
                       strlen(path));
    snprintf(address, sizeof address, "unix:%s", path);
    grpc_server_credentials *creds = grpc_insecure_server_credentials_create();
    int ok = grpc_server_add_http2_port(r->server, address, creds);
    grpc_server_credentials_release(creds);
    return ok ? BS_OK : BS_FAIL(err, BS_EIO, "cannot listen on the Unix socket of the data directory");
}

bs_status bs_rpc_listen_tcp(struct bs_rpc *r, const char *host_port, const char *cert_pem,
                            const char *key_pem, int *port, struct bs_err *err)
{
    grpc_server_credentials *creds;
    if (cert_pem) {
        grpc_ssl_pem_key_cert_pair pair = {key_pem, cert_pem};
        creds = grpc_ssl_server_credentials_create_ex(NULL, &pair, 1,
                                                      GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE, NULL);
    } else {
        creds = grpc_insecure_server_credentials_create();
    }
    if (!creds)
        return BS_FAIL(err, BS_EINVAL, "the TLS certificate and key cannot be used");
    *port = grpc_server_add_http2_port(r->server, host_port, creds);
    grpc_server_credentials_release(creds);
    if (!*port)
        return BS_FAIL(err, BS_EIO, "cannot listen on %s%s: is the port in use?", host_port,
                       cert_pem ? " with this TLS certificate and key" : "");
    return BS_OK;
}

bs_status bs_rpc_start(struct bs_rpc *r, struct bs_err *err)
{
    if (!(r->thread = calloc(QUEUE_THREADS, sizeof *r->thread)))
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    grpc_server_start(r->server);
    r->started = true;
    for (int i = 0; i < ARMED_CALLS; i++)
        arm(r);
    for (; r->nthread < QUEUE_THREADS; r->nthread++) {
        if (pthread_create(&r->thread[r->nthread], NULL, queue_thread, r) != 0)
            return BS_FAIL(err, BS_ENOMEM, "cannot start a thread");
    }
    return BS_OK;
}

void bs_rpc_drain(struct bs_rpc *r)
{
    atomic_store(&r->draining, true);
}

int bs_rpc_busy(struct bs_rpc *r)
{
    return atomic_load(&r->busy);
}

void bs_rpc_destroy(struct bs_rpc *r)
{
    if (!r)
        return;
    atomic_store(&r->draining, true);
    atomic_store(&r->stopping, true);
    if (r->started && r->nthread == 0) { /* start failed: this thread serves the queue */
        if (pthread_create(&r->thread[0], NULL, queue_thread, r) == 0)
            r->nthread = 1;
    }
    grpc_server_shutdown_and_notify(r->server, r->cq, &r->shutdown_op);
    grpc_server_cancel_all_calls(r->server);
    if (r->nthread == 0)
        queue_thread(r);
    for (int i = 0; i < r->nthread; i++)
        pthread_join(r->thread[i], NULL);
    bs_pool_destroy(r->pool);
    grpc_server_destroy(r->server);
    grpc_completion_queue_destroy(r->cq);
    grpc_shutdown();
    pthread_mutex_destroy(&r->mu);
    free(r->thread);
    free(r->entry);
    free(r);
}
