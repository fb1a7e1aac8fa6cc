/* Promises of the HTTP port, seen from a raw socket: routes, who may ask, limits, deadlines, the end. */
#include "server/http/http.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct bs_http *http;
    atomic_bool ready;
    char answer[65536];
};

static bool is_ready(void *ctx, char *reason, size_t cap)
{
    struct fixture *f = ctx;
    if (atomic_load(&f->ready))
        return true;
    snprintf(reason, cap, "the worker is starting");
    return false;
}

static void give_metrics(void *ctx, struct bs_metrics_writer *m)
{
    (void)ctx;
    bs_metrics_single(m, BS_METRIC_COUNTER, "bioseg_test_total", "A figure.", 42);
}

static void start(struct fixture *f, const char *listen, int connections, int seconds)
{
    struct bs_err err = {.msg = ""};
    const struct bs_http_options opt = {
        .listen = listen,
        .source = {f, is_ready, give_metrics},
        .max_connections = connections,
        .connection_seconds = seconds,
    };
    if (bs_http_start(&opt, &f->http, &err) != BS_OK)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    atomic_init(&f->ready, true);
    start(f, "127.0.0.1:0", 0, 0);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    bs_http_stop(f->http);
    free(f);
    return 0;
}

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int dial(const struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)bs_http_port(f->http))};
    const struct timeval patience = {.tv_sec = 20};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    for (size_t n = strlen(text), done = 0; done < n;) {
        ssize_t k = send(fd, text + done, n - done, MSG_NOSIGNAL);
        if (k <= 0)
            return;
        done += (size_t)k;
    }
}

/* Everything until the server closes. Returns the bytes; the status is *status, 0 when there was no answer. */
static size_t hear(struct fixture *f, int fd, int *status)
{
    size_t n = 0;
    for (ssize_t k;
         n < sizeof f->answer - 1 && (k = recv(fd, f->answer + n, sizeof f->answer - 1 - n, 0)) > 0;)
        n += (size_t)k;
    f->answer[n] = 0;
    close(fd);
    if (sscanf(f->answer, "HTTP/1.%*d %d", status) != 1)
        *status = 0;
    return n;
}

static int ask(struct fixture *f, const char *text)
{
    int status, fd = dial(f);
    say(fd, text);
    hear(f, fd, &status);
    return status;
}

/* host NULL: the right one. more: further header lines. */
static int request(struct fixture *f, const char *method, const char *path, const char *host,
                   const char *more)
{
    char text[32768], right[64];
    snprintf(right, sizeof right, "127.0.0.1:%d", bs_http_port(f->http));
    snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, path, host ? host : right,
             more);
    return ask(f, text);
}

static const char *body(const struct fixture *f)
{
    const char *end = strstr(f->answer, "\r\n\r\n");
    return end ? end + 4 : "";
}

static void healthz_says_that_the_process_is_alive(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->ready, false);
    assert_int_equal(request(f, "GET", "/healthz", NULL, ""), 200);
    assert_string_equal(body(f), "alive\n");
}

static void readyz_says_why_not(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "GET", "/readyz", NULL, ""), 200);
    assert_string_equal(body(f), "ready\n");
    atomic_store(&f->ready, false);
    assert_int_equal(request(f, "GET", "/readyz", NULL, ""), 503);
    assert_string_equal(body(f), "not ready: the worker is starting\n");
}

static void metrics_are_prometheus_text(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "GET", "/metrics?x=1", NULL, ""), 200);
    assert_non_null(strstr(f->answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_string_equal(
        body(f),
        "# HELP bioseg_test_total A figure.\n# TYPE bioseg_test_total counter\nbioseg_test_total 42\n");
}

static void root_says_what_this_is(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "GET", "/", NULL, ""), 200);
    assert_non_null(strstr(f->answer, "Content-Type: text/html; charset=utf-8\r\n"));
    assert_non_null(strstr(f->answer, "Content-Security-Policy: default-src 'none'"));
    assert_non_null(strstr(body(f), "There is no dashboard in this version"));
}

static void other_paths_do_not_exist(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"/x", "/metrics/",          "/healthz/../metrics",
                                        "//", "/%2e%2e/etc/passwd", "/METRICS"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        assert_int_equal(request(f, "GET", paths[i], NULL, ""), 404);
}

static void head_has_no_body(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(request(f, "HEAD", "/healthz", NULL, ""), 200);
    assert_string_equal(body(f), "");
}

static void other_methods_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const methods[] = {"POST",  "PUT",   "DELETE",  "OPTIONS",
                                          "PATCH", "TRACE", "CONNECT", "FROB"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        assert_int_equal(request(f, methods[i], "/metrics", NULL, "Content-Length: 5\r\n"), 405);
        assert_non_null(strstr(f->answer, "Allow: GET, HEAD\r\n"));
    }
}

static void a_foreign_host_gets_nothing(void **state)
{
    struct fixture *f = *state;
    char host[64];
    assert_int_equal(request(f, "GET", "/metrics", "evil.example", ""), 421);
    assert_null(strstr(body(f), "bioseg_test_total"));
    snprintf(host, sizeof host, "evil.example:%d", bs_http_port(f->http));
    assert_int_equal(request(f, "GET", "/metrics", host, ""), 421);
    assert_int_equal(request(f, "GET", "/metrics", "localhost", ""), 421);
    snprintf(host, sizeof host, "localhost:%d", bs_http_port(f->http));
    assert_int_equal(request(f, "GET", "/metrics", host, ""), 200);
    assert_int_equal(request(f, "GET", "/metrics", host, "Host: evil.example\r\n"), 400);
    assert_int_equal(ask(f, "GET /metrics HTTP/1.0\r\n\r\n"), 400);
    assert_int_equal(ask(f, "GET /metrics HTTP/1.1\r\n\r\n"), 400);
    /* A request line that names a host itself must not go around the check. */
    assert_int_not_equal(ask(f, "GET http://127.0.0.1/metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n"), 200);
}

static void pages_of_other_sites_may_not_ask(void **state)
{
    struct fixture *f = *state;
    char own[96];
    snprintf(own, sizeof own, "Origin: http://127.0.0.1:%d\r\n", bs_http_port(f->http));
    assert_int_equal(request(f, "GET", "/metrics", NULL, own), 200);
    assert_null(strstr(f->answer, "Access-Control"));
    assert_int_equal(request(f, "GET", "/metrics", NULL, "Origin: http://evil.example\r\n"), 403);
    assert_int_equal(request(f, "GET", "/metrics", NULL, "Origin: null\r\n"), 403);
    assert_int_equal(request(f, "GET", "/metrics", NULL, "Origin: http://127.0.0.1\r\n"), 403);
}

static void large_requests_are_refused(void **state)
{
    struct fixture *f = *state;
    char *large = malloc(30001);
    char *line = malloc(30100);
    memset(large, 'a', 30000);
    large[30000] = 0;
    snprintf(line, 30100, "X-Large: %s\r\n", large);
    int status = request(f, "GET", "/healthz", NULL, line);
    assert_true(status == 431 || status == 413);
    snprintf(line, 30100, "/%s", large);
    status = request(f, "GET", line, NULL, "");
    assert_true(status == 414 || status == 431);
    free(large);
    free(line);
    assert_int_equal(request(f, "GET", "/healthz", NULL, ""), 200);
}

static void nonsense_leaves_the_port_serving(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"\r\n\r\n",
                                        "x\r\n\r\n",
                                        "GET\r\n\r\n",
                                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                        "\x16\x03\x01\x02",
                                        "GET / HTTP/9.9\r\n\r\n",
                                        "GET / HTTP/1.1\r\nHost\r\n\r\n",
                                        "GET / HTTP/1.1\r\n Host: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        int status, fd = dial(f);
        say(fd, texts[i]);
        shutdown(fd, SHUT_WR);
        hear(f, fd, &status);
        assert_int_not_equal(status, 200);
    }
    assert_int_equal(request(f, "GET", "/healthz", NULL, ""), 200);
}

static void a_second_request_on_a_connection_is_not_served(void **state)
{
    struct fixture *f = *state;
    char text[256];
    snprintf(text, sizeof text,
             "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n",
             bs_http_port(f->http));
    assert_int_equal(ask(f, text), 200);
    assert_non_null(strstr(f->answer, "Connection: close"));
    assert_null(strstr(f->answer + 1, "HTTP/1.1"));
}

static void a_slow_client_is_dropped(void **state)
{
    struct fixture f = {.http = NULL};
    (void)state;
    start(&f, "127.0.0.1:0", 0, 1);
    int fd = dial(&f);
    double began = seconds_now();
    /* Never silent for long, and never done. */
    while (seconds_now() - began < 10) {
        char byte;
        if (send(fd, "G", 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, MSG_DONTWAIT) == 0)
            break;
        usleep(20000);
    }
    close(fd);
    assert_true(seconds_now() - began > 0.8);
    assert_true(seconds_now() - began < 5);
    assert_int_equal(request(&f, "GET", "/healthz", NULL, ""), 200);
    bs_http_stop(f.http);
}

static void silent_connections_do_not_lock_others_out_for_long(void **state)
{
    struct fixture f = {.http = NULL};
    int idle[12];
    (void)state;
    start(&f, "127.0.0.1:0", 4, 1);
    for (int i = 0; i < 12; i++)
        idle[i] = dial(&f);
    double began = seconds_now();
    assert_int_equal(request(&f, "GET", "/healthz", NULL, ""), 200);
    assert_true(seconds_now() - began < 8);
    for (int i = 0; i < 12; i++)
        close(idle[i]);
    bs_http_stop(f.http);
}

static void stop_does_not_wait_for_open_connections(void **state)
{
    struct fixture f = {.http = NULL};
    int fd[3];
    (void)state;
    start(&f, "127.0.0.1:0", 0, 60);
    for (int i = 0; i < 3; i++) {
        fd[i] = dial(&f);
        say(fd[i], "GET / HTTP/1.1\r\n");
    }
    usleep(100000);
    double began = seconds_now();
    bs_http_stop(f.http);
    assert_true(seconds_now() - began < 2);
    for (int i = 0; i < 3; i++)
        close(fd[i]);
}

static void *asker(void *arg)
{
    struct fixture *shared = arg;
    struct fixture *own = calloc(1, sizeof *own);
    own->http = shared->http;
    uintptr_t good = 0;
    for (int i = 0; i < 50; i++)
        good += request(own, "GET", i % 2 ? "/metrics" : "/readyz", NULL, "") == 200;
    free(own);
    return (void *)good;
}

static void many_clients_are_served_at_a_time(void **state)
{
    struct fixture *f = *state;
    pthread_t thread[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, asker, f), 0);
    for (int i = 0; i < 4; i++) {
        void *good;
        pthread_join(thread[i], &good);
        assert_int_equal((uintptr_t)good, 50);
    }
}

static void start_refuses_open_and_taken_addresses(void **state)
{
    struct fixture *f = *state;
    struct bs_http *http = NULL;
    struct bs_err err;
    char taken[32];
    struct bs_http_options opt = {.listen = "0.0.0.0:0", .source = {f, is_ready, give_metrics}};
    assert_int_equal(bs_http_start(&opt, &http, &err), BS_EPRECONDITION);
    assert_non_null(strstr(err.msg, "0.0.0.0:0 can be reached from other machines"));
    snprintf(taken, sizeof taken, "127.0.0.1:%d", bs_http_port(f->http));
    opt.listen = taken;
    assert_int_equal(bs_http_start(&opt, &http, &err), BS_EIO);
    assert_non_null(strstr(err.msg, taken));
    assert_null(http);
}

static void ipv6_loopback_works_where_there_is_one(void **state)
{
    struct fixture f = {.http = NULL};
    struct bs_err err = {.msg = ""};
    const struct bs_http_options opt = {.listen = "[::1]:0", .source = {&f, is_ready, give_metrics}};
    (void)state;
    if (bs_http_start(&opt, &f.http, &err) != BS_OK) {
        print_message("skipped: %s\n", err.msg);
        skip();
    }
    assert_true(bs_http_port(f.http) > 0);
    bs_http_stop(f.http);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(healthz_says_that_the_process_is_alive),
        T(readyz_says_why_not),
        T(metrics_are_prometheus_text),
        T(root_says_what_this_is),
        T(other_paths_do_not_exist),
        T(head_has_no_body),
        T(other_methods_are_refused),
        T(a_foreign_host_gets_nothing),
        T(pages_of_other_sites_may_not_ask),
        T(large_requests_are_refused),
        T(nonsense_leaves_the_port_serving),
        T(a_second_request_on_a_connection_is_not_served),
        cmocka_unit_test(a_slow_client_is_dropped),
        cmocka_unit_test(silent_connections_do_not_lock_others_out_for_long),
        cmocka_unit_test(stop_does_not_wait_for_open_connections),
        T(many_clients_are_served_at_a_time),
        T(start_refuses_open_and_taken_addresses),
        cmocka_unit_test(ipv6_loopback_works_where_there_is_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
