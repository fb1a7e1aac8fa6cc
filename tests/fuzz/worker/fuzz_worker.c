/* Fuzzes the daemon's ear for its worker: the engine's thread as it is, with a segmentation and a training run at the worker, which
   is the input. Whatever a worker says, the daemon must live, every task must end once, and what is handed on must be as large
   as it claims: everything is read as the daemon's other parts read it.

   The input is a row of packets: kind of packet (place in a list of types, or beyond it: bytes as they come), what it begins as, task and
   descriptors (a byte each), then patches of its body: offset (two bytes), length (one; 0 ends them) and the bytes. */
#include "server/engine_internal.h"
#include "tests/fuzz/input_file.h"

#include <fcntl.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define SIDE      4 /* of results */
#define PREVIEW   16
#define MOST_READ ((size_t)1 << 20)
#define PACKETS   24

struct world {
    struct bs_engine engine;
    struct bs_worker_message in;
    struct bs_engine_task *segment, *training;
    int said;           /* the worker's end */
    int ended, trained; /* how often */
    unsigned sum;       /* of everything that was read */
    uint8_t preview[PREVIEW * PREVIEW];
};

struct input {
    const uint8_t *at;
    size_t left;
};

static unsigned take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

/* ---- what the daemon does with what it hears ---- */

static void text(struct world *w, const char *string, size_t size)
{
    /* RFC 3629 in a rule that is not the reader's own. */
    mbstate_t state = {0};
    const char *end = string;
    if (!memchr(string, '\0', size) || mbsrtowcs(NULL, &end, 0, &state) == (size_t)-1)
        abort();
    w->sum += (unsigned)strlen(string);
}

static void read_mapped(struct world *w, int fd, size_t bytes)
{
    if (bytes > 0 && bytes <= MOST_READ) {
        const uint8_t *p = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            abort();
        for (size_t i = 0; i < bytes; i++)
            w->sum += p[i]; /* beyond the end of the file this is a signal */
        (void)munmap((void *)(uintptr_t)p, bytes);
    }
    close(fd);
}

static void all_over(struct world *w)
{
    if (w->ended && w->trained)
        w->engine.closing = true;
}

static void on_started(void *ctx)
{
    ((struct world *)ctx)->sum++;
}

static void on_progress(void *ctx, int done, int total)
{
    if (done < 0 || done > total)
        abort();
    ((struct world *)ctx)->sum++;
}

static void on_preview(void *ctx, const struct bs_preview_part *part)
{
    struct world *w = ctx;
    for (uint32_t y = part->top; y < part->bottom; y++)
        for (uint32_t x = part->left; x < part->right; x++)
            w->preview[y * part->width + x]++;
}

static void on_done(void *ctx, bs_status status, const struct bs_err *err, const struct bs_engine_result *r)
{
    struct world *w = ctx;
    if (++w->ended > 1 || (status == BS_OK) != (r != NULL) || (status != BS_OK && !err))
        abort();
    if (err)
        text(w, err->msg, sizeof err->msg);
    if (r) {
        const size_t pixels = r->info.height * r->info.width * r->info.stack.planes;
        text(w, r->info.algorithms, sizeof r->info.algorithms);
        for (int i = 0; i < r->info.nwarning; i++)
            text(w, r->info.warning[i].text, sizeof r->info.warning[i].text);
        read_mapped(w, r->labels_fd, pixels * sizeof(uint32_t));
        if (r->maps_fd >= 0)
            read_mapped(w, r->maps_fd, pixels * (size_t)r->info.channels * sizeof(float));
        if (r->objects_fd >= 0)
            read_mapped(w, r->objects_fd, r->info.count * sizeof(struct bs_object));
    }
    all_over(w);
}

static void on_event(void *ctx, const struct bs_run_event *e, int preview)
{
    struct world *w = ctx;
    if (!isfinite(e->loss) || e->step < 0 || (e->kind != BS_RUN_STEP && e->kind != BS_RUN_VALIDATION))
        abort();
    if (preview >= 0)
        read_mapped(w, preview, (size_t)(e->channels + 2 * e->target_channels) * e->height * e->width);
}

static void on_checkpoint(void *ctx, enum bs_checkpoint_kind kind, int64_t step, int fd, uint64_t bytes)
{
    struct world *w = ctx;
    uint8_t buffer[512];
    if ((unsigned)kind >= BS_CHECKPOINT_KINDS || step < 0)
        abort();
    for (uint64_t at = 0; at < bytes && at < MOST_READ;) {
        const ssize_t n = pread(fd, buffer, sizeof buffer, (off_t)at);
        if (n <= 0)
            break;
        w->sum += buffer[0];
        at += (uint64_t)n;
    }
    close(fd);
    bs_engine_training_committed(&w->engine, w->training, step % 2 ? BS_OK : BS_EIO, "the disk is full");
}

static void on_trained(void *ctx, bs_status status, const struct bs_err *err,
                       const struct bs_engine_training_result *r)
{
    struct world *w = ctx;
    if (++w->trained > 1 || (status == BS_OK) != (r != NULL))
        abort();
    if (err)
        text(w, err->msg, sizeof err->msg);
    if (r)
        text(w, r->algorithms, sizeof r->algorithms);
    all_over(w);
}

/* ---- what the worker says ---- */

static int sealed_file(size_t bytes)
{
    const int fd = memfd_create("result", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) != 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) != 0)
        abort();
    return fd;
}

/* One descriptor of some kind. */
static int descriptor(unsigned kind, size_t bytes)
{
    int pair[2];
    switch (kind % 4) {
    case 0:
        return sealed_file(bytes);
    case 1:
        return sealed_file(bytes ? bytes - 1 : 1);
    case 2: /* not sealed */
        return bs_fuzz_file((const uint8_t *)"checkpoint", 10);
    default:
        if (pipe2(pair, O_CLOEXEC) != 0)
            abort();
        close(pair[1]);
        return pair[0];
    }
}

static void add_descriptors(struct bs_worker_message *m, unsigned kinds, int count, const size_t *bytes)
{
    for (int i = 0; i < count; i++, kinds >>= 2)
        m->fd[m->nfd++] = descriptor(kinds, bytes[i]);
}

/* A message that is fine, for patches to spoil; how many descriptors it has, and their sizes. */
static int begin_message(struct bs_worker_message *m, size_t *bytes)
{
    const size_t pixels = (size_t)SIDE * SIDE;
    if (m->type == BS_WORKER_DONE) {
        struct bs_worker_done *d = &m->body.done;
        d->height = d->width = SIDE;
        d->stack.planes = 1;
        d->channels = 2;
        d->count = 3;
        d->has_maps = d->has_objects = 1;
        d->trained.latest_step = -1;
        bytes[0] = pixels * sizeof(uint32_t);
        bytes[1] = 2 * pixels * sizeof(float);
        bytes[2] = 3 * sizeof(struct bs_object);
        return 3;
    }
    if (m->type == BS_WORKER_TRAIN_EVENT) {
        struct bs_worker_train_event *e = &m->body.train_event;
        *e = (struct bs_worker_train_event){.kind = BS_RUN_VALIDATION, .step = 2, .steps = 9, .epoch = 1};
        e->channels = 1;
        e->target_channels = 3;
        e->height = e->width = SIDE;
        bytes[0] = 7 * pixels;
        return 1;
    }
    if (m->type == BS_WORKER_TRAIN_CHECKPOINT) {
        m->body.train_checkpoint = (struct bs_worker_train_checkpoint){.step = 3, .bytes = 10};
        bytes[0] = 10;
        return 1;
    }
    if (m->type == BS_WORKER_PROGRESS)
        m->body.progress = (struct bs_worker_progress){
            1, 2, {.height = 8, .width = 8, .bottom = 4, .right = 8, .pixel_height = 1, .pixel_width = 1}};
    return 0;
}

static void patch(struct input *in, void *to, size_t size)
{
    for (;;) {
        size_t at = take(in);
        at |= (size_t)take(in) << 8;
        const size_t n = take(in);
        if (n == 0)
            return;
        for (size_t i = 0; i < n; i++) {
            const uint8_t byte = (uint8_t)take(in);
            ((uint8_t *)to)[(at + i) % size] = byte;
        }
    }
}

/* A packet of our own making, through the function that the worker sends with, but for one in which not even the header is right. */
static void say(struct world *w, struct input *in, struct bs_worker_message *m)
{
    static const enum bs_worker_type types[] = {
        BS_WORKER_HELLO,       BS_WORKER_REFUSED,          BS_WORKER_STARTED,      BS_WORKER_PROGRESS,
        BS_WORKER_TRAIN_EVENT, BS_WORKER_TRAIN_CHECKPOINT, BS_WORKER_DONE,         BS_WORKER_LOADED,
        BS_WORKER_DROPPED,     BS_WORKER_INSPECTED,        BS_WORKER_PAIR_CHECKED, BS_WORKER_PONG};
    const unsigned type = take(in) % 16, form = take(in), task = take(in), kinds = take(in);
    struct bs_err err;
    size_t bytes[BS_WORKER_MAX_FDS] = {0};
    memset(m, 0, sizeof *m);
    m->task = task % 4;
    if (type >= sizeof types / sizeof *types) {
        uint8_t raw[256];
        memset(raw, 0, sizeof raw);
        patch(in, raw, sizeof raw);
        (void)!send(w->said, raw, form, MSG_NOSIGNAL | MSG_DONTWAIT);
        return;
    }
    m->type = types[type];
    int count = begin_message(m, bytes);
    if (form & 1 && m->type == BS_WORKER_DONE) {
        m->body.done.failure.status = BS_ECORRUPT;
        count = 0;
    } else if (form & 2 && m->type == BS_WORKER_DONE) {
        m->body.done.has_maps = m->body.done.has_objects = 0;
        count = form & 4 ? 0 : 1;
    } else if (form & 1 && m->type == BS_WORKER_TRAIN_EVENT) {
        count = 0;
    }
    add_descriptors(m, kinds, count, bytes);
    patch(in, &m->body, sizeof m->body);
    (void)!bs_worker_send(w->said, m, false, &err);
    bs_worker_message_release(m);
}

/* ---- the engine between them ---- */

static struct bs_engine_task *new_task(enum bs_worker_type type, struct world *w, uint64_t number)
{
    struct bs_engine_task *t;
    struct bs_err err;
    if (bs__new_task(type, &t, &err) != BS_OK)
        abort();
    t->message.task = number;
    t->report_death = true;
    t->cb = (struct bs_engine_callbacks){w, on_started, on_progress, on_preview, on_done};
    t->training = (struct bs_engine_training_callbacks){w, on_started, on_event, on_checkpoint, on_trained};
    atomic_fetch_add(&t->refs, 1); /* the engine's */
    return t;
}

static void forget_loaded(struct bs_engine *e)
{
    while (e->loaded) {
        struct bs__loaded *next = e->loaded->next;
        free(e->loaded);
        e->loaded = next;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct world w;
    static struct bs_worker_message m;
    struct input in = {data, size};
    int pair[2];
    if (!setlocale(LC_CTYPE, "C.UTF-8") || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    memset(&w, 0, sizeof w);
    w.said = pair[1];
    struct bs_engine *e = &w.engine;
    e->in = &w.in;
    e->opt.hang_ms = -1;
    e->wake = open("/dev/null", O_RDWR | O_CLOEXEC); /* nobody sleeps */
    e->worker.sock = pair[0];
    e->next_start_ms = INT64_MAX; /* no other worker */
    e->ready = e->settled = true;
    pthread_mutex_init(&e->mu, NULL);
    pthread_cond_init(&e->changed, NULL);
    w.segment = new_task(BS_WORKER_SEGMENT, &w, 1);
    w.segment->message.body.segment.preview_side = PREVIEW;
    w.training = new_task(BS_WORKER_TRAIN, &w, 2);
    e->running = w.segment;
    e->training = w.training;
    for (int i = 0; in.left && i < PACKETS; i++)
        say(&w, &in, &m);
    (void)shutdown(w.said, SHUT_WR); /* it dies */
    (void)bs__engine_thread(e);
    if (w.ended != 1 || w.trained != 1)
        abort();
    bs_engine_task_release(w.segment);
    bs_engine_task_release(w.training);
    if (e->worker.sock >= 0)
        close(e->worker.sock);
    forget_loaded(e);
    close(w.said);
    close(e->wake);
    pthread_cond_destroy(&e->changed);
    pthread_mutex_destroy(&e->mu);
    return 0;
}
