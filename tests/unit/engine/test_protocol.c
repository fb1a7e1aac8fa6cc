/* What a worker that was taken over may send: nothing of it is believed without a check. */
#include "engine_support.h"

#include "server/worker/protocol.h"

#include <fcntl.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/socket.h>

static int pair_open(void **state)
{
    int *pair = malloc(2 * sizeof *pair);
    *state = pair;
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair);
}

static int pair_close(void **state)
{
    int *pair = *state;
    close(pair[0]);
    close(pair[1]);
    free(pair);
    return 0;
}

static void messages_arrive_with_body_and_descriptors(void **state)
{
    int *pair = *state, fd = memory_file("abc", 3);
    struct bs_err err;
    struct bs_worker_message *m = calloc(1, sizeof *m), *got = calloc(1, sizeof *got);
    m->type = BS_WORKER_LOAD;
    m->task = 42;
    strcpy(m->body.model.model_key, "key");
    m->nfd = 1;
    m->fd[0] = fd;
    assert_int_equal(bs_worker_send(pair[0], m, true, &err), BS_OK);
    assert_int_equal(bs_worker_receive(pair[1], true, got, &err), BS_OK);
    assert_int_equal(got->type, BS_WORKER_LOAD);
    assert_int_equal(got->task, 42);
    assert_string_equal(got->body.model.model_key, "key");
    assert_int_equal(got->nfd, 1);
    char text[4] = "";
    assert_int_equal(pread(got->fd[0], text, 3, 0), 3);
    assert_string_equal(text, "abc");
    assert_int_equal(fcntl(got->fd[0], F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    bs_worker_message_release(got);
    assert_int_equal(bs_worker_receive(pair[1], false, got, &err), BS_ENOTFOUND);
    close(fd);
    free(m);
    free(got);
}

/* A message that was cut in half a character would make clients refuse the whole answer. */
static void texts_arrive_as_utf8_whatever_was_sent(void **state)
{
    static const char *const sent[][2] = {
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\xac", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\xac"},
        {"caf\xc3", "caf?"},
        {"\xff\xc0\xaf", "???"},
        {"\xe2\x82", "??"},
        {"\xed\xa0\x80", "???"},
        {"\xf4\x90\x80\x80", "????"}};
    int *pair = *state;
    struct bs_err err;
    struct bs_worker_message *m = calloc(1, sizeof *m), *got = calloc(1, sizeof *got);
    m->type = BS_WORKER_REFUSED;
    for (size_t i = 0; i < sizeof sent / sizeof *sent; i++) {
        strcpy(m->body.failure.text, sent[i][0]);
        assert_int_equal(bs_worker_send(pair[0], m, true, &err), BS_OK);
        assert_int_equal(bs_worker_receive(pair[1], true, got, &err), BS_OK);
        assert_string_equal(got->body.failure.text, sent[i][1]);
    }
    free(m);
    free(got);
}

static void random_packets_are_refused(void **state)
{
    int *pair = *state;
    struct bs_err err;
    struct bs_worker_message *got = calloc(1, sizeof *got);
    unsigned char noise[4096];
    unsigned seed = 3;
    for (int i = 0; i < 2000; i++) {
        for (size_t k = 0; k < sizeof noise; k++) {
            seed = seed * 1103515245u + 12345u;
            noise[k] = (unsigned char)(seed >> 16);
        }
        /* Every other one begins like ours: magic, version 1, a type. */
        if (i % 2)
            memcpy(noise, "gesb\1\0", 6), noise[6] = (unsigned char)(i / 2 % 40), noise[7] = 0;
        size_t length = 1 + seed % sizeof noise;
        assert_int_equal(send(pair[0], noise, length, 0), length);
        bs_status rc = bs_worker_receive(pair[1], true, got, &err);
        assert_true(rc == BS_ECORRUPT);
    }
    free(got);
}

static void descriptors_of_a_refused_message_are_closed(void **state)
{
    int *pair = *state, fd = memory_file("abc", 3);
    struct bs_err err;
    struct bs_worker_message *got = calloc(1, sizeof *got);
    char junk[8] = "junk";
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec part = {junk, sizeof junk};
    struct msghdr msg = {.msg_iov = &part,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    int next = dup(fd);
    close(next);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(sendmsg(pair[0], &msg, 0), sizeof junk);
        assert_int_equal(bs_worker_receive(pair[1], true, got, &err), BS_ECORRUPT);
    }
    int after = dup(fd);
    assert_int_equal(after, next);
    close(after);
    close(fd);
    free(got);
}

static void results_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    struct bs_err err;
    struct bs_worker_message *m = calloc(1, sizeof *m);
    struct bs_worker_done *d = &m->body.done;
    uint32_t pixel[64] = {0};
    m->type = BS_WORKER_DONE;
    m->nfd = 1;
    m->fd[0] = memory_file(pixel, sizeof pixel);
    d->height = 8;
    d->width = 8;
    d->stack.planes = 1;
    assert_int_equal(bs_worker_check_done(m, &err), BS_OK);
    d->height = 4;
    d->stack = (struct bs_stack){.naxes = 1, .axes = "z", .dim = {2}, .planes = 2};
    assert_int_equal(bs_worker_check_done(m, &err), BS_OK);
    d->stack.dim[0] = 3;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->stack = (struct bs_stack){.naxes = 2, .axes = "zz", .dim = {1, 2}, .planes = 2};
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->stack = (struct bs_stack){.naxes = 2, .axes = {'z', 't', 'z'}, .dim = {1, 2}, .planes = 2};
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->stack = (struct bs_stack){.naxes = 3, .planes = 1};
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->stack = (struct bs_stack){.planes = 1};
    d->height = 8;
    d->height = 9;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->height = UINT64_MAX / 2;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->height = 8;
    d->count = 65;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->count = 1;
    d->has_objects = 1;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->has_objects = 0;
    d->nwarning = 1000;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->nwarning = 0;
    d->failure.status = 999;
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    d->failure.status = BS_OK;
    close(m->fd[0]);
    /* Not sealed: it could shrink while it is read. */
    m->fd[0] = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(write(m->fd[0], pixel, sizeof pixel), sizeof pixel);
    assert_int_equal(bs_worker_check_done(m, &err), BS_ECORRUPT);
    close(m->fd[0]);
    free(m);
}

static void told_by(struct bs_worker_message *m)
{
    memset(m, 0, sizeof *m);
    m->type = BS_WORKER_TRAIN_EVENT;
    m->body.train_event = (struct bs_worker_train_event){.kind = BS_RUN_VALIDATION,
                                                         .step = 4,
                                                         .steps = 8,
                                                         .epoch = 1,
                                                         .loss = 0.5,
                                                         .learning_rate = 1e-4,
                                                         .metric = 0.25,
                                                         .best_metric = INFINITY,
                                                         .channels = 1,
                                                         .target_channels = 3,
                                                         .height = 2,
                                                         .width = 5};
}

static void steps_that_contradict_themselves_are_refused(void **state)
{
    (void)state;
    struct bs_worker_message *m = calloc(1, sizeof *m);
    struct bs_worker_train_event *e = &m->body.train_event;
    struct bs_err err;
    const char pixels[70] = "";
    const int whole = memory_file(pixels, sizeof pixels), less = memory_file(pixels, sizeof pixels - 1);
    const int open_file = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_int_equal(ftruncate(open_file, sizeof pixels), 0);
    told_by(m);
    assert_int_equal(bs_worker_check_event(m, &err), BS_OK);
    m->nfd = 1;
    m->fd[0] = whole;
    assert_int_equal(bs_worker_check_event(m, &err), BS_OK);
    m->fd[0] = less;
    assert_int_equal(bs_worker_check_event(m, &err), BS_ECORRUPT);
    m->fd[0] = open_file; /* it could be cut off under us */
    assert_int_equal(bs_worker_check_event(m, &err), BS_ECORRUPT);
    m->fd[0] = whole;
    e->height = UINT64_MAX / 2;
    assert_int_equal(bs_worker_check_event(m, &err), BS_ECORRUPT);
    for (int i = 0; i < 7; i++) {
        told_by(m);
        double *number[] = {&e->loss,        &e->learning_rate,     &e->metric,
                            &e->best_metric, &e->images_per_second, &e->seconds_left};
        if (i < 6)
            *number[i] = NAN;
        else
            e->step = -1;
        assert_int_equal(bs_worker_check_event(m, &err), BS_ECORRUPT);
    }
    told_by(m);
    e->kind = 2;
    assert_int_equal(bs_worker_check_event(m, &err), BS_ECORRUPT);
    close(whole);
    close(less);
    close(open_file);
    free(m);
}

static void checkpoints_that_contradict_themselves_are_refused(void **state)
{
    int *pair = *state;
    struct bs_worker_message *m = calloc(1, sizeof *m);
    struct bs_worker_train_checkpoint *c = &m->body.train_checkpoint;
    struct bs_err err;
    const int file = memory_file("abc", 3);
    m->type = BS_WORKER_TRAIN_CHECKPOINT;
    m->nfd = 1;
    m->fd[0] = file;
    *c = (struct bs_worker_train_checkpoint){BS_CHECKPOINT_BEST, 7, 3};
    assert_int_equal(bs_worker_check_checkpoint(m, &err), BS_OK);
    c->bytes = 4;
    assert_int_equal(bs_worker_check_checkpoint(m, &err), BS_ECORRUPT);
    c->bytes = 3;
    c->kind = BS_CHECKPOINT_KINDS;
    assert_int_equal(bs_worker_check_checkpoint(m, &err), BS_ECORRUPT);
    *c = (struct bs_worker_train_checkpoint){BS_CHECKPOINT_LATEST, -1, 3};
    assert_int_equal(bs_worker_check_checkpoint(m, &err), BS_ECORRUPT);
    *c = (struct bs_worker_train_checkpoint){BS_CHECKPOINT_LATEST, 7, 0};
    m->fd[0] = pair[0]; /* no file */
    assert_int_equal(bs_worker_check_checkpoint(m, &err), BS_ECORRUPT);
    close(file);
    free(m);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, pair_open, pair_close)
    const struct CMUnitTest tests[] = {
        T(messages_arrive_with_body_and_descriptors),
        T(texts_arrive_as_utf8_whatever_was_sent),
        T(random_packets_are_refused),
        T(descriptors_of_a_refused_message_are_closed),
        cmocka_unit_test(results_that_contradict_themselves_are_refused),
        cmocka_unit_test(steps_that_contradict_themselves_are_refused),
        T(checkpoints_that_contradict_themselves_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
