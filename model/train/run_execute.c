/* The loop of a training run; see run.h. A step: batch, gradients, new weights. After some of them validation, which moves the
   learning rate, chooses the best weights and decides whether more steps are worth it. */
#include "model/train/run_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LATELY 0.05 /* weight of the newest step in the mean time of a step */

/* One execution. */
struct loop {
    struct bs_run *run;
    const struct bs_run_hooks *hooks;
    const struct bs_cancel *cancel;
    struct bs_batches *batches;
    double began, step_seconds; /* smoothed; 0: not known yet */
    int64_t began_step;
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct bs_run_event new_event(const struct loop *l, enum bs_run_event_kind kind)
{
    const struct bs_run *r = l->run;
    const struct bs__run_state *s = &r->state;
    const int64_t made = s->step - l->began_step;
    return (struct bs_run_event){
        .kind = kind,
        .step = s->step,
        .steps = r->steps,
        .epoch = (s->step - 1) / r->epoch_steps + 1,
        .learning_rate = s->learning_rate,
        .best_metric = s->best_metric,
        .best_step = s->best_step,
        .images_per_second = l->step_seconds > 0 ? r->config.batch / l->step_seconds : 0,
        .seconds_left =
            made > 0 ? (seconds_now() - l->began) / (double)made * (double)(r->steps - s->step) : -1};
}

static bs_status tell(const struct loop *l, const struct bs_run_event *event, struct bs_err *err)
{
    return l->hooks->event ? l->hooks->event(l->hooks->ctx, event, err) : BS_OK;
}

static bs_status keep(const struct loop *l, enum bs_checkpoint_kind kind, struct bs_err *err)
{
    struct bs_run *r = l->run;
    if (!l->hooks->checkpoint)
        return BS_OK;
    const bs_status rc = l->hooks->checkpoint(l->hooks->ctx, kind, r, r->state.step, err);
    if (rc == BS_OK && kind == BS_CHECKPOINT_LATEST)
        r->latest_step = r->state.step;
    return rc;
}

/* The images of a batch, as many as fit. */
static void name_images(const struct bs_run *r, const struct bs_batch *batch, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (int i = 0; i < r->config.batch && n < size; i++) {
        const size_t pair = batch->pair[i];
        const int put = r->setup.train_name
                            ? snprintf(out + n, size - n, "%s%.60s", i ? ", " : "",
                                       r->setup.train_name(r->setup.name_ctx, pair))
                            : snprintf(out + n, size - n, "%snumber %zu", i ? ", " : "", pair);
        n += put > 0 ? (size_t)put : 0;
    }
    if (n >= size && size > 4)
        memcpy(out + size - 4, "...", 4);
}

static bs_status not_finite(const struct loop *l, double loss, const struct bs_batch *batch,
                            struct bs_err *err)
{
    const struct bs_run *r = l->run;
    char images[240], last[64] = "no checkpoint was kept";
    name_images(r, batch, images, sizeof images);
    if (r->latest_step >= 0)
        (void)snprintf(last, sizeof last, "the last checkpoint is of step %" PRId64, r->latest_step);
    return BS_FAIL(err, BS_EINVAL,
                   "the loss of step %" PRId64
                   " is %g, with images %s: their pixels or labels are not finite, or "
                   "the learning rate of %g is too high; %s",
                   r->state.step + 1, loss, images, r->state.learning_rate, last);
}

/* Applies the gradients, unless they overflowed: then the step is left out, and the next one is made with a smaller scale. */
static bs_status apply(struct loop *l, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs__run_state *s = &r->state;
    struct bs_optimizer optimizer = r->config.optimizer;
    optimizer.learning_rate = s->learning_rate;
    if (r->config.precision != BS_PRECISION_F16)
        return bs_step_apply(r->step, &optimizer, err);
    const bool overflowed = bs_step_overflowed(r->step);
    const double scale = s->scale.scale;
    if (!bs_loss_scale_step(&s->scale, overflowed))
        return BS_FAIL(err, BS_EINVAL,
                       "the gradients of step %" PRId64
                       " are beyond f16 even with a loss that is scaled by %g; precision bf16 or f32 has a "
                       "larger range; the last checkpoint is of step %" PRId64,
                       s->step + 1, scale, r->latest_step);
    s->skipped += overflowed;
    return overflowed ? BS_OK : bs_step_apply(r->step, &optimizer, err);
}

static bs_status make_step(struct loop *l, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs__run_state *s = &r->state;
    struct bs_batch batch;
    const double start = seconds_now();
    double loss = 0;
    bs_status rc;
    if ((rc = bs_batches_next(l->batches, l->cancel, &batch, err)) != BS_OK)
        return rc;
    if (r->config.precision == BS_PRECISION_F16)
        bs_step_set_scale(r->step, s->scale.scale);
    rc = bs_step_compute(r->step, batch.image, batch.target, l->cancel, &loss, err);
    if (rc == BS_EINVAL && !isfinite(loss))
        return not_finite(l, loss, &batch, err);
    if (rc != BS_OK || (rc = apply(l, err)) != BS_OK)
        return rc;
    s->step++;
    s->loss_sum += loss;
    s->loss_count++;
    const double took = seconds_now() - start;
    l->step_seconds = l->step_seconds > 0 ? l->step_seconds + LATELY * (took - l->step_seconds) : took;
    struct bs_run_event event = new_event(l, BS_RUN_STEP);
    event.loss = loss;
    return tell(l, &event, err);
}

/* Mean loss over the validation windows. The step's arena is not needed meanwhile. */
static bs_status measure(struct loop *l, double *metric, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs_batches *windows = NULL;
    double sum = 0;
    bs_status rc = bs_batches_create(&r->validation, &windows, err);
    bs_step_trim(r->step);
    for (int64_t i = 0; i < r->validation_count && rc == BS_OK; i++) {
        struct bs_batch window;
        double loss = 0;
        bs_cancel_yield(l->cancel); /* a GPU does not between operators */
        if ((rc = bs_batches_next(windows, l->cancel, &window, err)) == BS_OK &&
            (rc = bs_validator_run(r->validator, window.image, window.target, l->cancel, &loss, err)) ==
                BS_OK)
            sum += loss;
    }
    bs_batches_destroy(windows);
    *metric = sum / (double)r->validation_count;
    return rc;
}

/* The first window once more, to be seen. */
static bs_status show(struct loop *l, struct bs_run_event *event, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs_batches_setup one = r->validation;
    struct bs_batches *windows = NULL;
    struct bs_batch window;
    double loss;
    one.threads = 0;
    bs_status rc = bs_batches_create(&one, &windows, err);
    if (rc == BS_OK && (rc = bs_batches_next(windows, l->cancel, &window, err)) == BS_OK &&
        (rc = bs_validator_run(r->validator, window.image, window.target, l->cancel, &loss, err)) == BS_OK) {
        event->image = window.image;
        event->target = window.target;
        event->output = bs_validator_output(r->validator);
        event->channels = bs_arch_in_channels(&r->config.arch);
        event->target_channels = bs_arch_out_channels(&r->config.arch);
        event->image_height = (size_t)one.image.dim[2];
        event->image_width = (size_t)one.image.dim[3];
        event->height = r->config.sample.height;
        event->width = r->config.sample.width;
        rc = tell(l, event, err);
    }
    bs_batches_destroy(windows);
    return rc;
}

static bs_status validate(struct loop *l, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs__run_state *s = &r->state;
    double metric = 0;
    bs_status rc = measure(l, &metric, err);
    if (rc != BS_OK)
        return rc;
    if (!isfinite(metric))
        return BS_FAIL(err, BS_EINVAL,
                       "the validation loss after step %" PRId64
                       " is %g: the weights are of no use, the learning rate of %g is too high; the last "
                       "checkpoint is of step %" PRId64,
                       s->step, metric, s->learning_rate, r->latest_step);
    const double loss = s->loss_count ? s->loss_sum / (double)s->loss_count : 0;
    const bool better = metric < s->best_metric;
    s->learning_rate = bs_plateau_step(&s->plateau, metric, s->learning_rate);
    s->since_best = better ? 0 : s->since_best + 1;
    s->loss_sum = 0;
    s->loss_count = 0;
    if (better) {
        s->best_metric = metric;
        s->best_step = s->step;
    }
    struct bs_run_event event = new_event(l, BS_RUN_VALIDATION);
    event.loss = loss;
    event.metric = metric;
    event.better = better;
    rc = l->hooks->event ? show(l, &event, err) : BS_OK;
    bs_validator_trim(r->validator);
    /* The best first: when LATEST says that they were the best, they are kept. */
    if (rc == BS_OK && better)
        rc = keep(l, BS_CHECKPOINT_BEST, err);
    return rc == BS_OK ? keep(l, BS_CHECKPOINT_LATEST, err) : rc;
}

static bool due(int64_t step, int64_t every)
{
    return every > 0 && step % every == 0;
}

/* What was asked for between two steps; *pause: the run ends. */
static bs_status obey(struct loop *l, bool *pause, struct bs_err *err)
{
    struct bs_run *r = l->run;
    struct bs_run_control control = {0};
    bs_status rc = BS_OK;
    if (l->hooks->control)
        l->hooks->control(l->hooks->ctx, &control);
    if (control.learning_rate > 0)
        r->state.learning_rate = control.learning_rate;
    if (control.best_now && !isfinite(r->state.best_metric))
        rc = keep(l, BS_CHECKPOINT_BEST, err);
    *pause = control.pause;
    if (rc == BS_OK && control.pause && r->latest_step != r->state.step)
        rc = keep(l, BS_CHECKPOINT_LATEST, err);
    return rc;
}

static bool stops_early(const struct bs_run *r)
{
    return r->config.stop_after > 0 && r->state.since_best > r->config.stop_after;
}

static bs_status run_steps(struct loop *l, enum bs_run_end *end, struct bs_err *err)
{
    struct bs_run *r = l->run;
    bs_status rc = BS_OK;
    bool pause = false;
    *end = BS_RUN_FINISHED;
    while (rc == BS_OK && r->state.step < r->steps) {
        if (stops_early(r)) {
            *end = BS_RUN_STOPPED;
            return BS_OK;
        }
        if ((rc = obey(l, &pause, err)) == BS_OK && pause) {
            *end = BS_RUN_PAUSED;
            return BS_OK;
        }
        if (rc == BS_OK)
            rc = make_step(l, err);
        if (rc != BS_OK)
            return rc;
        bs_cancel_yield(l->cancel);
        if (r->state.step == r->steps || due(r->state.step, r->validate_every))
            rc = validate(l, err);
        else if (due(r->state.step, r->config.checkpoint_every))
            rc = keep(l, BS_CHECKPOINT_LATEST, err);
    }
    return rc;
}

bs_status bs_run_execute(struct bs_run *r, const struct bs_run_hooks *hooks, const struct bs_cancel *cancel,
                         struct bs_run_result *result, struct bs_err *err)
{
    struct loop l = {
        .run = r, .hooks = hooks, .cancel = cancel, .began = seconds_now(), .began_step = r->state.step};
    struct bs_batches_setup train = r->train;
    train.first = r->state.step;
    r->cancel = cancel;
    *result = (struct bs_run_result){.end = BS_RUN_FINISHED};
    bs_status rc = bs_batches_create(&train, &l.batches, err);
    if (rc == BS_OK)
        rc = run_steps(&l, &result->end, err);
    bs_batches_destroy(l.batches);
    result->step = r->state.step;
    result->best_step = r->state.best_step;
    result->best_metric = r->state.best_metric;
    result->latest_step = r->latest_step;
    result->plan_hash = bs_run_plan_hash(r);
    return rc;
}
