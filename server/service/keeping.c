/* A live request and the maps that are kept: which it uses, where its own go, and what it is told of them. The handler's
   thread. */
#include "server/service/service_internal.h"

#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The spec on the image that was kept. What it does not say of the network's parameters is as it was; what it says must be. */
static bs_status decode(struct bs_services *s, const char *owner, const Bioseg__V1__SegmentSpec *spec,
                        const struct bs_kept_entry *e, struct bs__work *work, struct bs_err *err)
{
    bs_status rc = bs__work_decode_kept(s, owner, spec, &e->request, work, err);
    if (rc != BS_OK)
        return rc;
    if (strcmp(work->model.blob, e->model_blob) != 0)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "the maps \"%s\" were made by another model than %s, version %lld; send the image",
                       e->id, work->model.name, (long long)work->model.version);
    const char *differs = bs_segment_params_network_differs(&work->request.params, &e->request.params);
    if (differs)
        return BS_FAIL(
            err, BS_EPRECONDITION,
            "the maps \"%s\" were made with another %s, which only the network can change; send the "
            "image",
            e->id, differs);
    return BS_OK;
}

bs_status bs__keeping_by_id(struct bs__keeping *k, struct bs_services *s, struct bs_call *call,
                            const char *id, const Bioseg__V1__SegmentSpec *spec, struct bs__work *work,
                            struct bs_err *err)
{
    bs_status rc = bs_kept_get(s->kept, bs_call_caller(call)->name, id, &k->entry, err);
    if (rc == BS_ENOTFOUND)
        bs_call_set_reason(call, "maps-gone");
    if (rc != BS_OK)
        return rc;
    k->found = true;
    k->maps = (struct bs_segment_maps){.fd = k->entry.maps_fd, .made = true, .network = k->entry.network};
    return decode(s, bs_call_caller(call)->name, spec, &k->entry, work, err);
}

void bs__keeping_begin(struct bs__keeping *k, struct bs_services *s, struct bs_call *call,
                       const struct bs__work *work, const char *input_hash)
{
    const char *owner = bs_call_caller(call)->name;
    struct bs_kept_entry found;
    struct bs_err none;
    if (bs_kept_find(s->kept, owner, work->model.blob, input_hash, &work->request, &found, &none) == BS_OK) {
        k->entry = found;
        k->found = true;
        k->maps = (struct bs_segment_maps){.fd = found.maps_fd, .made = true, .network = found.network};
        return;
    }
    k->wanted = true;
    if (bs_kept_file(s->kept, &k->entry.maps_fd, &k->maps.max_bytes, &k->why) != BS_OK)
        return; /* said with the result */
    k->maps.fd = k->entry.maps_fd;
    memcpy(k->entry.owner, owner, strlen(owner) + 1);
    memcpy(k->entry.model_blob, work->model.blob, sizeof k->entry.model_blob);
    memcpy(k->entry.input_hash, input_hash, sizeof k->entry.input_hash);
    k->entry.request = work->request;
}

const struct bs_segment_maps *bs__keeping_maps(const struct bs__keeping *k)
{
    return k->maps.fd >= 0 ? &k->maps : NULL;
}

void bs__keeping_end(struct bs__keeping *k, struct bs_services *s, int image_fd, uint64_t image_bytes,
                     struct bs_engine_result *result)
{
    struct bs_segment_result *r = &result->info;
    struct stat st;
    if (!k->wanted)
        return;
    if (k->maps.fd >= 0 && result->network.map_h > 0 && fstat(k->maps.fd, &st) == 0) {
        k->entry.network = result->network;
        k->entry.map_bytes = (uint64_t)st.st_size;
        k->entry.image_bytes = image_bytes;
        k->entry.image_fd = image_fd;
        k->found = bs_kept_put(s->kept, &k->entry, &k->why) == BS_OK; /* takes the maps */
        k->entry.maps_fd = k->entry.image_fd = k->maps.fd = -1;
    } else if (k->maps.fd >= 0) {
        return; /* the worker has said why */
    }
    if (!k->found && r->nwarning < BS_MAX_WARNINGS) {
        struct bs_warning *w = &r->warning[r->nwarning++];
        snprintf(w->code, sizeof w->code, "maps_not_kept");
        snprintf(w->text, sizeof w->text, "The network's maps are not kept: %.150s.", k->why.msg);
    }
}

bool bs__keeping_message(const struct bs__keeping *k, Bioseg__V1__KeptMaps *message)
{
    bioseg__v1__kept_maps__init(message);
    if (!k->found)
        return false;
    message->id = (char *)(uintptr_t)k->entry.id;
    message->expires_ms = k->entry.expires_ms;
    message->bytes = k->entry.map_bytes + k->entry.image_bytes;
    return true;
}

void bs__keeping_close(struct bs__keeping *k)
{
    bs_kept_entry_close(&k->entry);
    k->maps.fd = -1;
}
