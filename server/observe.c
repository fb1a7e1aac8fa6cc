/* State into words and figures; see observe.h. Names follow Prometheus' conventions; the nv_ ones are those of Triton's
   metrics that mean the same here, so that boards made for Triton show something. */
#include "server/observe.h"

#include <stdio.h>

static bool ready(void *ctx, char *reason, size_t cap)
{
    struct bs_observe *o = ctx;
    struct bs_engine_state state;
    if (atomic_load(&o->draining)) {
        snprintf(reason, cap, "the server is ending; work that runs may finish");
        return false;
    }
    bs_engine_state_get(o->engine, &state);
    if (!state.ready)
        snprintf(reason, cap, "the worker process is starting (%u restarts since the server started)",
                 state.restarts);
    return state.ready;
}

static void tasks(struct bs_metrics_writer *m, const struct bs_engine_state *state)
{
    const struct {
        const char *outcome;
        uint64_t n;
    } ends[] = {{"succeeded", state->succeeded},
                {"failed", state->failed},
                {"cancelled", state->cancelled},
                {"refused", state->refused}};
    bs_metrics_family(
        m, BS_METRIC_COUNTER, "bioseg_segment_requests_total",
        "Segmentations of requests and jobs, by how they ended; refused ones found the queue full.");
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        bs_metrics_sample(m, (const struct bs_metric_label[]){{"outcome", ends[i].outcome}}, 1,
                          (double)ends[i].n);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_queue_depth", "Segmentations that wait for the device.",
                      state->waiting);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_running", "Segmentations on the device.", state->running);
}

static void device(struct bs_metrics_writer *m, const struct bs_engine_state *state)
{
    bs_metrics_family(m, BS_METRIC_GAUGE, "bioseg_device_info", "1 for the device that computes.");
    bs_metrics_sample(m,
                      (const struct bs_metric_label[]){{"device", state->device.name},
                                                       {"backend", state->device.backend},
                                                       {"isa", state->device.isa},
                                                       {"libraries", state->device.libraries}},
                      4, 1);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_device_threads", "Threads inside operators.",
                      state->device.threads);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_worker_ready",
                      "1 when the worker process has its device open.", state->ready);
    bs_metrics_single(m, BS_METRIC_COUNTER, "bioseg_worker_restarts_total",
                      "Times that the worker process ended unasked and was started again.", state->restarts);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_models_loaded", "Models in the worker's memory.",
                      state->nresident);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_models_loaded_bytes", "Memory of the loaded models.",
                      (double)state->resident);
}

/* A store that cannot be read leaves its families out: a gap in the curve, not a zero. */
static void stored(struct bs_metrics_writer *m, struct bs_observe *o)
{
    int64_t count[BS_JOB_STATES];
    struct bs_err err;
    bool readable = bs_store_job_counts(o->store, count, &err) == BS_OK;
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_store_readable",
                      "1 when the job database could be read just now.", readable);
    if (readable) {
        bs_metrics_family(m, BS_METRIC_GAUGE, "bioseg_jobs", "Jobs on record, by state.");
        for (int i = 0; i < BS_JOB_STATES; i++)
            bs_metrics_sample(
                m, (const struct bs_metric_label[]){{"state", bs_job_state_name((enum bs_job_state)i)}}, 1,
                (double)count[i]);
    }
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_blob_bytes", "Stored images, results and models.",
                      (double)bs_blobs_bytes(o->blobs));
}

static void aliases(struct bs_metrics_writer *m, const struct bs_engine_state *state)
{
    bs_metrics_single(m, BS_METRIC_COUNTER, "nv_inference_request_success",
                      "As bioseg_segment_requests_total{outcome=\"succeeded\"}, all models together.",
                      (double)state->succeeded);
    bs_metrics_family(m, BS_METRIC_COUNTER, "nv_inference_request_failure",
                      "As bioseg_segment_requests_total for the other outcomes, all models together.");
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"reason", "REJECTED"}}, 1, (double)state->refused);
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"reason", "CANCELED"}}, 1,
                      (double)state->cancelled);
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"reason", "OTHER"}}, 1, (double)state->failed);
    bs_metrics_single(m, BS_METRIC_GAUGE, "nv_inference_pending_request_count", "As bioseg_queue_depth.",
                      state->waiting);
}

static void metrics(void *ctx, struct bs_metrics_writer *m)
{
    struct bs_observe *o = ctx;
    struct bs_engine_state state;
    bs_engine_state_get(o->engine, &state);
    bs_metrics_family(m, BS_METRIC_GAUGE, "bioseg_build_info", "1 for the version that runs.");
    bs_metrics_sample(m, (const struct bs_metric_label[]){{"version", BS_VERSION}}, 1, 1);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_start_time_seconds", "When the server started, since 1970.",
                      (double)o->started_ms / 1000);
    bs_metrics_single(m, BS_METRIC_GAUGE, "bioseg_draining", "1 when the server ends and takes no new work.",
                      atomic_load(&o->draining));
    tasks(m, &state);
    device(m, &state);
    stored(m, o);
    aliases(m, &state);
}

struct bs_http_source bs_observe_source(struct bs_observe *o)
{
    return (struct bs_http_source){.ctx = o, .ready = ready, .metrics = metrics};
}
