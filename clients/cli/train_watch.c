/* Live losses. See train_watch.h. */
#include "clients/cli/train_watch.h"

#include "clients/cli/jobs.h"
#include "clients/cli/message.h"
#include "clients/cli/output.h"

#include "bioseg/v1/training.pb-c.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.2
#define SMOOTHING      0.9 /* losses of single batches jump; the line shows their running mean */

struct view {
    struct bs__cli *cli;
    bool terminal;
    bool on_screen;
    double drawn;
    double loss, rate, validation, best, best_step, per_second, left; /* NaN: not known yet */
    uint64_t step;
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double value_of(const Bioseg__V1__WatchMetricsResponse *m, const char *key)
{
    for (size_t i = 0; i < m->n_values; i++)
        if (strcmp(m->values[i]->key, key) == 0)
            return m->values[i]->value;
    return NAN;
}

static void format_left(double s, char *out, size_t cap)
{
    unsigned long t = (unsigned long)(s + 0.5);
    if (isnan(s) || s < 0)
        out[0] = '\0';
    else if (t >= 3600)
        (void)snprintf(out, cap, "  %lu:%02lu:%02lu left", t / 3600, t / 60 % 60, t % 60);
    else
        (void)snprintf(out, cap, "  %lu:%02lu left", t / 60, t % 60);
}

/* "step 1200  loss 0.4121  validation 0.3810 (best 0.3655 at 1000)  rate 0.0001  12.3 images/s  0:41 left" */
static void print_line(const struct view *v, const char *before, const char *after)
{
    char text[256], left[32];
    size_t n =
        (size_t)snprintf(text, sizeof text, "step %llu  loss %.4f", (unsigned long long)v->step, v->loss);
    if (!isnan(v->validation) && n < sizeof text)
        n += (size_t)snprintf(text + n, sizeof text - n, "  validation %.4f (best %.4f at %.0f)",
                              v->validation, v->best, v->best_step);
    if (!isnan(v->rate) && n < sizeof text)
        n += (size_t)snprintf(text + n, sizeof text - n, "  rate %.4g", v->rate);
    if (!isnan(v->per_second) && n < sizeof text)
        (void)snprintf(text + n, sizeof text - n, "  %.1f images/s", v->per_second);
    format_left(v->left, left, sizeof left);
    (void)fprintf(stderr, "%s%s%s%s", before, text, left, after);
    (void)fflush(stderr);
}

static void show(struct view *v, const Bioseg__V1__WatchMetricsResponse *m)
{
    const double validation = value_of(m, "validation_loss"), loss = value_of(m, "train_loss");
    v->step = m->step;
    v->rate = value_of(m, "learning_rate");
    v->per_second = value_of(m, "images_per_second");
    v->left = value_of(m, "seconds_left");
    if (isnan(validation))
        v->loss = isnan(v->loss) ? loss : SMOOTHING * v->loss + (1 - SMOOTHING) * loss;
    else {
        v->validation = validation;
        v->best = value_of(m, "best_validation_loss");
        v->best_step = value_of(m, "best_step");
    }
    if (v->cli->quiet)
        return;
    if (v->terminal && (!isnan(validation) || seconds_now() - v->drawn >= REDRAW_SECONDS)) {
        v->drawn = seconds_now();
        v->on_screen = true;
        print_line(v, "\r", "\033[K");
    } else if (!v->terminal && !isnan(validation)) {
        print_line(v, "", "\n");
    }
}

static bs_status follow(struct view *v, struct bs__rpc_client *client, const char *id, uint64_t after_step,
                        struct bs_err *err)
{
    struct bs__rpc_call *call = NULL;
    Bioseg__V1__WatchMetricsRequest request = BIOSEG__V1__WATCH_METRICS_REQUEST__INIT;
    request.job_id = (char *)(uintptr_t)id;
    request.after_step = after_step;
    bs_status rc = bs__rpc_call_start(client, BS__METHOD("Training", "WatchMetrics"), 0, &call, err);
    if (rc == BS_OK)
        rc = bs__message_send(call, &request.base, true, err);
    while (rc == BS_OK) {
        ProtobufCMessage *message = NULL;
        rc = bs__message_receive(call, &bioseg__v1__watch_metrics_response__descriptor, &message, err);
        if (rc != BS_OK || !message)
            break;
        if (v->cli->json) {
            json_t *j = bs__json_of_message(message);
            json_dumpf(j, v->cli->out, JSON_COMPACT);
            (void)fputc('\n', v->cli->out);
            (void)fflush(v->cli->out);
            json_decref(j);
        } else {
            show(v, (const Bioseg__V1__WatchMetricsResponse *)message);
        }
        protobuf_c_message_free_unpacked(message, NULL);
    }
    bs__rpc_call_destroy(call);
    if (v->on_screen)
        (void)fputs("\n", stderr);
    return rc;
}

static void print_end(struct bs__cli *cli, const Bioseg__V1__Job *job)
{
    const Bioseg__V1__TrainingState *t = job->training;
    switch (job->state) {
    case BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED:
        fprintf(cli->out, "%s version %lld (validation loss %.4f at step %llu)\n",
                job->model ? job->model->name : "?", job->model ? (long long)job->model->version : 0,
                t ? t->best_validation_loss : NAN, t ? (unsigned long long)t->best_step : 0);
        break;
    case BIOSEG__V1__JOB_STATE__JOB_STATE_PAUSED:
        fprintf(cli->out, "%s is paused: %s; `bioseg jobs resume %s` goes on\n", job->id,
                job->error ? job->error->message : "?", job->id);
        break;
    default:
        fprintf(cli->out, "%s %s: %s\n", job->id,
                job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED ? "was cancelled" : "failed",
                job->error ? job->error->message : "by its owner");
    }
}

int bs__train_watch(struct bs__cli *cli, struct bs__rpc_client *client, const char *id, uint64_t after_step)
{
    struct view v = {.cli = cli,
                     .terminal = isatty(STDERR_FILENO) == 1,
                     .loss = NAN,
                     .rate = NAN,
                     .validation = NAN,
                     .per_second = NAN,
                     .left = NAN};
    ProtobufCMessage *message = NULL;
    Bioseg__V1__GetJobRequest request = BIOSEG__V1__GET_JOB_REQUEST__INIT;
    struct bs_err err = {.msg = ""};
    int code;
    bs_status rc = follow(&v, client, id, after_step, &err);
    if (rc != BS_OK) {
        if (rc == BS_ECANCELLED && !cli->json)
            (void)fprintf(stderr, "bioseg: the run goes on; `bioseg jobs metrics %s` follows it again\n", id);
        return bs__complain_server(cli, &err);
    }
    request.id = (char *)(uintptr_t)id;
    if (bs__ask(cli, client, BS__METHOD("Jobs", "Get"), cli->timeout, &request.base,
                &bioseg__v1__get_job_response__descriptor, &message, &code) != BS_OK)
        return code;
    const Bioseg__V1__Job *job = ((const Bioseg__V1__GetJobResponse *)message)->job;
    if (job) {
        if (cli->json)
            bs__print_job(cli, job);
        else
            print_end(cli, job);
        code = job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED ||
                       job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED
                   ? BS__EXIT_SOME_FAILED
                   : BS__EXIT_OK;
    }
    protobuf_c_message_free_unpacked(message, NULL);
    return code;
}
