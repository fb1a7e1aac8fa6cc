/* The report of a training run as HTML. See report.h. */
#include "clients/cli/report.h"

#include "clients/cli/chart.h"
#include "clients/cli/datasets.h"
#include "clients/cli/html.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRAIN_COLOUR      "#8c959f"
#define VALIDATION_COLOUR "#1f6feb"
#define MAX_PAIRS_SHOWN   5000

static const char head[] =
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width\">"
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
    "<style>"
    "body{font:15px/1.5 system-ui,sans-serif;color:#1f2328;max-width:880px;margin:2em auto;padding:0 1em}"
    "h1{font-size:1.6em;margin:0 0 .2em}h2{font-size:1.2em;margin:1.8em 0 .4em;border-bottom:1px solid "
    "#d1d9e0}"
    "table{border-collapse:collapse;width:100%;font-size:.92em}"
    "th,td{text-align:left;padding:.2em .7em .2em 0;vertical-align:top;overflow-wrap:anywhere}"
    "thead th{border-bottom:1px solid #d1d9e0}tbody tr:nth-child(even){background:#f6f8fa}"
    "td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}"
    "table.facts th{width:13em;font-weight:600}code{font-size:.92em}"
    "figure{margin:1em 0}figcaption{font-weight:600}svg{width:100%;height:auto}"
    ".grid{stroke:#d1d9e0}.tick{font-size:11px;fill:#59636e}.mark{stroke:#cf222e;stroke-dasharray:4 3}"
    ".legend{margin:0;font-size:.9em}"
    ".warn{background:#fff8c5;border:1px solid #d4a72c;padding:.5em .8em;margin:.6em 0;border-radius:4px}"
    ".bad{background:#ffebe9;border:1px solid #cf222e;padding:.5em .8em;margin:.6em 0;border-radius:4px}"
    ".quiet{color:#59636e}"
    "</style><title>";

bool bs__report_point(struct bs__report_points *p, double step, double loss, double rate)
{
    if (p->count == p->room) {
        size_t room = p->room ? 2 * p->room : 1024;
        double *steps = realloc(p->step, room * sizeof *steps);
        p->step = steps ? steps : p->step;
        double *losses = realloc(p->loss, room * sizeof *losses);
        p->loss = losses ? losses : p->loss;
        double *rates = realloc(p->rate, room * sizeof *rates);
        p->rate = rates ? rates : p->rate;
        if (!steps || !losses || !rates)
            return false;
        p->room = room;
    }
    p->step[p->count] = step;
    p->loss[p->count] = loss;
    p->rate[p->count++] = rate;
    return true;
}

void bs__report_points_free(struct bs__report_points *p)
{
    free(p->step);
    free(p->loss);
    free(p->rate);
    memset(p, 0, sizeof *p);
}

/* ---- pieces ---- */

static void heading(struct bs__html *w, const char *text)
{
    bs__html_raw(w, "<h2>");
    bs__html_text(w, text);
    bs__html_raw(w, "</h2>\n");
}

static void fact(struct bs__html *w, const char *name, const char *value)
{
    if (!value || !value[0])
        return;
    bs__html_raw(w, "<tr><th>");
    bs__html_text(w, name);
    bs__html_raw(w, "</th><td>");
    bs__html_text(w, value);
    bs__html_raw(w, "</td></tr>\n");
}

static void number_fact(struct bs__html *w, const char *name, double value, const char *format)
{
    char text[64];
    /* The formats are this file's. */
    (void)strfromd(text, sizeof text, format, value);
    fact(w, name, text);
}

static void time_fact(struct bs__html *w, const char *name, int64_t ms)
{
    char text[40];
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if (ms > 0 && gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S UTC", &tm))
        fact(w, name, text);
}

static void version_fact(struct bs__html *w, const char *name, const Bioseg__V1__ModelRef *m)
{
    char text[120];
    if (!m)
        return;
    (void)snprintf(text, sizeof text, "%s version %lld", m->name, (long long)m->version);
    fact(w, name, text);
}

static void cell(struct bs__html *w, const char *text)
{
    bs__html_raw(w, "<td>");
    bs__html_text(w, text);
    bs__html_raw(w, "</td>");
}

static void version_cell(struct bs__html *w, const Bioseg__V1__ModelRef *m)
{
    bs__html_raw(w, "<td>");
    if (m)
        bs__html_format(w, "%s@%lld", m->name, (long long)m->version);
    bs__html_raw(w, "</td>");
}

static void number_cell(struct bs__html *w, double value, const char *format)
{
    char text[64];
    (void)strfromd(text, sizeof text, format, value);
    bs__html_raw(w, "<td class=\"n\">");
    bs__html_text(w, isnan(value) ? "" : text);
    bs__html_raw(w, "</td>");
}

static void note(struct bs__html *w, bool bad, const char *text)
{
    bs__html_raw(w, bad ? "<p class=\"bad\">" : "<p class=\"warn\">");
    bs__html_text(w, text);
    bs__html_raw(w, "</p>\n");
}

/* ---- the parts of the page ---- */

static const char *state_text(Bioseg__V1__JobState state)
{
    switch (state) {
    case BIOSEG__V1__JOB_STATE__JOB_STATE_QUEUED:
        return "waits for its turn";
    case BIOSEG__V1__JOB_STATE__JOB_STATE_RUNNING:
        return "running";
    case BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED:
        return "succeeded";
    case BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED:
        return "failed";
    case BIOSEG__V1__JOB_STATE__JOB_STATE_CANCELLED:
        return "cancelled";
    case BIOSEG__V1__JOB_STATE__JOB_STATE_PAUSED:
        return "paused";
    default:
        return "?";
    }
}

static void write_warnings(struct bs__html *w, const struct bs__report *r)
{
    const Bioseg__V1__Job *job = r->job;
    if (job->state != BIOSEG__V1__JOB_STATE__JOB_STATE_SUCCEEDED)
        note(w, job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED,
             job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED
                 ? "This run has failed; what follows is how far it came."
                 : "This run has not ended; what follows is how far it is.");
    if (job->error && job->error->message)
        note(w, job->state == BIOSEG__V1__JOB_STATE__JOB_STATE_FAILED, job->error->message);
    if (r->validations.count > 0 && r->validations.count < 3)
        note(w, false,
             "Fewer than three validations: the curve says little, and the best step may be chance.");
    for (size_t i = 0; r->dataset && i < r->dataset->n_groups_across_splits; i++) {
        bs__html_raw(w, "<p class=\"warn\">The group ");
        bs__html_text(w, r->dataset->groups_across_splits[i]);
        bs__html_raw(w, " has images in more than one split: scores on it look better than they are.</p>\n");
    }
    if (!r->dataset)
        note(w, false, "The dataset is gone, or cannot be read: its images are not listed.");
}

static void write_facts(struct bs__html *w, const struct bs__report *r)
{
    const Bioseg__V1__Job *job = r->job;
    const Bioseg__V1__TrainingState *t = job->training;
    bs__html_raw(w, "<table class=\"facts\">\n");
    fact(w, "State", state_text(job->state));
    version_fact(w, "Model made", job->model);
    if (r->model) {
        fact(w, "Model file (SHA-256)", r->model->sha256);
        fact(w, "Network", r->model->architecture);
        number_fact(w, "Trained numbers", (double)r->model->weight_count, "%.0f");
    }
    if (t) {
        if (t->initial)
            version_fact(w, "Began with", t->initial);
        else
            fact(w, "Began with", "random weights");
        fact(w, "Dataset", t->dataset);
        fact(w, "Dataset (SHA-256)", t->dataset_sha256);
        if (t->best_presence_case == BIOSEG__V1__TRAINING_STATE__BEST_PRESENCE_BEST_STEP) {
            number_fact(w, "Best step", (double)t->best_step, "%.0f");
            number_fact(w, "Best validation loss", t->best_validation_loss, "%.6g");
        }
    }
    if (job->progress)
        number_fact(w, "Steps made", job->progress->tiles_done, "%.0f");
    number_fact(w, "Validations", (double)r->validations.count, "%.0f");
    time_fact(w, "Submitted", job->created_ms);
    time_fact(w, "Started (the last time)", job->started_ms);
    time_fact(w, "Ended", job->finished_ms);
    if (job->finished_ms > job->started_ms && job->started_ms > 0)
        number_fact(w, "Seconds it took since then", (double)(job->finished_ms - job->started_ms) / 1000,
                    "%.1f");
    fact(w, "Job", job->id);
    fact(w, "Owner", job->owner);
    fact(w, "Report by", "bioseg " BS_VERSION);
    bs__html_raw(w, "</table>\n");
}

static void write_curves(struct bs__html *w, const struct bs__report *r)
{
    const Bioseg__V1__TrainingState *t = r->job->training;
    const bool best = t && t->best_presence_case == BIOSEG__V1__TRAINING_STATE__BEST_PRESENCE_BEST_STEP;
    const struct bs__chart_series losses[] = {
        {"training loss", TRAIN_COLOUR, r->steps.step, r->steps.loss, r->steps.count, false},
        {"validation loss", VALIDATION_COLOUR, r->validations.step, r->validations.loss, r->validations.count,
         true}};
    const struct bs__chart_series rates[] = {
        {"learning rate", VALIDATION_COLOUR, r->steps.step, r->steps.rate, r->steps.count, false}};
    heading(w, "Curves");
    bs__chart_write(w, &(struct bs__chart){.title = "Loss",
                                           .x_label = "step",
                                           .series = losses,
                                           .nseries = 2,
                                           .mark = best ? (double)t->best_step : NAN,
                                           .marked = "best"});
    bs__chart_write(w, &(struct bs__chart){.title = "Learning rate",
                                           .x_label = "step",
                                           .series = rates,
                                           .nseries = 1,
                                           .logarithmic = true,
                                           .mark = NAN});
}

/* Members of an object, those of objects inside as "a.b". */
static void write_settings(struct bs__html *w, const json_t *object, const char *before)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        char name[256];
        (void)snprintf(name, sizeof name, "%s%s%s", before, before[0] ? "." : "", key);
        if (json_is_object(value)) {
            write_settings(w, value, name);
        } else if (json_is_string(value)) {
            fact(w, name, json_string_value(value));
        } else {
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
            fact(w, name, text);
            free(text);
        }
    }
}

static void write_config(struct bs__html *w, const struct bs__report *r)
{
    const char *text = r->job->training ? r->job->training->config_json : NULL;
    json_t *config = text && text[0] ? json_loads(text, 0, NULL) : NULL;
    heading(w, "Settings, defaults included");
    bs__html_raw(w, "<table class=\"facts\">\n");
    if (json_is_object(config))
        write_settings(w, config, "");
    bs__html_raw(w, "</table>\n");
    json_decref(config);
}

static void write_data(struct bs__html *w, const struct bs__report *r)
{
    heading(w, "Data");
    if (!r->dataset)
        return;
    bs__html_raw(w, "<p>");
    bs__html_format(w, "%s: %llu images for training, %llu for validation, %llu for tests", r->dataset->name,
                    (unsigned long long)r->dataset->train_count,
                    (unsigned long long)r->dataset->validation_count,
                    (unsigned long long)r->dataset->test_count);
    bs__html_raw(w, " <span class=\"quiet\">(as the dataset is now; the run kept to what was in it when it "
                    "began)</span></p>\n");
    if (r->dataset->description && r->dataset->description[0]) {
        bs__html_raw(w, "<p>");
        bs__html_text(w, r->dataset->description);
        bs__html_raw(w, "</p>\n");
    }
    bs__html_raw(w, "<table><thead><tr><th>Image</th><th>Split</th><th>Group</th><th class=\"n\">Objects</th>"
                    "<th>SHA-256</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < r->npair && i < MAX_PAIRS_SHOWN; i++) {
        const Bioseg__V1__Pair *p = r->pairs[i];
        bs__html_raw(w, "<tr>");
        cell(w, p->name);
        cell(w, bs__split_text(p->split));
        cell(w, p->group);
        number_cell(w, (double)p->object_count, "%.0f");
        bs__html_raw(w, "<td><code>");
        bs__html_format(w, "%.12s", p->image_sha256);
        bs__html_raw(w, "</code></td></tr>\n");
    }
    bs__html_raw(w, "</tbody></table>\n");
    if (r->npair > MAX_PAIRS_SHOWN)
        note(w, false, "There are more images than are listed here.");
}

static void write_lineage(struct bs__html *w, const struct bs__report *r)
{
    if (!r->lineage || !r->lineage->n_steps)
        return;
    heading(w, "Where the weights come from");
    bs__html_raw(w, "<table><thead><tr><th>Version</th><th>How</th><th>From</th><th>Dataset</th><th>Job</th>"
                    "</tr></thead><tbody>\n");
    for (size_t i = 0; i < r->lineage->n_steps; i++) {
        const Bioseg__V1__LineageStep *s = r->lineage->steps[i];
        bs__html_raw(w, "<tr>");
        version_cell(w, s->model);
        cell(w, s->how);
        version_cell(w, s->parent);
        cell(w, s->dataset);
        cell(w, s->job_id);
        bs__html_raw(w, "</tr>\n");
    }
    bs__html_raw(w, "</tbody></table>\n");
}

static void write_differences(struct bs__html *w, const Bioseg__V1__Comparison *c)
{
    bs__html_raw(
        w, "<table><thead><tr><th>Mean of</th><th class=\"n\">this model</th><th class=\"n\">baseline</th>"
           "<th class=\"n\">difference</th><th class=\"n\">from</th><th class=\"n\">to</th></tr></thead>"
           "<tbody>\n");
    for (size_t i = 0; i < c->n_differences; i++) {
        const Bioseg__V1__MeanDifference *d = c->differences[i];
        bs__html_raw(w, "<tr>");
        bs__html_raw(w, "<td>");
        bs__html_text(w, d->metric);
        bs__html_raw(w, c->forced ? " (seen in training)</td>" : "</td>");
        number_cell(w, d->candidate_mean, "%.4f");
        number_cell(w, d->baseline_mean, "%.4f");
        number_cell(w, d->difference, "%.4f");
        number_cell(w, d->low, "%.4f");
        number_cell(w, d->high, "%.4f");
        bs__html_raw(w, "</tr>\n");
    }
    bs__html_raw(w, "</tbody></table>\n<p class=\"quiet\">");
    bs__html_format(
        w,
        "%g %% intervals of the difference: paired bootstrap over images, percentiles, %u resamples, "
        "seed %llu.",
        100 * c->confidence, c->resamples, (unsigned long long)c->seed);
    bs__html_raw(w, "</p>\n");
}

static void write_images(struct bs__html *w, const Bioseg__V1__Comparison *c)
{
    bs__html_raw(
        w, "<table><thead><tr><th>Image</th><th class=\"n\">Objects</th><th class=\"n\">mSA</th>"
           "<th class=\"n\">baseline</th><th class=\"n\">SA50</th><th class=\"n\">baseline</th>"
           "<th class=\"n\">SA75</th><th class=\"n\">baseline</th><th>Seen by</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < c->n_images; i++) {
        const Bioseg__V1__ComparedImage *im = c->images[i];
        const Bioseg__V1__Score *a = im->candidate, *b = im->baseline;
        bs__html_raw(w, "<tr>");
        cell(w, im->name);
        number_cell(w, (double)im->expected, "%.0f");
        number_cell(w, a ? a->msa : NAN, "%.4f");
        number_cell(w, b ? b->msa : NAN, "%.4f");
        number_cell(w, a ? a->sa50 : NAN, "%.4f");
        number_cell(w, b ? b->sa50 : NAN, "%.4f");
        number_cell(w, a ? a->sa75 : NAN, "%.4f");
        number_cell(w, b ? b->sa75 : NAN, "%.4f");
        bs__html_raw(w, "<td>");
        for (size_t k = 0; k < im->n_uses; k++)
            bs__html_format(w, "%s%s@%lld (%s)", k ? ", " : "",
                            im->uses[k]->model ? im->uses[k]->model->name : "?",
                            im->uses[k]->model ? (long long)im->uses[k]->model->version : 0,
                            bs__split_text(im->uses[k]->split));
        bs__html_raw(w, "</td></tr>\n");
    }
    bs__html_raw(w, "</tbody></table>\n");
}

static void write_comparisons(struct bs__html *w, const struct bs__report *r)
{
    for (size_t i = 0; i < r->ncomparison; i++) {
        const Bioseg__V1__Comparison *c = r->comparisons[i];
        bs__html_raw(w, "<h2>");
        bs__html_format(w, "Compared with %s@%lld on %zu images of %s (%s)",
                        c->baseline ? c->baseline->name : "?",
                        c->baseline ? (long long)c->baseline->version : 0, c->n_images, c->dataset,
                        bs__split_text(c->split));
        bs__html_raw(w, c->forced ? " &ndash; FORCED</h2>\n" : "</h2>\n");
        for (size_t k = 0; k < c->n_warnings; k++)
            note(w, c->forced && k == 0, c->warnings[k]->text);
        write_differences(w, c);
        write_images(w, c);
    }
}

bs_status bs__report_write(const struct bs__report *r, char **html, size_t *size, struct bs_err *err)
{
    struct bs__html w = {0};
    const Bioseg__V1__TrainingState *t = r->job->training;
    bs__html_raw(&w, head);
    bs__html_text(&w, t ? t->model_name : r->job->id);
    bs__html_raw(&w, "</title></head><body>\n<h1>Training of ");
    bs__html_text(&w, t ? t->model_name : r->job->id);
    bs__html_raw(&w, "</h1>\n");
    write_warnings(&w, r);
    write_facts(&w, r);
    write_curves(&w, r);
    write_comparisons(&w, r);
    write_data(&w, r);
    write_lineage(&w, r);
    write_config(&w, r);
    bs__html_raw(&w, "</body></html>\n");
    *html = bs__html_end(&w, size);
    return *html ? BS_OK : BS_FAIL(err, BS_ENOMEM, "no memory for the report");
}
