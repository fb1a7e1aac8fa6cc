/* Training runs of the world: job "run" of "ann" is one, and told of one step and one validation; see world.h. */
#include "tests/fuzz/requests/world.h"

#include "server/store/runs.h"
#include "server/training_json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define REQUIRE(cond) ((cond) ? (void)0 : abort())
#define HASH          "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* A request that was accepted must be readable again when its turn comes, perhaps after a restart. */
bs_status bs_jobs_submit_training(struct bs_jobs *jobs, struct bs_job_record *job, const char *initial_blob,
                                  bool *existing, struct bs_err *err)
{
    struct bs_training_request request;
    struct bs_train_config config;
    (void)jobs;
    REQUIRE(strcmp(job->kind, "train") == 0 && strcmp(job->owner, "ann") == 0 &&
            strlen(job->input_blob) == 64);
    REQUIRE(!initial_blob || strlen(initial_blob) == 64);
    REQUIRE(bs_training_request_from_json(job->request, &request, err) == BS_OK);
    REQUIRE(bs_train_config_from_json(request.config, strlen(request.config), &config, err) == BS_OK);
    bs_training_request_free(&request);
    *existing = strcmp(job->idempotency_key, "again") == 0;
    if (strcmp(job->idempotency_key, "taken") == 0)
        return BS_FAIL(err, BS_EEXIST, "the key was used for another payload");
    strcpy(job->id, "new");
    return BS_OK;
}

bs_status bs_jobs_steer(struct bs_jobs *jobs, const char *id, bool pause, double learning_rate,
                        struct bs_err *err)
{
    (void)jobs;
    (void)err;
    REQUIRE(strcmp(id, "run") == 0 && (pause || (learning_rate > 0 && learning_rate <= 1)));
    return BS_OK;
}

bs_status bs_jobs_resume(struct bs_jobs *jobs, const char *id, struct bs_err *err)
{
    (void)jobs;
    REQUIRE(strcmp(id, "run") == 0);
    return BS_FAIL(err, BS_EPRECONDITION, "it runs");
}

bs_status bs_store_run_get(struct bs_store *s, const char *id, struct bs_run_state *out, struct bs_err *err)
{
    (void)s;
    (void)err;
    (void)id;
    *out = (struct bs_run_state){.latest_step = 3, .best_step = -1, .best_metric = INFINITY};
    return BS_OK;
}

void bs_run_state_free(struct bs_run_state *r)
{
    REQUIRE(!r->latest_blob && !r->best_blob && !r->initial_blob);
}

bs_status bs_store_run_notes(struct bs_store *s, const char *id, int64_t after_step, bool after_validation,
                             int limit, struct bs_run_note **out, int *count, struct bs_err *err)
{
    (void)s;
    (void)err;
    REQUIRE(strcmp(id, "run") == 0 && limit >= 2 && (*out = calloc(2, sizeof **out)));
    for (int i = 0; i < 2; i++)
        (*out)[i] = (struct bs_run_note){.step = 1,
                                         .validation = i == 1,
                                         .epoch = 1,
                                         .loss = 0.5,
                                         .learning_rate = 1e-4,
                                         .metric = i ? 0.25 : NAN,
                                         .best_metric = i ? 0.25 : NAN,
                                         .best_step = i ? 1 : -1,
                                         .images_per_second = NAN,
                                         .seconds_left = NAN};
    *count = after_step > 1 || (after_step == 1 && after_validation) ? 0 : 2;
    return BS_OK;
}

bs_status bs_blob_put(struct bs_blobs *b, const void *data, size_t n, char *hash, struct bs_err *err)
{
    (void)b;
    (void)err;
    REQUIRE(data && n);
    strcpy(hash, HASH);
    return BS_OK;
}

int bs_blobs_folder(const struct bs_blobs *b)
{
    (void)b;
    return -1;
}

bs_status bs_engine_check_dataset(struct bs_engine *e, int manifest_fd, int blobs_fd, size_t patch_height,
                                  size_t patch_width, const struct bs_engine_patience *patience,
                                  struct bs_dataset_report *out, struct bs_err *err)
{
    (void)e;
    (void)err;
    REQUIRE(manifest_fd >= 0 && blobs_fd == -1 && patch_height && patch_width && patience->gone);
    *out = (struct bs_dataset_report){.count = 1, .warnings = 1};
    REQUIRE((out->finding = calloc(1, sizeof *out->finding)));
    out->finding[0] =
        (struct bs_report_finding){.kind = BS_FINDING_SMALL, .warning = 1, .text = "it is small"};
    return BS_OK;
}

void bs_dataset_report_free(struct bs_dataset_report *r)
{
    free(r->finding);
    *r = (struct bs_dataset_report){.count = 0};
}

bs_status bs_store_run_sample_get(struct bs_store *s, const char *id, struct bs_run_sample *out,
                                  struct bs_err *err)
{
    (void)s;
    REQUIRE(strcmp(id, "run") == 0);
    *out = (struct bs_run_sample){
        .step = 1, .height = 1, .width = 2, .channels = 1, .target_channels = 2, .reduction = 1, .bytes = 10};
    return (out->planes = calloc(out->bytes, 1)) ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory");
}

bs_status bs_store_run_sample_step(struct bs_store *s, const char *id, int64_t *step, struct bs_err *err)
{
    (void)s;
    (void)id;
    (void)err;
    *step = 1;
    return BS_OK;
}

void bs_run_sample_free(struct bs_run_sample *p)
{
    free(p->planes);
    *p = (struct bs_run_sample){.step = 0};
}

bs_status bs_engine_plan_training(struct bs_engine *e, const struct bs_engine_training *run, uint64_t *bytes,
                                  uint64_t *parameters, struct bs_err *err)
{
    (void)e;
    (void)err;
    REQUIRE(run->config_fd >= 0 && run->manifest_fd >= 0);
    *bytes = 1 << 20;
    *parameters = 1000;
    return BS_OK;
}
