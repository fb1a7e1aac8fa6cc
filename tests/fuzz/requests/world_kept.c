/* Kept maps in the fuzzer's world: those of a 4 x 4 image are there under the id "maps", whoever asks; new ones are taken and
   forgotten. See world.h. */
#include "server/kept.h"

#include "model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())
#define HASH          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define MAP_BYTES     (3 * 4 * 4 * sizeof(float))

static int file_of(size_t bytes)
{
    int fd = memfd_create("kept", MFD_CLOEXEC);
    REQUIRE(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
    return fd;
}

bs_status bs_kept_get(struct bs_kept *k, const char *owner, const char *id, struct bs_kept_entry *out,
                      struct bs_err *err)
{
    (void)k;
    REQUIRE(owner && id);
    if (strcmp(id, "maps") != 0)
        return BS_FAIL(err, BS_ENOTFOUND, "no maps");
    struct bs_job_request *q = &out->request;
    *out = (struct bs_kept_entry){.id = "maps",
                                  .owner = "ann",
                                  .model_blob = HASH,
                                  .input_hash = HASH,
                                  .network = {.map_h = 4, .map_w = 4, .channels = 3, .planes = 1},
                                  .maps_fd = file_of(MAP_BYTES),
                                  .image_fd = file_of(16),
                                  .map_bytes = MAP_BYTES,
                                  .image_bytes = 16};
    *q = (struct bs_job_request){
        .model = "nuclei", .model_version = 1, .raw = true, .ndim = 2, .axes = "yx", .dim = {4, 4}};
    q->params = (struct bs_segment_params){.channel = -1, .halo = -1, .scale = 1, .link_overlap = 0.25};
    q->params.instances = bs_instance_params_default(BS_RECIPE_DISTANCES);
    return BS_OK;
}

bs_status bs_kept_find(struct bs_kept *k, const char *owner, const char *model_blob, const char *input_hash,
                       const struct bs_job_request *request, struct bs_kept_entry *out, struct bs_err *err)
{
    (void)k;
    (void)out;
    REQUIRE(owner && model_blob && strlen(input_hash) == 64 && request);
    return BS_FAIL(err, BS_ENOTFOUND, "no maps");
}

bs_status bs_kept_file(struct bs_kept *k, int *fd, uint64_t *room, struct bs_err *err)
{
    (void)k;
    (void)err;
    *fd = file_of(0);
    *room = 1 << 20;
    return BS_OK;
}

bs_status bs_kept_put(struct bs_kept *k, struct bs_kept_entry *e, struct bs_err *err)
{
    (void)k;
    (void)err;
    REQUIRE(e->maps_fd >= 0 && e->image_fd >= 0 && e->image_bytes > 0 && e->owner[0] && e->model_blob[0]);
    close(e->maps_fd);
    e->maps_fd = -1;
    snprintf(e->id, sizeof e->id, "new");
    return BS_OK;
}

void bs_kept_entry_close(struct bs_kept_entry *e)
{
    if (e->maps_fd >= 0)
        close(e->maps_fd);
    if (e->image_fd >= 0)
        close(e->image_fd);
    e->maps_fd = e->image_fd = -1;
}

void bs_kept_state_get(struct bs_kept *k, struct bs_kept_state *state)
{
    (void)k;
    *state = (struct bs_kept_state){.max_bytes = 1 << 20};
}
