/* bioseg jobs report: what the server knows of a training run, gathered into one file (report.h). Main thread. */
#include "clients/cli/datasets.h"
#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/report.h"

#include "bioseg/v1/training.pb-c.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_SIZE       200
#define MAX_COMPARISONS 20 /* the newest; each is a table */

struct gathering {
    struct bs__cli *cli;
    struct bs__rpc_client *client;
    struct bs__report report;
    Bioseg__V1__GetJobResponse *job;
    Bioseg__V1__GetDatasetResponse *dataset;
    Bioseg__V1__GetModelResponse *model;
    ProtobufCMessage *lineage;
    Bioseg__V1__Pair **pairs;
    size_t npair;
    Bioseg__V1__GetComparisonResponse *comparison[MAX_COMPARISONS];
    const Bioseg__V1__Comparison *list[MAX_COMPARISONS];
};

static void free_message(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

static void free_gathering(struct gathering *g)
{
    free_message(g->job);
    free_message(g->dataset);
    free_message(g->model);
    free_message(g->lineage);
    for (size_t i = 0; i < g->npair; i++)
        bioseg__v1__pair__free_unpacked(g->pairs[i], NULL);
    free(g->pairs);
    for (size_t i = 0; i < g->report.ncomparison; i++)
        free_message(g->comparison[i]);
    bs__report_points_free(&g->report.steps);
    bs__report_points_free(&g->report.validations);
}

/* What may be missing: NULL then. */
static void *ask_quietly(struct gathering *g, const char *method, const ProtobufCMessage *request,
                         const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = NULL;
    struct bs_err ignored;
    return bs__unary(g->client, method, g->cli->timeout, request, type, &message, &ignored) == BS_OK ? message
                                                                                                     : NULL;
}

/* ---- curves ---- */

static double value_of(const Bioseg__V1__WatchMetricsResponse *m, const char *key)
{
    for (size_t i = 0; i < m->n_values; i++)
        if (strcmp(m->values[i]->key, key) == 0)
            return m->values[i]->value;
    return NAN;
}

static bool add_point(struct gathering *g, const Bioseg__V1__WatchMetricsResponse *m)
{
    const double validation = value_of(m, "validation_loss");
    if (!isnan(validation))
        return bs__report_point(&g->report.validations, (double)m->step, validation, NAN);
    return bs__report_point(&g->report.steps, (double)m->step, value_of(m, "train_loss"),
                            value_of(m, "learning_rate"));
}

/* Everything that was told by now; a run that goes on tells more, which is not waited for. */
static bs_status gather_curves(struct gathering *g, struct bs_err *err)
{
    const Bioseg__V1__Job *job = g->report.job;
    const uint64_t made = job->progress ? job->progress->tiles_done : 0;
    const bool goes_on = job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_RUNNING ||
                         job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_QUEUED;
    struct bs__rpc_call *call = NULL;
    Bioseg__V1__WatchMetricsRequest request = BIOSEG__V1__WATCH_METRICS_REQUEST__INIT;
    if (goes_on && made == 0)
        return BS_OK;
    request.job_id = job->id;
    bs_status rc = bs__rpc_call_start(g->client, BS__METHOD("Training", "WatchMetrics"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &request.base, true, err);
    while (rc == BS_OK) {
        ProtobufCMessage *message = NULL;
        rc = bs__message_receive(call, &bioseg__v1__watch_metrics_response__descriptor, &message, err);
        if (rc != BS_OK || !message)
            break;
        const Bioseg__V1__WatchMetricsResponse *m = (const Bioseg__V1__WatchMetricsResponse *)message;
        const bool last = goes_on && m->step >= made;
        if (!add_point(g, m))
            rc = BS_FAIL(err, BS_ENOMEM, "no memory for the curves");
        protobuf_c_message_free_unpacked(message, NULL);
        if (last)
            break;
    }
    bs__rpc_call_destroy(call);
    return rc;
}

/* ---- what belongs to the run ---- */

static void gather_dataset(struct gathering *g)
{
    Bioseg__V1__GetDatasetRequest request = BIOSEG__V1__GET_DATASET_REQUEST__INIT;
    int ignored;
    if (!g->report.job->training)
        return;
    request.name = g->report.job->training->dataset;
    g->dataset = ask_quietly(g, BS__METHOD("Datasets", "Get"), &request.base,
                             &bioseg__v1__get_dataset_response__descriptor);
    g->report.dataset = g->dataset ? g->dataset->dataset : NULL;
    if (!g->report.dataset ||
        bs__datasets_pairs(g->cli, g->client, request.name, BIOSEG__V1__SPLIT__SPLIT_UNSPECIFIED, &g->pairs,
                           &g->npair, &ignored) != BS_OK)
        return;
    g->report.pairs = g->pairs;
    g->report.npair = g->npair;
}

static void gather_model(struct gathering *g)
{
    Bioseg__V1__GetModelRequest get = BIOSEG__V1__GET_MODEL_REQUEST__INIT;
    Bioseg__V1__GetLineageRequest lineage = BIOSEG__V1__GET_LINEAGE_REQUEST__INIT;
    if (!g->report.job->model)
        return;
    get.model = lineage.model = g->report.job->model;
    g->model =
        ask_quietly(g, BS__METHOD("Models", "Get"), &get.base, &bioseg__v1__get_model_response__descriptor);
    g->lineage = ask_quietly(g, BS__METHOD("Models", "GetLineage"), &lineage.base,
                             &bioseg__v1__get_lineage_response__descriptor);
    g->report.model = g->model ? g->model->model : NULL;
    g->report.lineage = (const Bioseg__V1__GetLineageResponse *)g->lineage;
}

static bool is_version(const Bioseg__V1__ModelRef *a, const Bioseg__V1__ModelRef *b)
{
    return a && b && a->version == b->version && strcmp(a->name, b->name) == 0;
}

/* Comparisons of the version with others, newest first. */
static void gather_comparisons(struct gathering *g)
{
    Bioseg__V1__ListJobsRequest request = BIOSEG__V1__LIST_JOBS_REQUEST__INIT;
    Bioseg__V1__Page page = BIOSEG__V1__PAGE__INIT;
    if (!g->report.job->model)
        return;
    page.size = PAGE_SIZE;
    request.page = &page;
    request.model = g->report.job->model->name;
    request.state = BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED;
    Bioseg__V1__ListJobsResponse *jobs = ask_quietly(g, BS__METHOD("Jobs", "List"), &request.base,
                                                     &bioseg__v1__list_jobs_response__descriptor);
    for (size_t i = 0; jobs && i < jobs->n_jobs && g->report.ncomparison < MAX_COMPARISONS; i++) {
        Bioseg__V1__GetComparisonRequest get = BIOSEG__V1__GET_COMPARISON_REQUEST__INIT;
        if (strcmp(jobs->jobs[i]->kind, "compare") != 0 ||
            !is_version(jobs->jobs[i]->model, g->report.job->model))
            continue;
        get.job_id = jobs->jobs[i]->id;
        Bioseg__V1__GetComparisonResponse *c = ask_quietly(g, BS__METHOD("Comparisons", "Get"), &get.base,
                                                           &bioseg__v1__get_comparison_response__descriptor);
        if (c && c->comparison) {
            g->comparison[g->report.ncomparison] = c;
            g->list[g->report.ncomparison++] = c->comparison;
        } else {
            free_message(c);
        }
    }
    g->report.comparisons = g->list;
    free_message(jobs);
}

/* ---- the file ---- */

/* Whole or not at all: beside it first, then under its name. */
static bs_status write_file(const char *path, bool overwrite, const char *text, size_t size,
                            struct bs_err *err)
{
    char *beside = NULL;
    bs_status rc = BS_OK;
    int fd = -1;
    if (!overwrite && access(path, F_OK) == 0)
        return BS_FAIL(err, BS_EEXIST, "%s is there already; --overwrite replaces it", path);
    if (asprintf(&beside, "%s.part-%ld", path, (long)getpid()) < 0)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a name");
    fd = open(beside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    for (size_t done = 0; fd >= 0 && done < size;) {
        ssize_t n = write(fd, text + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
        rc = done == size ? BS_OK : BS_EIO;
    }
    if (fd < 0 || close(fd) != 0 || rc != BS_OK || rename(beside, path) != 0) {
        rc = BS_FAIL(err, BS_EIO, "%s cannot be written: %s", path, strerror(errno));
        (void)unlink(beside);
    }
    free(beside);
    return rc;
}

static bs_status gather(struct gathering *g, char *id, struct bs_err *err)
{
    Bioseg__V1__GetJobRequest request = BIOSEG__V1__GET_JOB_REQUEST__INIT;
    ProtobufCMessage *message = NULL;
    request.id = id;
    bs_status rc = bs__unary(g->client, BS__METHOD("Jobs", "Get"), g->cli->timeout, &request.base,
                             &bioseg__v1__get_job_response__descriptor, &message, err);
    if (rc != BS_OK)
        return rc;
    g->job = (Bioseg__V1__GetJobResponse *)message;
    g->report.job = g->job->job;
    if (!g->report.job || strcmp(g->report.job->kind, "train") != 0)
        return BS_FAIL(err, BS_EINVAL, "job %s is no training run; reports are of those", id);
    if ((rc = gather_curves(g, err)) != BS_OK)
        return rc;
    gather_dataset(g);
    gather_model(g);
    gather_comparisons(g);
    return BS_OK;
}

int bs__jobs_report(struct bs__cli *cli, struct bs__rpc_client *client, char **args, int nargs, void *ctx)
{
    (void)nargs;
    const struct bs__jobs_options *o = ctx;
    struct gathering g = {.cli = cli, .client = client};
    struct bs_err err = {.msg = ""};
    char *html = NULL;
    size_t size = 0;
    int code = BS__EXIT_OK;
    if (!o->folder) {
        (void)!BS_FAIL(&err, BS_EINVAL, "-o FILE is missing: where the report goes");
        return bs__complain(cli, &err, BS__EXIT_USAGE);
    }
    bs_status rc = gather(&g, args[0], &err);
    if (rc != BS_OK) {
        code = bs__complain_server(cli, &err);
        goto cleanup;
    }
    if ((rc = bs__report_write(&g.report, &html, &size, &err)) != BS_OK ||
        (rc = write_file(o->folder, o->overwrite, html, size, &err)) != BS_OK)
        code = bs__complain(cli, &err, bs__exit_of_local(rc));
    else if (!cli->quiet && !cli->json)
        fprintf(cli->out, "%s\n", o->folder);
cleanup:
    free(html);
    free_gathering(&g);
    return code;
}
