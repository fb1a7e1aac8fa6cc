/* See cache.h. */
#include "model/dataset/cache.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

#define NONE SIZE_MAX

enum state { ABSENT, BEING_MADE, PRESENT };

struct slot {
    enum state state;
    void *value;
    size_t bytes;
    size_t holders;
    size_t older, newer; /* neighbours among those that nobody holds */
};

struct bs__cache {
    pthread_mutex_t mu; /* guards everything below */
    pthread_cond_t made;
    struct bs__cache_maker maker;
    size_t count, max_bytes;
    size_t idle_bytes;     /* of values that nobody holds */
    size_t oldest, newest; /* of those; NONE: there are none */
    struct slot *slot;
};

bs_status bs__cache_create(size_t count, size_t max_bytes, const struct bs__cache_maker *maker,
                           struct bs__cache **out, struct bs_err *err)
{
    *out = NULL;
    struct bs__cache *c = calloc(1, sizeof *c);
    if (!c || !(c->slot = calloc(count ? count : 1, sizeof *c->slot))) {
        free(c);
        return BS_FAIL(err, BS_ENOMEM, "no memory to keep %zu images", count);
    }
    pthread_mutex_init(&c->mu, NULL);
    pthread_cond_init(&c->made, NULL);
    c->maker = *maker;
    c->count = count;
    c->max_bytes = max_bytes;
    c->oldest = c->newest = NONE;
    *out = c;
    return BS_OK;
}

/* Under the lock, like the next two. */
static void unlink_idle(struct bs__cache *c, size_t key)
{
    struct slot *s = &c->slot[key];
    *(s->older == NONE ? &c->oldest : &c->slot[s->older].newer) = s->newer;
    *(s->newer == NONE ? &c->newest : &c->slot[s->newer].older) = s->older;
    c->idle_bytes -= s->bytes;
}

static void link_newest(struct bs__cache *c, size_t key)
{
    struct slot *s = &c->slot[key];
    s->older = c->newest;
    s->newer = NONE;
    *(c->newest == NONE ? &c->oldest : &c->slot[c->newest].newer) = key;
    c->newest = key;
    c->idle_bytes += s->bytes;
}

static void drop_oldest(struct bs__cache *c)
{
    const size_t key = c->oldest;
    unlink_idle(c, key);
    c->maker.destroy(c->maker.ctx, key, c->slot[key].value);
    c->slot[key] = (struct slot){.state = ABSENT};
}

void bs__cache_destroy(struct bs__cache *c)
{
    if (!c)
        return;
    while (c->oldest != NONE)
        drop_oldest(c);
    for (size_t i = 0; i < c->count; i++)
        BS_ASSERT(c->slot[i].state == ABSENT);
    pthread_cond_destroy(&c->made);
    pthread_mutex_destroy(&c->mu);
    free(c->slot);
    free(c);
}

bs_status bs__cache_take(struct bs__cache *c, size_t key, void **value, struct bs_err *err)
{
    BS_ASSERT(key < c->count);
    struct slot *s = &c->slot[key];
    bs_status rc = BS_OK;
    pthread_mutex_lock(&c->mu);
    while (s->state == BEING_MADE)
        pthread_cond_wait(&c->made, &c->mu);
    if (s->state == PRESENT) {
        if (s->holders++ == 0)
            unlink_idle(c, key);
        *value = s->value;
        pthread_mutex_unlock(&c->mu);
        return BS_OK;
    }
    s->state = BEING_MADE;
    pthread_mutex_unlock(&c->mu);

    void *fresh = NULL;
    size_t bytes = 0;
    rc = c->maker.make(c->maker.ctx, key, &fresh, &bytes, err);

    pthread_mutex_lock(&c->mu);
    if (rc == BS_OK)
        *s = (struct slot){.state = PRESENT, .value = fresh, .bytes = bytes, .holders = 1};
    else
        s->state = ABSENT;
    pthread_cond_broadcast(&c->made);
    pthread_mutex_unlock(&c->mu);
    *value = fresh;
    return rc;
}

void bs__cache_give_back(struct bs__cache *c, size_t key)
{
    pthread_mutex_lock(&c->mu);
    struct slot *s = &c->slot[key];
    BS_ASSERT(s->state == PRESENT && s->holders > 0);
    if (--s->holders == 0) {
        link_newest(c, key);
        while (c->idle_bytes > c->max_bytes)
            drop_oldest(c);
    }
    pthread_mutex_unlock(&c->mu);
}
