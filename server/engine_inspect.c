/* Files from outside are looked at in a child of their own, one for each question, with limits and without the network: the
   daemon itself parses none. Any thread; the caller waits for the answer. */
#include "server/engine_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define TIMEOUT_MS 25000 /* a little more than the child's own limit of processor time */

#define SLICE_MS 200 /* between two looks whether somebody still waits */

/* True when there is something to read. */
static bool wait_for(int sock, const struct bs_engine_patience *patience, bool *gone)
{
    struct pollfd wait = {.fd = sock, .events = POLLIN};
    for (int waited = 0; waited < patience->ms; waited += SLICE_MS) {
        const int got = poll(&wait, 1, SLICE_MS);
        if (got > 0)
            return true;
        if (got < 0 && errno != EINTR)
            return false;
        if (patience->gone && (*gone = patience->gone(patience->ctx)))
            return false;
    }
    return false;
}

bs_status bs__engine_ask(struct bs_engine *e, struct bs_worker_message *m, enum bs_worker_type answer,
                         const struct bs_engine_patience *patience, const char *what, struct bs_err *err)
{
    const char *const args[] = {patience->large ? "--check" : "--inspect", NULL};
    struct bs_worker_process p = {.sock = -1};
    char how[80];
    bool answered = false, gone = false;
    bs_status rc = bs_worker_spawn(e->worker_path, args, &p, err);
    if (rc != BS_OK)
        return rc;
    rc = bs_worker_send(p.sock, m, true, err);
    m->nfd = 0;
    if (rc == BS_OK)
        answered = wait_for(p.sock, patience, &gone) && bs_worker_receive(p.sock, false, m, err) == BS_OK &&
                   m->type == answer;
    bs_worker_reap(&p, answered ? 2000 : 0, how, sizeof how);
    if (gone)
        return BS_FAIL(err, BS_ECANCELLED, "cancelled while %s was looked at", what);
    if (!answered)
        return BS_FAIL(err, BS_ECORRUPT, "%s could not be read: the process that tried ended with %s", what,
                       how);
    return BS_OK;
}

static const struct bs_engine_patience usual = {.ms = TIMEOUT_MS};

static bs_status failure(const struct bs_worker_failure *f, struct bs_err *err)
{
    if (f->status == BS_OK)
        return BS_OK;
    return BS_FAIL(err, f->status <= BS_EINTERNAL ? (bs_status)f->status : BS_ECORRUPT, "%s", f->text);
}

bs_status bs_engine_inspect(struct bs_engine *e, int model_fd, struct bs_model_info *info, struct bs_err *err)
{
    struct bs_worker_message *m = calloc(1, sizeof *m);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while inspecting a model");
    m->type = BS_WORKER_INSPECT;
    m->nfd = 1;
    m->fd[0] = model_fd;
    bs_status rc = bs__engine_ask(e, m, BS_WORKER_INSPECTED, &usual, "the model file", err);
    const struct bs_worker_inspected *r = &m->body.inspected;
    if (rc == BS_OK)
        rc = failure(&r->failure, err);
    if (rc == BS_OK && r->bytes >= sizeof r->info)
        rc = BS_FAIL(err, BS_ECORRUPT, "the model's description is too long");
    if (rc == BS_OK)
        rc = bs_model_info_from_json(r->info, r->bytes, info, err);
    bs_worker_message_release(m);
    free(m);
    return rc;
}

bs_status bs_engine_check_pair(struct bs_engine *e, const int fd[3], const struct bs_pair_question *question,
                               struct bs_pair_info *info, struct bs_err *err)
{
    struct bs_worker_message *m = calloc(1, sizeof *m);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while looking at a pair");
    m->type = BS_WORKER_PAIR;
    m->body.question = *question;
    m->nfd = question->has_prediction ? 3 : 2;
    memcpy(m->fd, fd, (size_t)m->nfd * sizeof *fd);
    bs_status rc = bs__engine_ask(e, m, BS_WORKER_PAIR_CHECKED, &usual, "the image or its labels", err);
    if (rc == BS_OK)
        rc = failure(&m->body.pair.failure, err);
    if (rc == BS_OK && (!bs_pair_info_valid(&m->body.pair.info) ||
                        m->body.pair.info.has_prediction != question->has_prediction))
        rc = BS_FAIL(err, BS_ECORRUPT, "the files' description contradicts itself");
    if (rc == BS_OK)
        *info = m->body.pair.info;
    bs_worker_message_release(m);
    free(m);
    return rc;
}

bs_status bs_engine_score(struct bs_engine *e, int labels_fd, uint64_t planes, uint64_t height,
                          uint64_t width, int truth_fd, const struct bs_raw_image *truth,
                          struct bs_label_score *score, struct bs_err *err)
{
    struct bs_worker_message *m = calloc(1, sizeof *m);
    if (!m)
        return BS_FAIL(err, BS_ENOMEM, "out of memory while scoring labels");
    m->type = BS_WORKER_SCORE;
    m->nfd = 2;
    m->fd[0] = labels_fd;
    m->fd[1] = truth_fd;
    m->body.score =
        (struct bs_worker_score){.planes = planes, .height = height, .width = width, .truth = *truth};
    bs_status rc = bs__engine_ask(e, m, BS_WORKER_SCORED, &usual, "the labels", err);
    const struct bs_label_score *s = &m->body.scored.score;
    if (rc == BS_OK)
        rc = failure(&m->body.scored.failure, err);
    if (rc == BS_OK &&
        !(s->msa >= 0 && s->msa <= 1 && s->sa50 >= 0 && s->sa50 <= 1 && s->sa75 >= 0 && s->sa75 <= 1))
        rc = BS_FAIL(err, BS_ECORRUPT, "the score of the labels is out of range");
    if (rc == BS_OK)
        *score = *s;
    bs_worker_message_release(m);
    free(m);
    return rc;
}
