/* Models held by the worker: by key (the hash of the file), least recently used out first when their bytes exceed the
   budget, and those that nobody used for the set time. Tells the daemon what is loaded. Executor thread only. */
#include "server/worker/worker.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

struct held {
    char key[BS_WORKER_KEY_LEN + 1];
    struct bs_model *model;
    uint64_t used;   /* when, in calls */
    int64_t used_ms; /* until when, on the monotonic clock */
    size_t told;     /* bytes the daemon knows of; SIZE_MAX: it has not been told */
    struct held *next;
};

struct bs__models {
    struct bs_device *dev;
    size_t budget;
    int64_t idle_ms; /* 0: none goes for being idle */
    int sock;
    uint64_t calls, ended; /* ended: the calls whose work is over */
    struct held *first;
};

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct bs__models *bs__models_create(struct bs_device *dev, size_t budget, int64_t idle_ms, int sock)
{
    struct bs__models *m = calloc(1, sizeof *m);
    if (m) {
        m->dev = dev;
        m->budget = budget;
        m->idle_ms = idle_ms;
        m->sock = sock;
    }
    return m;
}

static void tell(struct bs__models *m, enum bs_worker_type type, const char *key, size_t bytes)
{
    struct bs_worker_message note = {.type = type};
    snprintf(note.body.model.model_key, sizeof note.body.model.model_key, "%s", key);
    note.body.model.bytes = bytes;
    bs__tell(m->sock, &note);
}

/* Takes *at out of the list and frees it. */
static void drop(struct bs__models *m, struct held **at)
{
    struct held *h = *at;
    *at = h->next;
    bs_model_close(h->model);
    tell(m, BS_WORKER_DROPPED, h->key, 0);
    free(h);
    malloc_trim(0);
}

void bs__models_destroy(struct bs__models *m)
{
    if (!m)
        return;
    while (m->first) {
        struct held *h = m->first;
        m->first = h->next;
        bs_model_close(h->model);
        free(h);
    }
    free(m);
}

static size_t resident(struct bs__models *m)
{
    size_t sum = 0;
    for (struct held *h = m->first; h; h = h->next)
        sum += bs_model_resident_bytes(h->model);
    return sum;
}

bool bs__models_make_room(struct bs__models *m, const char *keep, size_t budget, size_t more)
{
    bool dropped = false;
    for (;;) {
        size_t bytes = resident(m);
        if (bytes <= budget && more <= budget - bytes)
            return dropped;
        struct held **oldest = NULL;
        for (struct held **at = &m->first; *at; at = &(*at)->next)
            if ((!keep || strcmp((*at)->key, keep) != 0) && (!oldest || (*at)->used < (*oldest)->used))
                oldest = at;
        if (!oldest)
            return dropped;
        drop(m, oldest);
        dropped = true;
    }
}

void bs__models_end_work(struct bs__models *m)
{
    for (struct held *h = m->first; h; h = h->next)
        if (h->used > m->ended)
            h->used_ms = now_ms();
    m->ended = m->calls;
}

int64_t bs__models_idle_left(const struct bs__models *m)
{
    int64_t least = -1;
    const int64_t now = now_ms();
    for (const struct held *h = m->first; h && m->idle_ms; h = h->next) {
        const int64_t left = h->used_ms + m->idle_ms > now ? h->used_ms + m->idle_ms - now : 0;
        least = least < 0 || left < least ? left : least;
    }
    return least;
}

void bs__models_drop_idle(struct bs__models *m)
{
    for (struct held **at = &m->first; *at && m->idle_ms;)
        if ((*at)->used_ms + m->idle_ms <= now_ms())
            drop(m, at);
        else
            at = &(*at)->next;
}

void bs__models_settle(struct bs__models *m, const char *current)
{
    /* The current one alone may exceed the budget: it stays until another needs the room. */
    bs__models_make_room(m, current, m->budget, 0);
    for (struct held *h = m->first; h; h = h->next)
        /* Only news: each message wakes a thread of the daemon. */
        if (strcmp(h->key, current) == 0 && h->told != bs_model_resident_bytes(h->model)) {
            h->told = bs_model_resident_bytes(h->model);
            tell(m, BS_WORKER_LOADED, h->key, h->told);
        }
}

bs_status bs__models_get(struct bs__models *m, const char *key, int fd, struct bs_model **out,
                         struct bs_err *err)
{
    for (struct held *h = m->first; h; h = h->next)
        if (strcmp(h->key, key) == 0) {
            h->used = ++m->calls;
            *out = h->model;
            return BS_OK;
        }
    struct stat st;
    char path[64];
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return BS_FAIL(err, BS_EIO, "the model file cannot be read");
    bs__models_make_room(m, NULL, m->budget, (size_t)st.st_size);
    struct held *h = calloc(1, sizeof *h);
    if (!h)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while opening a model");
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bs_status rc = bs_model_open(path, m->dev, &h->model, err);
    if (rc != BS_OK) {
        free(h);
        return rc;
    }
    snprintf(h->key, sizeof h->key, "%s", key);
    h->used = ++m->calls;
    h->used_ms = now_ms();
    h->told = SIZE_MAX; /* a model that has not run holds nothing, and is loaded all the same */
    h->next = m->first;
    m->first = h;
    *out = h->model;
    return BS_OK;
}

bs_status bs__models_drop(struct bs__models *m, const char *key, struct bs_err *err)
{
    for (struct held **at = &m->first; *at; at = &(*at)->next)
        if (strcmp((*at)->key, key) == 0) {
            drop(m, at);
            return BS_OK;
        }
    return BS_FAIL(err, BS_ENOTFOUND, "the model is not loaded");
}
