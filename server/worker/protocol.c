/* Packets between daemon and worker; see protocol.h. */
#include "server/worker/protocol.h"

#include "kernels/base/checked.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x62736567u

struct header {
    uint32_t magic;
    uint16_t version, type;
    uint64_t task;
    uint32_t bytes, nfd;
};

/* Size of the body and number of descriptors each type has. */
static const struct {
    uint32_t bytes;
    int min_fds, max_fds;
} shape[BS_WORKER_TYPES] = {
    [BS_WORKER_SEGMENT] = {sizeof(struct bs_worker_segment), 2, 4},
    [BS_WORKER_LOAD] = {sizeof(struct bs_worker_model), 1, 1},
    [BS_WORKER_UNLOAD] = {sizeof(struct bs_worker_model), 0, 0},
    [BS_WORKER_PLAN] = {sizeof(struct bs_worker_plan), 1, 1},
    [BS_WORKER_CARD] = {sizeof(struct bs_worker_card), 1, 1},
    [BS_WORKER_TRAIN] = {sizeof(struct bs_worker_train), 3, 6},
    [BS_WORKER_TRAIN_PLAN] = {sizeof(struct bs_worker_train), 3, 4},
    [BS_WORKER_TRAIN_CONTROL] = {sizeof(struct bs_worker_train_control), 0, 0},
    [BS_WORKER_TRAIN_COMMITTED] = {sizeof(struct bs_worker_failure), 0, 0},
    [BS_WORKER_TRAIN_EVENT] = {sizeof(struct bs_worker_train_event), 0, 1},
    [BS_WORKER_TRAIN_CHECKPOINT] = {sizeof(struct bs_worker_train_checkpoint), 1, 1},
    [BS_WORKER_CANCEL] = {0, 0, 0},
    [BS_WORKER_STOP] = {0, 0, 0},
    [BS_WORKER_PING] = {0, 0, 0},
    [BS_WORKER_PONG] = {sizeof(struct bs_worker_pong), 0, 0},
    [BS_WORKER_INSPECT] = {0, 1, 1},
    [BS_WORKER_PAIR] = {sizeof(struct bs_pair_question), 2, 3},
    [BS_WORKER_CHECK] = {sizeof(struct bs_report_question), 3, 3},
    [BS_WORKER_CHECKED] = {sizeof(struct bs_worker_checked), 0, 0},
    [BS_WORKER_SCORE] = {sizeof(struct bs_worker_score), 2, 2},
    [BS_WORKER_HELLO] = {sizeof(struct bs_worker_hello), 0, 0},
    [BS_WORKER_REFUSED] = {sizeof(struct bs_worker_failure), 0, 0},
    [BS_WORKER_STARTED] = {0, 0, 0},
    [BS_WORKER_PROGRESS] = {sizeof(struct bs_worker_progress), 0, 0},
    [BS_WORKER_DONE] = {sizeof(struct bs_worker_done), 0, 3},
    [BS_WORKER_LOADED] = {sizeof(struct bs_worker_model), 0, 0},
    [BS_WORKER_DROPPED] = {sizeof(struct bs_worker_model), 0, 0},
    [BS_WORKER_INSPECTED] = {sizeof(struct bs_worker_inspected), 0, 0},
    [BS_WORKER_PAIR_CHECKED] = {sizeof(struct bs_worker_pair_checked), 0, 0},
    [BS_WORKER_SCORED] = {sizeof(struct bs_worker_scored), 0, 0},
};

bs_status bs_worker_send(int sock, const struct bs_worker_message *m, bool wait, struct bs_err *err)
{
    struct header h = {MAGIC,   BS_WORKER_PROTOCOL,   (uint16_t)m->type,
                       m->task, shape[m->type].bytes, (uint32_t)m->nfd};
    struct iovec part[2] = {{&h, sizeof h}, {(void *)&m->body, h.bytes}};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * BS_WORKER_MAX_FDS)];
    } control;
    struct msghdr msg = {.msg_iov = part, .msg_iovlen = 2};
    BS_ASSERT(m->nfd >= shape[m->type].min_fds && m->nfd <= shape[m->type].max_fds);
    if (m->nfd > 0) {
        memset(&control, 0, sizeof control);
        msg.msg_control = control.space;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)m->nfd);
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)m->nfd);
        memcpy(CMSG_DATA(c), m->fd, sizeof(int) * (size_t)m->nfd);
    }
    for (;;) {
        if (sendmsg(sock, &msg, MSG_NOSIGNAL | (wait ? 0 : MSG_DONTWAIT)) >= 0)
            return BS_OK;
        if (errno == EINTR)
            continue;
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            return BS_FAIL(err, BS_ELIMIT, "the other process does not read its messages");
        return BS_FAIL(err, BS_EUNAVAILABLE, "the other process is gone: %s", strerror(errno));
    }
}

/* Bytes of the character at the beginning of a text; 0: it is none of UTF-8 (RFC 3629). */
static size_t character(const unsigned char *s, size_t left)
{
    const size_t bytes = s[0] < 0x80   ? 1
                         : s[0] < 0xc2 ? 0
                         : s[0] < 0xe0 ? 2
                         : s[0] < 0xf0 ? 3
                         : s[0] < 0xf5 ? 4
                                       : 0;
    if (bytes == 0 || bytes > left)
        return 0;
    for (size_t i = 1; i < bytes; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    const bool too_long = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    const bool surrogate = s[0] == 0xed && s[1] >= 0xa0, beyond = s[0] == 0xf4 && s[1] >= 0x90;
    return too_long || surrogate || beyond ? 0 : bytes;
}

/* Ends a text inside its field, and replaces what is no UTF-8: a message that was cut may end in half a character, and clients
   refuse the whole answer then. */
static void end_string(char *text, size_t size)
{
    text[size - 1] = '\0';
    const size_t length = strlen(text);
    for (size_t at = 0; at < length;) {
        const size_t bytes = character((const unsigned char *)text + at, length - at);
        if (bytes == 0)
            text[at] = '?';
        at += bytes ? bytes : 1;
    }
}

/* Strings from the other side always end inside their field. */
static void end_strings(struct bs_worker_message *m)
{
#define END(field) end_string((field), sizeof(field))
    switch (m->type) {
    case BS_WORKER_SEGMENT:
        END(m->body.segment.model_key);
        END(m->body.segment.axes);
        END(m->body.segment.network.algorithms);
        break;
    case BS_WORKER_LOAD:
    case BS_WORKER_UNLOAD:
    case BS_WORKER_LOADED:
    case BS_WORKER_DROPPED:
        END(m->body.model.model_key);
        break;
    case BS_WORKER_PLAN:
        END(m->body.plan.model_key);
        break;
    case BS_WORKER_HELLO:
        END(m->body.hello.name);
        END(m->body.hello.backend);
        END(m->body.hello.libraries);
        END(m->body.hello.isa);
        END(m->body.hello.notice);
        break;
    case BS_WORKER_REFUSED:
    case BS_WORKER_TRAIN_COMMITTED:
        END(m->body.failure.text);
        break;
    case BS_WORKER_DONE:
        END(m->body.done.failure.text);
        END(m->body.done.algorithms);
        END(m->body.done.network.algorithms);
        END(m->body.done.card.algorithms);
        END(m->body.done.trained.algorithms);
        for (int i = 0; i < BS_MAX_WARNINGS; i++) {
            END(m->body.done.warning[i].code);
            END(m->body.done.warning[i].text);
        }
        break;
    case BS_WORKER_INSPECTED:
        END(m->body.inspected.failure.text);
        END(m->body.inspected.info);
        break;
    case BS_WORKER_CHECKED:
        END(m->body.checked.failure.text);
        break;
    case BS_WORKER_PAIR:
        END(m->body.question.image.axes);
        END(m->body.question.labels.axes);
        END(m->body.question.prediction.axes);
        break;
    case BS_WORKER_SCORE:
        END(m->body.score.truth.axes);
        break;
    case BS_WORKER_SCORED:
        END(m->body.scored.failure.text);
        break;
    case BS_WORKER_PAIR_CHECKED:
        END(m->body.pair.failure.text);
        END(m->body.pair.info.image.axes);
        END(m->body.pair.info.image.unit);
        END(m->body.pair.info.labels.axes);
        END(m->body.pair.info.labels.unit);
        END(m->body.pair.info.prediction.axes);
        END(m->body.pair.info.prediction.unit);
        break;
    default:
        break;
    }
#undef END
}

bs_status bs_worker_receive(int sock, bool wait, struct bs_worker_message *m, struct bs_err *err)
{
    struct header h = {0};
    memset(m, 0, sizeof *m);
    struct iovec part[2] = {{&h, sizeof h}, {&m->body, sizeof m->body}};
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int) * BS_WORKER_MAX_FDS)];
    } control;
    struct msghdr msg = {.msg_iov = part,
                         .msg_iovlen = 2,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    ssize_t n;
    do
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | (wait ? 0 : MSG_DONTWAIT));
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return BS_FAIL(err, BS_ENOTFOUND, "no message is waiting");
    if (n <= 0)
        return BS_FAIL(err, BS_EUNAVAILABLE, "the other process is gone");
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && m->nfd < BS_WORKER_MAX_FDS; i++)
            memcpy(&m->fd[m->nfd++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    bool ok = !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) && (size_t)n >= sizeof h && h.magic == MAGIC &&
              h.version == BS_WORKER_PROTOCOL && h.type > 0 && h.type < BS_WORKER_TYPES &&
              h.bytes == shape[h.type].bytes && (size_t)n == sizeof h + h.bytes &&
              h.nfd == (uint32_t)m->nfd && m->nfd >= shape[h.type].min_fds && m->nfd <= shape[h.type].max_fds;
    if (!ok) {
        bs_worker_message_release(m);
        return BS_FAIL(err, BS_ECORRUPT,
                       "message of type %u, version %u and %zd bytes is not one of protocol %u", h.type,
                       h.version, n, BS_WORKER_PROTOCOL);
    }
    m->type = (enum bs_worker_type)h.type;
    m->task = h.task;
    end_strings(m);
    return BS_OK;
}

void bs_worker_message_release(struct bs_worker_message *m)
{
    for (int i = 0; i < m->nfd; i++)
        if (m->fd[i] >= 0)
            close(m->fd[i]);
    m->nfd = 0;
}

/* A result must have its exact size and must not be able to change it: else reading it could end in a signal. */
static bool sealed(int fd, size_t bytes)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
    return seals >= 0 && (seals & needed) == needed && fstat(fd, &st) == 0 && (size_t)st.st_size == bytes;
}

/* The planes' axes and sizes agree with each other. */
static bool stack_valid(const struct bs_stack *s)
{
    size_t planes = 1;
    if (s->naxes < 0 || s->naxes > 2 || strnlen(s->axes, sizeof s->axes) != (size_t)s->naxes ||
        !(s->spacing >= 0) || !isfinite(s->spacing))
        return false;
    for (int i = 0; i < s->naxes; i++)
        if (!strchr("tz", s->axes[i]) || s->dim[i] == 0 || !bs_mul(planes, s->dim[i], &planes))
            return false;
    return planes == s->planes && (s->naxes < 2 || s->axes[0] != s->axes[1]);
}

bs_status bs_worker_check_done(const struct bs_worker_message *m, struct bs_err *err)
{
    const struct bs_worker_done *d = &m->body.done;
    size_t pixels, labels, maps, objects;
    bool ok = d->failure.status <= BS_EINTERNAL && d->trained.end <= BS_RUN_PAUSED && d->trained.step >= 0 &&
              d->trained.latest_step >= -1 && !isnan(d->trained.best_metric) && d->nwarning >= 0 &&
              d->nwarning <= BS_MAX_WARNINGS && isfinite(d->seconds_network) &&
              isfinite(d->seconds_instances);
    if (ok && m->nfd > 0)
        ok = d->failure.status == BS_OK && d->height > 0 && d->width > 0 && stack_valid(&d->stack) &&
             m->nfd == 1 + (d->has_maps != 0) + (d->has_objects != 0) && d->channels >= 0 &&
             bs_mul(d->height, d->width, &pixels) && bs_mul(pixels, d->stack.planes, &pixels) &&
             bs_mul(pixels, sizeof(uint32_t), &labels) && d->count <= pixels && sealed(m->fd[0], labels) &&
             isfinite(d->pixel_size) && d->pixel_size >= 0 &&
             (!d->has_maps || (bs_mul(labels, (size_t)d->channels, &maps) && sealed(m->fd[1], maps))) &&
             (!d->has_objects || (bs_mul(d->count, sizeof(struct bs_object), &objects) &&
                                  sealed(m->fd[1 + (d->has_maps != 0)], objects)));
    if (!ok)
        return BS_FAIL(err, BS_ECORRUPT, "the worker process sent a result that contradicts itself");
    return BS_OK;
}

bs_status bs_worker_check_event(const struct bs_worker_message *m, struct bs_err *err)
{
    const struct bs_worker_train_event *e = &m->body.train_event;
    size_t pixels, bytes;
    /* The best metric is infinite as long as there is none. */
    bool ok = e->kind <= BS_RUN_VALIDATION && e->step >= 0 && e->steps >= 0 && e->epoch >= 0 &&
              e->best_step >= 0 && isfinite(e->loss) && isfinite(e->learning_rate) && isfinite(e->metric) &&
              !isnan(e->best_metric) && isfinite(e->images_per_second) && isfinite(e->seconds_left);
    if (ok && m->nfd > 0)
        ok = e->channels > 0 && e->channels <= 1024 && e->target_channels > 0 && e->target_channels <= 1024 &&
             e->height > 0 && e->width > 0 && bs_mul(e->height, e->width, &pixels) &&
             bs_mul(pixels, (size_t)e->channels + 2 * (size_t)e->target_channels, &bytes) &&
             sealed(m->fd[0], bytes);
    if (!ok)
        return BS_FAIL(err, BS_ECORRUPT,
                       "the worker process told of a training step that contradicts itself");
    return BS_OK;
}

bs_status bs_worker_check_checkpoint(const struct bs_worker_message *m, struct bs_err *err)
{
    const struct bs_worker_train_checkpoint *c = &m->body.train_checkpoint;
    struct stat st;
    if (c->kind >= BS_CHECKPOINT_KINDS || c->step < 0 || fstat(m->fd[0], &st) != 0 || !S_ISREG(st.st_mode) ||
        (uint64_t)st.st_size != c->bytes)
        return BS_FAIL(err, BS_ECORRUPT, "the worker process sent a checkpoint that contradicts itself");
    return BS_OK;
}
