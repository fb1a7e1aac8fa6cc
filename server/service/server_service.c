/* bioseg.v1.Server: what this server is and can do. */
#include "server/service/service_internal.h"

#include "bioseg/v1/server.pb-c.h"

static bs_status get_info(void *service, struct bs_call *call, const ProtobufCMessage *message,
                          struct bs_err *err)
{
    static const char *const features[] = {
        "segment",      "segment-stream", "segment-region", "segment-stack", "linked-planes",   "jobs",
        "jobs-dry-run", "models-import",  "models-export",  "model-cards",   "segment-preview", "kept-maps",
        "datasets",     "training",       "training-best"};
    struct bs_services *s = service;
    Bioseg__V1__GetInfoResponse answer = BIOSEG__V1__GET_INFO_RESPONSE__INIT;
    Bioseg__V1__Limits limits = BIOSEG__V1__LIMITS__INIT;
    Bioseg__V1__Device device = BIOSEG__V1__DEVICE__INIT, *devices[] = {&device};
    struct bs_engine_state state;
    struct bs_kept_state kept;
    (void)message;

    bs_engine_state_get(s->engine, &state);
    bs_kept_state_get(s->kept, &kept);
    device.name = state.device.name;
    device.backend = state.device.backend;
    device.libraries = state.device.libraries;
    device.instruction_set = state.device.isa;
    device.threads = (uint32_t)state.device.threads;
    device.fast_bf16 = state.device.fast_bf16;
    device.ready = state.ready;
    device.waiting = (uint32_t)state.waiting;
    device.running = (uint32_t)state.running;
    device.worker_restarts = state.restarts;
    device.model_budget_bytes = state.budget;
    device.resident_bytes = state.resident;
    device.resident_models = (uint32_t)state.nresident;

    limits.max_chunk_bytes = BS_CHUNK_MAX_BYTES;
    limits.max_unary_image_bytes = s->limits.max_unary_image_bytes;
    limits.max_image_bytes = s->limits.max_image_bytes;
    limits.max_model_bytes = s->limits.max_model_bytes;
    limits.max_page_size = s->limits.max_page_size;
    limits.max_concurrent_streams = s->limits.max_streams;
    limits.max_message_bytes = s->limits.max_message_bytes;
    limits.max_kept_bytes = kept.max_bytes;
    limits.kept_ms = kept.lifetime_ms;

    answer.version = (char *)(uintptr_t)BS_VERSION;
    answer.api_level = BS_API_LEVEL;
    answer.features = (char **)(uintptr_t)features;
    answer.n_features = sizeof features / sizeof features[0];
    answer.limits = &limits;
    answer.devices = devices;
    answer.n_devices = 1;
    answer.caller = (char *)(uintptr_t)bs_call_caller(call)->name;
    answer.started_ms = s->started_ms;
    return bs_call_write(call, &answer.base, err);
}

void bs__server_register(struct bs_services *s, struct bs_rpc *rpc)
{
    static const struct bs_method methods[] = {{.name = "GetInfo", .run = get_info, .while_draining = true}};
    bs_rpc_add_service(rpc, &bioseg__v1__server__descriptor, BS__METHODS(methods), s, NULL);
}
