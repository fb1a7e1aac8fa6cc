/* Which task is next: interactive ones first, taking turns between owners, then batch tasks in the order the job queue gave them;
   training runs queue among themselves. The engine's thread, mu held. */
#include "server/engine_internal.h"

#include <stdio.h>
#include <string.h>

/* When this owner was served last; 0: not lately. */
static uint64_t *share_of(struct bs_engine *e, const char *owner)
{
    struct bs__share *oldest = &e->share[0];
    for (int i = 0; i < BS__SHARES; i++) {
        if (strcmp(e->share[i].owner, owner) == 0)
            return &e->share[i].served;
        if (e->share[i].served < oldest->served)
            oldest = &e->share[i];
    }
    snprintf(oldest->owner, sizeof oldest->owner, "%s", owner);
    oldest->served = 0;
    return &oldest->served;
}

struct bs_engine_task *bs__choose(struct bs_engine *e)
{
    struct bs_engine_task **best = NULL;
    uint64_t best_served = UINT64_MAX;
    for (struct bs_engine_task **at = &e->waiting; *at; at = &(*at)->next) {
        if (!(*at)->interactive)
            continue;
        /* A task that was running when its worker died stands in front and has had its turn. */
        uint64_t served = (*at)->deaths ? 0 : *share_of(e, (*at)->owner);
        if (!best || served < best_served) {
            best = at;
            best_served = served;
        }
    }
    for (struct bs_engine_task **at = &e->waiting; *at && !best; at = &(*at)->next)
        if ((*at)->message.type != BS_WORKER_TRAIN)
            best = at;
    struct bs_engine_task *t = best ? *best : NULL;
    if (t) {
        *best = t->next;
        t->next = NULL;
        e->nwaiting--;
        if (t->interactive)
            *share_of(e, t->owner) = ++e->served;
    }
    return t;
}

struct bs_engine_task *bs__choose_training(struct bs_engine *e)
{
    struct bs_engine_task **at = &e->waiting;
    while (*at && (*at)->message.type != BS_WORKER_TRAIN)
        at = &(*at)->next;
    struct bs_engine_task *t = *at;
    if (t) {
        *at = t->next;
        t->next = NULL;
        e->nwaiting--;
    }
    return t;
}

struct bs_engine_task *bs__take_cancelled(struct bs_engine *e)
{
    struct bs_engine_task *gone = NULL;
    for (struct bs_engine_task **at = &e->waiting; *at;) {
        struct bs_engine_task *t = *at;
        if (!t->cancel_requested && !e->closing) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        e->nwaiting--;
        t->next = gone;
        gone = t;
    }
    return gone;
}
