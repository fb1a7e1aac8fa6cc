/* Signs of life of the worker while it runs a task. Its control thread answers when asked, and tells how often the executor
   has looked whether to stop, which every operator and every long loop does. A worker whose count stands still for too long
   hangs; one that does not answer at all is stopped or swapped out beyond use. The engine's thread only. */
#include "server/engine_internal.h"

#define HANG_MS ((int64_t)600000) /* the slowest operator on the reference backend takes minutes */
#define MUTE_MS 60000             /* the control thread has nothing else to do than to answer */
#define ASK_MS  5000

static int64_t limit(const struct bs_engine *e)
{
    return e->opt.hang_ms > 0 ? e->opt.hang_ms : HANG_MS;
}

/* Often enough for short limits, too. */
static int64_t interval(const struct bs_engine *e)
{
    return limit(e) / 4 < ASK_MS ? limit(e) / 4 + 1 : ASK_MS;
}

void bs__pulse_begin(struct bs_engine *e, int64_t now)
{
    e->pulse = (struct bs__pulse){.alive_ms = now, .ask_ms = now + interval(e)};
}

void bs__pulse_heard(struct bs_engine *e, const struct bs_worker_message *m)
{
    int64_t now = bs__engine_now_ms();
    if (m->type != BS_WORKER_PONG || m->body.pong.looks != e->pulse.looks)
        e->pulse.alive_ms = now;
    if (m->type == BS_WORKER_PONG)
        e->pulse.looks = m->body.pong.looks;
    e->pulse.asked_ms = 0;
}

bool bs__pulse_check(struct bs_engine *e, int64_t now, int64_t *due, const char **why)
{
    struct bs__pulse *p = &e->pulse;
    struct bs_err ignored;
    if (e->opt.hang_ms < 0)
        return false;
    int64_t mute = limit(e) < MUTE_MS ? limit(e) : MUTE_MS;
    if (now - p->alive_ms >= limit(e) || (p->asked_ms && now - p->asked_ms >= mute)) {
        *why = p->asked_ms ? "killed, because it did not answer any more"
                           : "killed, because what it ran had hung";
        return true;
    }
    if (now >= p->ask_ms) {
        const struct bs_worker_message ping = {.type = BS_WORKER_PING};
        /* A socket that is full, or whose other end is gone, is no answer either. */
        (void)!bs_worker_send(e->worker.sock, &ping, false, &ignored);
        p->asked_ms = p->asked_ms ? p->asked_ms : now;
        p->ask_ms = now + interval(e);
    }
    int64_t end = p->alive_ms + limit(e);
    if (p->asked_ms && p->asked_ms + mute < end)
        end = p->asked_ms + mute;
    if (p->ask_ms < end)
        end = p->ask_ms;
    if (end < *due)
        *due = end;
    return false;
}
