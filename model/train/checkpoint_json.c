/* See checkpoint.h. Numbers are written so that they read back to the bit. */
#include "model/train/checkpoint.h"

#include "model/json_fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORMAT      1
#define MAX_VALUES  64
#define PLAN_DIGITS 16

/* JSON has no infinity: what is not there is none. */
static void write_best(struct bs_json_writer *w, const char *key, double value)
{
    if (isfinite(value))
        bs_json_write_double(w, key, value);
}

bs_status bs__checkpoint_describe(const struct bs_run *r, char **json, struct bs_err *err)
{
    const struct bs__run_state *s = &r->state;
    struct bs_json_writer w = {0};
    char plan[PLAN_DIGITS + 1];
    (void)snprintf(plan, sizeof plan, "%016" PRIx64, bs_run_plan_hash(r));
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_int(&w, "format", FORMAT);
    bs_json_write_string(&w, "config", r->config_json);
    bs_json_write_string(&w, "dataset", r->dataset_hash);
    bs_json_write_string(&w, "plan", plan);
    bs_json_write_string(&w, "device", r->device);
    bs_json_write_int(&w, "step", s->step);
    bs_json_write_double(&w, "learning_rate", s->learning_rate);
    write_best(&w, "plateau_best", s->plateau.best);
    bs_json_write_int(&w, "plateau_bad", s->plateau.bad);
    write_best(&w, "best_metric", s->best_metric);
    bs_json_write_int(&w, "best_step", s->best_step);
    bs_json_write_int(&w, "since_best", s->since_best);
    bs_json_write_double(&w, "loss_scale", s->scale.scale);
    bs_json_write_int(&w, "loss_scale_good", s->scale.good);
    bs_json_write_int(&w, "skipped", s->skipped);
    bs_json_write_double(&w, "loss_sum", s->loss_sum);
    bs_json_write_int(&w, "loss_count", s->loss_count);
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the description of a checkpoint");
    return BS_OK;
}

static const char *text_of(struct bs__fields *f, const char *key)
{
    const char *text = "";
    const struct bs_json_value *v = bs__field(f, key, true);
    if (v && !bs_json_as_string(v, &text))
        bs__field_wrong_type(f, key, v, "a string");
    return text;
}

static void read_state(struct bs__fields *f, struct bs__run_state *s)
{
    int64_t bad = 0;
    s->plateau.best = s->best_metric = (double)INFINITY;
    bs__read_int64(f, "step", true, 0, INT64_MAX, &s->step);
    bs__read_double(f, "learning_rate", 0, 1e3, &s->learning_rate);
    bs__read_double(f, "plateau_best", -1e300, 1e300, &s->plateau.best);
    bs__read_int64(f, "plateau_bad", true, 0, INT32_MAX, &bad);
    s->plateau.bad = (int)bad;
    bs__read_double(f, "best_metric", -1e300, 1e300, &s->best_metric);
    bs__read_int64(f, "best_step", true, 0, INT64_MAX, &s->best_step);
    bs__read_int64(f, "since_best", true, 0, INT64_MAX, &s->since_best);
    bs__read_double(f, "loss_scale", 1, BS_LOSS_SCALE_MOST, &s->scale.scale);
    bs__read_int64(f, "loss_scale_good", true, 0, BS_LOSS_SCALE_ROW, &s->scale.good);
    bs__read_int64(f, "skipped", true, 0, s->step, &s->skipped);
    bs__read_double(f, "loss_sum", -1e300, 1e300, &s->loss_sum);
    bs__read_int64(f, "loss_count", true, 0, INT64_MAX, &s->loss_count);
}

static bs_status match(const struct bs_run *r, const char *config, const char *dataset, const char *plan,
                       const char *device, struct bs_err *err)
{
    char here[PLAN_DIGITS + 1], what[200];
    (void)snprintf(here, sizeof here, "%016" PRIx64, bs_run_plan_hash(r));
    if (strcmp(config, r->config_json) != 0) {
        bs__first_difference(config, "in the checkpoint", r->config_json, "here", what, sizeof what);
        return BS_FAIL(err, BS_EPRECONDITION, "the checkpoint is of a run with another configuration: %s",
                       what);
    }
    if (strcmp(dataset, r->dataset_hash) != 0)
        return BS_FAIL(err, BS_EPRECONDITION,
                       "the checkpoint is of a run with another dataset: %.64s in the checkpoint, %.64s here",
                       dataset, r->dataset_hash);
    if (strcmp(plan, here) != 0)
        return BS_FAIL(
            err, BS_EPRECONDITION,
            "the checkpoint was made by another plan (%.16s, here %s), so going on would not give the "
            "same bits: it was on %.140s; this is %.140s",
            plan, here, device, r->device);
    return BS_OK;
}

bs_status bs__checkpoint_match(const struct bs_run *r, const char *json, struct bs__run_state *state,
                               struct bs_err *err)
{
    struct bs_json *doc = NULL;
    int64_t format = 0;
    struct bs__run_state s = r->state;
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK) {
        bs_err_prefix(err, "checkpoint");
        return rc;
    }
    struct bs__fields f = {.of = "checkpoint", .object = bs_json_root(doc), .err = err};
    bs__read_int64(&f, "format", true, FORMAT, FORMAT, &format);
    const char *config = text_of(&f, "config"), *dataset = text_of(&f, "dataset"),
               *plan = text_of(&f, "plan"), *device = text_of(&f, "device");
    read_state(&f, &s);
    bs__read_end(&f, "it");
    rc = f.rc == BS_OK ? match(r, config, dataset, plan, device, err) : f.rc;
    if (rc == BS_OK)
        *state = s;
    bs_json_free(doc);
    return rc;
}
