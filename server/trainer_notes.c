/* What a run told and the store does not know yet: taken from the engine's thread, written, and kept for later when that fails. Trainer's
   thread. */
#include "server/trainer_internal.h"

#include <stdlib.h>
#include <string.h>

struct bs__notes bs__run_take_notes(struct bs__run *r)
{
    pthread_mutex_lock(&r->trainer->mu);
    struct bs__notes n = r->notes;
    r->notes = (struct bs__notes){.step = n.step, .steps = n.steps};
    pthread_mutex_unlock(&r->trainer->mu);
    return n;
}

void bs__run_return_notes(struct bs__run *r, struct bs__notes *n)
{
    pthread_mutex_lock(&r->trainer->mu);
    size_t more = r->notes.count, all = n->count + more;
    if (all > n->room) {
        struct bs_run_note *larger = all <= BS__RUN_MAX_NOTES ? realloc(n->at, all * sizeof *larger) : NULL;
        if (larger) {
            n->at = larger;
            n->room = all;
        } else {
            more = n->room - n->count;
        }
    }
    if (more && r->notes.at)
        memcpy(n->at + n->count, r->notes.at, more * sizeof *n->at);
    free(r->notes.at);
    r->notes.at = n->at;
    r->notes.count = n->count + more;
    r->notes.room = n->room;
    pthread_mutex_unlock(&r->trainer->mu);
}

void bs__run_flush(struct bs__run *r)
{
    struct bs_jobs *j = r->trainer->jobs;
    struct bs_err err;
    bs__run_keep_sample(r);
    struct bs__notes n = bs__run_take_notes(r);
    if (n.count == 0) {
        free(n.at);
        return;
    }
    if (bs_store_run_notes_add(j->store, r->record.id, n.at, n.count, n.step, n.steps, &err) != BS_OK) {
        bs__run_return_notes(r, &n);
        return;
    }
    free(n.at);
    bs__notify(j, r->record.id, false);
}
