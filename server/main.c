/* biosegd: puts the parts together, waits for SIGTERM, takes them apart in the right order.
   Start: data directory and lock, store, blobs, token, engine (worker process), jobs, services, ports.
   End: health says NOT_SERVING and new work is refused; what runs may finish; then calls are cancelled, jobs requeued, the
   worker ended. */
#include "server/auth.h"
#include "server/config.h"
#include "server/data_dir.h"
#include "server/observe.h"
#include "server/service/service.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define MAX_UNARY_IMAGE ((size_t)16 << 20)
#define MAX_MESSAGE     ((size_t)1 << 20)
#define MAX_MODEL       ((uint64_t)8 << 30)
#define MIN_HELD        ((uint64_t)2 << 30)
#define MAX_CALLS       256
#define MAX_LASTING     128
#define MAX_STREAMS     100
#define SILENCE_SECONDS 120
#define MAX_KEPT        64 /* two descriptors each */
#define MAX_PEM         (1 << 20)
#define DAY_MS          ((int64_t)24 * 3600 * 1000)
#define SETTLE_MS       300 /* after NOT_SERVING, so that watchers hear of it before refusals begin to come */

struct daemon {
    struct bs_config config;
    struct bs_log *log;
    int lock_fd;
    struct bs_auth *auth;
    struct bs_store *store;
    struct bs_blobs *blobs;
    struct bs_engine *engine;
    struct bs_jobs *jobs;
    struct bs_kept *kept;
    struct bs_health *health;
    struct bs_services services;
    bool registered;
    struct bs_rpc *rpc;
    char socket_path[PATH_MAX + 16];
    int port;
    struct bs_observe observe;
    struct bs_http *http;
};

static bs_status gate(void *ctx, const char *method, enum bs_transport transport, const char *authorization,
                      struct bs_caller *caller, struct bs_err *err)
{
    return bs_auth_check(ctx, method, transport, authorization, caller, err);
}

static void worker_died(void *ctx, const char *how, int restart_in_ms)
{
    struct daemon *d = ctx;
    BS_LOG(d->log, BS_LOG_ERROR, "worker died", BS_LOG_TEXT("how", how),
           BS_LOG_NUMBER("restart_in_ms", restart_in_ms));
}

/* ---- start ---- */

static bs_status worker_path(char *out, size_t cap, struct bs_err *err)
{
    static const char name[] = "biosegd-worker";
    ssize_t n = readlink("/proc/self/exe", out, cap - sizeof name - 1);
    char *slash = n > 0 ? memrchr(out, '/', (size_t)n) : NULL;
    if (!slash)
        return BS_FAIL(err, BS_EIO, "cannot find out where biosegd itself lies");
    memcpy(slash + 1, name, sizeof name);
    return BS_OK;
}

static bs_status open_stores(struct daemon *d, struct bs_err *err)
{
    char path[PATH_MAX + 16];
    bs_status rc;
    if ((rc = bs_store_open(d->config.data_dir, &d->store, err)) != BS_OK)
        return rc;
    bs_store_set_lifetime(d->store, d->config.result_days * DAY_MS);
    snprintf(path, sizeof path, "%s/blobs", d->config.data_dir);
    const struct bs_blob_limits limits = {d->config.disk_cap, d->config.disk_reserve};
    if ((rc = bs_blobs_open(path, &limits, &d->blobs, err)) != BS_OK)
        return rc;
    snprintf(path, sizeof path, "%s/kept", d->config.data_dir);
    const struct bs_kept_options kept = {.dir = path,
                                         .max_bytes = d->config.kept_maps,
                                         .reserve_bytes = d->config.disk_reserve,
                                         .lifetime_ms = (int64_t)d->config.kept_minutes * 60000,
                                         .max_entries = MAX_KEPT};
    return bs_kept_create(&kept, &d->kept, err);
}

static bs_status start_engine(struct daemon *d, struct bs_err *err)
{
    char path[PATH_MAX];
    bs_status rc = worker_path(path, sizeof path, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_engine_options opt = {
        .worker_path = path,
        .device = d->config.device,
        .threads = d->config.threads,
        .model_budget = d->config.model_budget,
        .idle_ms = (int64_t)d->config.idle_minutes * 60000,
        .winograd = d->config.winograd,
        .hang_ms = d->config.hang_seconds > 0 ? d->config.hang_seconds * 1000 : -1,
        .worker_died = worker_died,
        .worker_died_ctx = d,
    };
    if ((rc = bs_engine_create(&opt, &d->engine, err)) != BS_OK)
        return rc;
    return bs_jobs_create(d->store, d->blobs, d->engine, &d->jobs, err);
}

static uint64_t held_limit(uint64_t max_image)
{
    uint64_t ram = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t limit = ram / 4 > MIN_HELD ? ram / 4 : MIN_HELD;
    return limit > max_image || ram < max_image ? limit : max_image;
}

static bs_status create_server(struct daemon *d, struct bs_err *err)
{
    const struct bs_rpc_options opt = {
        .log = d->log,
        .gate = {d->auth, gate},
        .max_calls = MAX_CALLS,
        .max_lasting_calls = MAX_LASTING,
        .max_receive_bytes = MAX_UNARY_IMAGE + MAX_MESSAGE,
        .max_message_bytes = MAX_MESSAGE,
        .max_streams = MAX_STREAMS,
        .silence_seconds = SILENCE_SECONDS,
        .hidden_path = d->config.data_dir,
    };
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (!(d->health = bs_health_create()))
        return BS_FAIL(err, BS_ENOMEM, "no memory");
    bs_status rc = bs_rpc_create(&opt, &d->rpc, err);
    if (rc != BS_OK)
        return rc;
    struct bs_services *s = &d->services;
    s->log = d->log;
    s->store = d->store;
    s->blobs = d->blobs;
    s->engine = d->engine;
    s->jobs = d->jobs;
    s->kept = d->kept;
    s->health = d->health;
    s->started_ms = (int64_t)now.tv_sec * 1000;
    s->limits = (struct bs_service_limits){
        .max_unary_image_bytes = MAX_UNARY_IMAGE,
        .max_image_bytes = d->config.max_image,
        .max_model_bytes = MAX_MODEL,
        .max_held_bytes = held_limit(d->config.max_image),
        .max_page_size = 1000,
        .max_streams = MAX_STREAMS,
        .max_message_bytes = MAX_MESSAGE,
    };
    d->registered = true;
    return bs_services_register(s, d->rpc, err);
}

/* A whole PEM file; the caller frees. */
static bs_status read_pem(const char *option, const char *path, char **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    FILE *f = fopen(path, "rbe");
    char *text = calloc(1, MAX_PEM + 1);
    if (!f || !text) {
        rc = BS_FAIL(err, BS_EIO, "--%s %s: %s", option, path, strerror(errno));
        goto cleanup;
    }
    size_t n = fread(text, 1, MAX_PEM, f);
    if (ferror(f) || n == 0 || n == MAX_PEM || !strstr(text, "-----BEGIN ")) {
        rc = BS_FAIL(err, BS_EINVAL, "--%s %s: no PEM file", option, path);
        goto cleanup;
    }
    *out = text;
    text = NULL;

cleanup:
    free(text);
    if (f)
        fclose(f);
    return rc;
}

static bs_status listen_tcp(struct daemon *d, struct bs_err *err)
{
    const struct bs_config *c = &d->config;
    char *cert = NULL, *key = NULL;
    bool loopback;
    bs_status rc = bs_auth_is_loopback(c->listen, &loopback, err);
    if (rc == BS_OK && !loopback && !c->tls_cert)
        rc = BS_FAIL(err, BS_EPRECONDITION,
                     "--listen %s can be reached from other machines: give --tls-cert and --tls-key (callers "
                     "then need the "
                     "token of DIR/token), or listen on 127.0.0.1",
                     c->listen);
    if (rc == BS_OK && c->tls_cert && (rc = read_pem("tls-cert", c->tls_cert, &cert, err)) == BS_OK)
        rc = read_pem("tls-key", c->tls_key, &key, err);
    if (rc == BS_OK)
        rc = bs_rpc_listen_tcp(d->rpc, c->listen, cert, key, &d->port, err);
    if (key)
        explicit_bzero(key, strlen(key));
    free(key);
    free(cert);
    return rc;
}

static bs_status open_ports(struct daemon *d, struct bs_err *err)
{
    bs_status rc;
    snprintf(d->socket_path, sizeof d->socket_path, "%s/biosegd.sock", d->config.data_dir);
    unlink(d->socket_path); /* we hold the lock, so nobody listens there any more */
    if ((rc = bs_rpc_listen_unix(d->rpc, d->socket_path, err)) != BS_OK)
        return rc;
    if (chmod(d->socket_path, 0600) != 0)
        return BS_FAIL(err, BS_EIO, "cannot close the Unix socket to others: %s", strerror(errno));
    if (d->config.listen && (rc = listen_tcp(d, err)) != BS_OK)
        return rc;
    return bs_rpc_start(d->rpc, err);
}

static bs_status start_http(struct daemon *d, struct bs_err *err)
{
    if (!d->config.http)
        return BS_OK;
    struct bs_observe *o = &d->observe;
    o->engine = d->engine;
    o->store = d->store;
    o->blobs = d->blobs;
    o->started_ms = d->services.started_ms;
    atomic_init(&o->draining, false);
    const struct bs_http_options opt = {.listen = d->config.http, .source = bs_observe_source(o)};
    return bs_http_start(&opt, &d->http, err);
}

static void say_ready(struct daemon *d)
{
    struct bs_engine_state state;
    char tcp[300] = "", http[300] = "";
    bs_engine_state_get(d->engine, &state);
    if (d->config.listen) {
        int host = (int)(strrchr(d->config.listen, ':') - d->config.listen);
        snprintf(tcp, sizeof tcp, " %s%.*s:%d", d->config.tls_cert ? "tls://" : "", host, d->config.listen,
                 d->port);
    }
    if (d->http) {
        int host = (int)(strrchr(d->config.http, ':') - d->config.http);
        snprintf(http, sizeof http, " http://%.*s:%d", host, d->config.http, bs_http_port(d->http));
    }
    printf("biosegd %s ready: unix:%s%s%s, %s (%s, %d threads)\n", BS_VERSION, d->socket_path, tcp, http,
           state.device.name, state.device.backend, state.device.threads);
    fflush(stdout);
    BS_LOG(d->log, BS_LOG_INFO, "ready", BS_LOG_TEXT("version", BS_VERSION),
           BS_LOG_TEXT("tcp", tcp[0] ? tcp + 1 : "none"), BS_LOG_TEXT("http", http[0] ? http + 1 : "none"),
           BS_LOG_TEXT("device", state.device.name), BS_LOG_TEXT("libraries", state.device.libraries),
           BS_LOG_TEXT("notice", state.device.notice[0] ? state.device.notice : "none"));
}

/* ---- end ---- */

/* Waits ms, or until another signal asks to hurry. */
static bool hurried(const sigset_t *signals, int ms)
{
    struct timespec wait = {ms / 1000, (long)(ms % 1000) * 1000000};
    return sigtimedwait(signals, NULL, &wait) > 0;
}

static void drain(struct daemon *d, const sigset_t *signals)
{
    BS_LOG(d->log, BS_LOG_INFO, "draining", BS_LOG_NUMBER("seconds", d->config.drain_seconds));
    bs_health_set(d->health, false);
    atomic_store(&d->observe.draining, true);
    bool hurry = hurried(signals, SETTLE_MS);
    bs_rpc_drain(d->rpc);
    bool jobs_idle = bs_jobs_drain(d->jobs, 0);
    for (int left_ms = d->config.drain_seconds * 1000; left_ms > 0 && !hurry; left_ms -= 100) {
        jobs_idle = bs_jobs_drain(d->jobs, 0);
        if (jobs_idle && bs_rpc_busy(d->rpc) == 0)
            break;
        hurry = hurried(signals, 100);
    }
    BS_LOG(d->log, BS_LOG_INFO, "drained", BS_LOG_NUMBER("calls_cancelled", bs_rpc_busy(d->rpc)),
           BS_LOG_TEXT("jobs", jobs_idle ? "finished" : "requeued"));
}

static void take_apart(struct daemon *d)
{
    bs_http_stop(d->http);
    bs_rpc_destroy(d->rpc);
    if (d->socket_path[0])
        unlink(d->socket_path);
    if (d->registered)
        bs_services_free(&d->services);
    bs_health_destroy(d->health);
    bs_jobs_destroy(d->jobs);
    bs_engine_destroy(d->engine);
    bs_kept_destroy(d->kept);
    bs_blobs_close(d->blobs);
    bs_store_close(d->store);
    bs_auth_destroy(d->auth);
    if (d->lock_fd >= 0)
        close(d->lock_fd);
}

/* Threads of OpenMP that wait for work spin for milliseconds by default and keep everybody else off the processors, this
   daemon and its callers included, just when a result is due. A fraction of a millisecond bridges the gaps between operators.
   Workers inherit it; whoever has chosen is left alone. Before any thread exists. */
static void calm_workers(void)
{
    if (!getenv("OMP_WAIT_POLICY"))
        setenv("GOMP_SPINCOUNT", "5000", 0);
}

int main(int argc, char **argv)
{
    struct daemon *d = calloc(1, sizeof *d);
    struct bs_err err = {.msg = ""};
    sigset_t signals;
    bs_status rc;
    int signal_number;
    if (!d)
        return EXIT_FAILURE;
    d->lock_fd = -1;
    if (bs_config_parse(argc, argv, &d->config, &err) != BS_OK) {
        fprintf(stderr, "biosegd: %s\n", err.msg);
        free(d);
        return 2;
    }
    umask(0077);
    signal(SIGPIPE, SIG_IGN);
    calm_workers();
    /* Blocked before the first thread exists, so that only the sigwait below sees them. */
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);

    d->log = bs_log_create(STDERR_FILENO, d->config.log_format, d->config.log_level);
    if ((rc = bs_data_dir_open(d->config.data_dir, d->config.allow_network_filesystem, &d->lock_fd, &err)) !=
            BS_OK ||
        (rc = open_stores(d, &err)) != BS_OK ||
        (rc = bs_auth_create(d->config.data_dir, &d->auth, &err)) != BS_OK ||
        (rc = start_engine(d, &err)) != BS_OK || (rc = create_server(d, &err)) != BS_OK ||
        (rc = open_ports(d, &err)) != BS_OK || (rc = start_http(d, &err)) != BS_OK)
        goto cleanup;
    bs_health_set(d->health, true);
    say_ready(d);
    sigwait(&signals, &signal_number);
    drain(d, &signals);

cleanup:
    if (rc != BS_OK)
        fprintf(stderr, "biosegd: %s\n", err.msg);
    take_apart(d);
    BS_LOG(d->log, BS_LOG_INFO, "ended", BS_LOG_TEXT("how", rc == BS_OK ? "drained" : "could not start"));
    bs_log_destroy(d->log);
    free(d);
    return rc == BS_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
