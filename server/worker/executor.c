/* The executor: one thread that opens the device and runs one request after the other, interactive ones first. It is the
   only caller of the device, oneDNN and OpenMP in this process. */
#include "server/worker/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct request {
    struct bs_worker_message message;
    struct bs_cancel cancel;
    bool batch;
    struct request *next;
};

struct bs__executor {
    struct bs__worker_options opt;
    pthread_t thread;
    pthread_mutex_t mu; /* guards the rest */
    pthread_cond_t wake;
    struct request *waiting, *running;
    bool stopping, ended;
};

/* The next request: the oldest interactive one, else the oldest. NULL when stopping. */
static struct request *next_request(struct bs__executor *x)
{
    pthread_mutex_lock(&x->mu);
    while (!x->waiting && !x->stopping)
        pthread_cond_wait(&x->wake, &x->mu);
    struct request **at = &x->waiting;
    while (*at && (*at)->batch)
        at = &(*at)->next;
    if (!*at)
        at = &x->waiting;
    struct request *r = x->stopping ? NULL : *at;
    if (r) {
        *at = r->next;
        x->running = r;
    }
    pthread_mutex_unlock(&x->mu);
    return r;
}

static void say_hello(int sock, struct bs_device *dev, size_t budget)
{
    struct bs_worker_message hello = {.type = BS_WORKER_HELLO};
    struct bs_worker_hello *h = &hello.body.hello;
    struct bs_device_info info;
    bs_device_describe(dev, &info);
    memcpy(h->name, info.name, sizeof h->name);
    memcpy(h->backend, info.backend, sizeof h->backend);
    memcpy(h->libraries, info.libraries, sizeof h->libraries);
    memcpy(h->isa, info.isa, sizeof h->isa);
    memcpy(h->notice, info.notice, sizeof h->notice);
    h->memory = info.memory;
    h->threads = info.threads;
    h->fast_bf16 = info.fast_bf16;
    h->model_budget = budget;
    bs__tell(sock, &hello);
}

static void *execute(void *arg)
{
    struct bs__executor *x = arg;
    struct bs_device *dev = NULL;
    struct bs__models *models = NULL;
    struct bs_err err = {.msg = ""};
    size_t budget = x->opt.model_budget;
    bs_status rc = bs_device_open(x->opt.device, &x->opt.device_options, &dev, &err);
    if (rc == BS_OK && budget == 0) {
        budget = bs_device_memory_available(dev);
        budget = budget == SIZE_MAX ? (size_t)2 << 30 : budget / 2;
    }
    if (rc == BS_OK && !(models = bs__models_create(dev, budget, x->opt.sock)))
        rc = BS_FAIL(&err, BS_ENOMEM, "out of memory while starting");
    if (rc != BS_OK) {
        struct bs_worker_message refused = {.type = BS_WORKER_REFUSED};
        /* Before the daemon hears of it: it hangs up then, and the control thread should wait for this one. */
        pthread_mutex_lock(&x->mu);
        x->ended = true;
        pthread_mutex_unlock(&x->mu);
        bs__set_failure(&refused.body.failure, rc, &err);
        bs__tell(x->opt.sock, &refused);
    } else {
        say_hello(x->opt.sock, dev, budget);
        struct request *r;
        while ((r = next_request(x))) {
            bs__task_run(models, dev, x->opt.sock, &r->message, &r->cancel);
            pthread_mutex_lock(&x->mu);
            x->running = NULL;
            pthread_mutex_unlock(&x->mu);
            bs_worker_message_release(&r->message);
            free(r);
        }
    }
    bs__models_destroy(models);
    bs_device_close(dev);
    return NULL;
}

bs_status bs__executor_start(const struct bs__worker_options *opt, struct bs__executor **out,
                             struct bs_err *err)
{
    struct bs__executor *x = calloc(1, sizeof *x);
    if (!x)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting");
    x->opt = *opt;
    pthread_mutex_init(&x->mu, NULL);
    pthread_cond_init(&x->wake, NULL);
    if (pthread_create(&x->thread, NULL, execute, x) != 0) {
        free(x);
        return BS_FAIL(err, BS_ENOMEM, "no thread for the executor");
    }
    *out = x;
    return BS_OK;
}

void bs__executor_push(struct bs__executor *x, const struct bs_worker_message *m)
{
    struct request *r = calloc(1, sizeof *r);
    if (!r) {
        struct bs_worker_message done = {.type = BS_WORKER_DONE, .task = m->task};
        struct bs_err err;
        bs__set_failure(&done.body.done.failure, BS_FAIL(&err, BS_ENOMEM, "out of memory"), &err);
        bs__tell(x->opt.sock, &done);
        struct bs_worker_message copy = *m;
        bs_worker_message_release(&copy);
        return;
    }
    r->message = *m;
    r->batch = m->type == BS_WORKER_SEGMENT && !m->body.segment.interactive;
    pthread_mutex_lock(&x->mu);
    struct request **at = &x->waiting;
    while (*at)
        at = &(*at)->next;
    *at = r;
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->mu);
}

void bs__executor_cancel(struct bs__executor *x, uint64_t task)
{
    pthread_mutex_lock(&x->mu);
    if (x->running && x->running->message.task == task)
        bs_cancel_request(&x->running->cancel);
    for (struct request *r = x->waiting; r; r = r->next)
        if (r->message.task == task)
            bs_cancel_request(&r->cancel);
    pthread_mutex_unlock(&x->mu);
}

uint64_t bs__executor_looks(struct bs__executor *x)
{
    pthread_mutex_lock(&x->mu);
    uint64_t looks = x->running ? bs_cancel_looks(&x->running->cancel) : 0;
    pthread_mutex_unlock(&x->mu);
    return looks;
}

bool bs__executor_ended(struct bs__executor *x)
{
    pthread_mutex_lock(&x->mu);
    bool ended = x->ended;
    pthread_mutex_unlock(&x->mu);
    return ended;
}

void bs__executor_stop(struct bs__executor *x)
{
    if (!x)
        return;
    pthread_mutex_lock(&x->mu);
    x->stopping = true;
    if (x->running)
        bs_cancel_request(&x->running->cancel);
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->mu);
    pthread_join(x->thread, NULL);
    while (x->waiting) {
        struct request *r = x->waiting;
        x->waiting = r->next;
        bs_worker_message_release(&r->message);
        free(r);
    }
    pthread_cond_destroy(&x->wake);
    pthread_mutex_destroy(&x->mu);
    free(x);
}
