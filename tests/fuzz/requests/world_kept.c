/* Kept maps of the world: there are none, and no room for any; see world.h. */
#include "tests/fuzz/requests/world.h"

#include <stdlib.h>
#include <string.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())

bs_status bs_kept_file(struct bs_kept *k, int *fd, uint64_t *room, struct bs_err *err)
{
    (void)k;
    *fd = -1;
    *room = 0;
    return BS_FAIL(err, BS_ELIMIT, "nothing is kept here");
}

bs_status bs_kept_put(struct bs_kept *k, struct bs_kept_entry *e, struct bs_err *err)
{
    (void)k;
    (void)e;
    (void)err;
    abort(); /* there was no file to put */
}

bs_status bs_kept_get(struct bs_kept *k, const char *owner, const char *id, struct bs_kept_entry *out,
                      struct bs_err *err)
{
    (void)k;
    (void)out;
    REQUIRE(strcmp(owner, "ann") == 0 && id);
    return BS_FAIL(err, BS_ENOTFOUND, "no such maps");
}

bs_status bs_kept_find(struct bs_kept *k, const char *owner, const char *model_blob, const char *input_hash,
                       const struct bs_job_request *request, struct bs_kept_entry *out, struct bs_err *err)
{
    (void)k;
    (void)out;
    REQUIRE(strcmp(owner, "ann") == 0 && strlen(model_blob) == 64 && strlen(input_hash) == 64 && request);
    return BS_FAIL(err, BS_ENOTFOUND, "no such maps");
}

void bs_kept_entry_close(struct bs_kept_entry *e)
{
    REQUIRE(e->maps_fd < 0 && e->image_fd < 0);
}

void bs_kept_state_get(struct bs_kept *k, struct bs_kept_state *state)
{
    (void)k;
    memset(state, 0, sizeof *state);
}
