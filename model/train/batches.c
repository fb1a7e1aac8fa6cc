/* See batches.h. A ring of slots, one batch each. Threads take samples one after the other in the order of their numbers; a
   slot is made anew as soon as the caller has left it. */
#include "model/train/batches.h"

#include "kernels/base/checked.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AHEAD       2 /* batches beyond the one that is used */
#define MAX_THREADS 64
#define LOOK_NS     20000000L /* how often a waiting caller looks at cancel */

struct slot {
    float *image, *target;
    size_t *pair;
    int done;          /* samples that were made */
    int failed;        /* the first of them that could not be made; samples: none */
    struct bs_err err; /* its */
};

struct bs_batches {
    struct bs_batches_setup setup;
    int samples, nslot, nthread;
    size_t image_count, target_count; /* values of one sample */
    int64_t current;                  /* batch that the caller has; first - 1 before the first */
    pthread_t thread[MAX_THREADS];
    struct slot *slot; /* batch k is in slot k % nslot */

    pthread_mutex_t mu; /* guards the rest, and the slots' counters */
    pthread_cond_t made, room;
    int64_t next_batch; /* the sample that is taken next */
    int next_sample;
    bool closing;
};

/* A source that remembers which pair it gave last: the one that a sample was cut from. */
struct remembering {
    const struct bs_pair_source *from;
    size_t pair;
};

static bs_status load(void *ctx, size_t index, struct bs_pair *pair, struct bs_err *err)
{
    struct remembering *r = ctx;
    r->pair = index;
    return r->from->load(r->from->ctx, index, pair, err);
}

static void release(void *ctx, struct bs_pair *pair)
{
    struct remembering *r = ctx;
    if (r->from->release)
        r->from->release(r->from->ctx, pair);
}

/* (channels, height, width) at the front of image to (net channels, net h, net w), zeros around, in place: from the end. */
static void spread(const struct bs_batches *b, float *image)
{
    const struct bs_sample_rule *rule = &b->setup.rule;
    const size_t from_channels = b->setup.source->channels, channels = (size_t)b->setup.image.dim[1],
                 h = (size_t)b->setup.image.dim[2], w = (size_t)b->setup.image.dim[3];
    if (from_channels == channels && h == rule->height && w == rule->width)
        return;
    for (size_t c = channels; c-- > 0;) {
        const float *from = image + (from_channels == 1 ? 0 : c) * rule->height * rule->width;
        float *to = image + c * h * w;
        for (size_t y = h; y-- > 0;) {
            const size_t shown = y < rule->height ? rule->width : 0;
            if (shown)
                memmove(to + y * w, from + y * rule->width, shown * sizeof *to);
            memset(to + y * w + shown, 0, (w - shown) * sizeof *to);
        }
    }
}

/* Makes one sample; no lock is held. */
static bs_status make(const struct bs_batches *b, struct slot *s, int64_t batch, int sample,
                      struct bs_err *err)
{
    struct remembering source = {b->setup.source, 0};
    const struct bs_pair_source from = {.ctx = &source,
                                        .count = b->setup.source->count,
                                        .channels = b->setup.source->channels,
                                        .partial = b->setup.source->partial,
                                        .load = load,
                                        .release = release};
    float *image = s->image + (size_t)sample * b->image_count;
    bs_status rc =
        bs_sample_make(&from, &b->setup.rule, b->setup.seed, (uint64_t)(batch * b->samples + sample), image,
                       s->target + (size_t)sample * b->target_count, NULL, err);
    s->pair[sample] = source.pair;
    if (rc == BS_OK)
        spread(b, image);
    return rc;
}

/* One more sample of a slot; mu held. */
static void note(struct slot *s, int sample, bs_status rc, const struct bs_err *err)
{
    s->done++;
    if (rc != BS_OK && sample < s->failed) {
        s->failed = sample;
        s->err = *err;
    }
}

/* Is there a sample to be made, and room for it? mu held. */
static bool has_room(const struct bs_batches *b)
{
    return b->next_batch < b->current + b->nslot && (!b->setup.end || b->next_batch < b->setup.end);
}

static void *work(void *arg)
{
    struct bs_batches *b = arg;
    pthread_mutex_lock(&b->mu);
    for (;;) {
        while (!b->closing && !has_room(b))
            pthread_cond_wait(&b->room, &b->mu);
        if (b->closing)
            break;
        const int64_t batch = b->next_batch;
        const int sample = b->next_sample++;
        if (b->next_sample == b->samples) {
            b->next_batch++;
            b->next_sample = 0;
        }
        struct slot *s = &b->slot[batch % b->nslot];
        pthread_mutex_unlock(&b->mu);
        struct bs_err err = {.msg = ""};
        const bs_status rc = make(b, s, batch, sample, &err);
        pthread_mutex_lock(&b->mu);
        note(s, sample, rc, &err);
        pthread_cond_signal(&b->made);
    }
    pthread_mutex_unlock(&b->mu);
    return NULL;
}

static int slots(const struct bs_batches_setup *setup)
{
    return setup->threads > 0 ? 1 + AHEAD : 1;
}

/* Values of one sample's image, where it is also cut before it is spread, and of its target. */
static size_t image_values(const struct bs_batches_setup *setup)
{
    return (size_t)(setup->image.dim[1] * setup->image.dim[2] * setup->image.dim[3]);
}

static size_t target_values(const struct bs_batches_setup *setup)
{
    return bs_sample_target_channels(&setup->rule) * setup->rule.height * setup->rule.width;
}

size_t bs_batches_bytes(const struct bs_batches_setup *setup)
{
    return (size_t)slots(setup) * (size_t)setup->image.dim[0] * (image_values(setup) + target_values(setup)) *
           sizeof(float);
}

static bs_status make_slots(struct bs_batches *b, struct bs_err *err)
{
    if (!(b->slot = calloc((size_t)b->nslot, sizeof *b->slot)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for batches of %d samples", b->samples);
    for (int i = 0; i < b->nslot; i++) {
        struct slot *s = &b->slot[i];
        s->failed = b->samples;
        s->image = malloc((size_t)b->samples * b->image_count * sizeof *s->image);
        s->target = malloc((size_t)b->samples * b->target_count * sizeof *s->target);
        s->pair = calloc((size_t)b->samples, sizeof *s->pair);
        if (!s->image || !s->target || !s->pair)
            return BS_FAIL(err, BS_ENOMEM, "no memory for batches of %d samples", b->samples);
    }
    return BS_OK;
}

static bs_status check(const struct bs_batches_setup *setup, struct bs_err *err)
{
    const size_t channels = setup->source->channels, wanted = (size_t)setup->image.dim[1];
    BS_ASSERT(setup->image.ndim == 4 && setup->rule.height <= (size_t)setup->image.dim[2] &&
              setup->rule.width <= (size_t)setup->image.dim[3] && setup->threads >= 0);
    if (channels != wanted && channels != 1)
        return BS_FAIL(err, BS_EINVAL,
                       "the images have %zu channels, the network takes %zu; as many, or one, are accepted",
                       channels, wanted);
    return BS_OK;
}

bs_status bs_batches_create(const struct bs_batches_setup *setup, struct bs_batches **out, struct bs_err *err)
{
    *out = NULL;
    bs_status rc = check(setup, err);
    if (rc != BS_OK)
        return rc;
    struct bs_batches *b = calloc(1, sizeof *b);
    if (!b)
        return BS_FAIL(err, BS_ENOMEM, "no memory for batches");
    b->setup = *setup;
    b->samples = (int)setup->image.dim[0];
    b->nslot = slots(setup);
    b->image_count = image_values(setup);
    b->target_count = target_values(setup);
    b->current = setup->first - 1;
    b->next_batch = setup->first;
    pthread_mutex_init(&b->mu, NULL);
    pthread_cond_init(&b->made, NULL);
    pthread_cond_init(&b->room, NULL);
    rc = make_slots(b, err);
    const int threads = setup->threads < MAX_THREADS ? setup->threads : MAX_THREADS;
    while (rc == BS_OK && b->nthread < threads)
        if (pthread_create(&b->thread[b->nthread], NULL, work, b) == 0)
            b->nthread++;
        else
            rc = BS_FAIL(err, BS_ENOMEM, "no thread to make samples");
    if (rc != BS_OK) {
        bs_batches_destroy(b);
        return rc;
    }
    *out = b;
    return BS_OK;
}

void bs_batches_destroy(struct bs_batches *b)
{
    if (!b)
        return;
    pthread_mutex_lock(&b->mu);
    b->closing = true;
    pthread_cond_broadcast(&b->room);
    pthread_mutex_unlock(&b->mu);
    for (int i = 0; i < b->nthread; i++)
        pthread_join(b->thread[i], NULL);
    for (int i = 0; b->slot && i < b->nslot; i++) {
        free(b->slot[i].image);
        free(b->slot[i].target);
        free(b->slot[i].pair);
    }
    free(b->slot);
    pthread_cond_destroy(&b->room);
    pthread_cond_destroy(&b->made);
    pthread_mutex_destroy(&b->mu);
    free(b);
}

/* By the threads. */
static bs_status wait(struct bs_batches *b, const struct slot *s, const struct bs_cancel *cancel,
                      struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_mutex_lock(&b->mu);
    while (s->done < b->samples && rc == BS_OK) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += LOOK_NS;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
        (void)pthread_cond_timedwait(&b->made, &b->mu, &until);
        pthread_mutex_unlock(&b->mu);
        bs_cancel_yield(cancel);
        if (bs_cancel_requested(cancel))
            rc = BS_FAIL(err, BS_ECANCELLED, "cancelled while samples were made");
        pthread_mutex_lock(&b->mu);
    }
    pthread_mutex_unlock(&b->mu);
    return rc;
}

/* By the caller. */
static bs_status make_all(struct bs_batches *b, struct slot *s, const struct bs_cancel *cancel,
                          struct bs_err *err)
{
    for (int i = 0; i < b->samples; i++) {
        struct bs_err why = {.msg = ""};
        bs_cancel_yield(cancel);
        if (bs_cancel_requested(cancel))
            return BS_FAIL(err, BS_ECANCELLED, "cancelled while samples were made");
        const bs_status rc = make(b, s, b->current, i, &why);
        note(s, i, rc, &why);
    }
    return BS_OK;
}

/* The caller is done with a slot; mu held. */
static void leave(const struct bs_batches *b, struct slot *s)
{
    s->done = 0;
    s->failed = b->samples;
}

bs_status bs_batches_next(struct bs_batches *b, const struct bs_cancel *cancel, struct bs_batch *out,
                          struct bs_err *err)
{
    BS_ASSERT(!b->setup.end || b->current + 1 < b->setup.end);
    pthread_mutex_lock(&b->mu);
    if (b->current >= b->setup.first)
        leave(b, &b->slot[b->current % b->nslot]);
    b->current++;
    struct slot *s = &b->slot[b->current % b->nslot];
    pthread_cond_broadcast(&b->room);
    pthread_mutex_unlock(&b->mu);
    bs_status rc = b->nthread ? wait(b, s, cancel, err) : make_all(b, s, cancel, err);
    if (rc == BS_OK && s->failed < b->samples) {
        if (err)
            *err = s->err;
        rc = s->err.code;
    }
    *out = (struct bs_batch){s->image, s->target, s->pair};
    return rc;
}
