/* The signal thread. Owns the flag and the one callback; `mu` guards the callback and is held while it runs. */
#include "clients/cli/interrupt.h"

#include "clients/cli/cli.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct bs__interrupt {
    pthread_t thread;
    sigset_t signals;
    atomic_bool raised;
    atomic_bool closing;
    pthread_mutex_t mu; /* guards fn and ctx */
    void (*fn)(void *ctx);
    void *ctx;
};

static void *wait_for_signals(void *arg)
{
    struct bs__interrupt *in = arg;
    for (;;) {
        int signal_number;
        if (sigwait(&in->signals, &signal_number) != 0)
            continue;
        if (atomic_load(&in->closing))
            return NULL;
        if (atomic_exchange(&in->raised, true))
            _exit(BS__EXIT_INTERRUPTED);
        pthread_mutex_lock(&in->mu);
        if (in->fn)
            in->fn(in->ctx);
        pthread_mutex_unlock(&in->mu);
    }
}

bs_status bs__interrupt_create(struct bs__interrupt **out, struct bs_err *err)
{
    struct bs__interrupt *in = calloc(1, sizeof *in);
    if (!in)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the signal thread");
    pthread_mutex_init(&in->mu, NULL);
    sigemptyset(&in->signals);
    sigaddset(&in->signals, SIGINT);
    sigaddset(&in->signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &in->signals, NULL);
    int rc = pthread_create(&in->thread, NULL, wait_for_signals, in);
    if (rc != 0) {
        pthread_mutex_destroy(&in->mu);
        free(in);
        return BS_FAIL(err, BS_EIO, "cannot start the signal thread: %s", strerror(rc));
    }
    *out = in;
    return BS_OK;
}

void bs__interrupt_destroy(struct bs__interrupt *in)
{
    if (!in)
        return;
    atomic_store(&in->closing, true);
    pthread_kill(in->thread, SIGINT);
    pthread_join(in->thread, NULL);
    pthread_mutex_destroy(&in->mu);
    free(in);
}

bool bs__interrupted(const struct bs__interrupt *in)
{
    return in && atomic_load(&in->raised);
}

void bs__interrupt_notify(struct bs__interrupt *in, void (*fn)(void *ctx), void *ctx)
{
    if (!in)
        return;
    pthread_mutex_lock(&in->mu);
    in->fn = fn;
    in->ctx = ctx;
    if (fn && atomic_load(&in->raised))
        fn(ctx);
    pthread_mutex_unlock(&in->mu);
}
