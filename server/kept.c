/* The kept maps; see kept.h. A thread of its own drops what has expired, so that disk is given back without being asked. */
#include "server/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000 /* how often the thread looks for what has expired, at most */

struct node {
    struct bs_kept_entry entry;
    uint64_t used; /* when, in uses */
    struct node *next;
};

struct bs_kept {
    struct bs_kept_options opt;
    int dir; /* -1: nothing is kept */
    pthread_t thread;
    pthread_mutex_t mu; /* guards the rest; a leaf */
    pthread_cond_t changed;
    bool closing;
    struct node *first;
    int entries;
    uint64_t bytes, uses, evicted;
};

static int64_t wall_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void bs_kept_entry_close(struct bs_kept_entry *e)
{
    close_fd(&e->maps_fd);
    close_fd(&e->image_fd);
}

/* ---- what goes ---- */

static void drop(struct bs_kept *k, struct node **at)
{
    struct node *n = *at;
    *at = n->next;
    k->bytes -= n->entry.map_bytes + n->entry.image_bytes;
    k->entries--;
    bs_kept_entry_close(&n->entry);
    free(n);
}

static void drop_expired(struct bs_kept *k)
{
    int64_t now = k->opt.now_ms();
    for (struct node **at = &k->first; *at;) {
        if ((*at)->entry.expires_ms <= now)
            drop(k, at);
        else
            at = &(*at)->next;
    }
}

/* Room for one more of that many bytes, by dropping the least recently used ones. */
static void make_room(struct bs_kept *k, uint64_t bytes)
{
    while (k->first && (k->entries >= k->opt.max_entries || k->bytes + bytes > k->opt.max_bytes)) {
        struct node **oldest = &k->first;
        for (struct node **at = &k->first; *at; at = &(*at)->next)
            if ((*at)->used < (*oldest)->used)
                oldest = at;
        drop(k, oldest);
        k->evicted++;
    }
}

static void *watch(void *arg)
{
    struct bs_kept *k = arg;
    pthread_mutex_lock(&k->mu);
    while (!k->closing) {
        drop_expired(k);
        if (!k->first) {
            pthread_cond_wait(&k->changed, &k->mu);
            continue;
        }
        struct timespec until;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += LOOK_MS / 1000;
        (void)pthread_cond_timedwait(&k->changed, &k->mu, &until);
    }
    pthread_mutex_unlock(&k->mu);
    return NULL;
}

/* ---- life ---- */

bs_status bs_kept_create(const struct bs_kept_options *opt, struct bs_kept **out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_condattr_t attributes;
    struct bs_kept *k = calloc(1, sizeof *k);
    *out = NULL;
    if (!k)
        return BS_FAIL(err, BS_ENOMEM, "out of memory");
    k->opt = *opt;
    k->opt.dir = NULL;
    k->dir = -1;
    if (!k->opt.now_ms)
        k->opt.now_ms = wall_ms;
    if (opt->max_bytes && ((mkdir(opt->dir, 0700) != 0 && errno != EEXIST) ||
                           (k->dir = open(opt->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)) {
        rc = BS_FAIL(err, BS_EIO, "the folder for kept maps cannot be opened: %s", strerror(errno));
        goto free_all;
    }
    pthread_mutex_init(&k->mu, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&k->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&k->thread, NULL, watch, k) != 0) {
        rc = BS_FAIL(err, BS_ENOMEM, "no thread for kept maps");
        goto free_all;
    }
    *out = k;
    return BS_OK;
free_all:
    close_fd(&k->dir);
    free(k);
    return rc;
}

void bs_kept_destroy(struct bs_kept *k)
{
    if (!k)
        return;
    pthread_mutex_lock(&k->mu);
    k->closing = true;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->mu);
    pthread_join(k->thread, NULL);
    while (k->first)
        drop(k, &k->first);
    pthread_cond_destroy(&k->changed);
    pthread_mutex_destroy(&k->mu);
    close_fd(&k->dir);
    free(k);
}

/* ---- files ---- */

/* In the folder, where the file system has them; else named for an instant. */
static int open_unnamed(int dir)
{
    char name[48];
    uint64_t random;
    int fd = openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || getrandom(&random, sizeof random, 0) != sizeof random)
        return fd;
    snprintf(name, sizeof name, "maps.%016" PRIx64, random);
    if ((fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)) >= 0)
        unlinkat(dir, name, 0);
    return fd;
}

bs_status bs_kept_file(struct bs_kept *k, int *fd, uint64_t *room, struct bs_err *err)
{
    struct statvfs fs;
    *fd = -1;
    if (k->dir < 0)
        return BS_FAIL(err, BS_ELIMIT, "this server keeps no maps (--kept-maps 0)");
    if (fstatvfs(k->dir, &fs) != 0)
        return BS_FAIL(err, BS_EIO, "free space cannot be found out: %s", strerror(errno));
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    uint64_t left = free_bytes > k->opt.reserve_bytes ? free_bytes - k->opt.reserve_bytes : 0;
    *room = left < k->opt.max_bytes ? left : k->opt.max_bytes;
    if ((*fd = open_unnamed(k->dir)) < 0)
        return BS_FAIL(err, BS_EIO, "a file for maps cannot be made: %s", strerror(errno));
    return BS_OK;
}

static bs_status copy_image(int from, int to, uint64_t bytes, struct bs_err *err)
{
    off_t at = 0;
    while ((uint64_t)at < bytes) {
        ssize_t n = sendfile(to, from, &at, bytes - (uint64_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return BS_FAIL(err, BS_EIO, "the image cannot be kept: %s",
                           n < 0 ? strerror(errno) : "it is short");
    }
    return BS_OK;
}

static bs_status make_id(char *id, struct bs_err *err)
{
    unsigned char random[BS_KEPT_ID_LEN / 2];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return BS_FAIL(err, BS_EIO, "no random numbers: %s", strerror(errno));
    for (size_t i = 0; i < sizeof random; i++)
        snprintf(id + 2 * i, 3, "%02x", random[i]);
    return BS_OK;
}

bs_status bs_kept_put(struct bs_kept *k, struct bs_kept_entry *e, struct bs_err *err)
{
    const uint64_t bytes = e->map_bytes + e->image_bytes;
    struct stat st;
    uint64_t room;
    int image = -1;
    bs_status rc = BS_OK;
    struct node *n = calloc(1, sizeof *n);
    if (!n)
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory");
    else if (fstat(e->maps_fd, &st) != 0 || (uint64_t)st.st_size != e->map_bytes)
        rc = BS_FAIL(err, BS_ECORRUPT, "the maps are not those that were announced");
    else
        rc = bs_kept_file(k, &image, &room, err);
    if (rc == BS_OK && (bytes < e->map_bytes || bytes > k->opt.max_bytes || e->image_bytes > room))
        rc = BS_FAIL(err, BS_ELIMIT, "%" PRIu64 " MiB of maps and image are more than there is room for",
                     bytes >> 20);
    if (rc != BS_OK || (rc = copy_image(e->image_fd, image, e->image_bytes, err)) != BS_OK ||
        (rc = make_id(e->id, err)) != BS_OK) {
        close_fd(&image);
        close_fd(&e->maps_fd);
        free(n);
        return rc;
    }
    pthread_mutex_lock(&k->mu);
    drop_expired(k);
    make_room(k, bytes);
    e->expires_ms = k->opt.now_ms() + k->opt.lifetime_ms;
    n->entry = *e;
    n->entry.image_fd = image;
    n->used = ++k->uses;
    n->next = k->first;
    k->first = n;
    k->entries++;
    k->bytes += bytes;
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->mu);
    e->maps_fd = -1;
    return BS_OK;
}

/* ---- uses ---- */

static bool same_image(const struct bs_job_request *a, const struct bs_job_request *b)
{
    if (a->raw != b->raw || a->pages != b->pages || a->pixel_size != b->pixel_size ||
        a->spacing != b->spacing)
        return false;
    if (!a->raw)
        return true;
    return a->sample == b->sample && a->ndim == b->ndim && strcmp(a->axes, b->axes) == 0 &&
           memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof a->dim[0]) == 0;
}

/* What a caller asks for: an id, or what it was made of. */
struct wanted {
    const char *owner, *id, *model_blob, *input_hash;
    const struct bs_job_request *request;
};

static bool is(const struct bs_kept_entry *e, const struct wanted *w)
{
    if (strcmp(e->owner, w->owner) != 0)
        return false;
    if (w->id)
        return strcmp(e->id, w->id) == 0;
    return strcmp(e->model_blob, w->model_blob) == 0 && strcmp(e->input_hash, w->input_hash) == 0 &&
           same_image(&e->request, w->request) &&
           !bs_segment_params_network_differs(&e->request.params, &w->request->params);
}

static bs_status use(struct bs_kept *k, const struct wanted *w, struct bs_kept_entry *out, struct bs_err *err)
{
    bs_status rc = BS_OK;
    pthread_mutex_lock(&k->mu);
    drop_expired(k);
    struct node *n = k->first;
    while (n && !is(&n->entry, w))
        n = n->next;
    if (n) {
        n->used = ++k->uses;
        n->entry.expires_ms = k->opt.now_ms() + k->opt.lifetime_ms;
        *out = n->entry;
        out->maps_fd = fcntl(n->entry.maps_fd, F_DUPFD_CLOEXEC, 3);
        out->image_fd = fcntl(n->entry.image_fd, F_DUPFD_CLOEXEC, 3);
        if (out->maps_fd < 0 || out->image_fd < 0) {
            rc = BS_FAIL(err, BS_EIO, "no descriptor for kept maps: %s", strerror(errno));
            bs_kept_entry_close(out);
        }
    }
    pthread_mutex_unlock(&k->mu);
    if (!n)
        return BS_FAIL(err, BS_ENOTFOUND,
                       "the maps \"%.40s\" are not kept (any more): they go %" PRId64
                       " minutes after their last use, when others need the room, and when the server ends. "
                       "Send the image again",
                       w->id ? w->id : "", k->opt.lifetime_ms / 60000);
    return rc;
}

bs_status bs_kept_get(struct bs_kept *k, const char *owner, const char *id, struct bs_kept_entry *out,
                      struct bs_err *err)
{
    const struct wanted w = {.owner = owner, .id = id};
    return use(k, &w, out, err);
}

bs_status bs_kept_find(struct bs_kept *k, const char *owner, const char *model_blob, const char *input_hash,
                       const struct bs_job_request *request, struct bs_kept_entry *out, struct bs_err *err)
{
    const struct wanted w = {
        .owner = owner, .model_blob = model_blob, .input_hash = input_hash, .request = request};
    return use(k, &w, out, err);
}

void bs_kept_state_get(struct bs_kept *k, struct bs_kept_state *state)
{
    *state = (struct bs_kept_state){.bytes = 0};
    if (!k)
        return;
    pthread_mutex_lock(&k->mu);
    drop_expired(k);
    *state = (struct bs_kept_state){.bytes = k->bytes,
                                    .max_bytes = k->opt.max_bytes,
                                    .entries = k->entries,
                                    .lifetime_ms = k->opt.lifetime_ms,
                                    .used = k->uses,
                                    .evicted = k->evicted};
    pthread_mutex_unlock(&k->mu);
}
