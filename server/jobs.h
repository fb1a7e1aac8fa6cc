/* Durable jobs: takes queued jobs from the store, runs them on the engine, writes results back, tells watchers.
   One dispatcher thread; the functions below are thread-safe. */
#ifndef BS_SERVER_JOBS_H
#define BS_SERVER_JOBS_H

#include "server/engine.h"
#include "server/store/blobs.h"
#include "server/store/store.h"

struct bs_jobs;

bs_status bs_jobs_create(struct bs_store *store, struct bs_blobs *blobs, struct bs_engine *engine,
                         struct bs_jobs **out, struct bs_err *err) BS_NODISCARD;
/* Stops taking jobs and waits for those that run, at most wait_ms; true when none runs any more. The queue stays. */
bool bs_jobs_drain(struct bs_jobs *j, int wait_ms);
/* Stops taking jobs, requeues what runs, joins. The engine must still be there. Accepts NULL. */
void bs_jobs_destroy(struct bs_jobs *j);

/* What a segmentation job is, beyond its input blob: stored as JSON in bs_job_record.request. */
struct bs_job_request {
    char model[80];
    int64_t model_version;
    bool raw;
    enum bs_sample sample;
    int ndim;
    char axes[BS_IMAGE_MAX_DIM + 1];
    size_t dim[BS_IMAGE_MAX_DIM];
    char pages; /* what the pages of a file are that does not say so: 't', 'z' or 'c'; 0: it does */
    double pixel_size, spacing; /* um, 0 unknown; of pixels, and of planes along z */
    struct bs_segment_params params;
    bool want_maps, want_objects;
};
bs_status bs_job_request_to_json(const struct bs_job_request *r, char **json,
                                 struct bs_err *err) BS_NODISCARD;
bs_status bs_job_request_from_json(const char *json, struct bs_job_request *r,
                                   struct bs_err *err) BS_NODISCARD;

/* Job is durable when this returns. Takes the strings of *job; payload_hash may be NULL (it is made then). */
bs_status bs_jobs_submit(struct bs_jobs *j, struct bs_job_record *job, bool *existing,
                         struct bs_err *err) BS_NODISCARD;
/* The same for a run of kind "train" (training_json.h), which begins with the weights of a blob; NULL: with random ones. */
bs_status bs_jobs_submit_training(struct bs_jobs *j, struct bs_job_record *job, const char *initial_blob,
                                  bool *existing, struct bs_err *err) BS_NODISCARD;
/* Training runs: pause after a checkpoint; another learning rate from the next step on (0: leave it). */
bs_status bs_jobs_steer(struct bs_jobs *j, const char *id, bool pause, double learning_rate,
                        struct bs_err *err) BS_NODISCARD;
/* A paused, failed or cancelled training run goes on from its last checkpoint. */
bs_status bs_jobs_resume(struct bs_jobs *j, const char *id, struct bs_err *err) BS_NODISCARD;
bs_status bs_jobs_cancel(struct bs_jobs *j, const char *id, struct bs_err *err) BS_NODISCARD;
/* Finished jobs only; its blobs go with the next sweep (those nobody else names, ten minutes after they were written). */
bs_status bs_jobs_delete(struct bs_jobs *j, const char *id, struct bs_err *err) BS_NODISCARD;

/* Watchers hear of every change of one job; the callback comes on some thread of ours and must not block.
   Revision 0: the job was deleted. Returns a handle for bs_jobs_unwatch (after which no callback runs; not to be called
   from one), NULL when memory ran out. */
typedef void (*bs_job_watch_fn)(void *ctx, const char *job_id, int64_t revision);
struct bs_job_watch;
struct bs_job_watch *bs_jobs_watch(struct bs_jobs *j, const char *id, bs_job_watch_fn fn, void *ctx);
void bs_jobs_unwatch(struct bs_job_watch *w);

/* What a result is remembered with: model, parameters, input, software, plan, warnings. A pure function. */
struct bs_job_provenance {
    const struct bs_job_request *request;
    const char *model_blob, *input_blob;
    const struct bs_segment_result *result;
    const struct bs_device_info *device;
};
bs_status bs_job_result_to_json(const struct bs_job_provenance *p, char **json,
                                struct bs_err *err) BS_NODISCARD;

#endif
