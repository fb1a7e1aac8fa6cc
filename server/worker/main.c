/* biosegd-worker: the process that holds models and runs them for biosegd. Started by the daemon only, with its end of
   a socket as descriptor 3; ends when the daemon ends. This file is the control thread: it reads messages, so that a
   cancel takes effect while the executor works. */
#include "server/worker/worker.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void bs__tell(int sock, const struct bs_worker_message *m)
{
    struct bs_err err;
    if (bs_worker_send(sock, m, true, &err) != BS_OK)
        _exit(0);
}

void bs__set_failure(struct bs_worker_failure *f, bs_status rc, const struct bs_err *err)
{
    f->status = (uint32_t)rc;
    f->text[0] = '\0';
    if (rc != BS_OK)
        snprintf(f->text, sizeof f->text, "%s", err->msg);
}

static int usage(void)
{
    fprintf(stderr, "biosegd-worker is started by biosegd; run that instead.\n");
    return 2;
}

/* A whole number from our own parent; anything else is a usage error. */
static bool number(const char *text, unsigned long long max, unsigned long long *out)
{
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return errno == 0 && end != text && !*end && text[0] != '-' && *out <= max;
}

static int serve(const struct bs__worker_options *opt)
{
    struct bs__executor *executor = NULL;
    struct bs_worker_message *m = malloc(sizeof *m);
    struct bs_err err;
    int rc = 1;
    if (!m || bs__executor_start(opt, &executor, &err) != BS_OK)
        goto cleanup;
    for (;;) {
        bs_status got = bs_worker_receive(opt->sock, true, m, &err);
        if (got != BS_OK && bs__executor_ended(executor))
            break;
        /* The daemon is gone (or speaks another protocol): no time is lost on tidying up. */
        if (got != BS_OK)
            _exit(got == BS_EUNAVAILABLE ? 0 : 1);
        if (m->type == BS_WORKER_STOP) {
            rc = 0;
            break;
        }
        if (m->type == BS_WORKER_PING) {
            struct bs_worker_message pong = {.type = BS_WORKER_PONG};
            pong.body.pong.looks = bs__executor_looks(executor);
            bs__tell(opt->sock, &pong);
        } else if (m->type == BS_WORKER_CANCEL)
            bs__executor_cancel(executor, m->task);
        else if (m->type == BS_WORKER_TRAIN_CONTROL)
            bs__executor_control(executor, m->task, &m->body.train_control);
        else if (m->type == BS_WORKER_TRAIN_COMMITTED)
            bs__executor_committed(executor, m->task, &m->body.failure);
        else if (m->type == BS_WORKER_SEGMENT || m->type == BS_WORKER_LOAD || m->type == BS_WORKER_UNLOAD ||
                 m->type == BS_WORKER_PLAN || m->type == BS_WORKER_CARD || m->type == BS_WORKER_TRAIN ||
                 m->type == BS_WORKER_TRAIN_PLAN)
            bs__executor_push(executor, m);
        else
            bs_worker_message_release(m);
    }
cleanup:
    bs__executor_stop(executor);
    free(m);
    return rc;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        {"parent", required_argument, NULL, 'p'},
        {"device", required_argument, NULL, 'd'},
        {"threads", required_argument, NULL, 't'},
        {"model-budget", required_argument, NULL, 'b'},
        {"idle-ms", required_argument, NULL, 'm'},
        {"winograd", required_argument, NULL, 'w'},
        {"inspect", no_argument, NULL, 'i'},
        {"check", no_argument, NULL, 'c'},
        {NULL, 0, NULL, 0},
    };
    struct bs__worker_options opt = {.device = "auto",
                                     .device_options = {.threads = 0, .allow_winograd = true},
                                     .sock = BS_WORKER_SOCKET_FD};
    unsigned long long parent = 0, value;
    enum bs__confinement confinement = BS__CONFINE_WORKER;
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        value = 0;
        if (c == 'p' && number(optarg, 1u << 30, &parent))
            continue;
        if (c == 't' && number(optarg, 1024, &value))
            opt.device_options.threads = (int)value;
        else if (c == 'b' && number(optarg, SIZE_MAX, &value))
            opt.model_budget = (size_t)value;
        else if (c == 'm' && number(optarg, (unsigned long long)INT64_MAX / 2, &value))
            opt.idle_ms = (int64_t)value;
        else if (c == 'w' && number(optarg, 1, &value))
            opt.device_options.allow_winograd = value == 1;
        else if (c == 'd')
            opt.device = optarg;
        else if (c == 'i')
            confinement = BS__CONFINE_INSPECT;
        else if (c == 'c')
            confinement = BS__CONFINE_CHECK;
        else
            return usage();
    }
    if (optind != argc || parent == 0)
        return usage();
    /* These come to the whole process group or service; when this process ends is the daemon's to say, which may still
       want to hear the end of what runs. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    bs__harden((int)parent, confinement);
    return confinement != BS__CONFINE_WORKER ? bs__inspect_main(opt.sock) : serve(&opt);
}
