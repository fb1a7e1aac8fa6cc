/* The executor: one thread that opens the device and runs one request after the other, interactive ones first, training runs
   last. What comes while a training run has the device runs between two of its operators. The thread is the only caller of the
   device, oneDNN and OpenMP in this process. While there is no request it lets idle models go. */
#include "server/worker/worker.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct request {
    struct bs_worker_message message;
    struct bs_cancel cancel;
    int rank; /* those of the lowest go first */
    struct request *next;
    /* of a training run; guarded by bs__executor.mu */
    struct bs_run_control control;
    bool committed;
    struct bs_worker_failure commit;
};
enum { RANK_INTERACTIVE, RANK_BATCH, RANK_TRAINING };

struct bs__executor {
    struct bs__worker_options opt;
    pthread_t thread;
    struct bs_device *dev;     /* the thread's own */
    struct bs__models *models; /* likewise */

    pthread_mutex_t mu; /* guards the rest */
    pthread_cond_t wake, committed;
    struct request *waiting;
    struct request *training; /* has the device when nothing else runs */
    struct request *running;  /* the other one that has it; maybe between two operators of training */
    bool stopping, ended;
    atomic_bool
        wanted; /* something waits that goes before training; written under mu, read by all that compute */
};

/* After a change of the queue; mu held. */
static void note_wanted(struct bs__executor *x)
{
    bool wanted = false;
    for (const struct request *r = x->waiting; r; r = r->next)
        wanted |= r->rank < RANK_TRAINING;
    atomic_store_explicit(&x->wanted, wanted, memory_order_relaxed);
}

/* Takes the first of the lowest rank, at most `most`, out of the queue; NULL: there is none. mu held. */
static struct request *take(struct bs__executor *x, int most)
{
    struct request **best = NULL;
    for (struct request **at = &x->waiting; *at; at = &(*at)->next)
        if ((*at)->rank <= most && (!best || (*at)->rank < (*best)->rank))
            best = at;
    if (!best)
        return NULL;
    struct request *r = *best;
    *best = r->next;
    note_wanted(x);
    *(r->rank == RANK_TRAINING ? &x->training : &x->running) = r;
    return r;
}

/* Waits to be woken, at most until a model has been idle for too long. Called and returns with mu held, which is free while a
   model goes. */
static void wait_idle(struct bs__executor *x)
{
    struct timespec until;
    const int64_t left = bs__models_idle_left(x->models);
    if (left < 0) {
        pthread_cond_wait(&x->wake, &x->mu);
    } else if (left > 0) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        const int64_t ns = until.tv_nsec + left % 1000 * 1000000;
        until.tv_sec += (time_t)(left / 1000 + ns / 1000000000);
        until.tv_nsec = (long)(ns % 1000000000);
        pthread_cond_timedwait(&x->wake, &x->mu, &until);
    } else {
        pthread_mutex_unlock(&x->mu);
        bs__models_drop_idle(x->models);
        pthread_mutex_lock(&x->mu);
    }
}

/* The next request; NULL when stopping. */
static struct request *next_request(struct bs__executor *x)
{
    pthread_mutex_lock(&x->mu);
    while (!x->waiting && !x->stopping)
        wait_idle(x);
    struct request *r = x->stopping ? NULL : take(x, RANK_TRAINING);
    pthread_mutex_unlock(&x->mu);
    return r;
}

static void run_request(struct bs__executor *x, struct request *r)
{
    if (r->rank == RANK_TRAINING)
        bs__train_run(x, x->models, x->dev, x->opt.sock, &r->message, &r->cancel);
    else
        bs__task_run(x->models, x->dev, x->opt.sock, &r->message, &r->cancel);
    pthread_mutex_lock(&x->mu);
    *(r->rank == RANK_TRAINING ? &x->training : &x->running) = NULL;
    pthread_mutex_unlock(&x->mu);
    bs__models_end_work(x->models);
    bs__models_drop_idle(x->models);
    bs_worker_message_release(&r->message);
    free(r);
}

void bs__executor_give_way(struct bs__executor *x)
{
    for (;;) {
        pthread_mutex_lock(&x->mu);
        struct request *r = x->stopping ? NULL : take(x, RANK_BATCH);
        pthread_mutex_unlock(&x->mu);
        if (!r)
            return;
        run_request(x, r);
    }
}

const atomic_bool *bs__executor_wanted(const struct bs__executor *x)
{
    return &x->wanted;
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
    struct bs_err err = {.msg = ""};
    size_t budget = x->opt.model_budget;
    bs_status rc = bs_device_open(x->opt.device, &x->opt.device_options, &x->dev, &err);
    if (rc == BS_OK && budget == 0) {
        budget = bs_device_memory_available(x->dev);
        budget = budget == SIZE_MAX ? (size_t)2 << 30 : budget / 2;
    }
    if (rc == BS_OK && !(x->models = bs__models_create(x->dev, budget, x->opt.idle_ms, x->opt.sock)))
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
        say_hello(x->opt.sock, x->dev, budget);
        struct request *r;
        while ((r = next_request(x)))
            run_request(x, r);
    }
    bs__models_destroy(x->models);
    bs_device_close(x->dev);
    return NULL;
}

bs_status bs__executor_start(const struct bs__worker_options *opt, struct bs__executor **out,
                             struct bs_err *err)
{
    struct bs__executor *x = calloc(1, sizeof *x);
    if (!x)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while starting");
    x->opt = *opt;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&x->mu, NULL);
    pthread_cond_init(&x->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_cond_init(&x->committed, NULL);
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
    r->rank = m->type == BS_WORKER_TRAIN                                     ? RANK_TRAINING
              : m->type == BS_WORKER_SEGMENT && !m->body.segment.interactive ? RANK_BATCH
                                                                             : RANK_INTERACTIVE;
    pthread_mutex_lock(&x->mu);
    struct request **at = &x->waiting;
    while (*at)
        at = &(*at)->next;
    *at = r;
    note_wanted(x);
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->mu);
}

/* The request of that task, whether it runs or waits; mu held. */
static struct request *find(struct bs__executor *x, uint64_t task)
{
    if (x->running && x->running->message.task == task)
        return x->running;
    if (x->training && x->training->message.task == task)
        return x->training;
    struct request *r = x->waiting;
    while (r && r->message.task != task)
        r = r->next;
    return r;
}

void bs__executor_cancel(struct bs__executor *x, uint64_t task)
{
    pthread_mutex_lock(&x->mu);
    struct request *r = find(x, task);
    if (r)
        bs_cancel_request(&r->cancel);
    pthread_mutex_unlock(&x->mu);
}

void bs__executor_control(struct bs__executor *x, uint64_t task,
                          const struct bs_worker_train_control *control)
{
    pthread_mutex_lock(&x->mu);
    struct request *r = find(x, task);
    if (r) {
        r->control.pause |= control->pause != 0;
        r->control.best_now |= control->best_now != 0;
        if (control->learning_rate > 0)
            r->control.learning_rate = control->learning_rate;
    }
    pthread_mutex_unlock(&x->mu);
}

void bs__executor_committed(struct bs__executor *x, uint64_t task, const struct bs_worker_failure *failure)
{
    pthread_mutex_lock(&x->mu);
    struct request *r = find(x, task);
    if (r) {
        r->committed = true;
        r->commit = *failure;
        pthread_cond_signal(&x->committed);
    }
    pthread_mutex_unlock(&x->mu);
}

void bs__executor_take_control(struct bs__executor *x, struct bs_run_control *control)
{
    pthread_mutex_lock(&x->mu);
    *control = x->training->control;
    x->training->control = (struct bs_run_control){.pause = control->pause};
    pthread_mutex_unlock(&x->mu);
}

bool bs__executor_take_commit(struct bs__executor *x, int ms, struct bs_worker_failure *failure)
{
    struct timespec until;
    int rc = 0;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    pthread_mutex_lock(&x->mu);
    struct request *r = x->training;
    while (rc == 0 && !r->committed)
        rc = pthread_cond_timedwait(&x->committed, &x->mu, &until);
    const bool came = r->committed;
    *failure = r->commit;
    r->committed = false;
    pthread_mutex_unlock(&x->mu);
    return came;
}

/* Of what has the device at this moment. */
uint64_t bs__executor_looks(struct bs__executor *x)
{
    pthread_mutex_lock(&x->mu);
    uint64_t looks = x->running ? bs_cancel_looks(&x->running->cancel) : 0;
    if (x->training)
        looks += bs_cancel_looks(&x->training->cancel);
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
    if (x->training)
        bs_cancel_request(&x->training->cancel);
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->mu);
    pthread_join(x->thread, NULL);
    while (x->waiting) {
        struct request *r = x->waiting;
        x->waiting = r->next;
        bs_worker_message_release(&r->message);
        free(r);
    }
    pthread_cond_destroy(&x->committed);
    pthread_cond_destroy(&x->wake);
    pthread_mutex_destroy(&x->mu);
    free(x);
}
