/* A pool that hands work to an idle thread or makes one; see pool.h. There is no queue: work that finds no thread is
   refused, so that overload is seen at once instead of as latency. */
#include "server/rpc/pool.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define STACK_BYTES  ((size_t)512 << 10)
#define IDLE_SECONDS 30

struct worker {
    pthread_cond_t wake;
    struct worker *next_idle;
    void (*fn)(void *arg); /* NULL: nothing to do */
    void *arg;
};

struct bs_pool {
    pthread_mutex_t mu; /* guards everything below and in the workers */
    pthread_cond_t gone;
    int max, live;
    bool closing;
    struct worker *idle;
};

struct start {
    struct bs_pool *pool;
    struct worker *worker;
};

struct bs_pool *bs_pool_create(int max_threads)
{
    struct bs_pool *p = calloc(1, sizeof *p);
    if (!p)
        return NULL;
    pthread_mutex_init(&p->mu, NULL);
    pthread_cond_init(&p->gone, NULL);
    p->max = max_threads;
    return p;
}

static void remove_idle(struct bs_pool *p, struct worker *w)
{
    for (struct worker **at = &p->idle; *at; at = &(*at)->next_idle) {
        if (*at == w) {
            *at = w->next_idle;
            return;
        }
    }
}

static void *work(void *arg)
{
    struct start start = *(struct start *)arg;
    struct bs_pool *p = start.pool;
    struct worker *w = start.worker;
    free(arg);
    pthread_mutex_lock(&p->mu);
    while (w->fn) {
        pthread_mutex_unlock(&p->mu);
        w->fn(w->arg);
        pthread_mutex_lock(&p->mu);
        w->fn = NULL;
        w->next_idle = p->idle;
        p->idle = w;
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += IDLE_SECONDS;
        int timed_out = 0;
        while (!w->fn && !p->closing && !timed_out)
            timed_out = pthread_cond_timedwait(&w->wake, &p->mu, &until);
        if (!w->fn)
            remove_idle(p, w);
    }
    p->live--;
    pthread_cond_signal(&p->gone);
    pthread_mutex_unlock(&p->mu);
    pthread_cond_destroy(&w->wake);
    free(w);
    return NULL;
}

static bool start_thread(struct bs_pool *p, struct worker *w)
{
    pthread_attr_t attributes;
    pthread_t thread;
    struct start *start = malloc(sizeof *start);
    if (!start)
        return false;
    *start = (struct start){p, w};
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    bool ok = pthread_create(&thread, &attributes, work, start) == 0;
    pthread_attr_destroy(&attributes);
    if (!ok)
        free(start);
    return ok;
}

bool bs_pool_run(struct bs_pool *p, void (*fn)(void *arg), void *arg)
{
    bool ok = false;
    pthread_mutex_lock(&p->mu);
    if (p->idle && !p->closing) {
        struct worker *w = p->idle;
        p->idle = w->next_idle;
        w->fn = fn;
        w->arg = arg;
        pthread_cond_signal(&w->wake);
        ok = true;
    } else if (p->live < p->max && !p->closing) {
        struct worker *w = calloc(1, sizeof *w);
        if (w) {
            pthread_cond_init(&w->wake, NULL);
            w->fn = fn;
            w->arg = arg;
            ok = start_thread(p, w);
            if (!ok) {
                pthread_cond_destroy(&w->wake);
                free(w);
            }
        }
        p->live += ok;
    }
    pthread_mutex_unlock(&p->mu);
    return ok;
}

void bs_pool_destroy(struct bs_pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->mu);
    p->closing = true;
    for (struct worker *w = p->idle; w; w = w->next_idle)
        pthread_cond_signal(&w->wake);
    while (p->live > 0)
        pthread_cond_wait(&p->gone, &p->mu);
    pthread_mutex_unlock(&p->mu);
    pthread_cond_destroy(&p->gone);
    pthread_mutex_destroy(&p->mu);
    free(p);
}
