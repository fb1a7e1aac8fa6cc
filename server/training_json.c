/* Training jobs as JSON. See training_json.h. */
#include "server/training_json.h"

#include "model/weights/json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 64

void bs_training_request_free(struct bs_training_request *r)
{
    free(r->config);
    r->config = NULL;
}

static bs_status end_text(struct bs_json_writer *w, char **json, struct bs_err *err)
{
    bs_json_write_close(w, '}');
    *json = bs_json_write_end(w);
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "out of memory while describing a training run");
}

bs_status bs_training_request_to_json(const struct bs_training_request *r, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    if (r->parent[0]) { /* under the names by which the store finds models that are needed */
        bs_json_write_string(&w, "model", r->parent);
        bs_json_write_int(&w, "model_version", r->parent_version);
        bs_json_write_string(&w, "model_sha256", r->parent_blob);
    }
    bs_json_write_string(&w, "model_name", r->model_name);
    bs_json_write_string(&w, "dataset", r->dataset);
    bs_json_write_int(&w, "dataset_number", r->dataset_number);
    bs_json_write_string(&w, "dataset_sha256", r->dataset_hash);
    bs_json_write_string(&w, "config", r->config);
    return end_text(&w, json, err);
}

static bool read_text(const struct bs_json_value *root, const char *key, char *out, size_t room)
{
    const char *text;
    if (!bs_json_as_string(bs_json_get(root, key), &text) || strlen(text) >= room)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

bs_status bs_training_request_from_json(const char *json, struct bs_training_request *r, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    const char *config = NULL;
    memset(r, 0, sizeof *r);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc);
    bool ok = read_text(root, "model_name", r->model_name, sizeof r->model_name) &&
              read_text(root, "dataset", r->dataset, sizeof r->dataset) &&
              read_text(root, "dataset_sha256", r->dataset_hash, sizeof r->dataset_hash) &&
              bs_json_as_int(bs_json_get(root, "dataset_number"), &r->dataset_number) &&
              bs_json_as_string(bs_json_get(root, "config"), &config);
    if (ok && bs_json_get(root, "model"))
        ok = read_text(root, "model", r->parent, sizeof r->parent) &&
             read_text(root, "model_sha256", r->parent_blob, sizeof r->parent_blob) &&
             bs_json_as_int(bs_json_get(root, "model_version"), &r->parent_version);
    if (!ok)
        rc = BS_FAIL(err, BS_ECORRUPT, "the stored request of the training run is not valid");
    else if (!(r->config = strdup(config)))
        rc = BS_FAIL(err, BS_ENOMEM, "out of memory while reading a training run");
    bs_json_free(doc);
    return rc;
}

static void write_outcome(struct bs_json_writer *w, const struct bs_training_outcome *o)
{
    char plan[24];
    bs_json_write_int(w, "step", o->run.step);
    bs_json_write_int(w, "best_step", o->run.best_step);
    if (isfinite(o->run.best_metric))
        bs_json_write_double(w, "best_metric", o->run.best_metric);
    bs_json_write_string(w, "end",
                         o->run.end == BS_RUN_STOPPED ? "no better for long" : "all steps were made");
    (void)snprintf(plan, sizeof plan, "%016" PRIx64, o->run.plan_hash);
    bs_json_write_string(w, "plan_hash", plan);
    bs_json_write_string(w, "algorithms", o->algorithms ? o->algorithms : "");
    bs_json_write_string(w, "software", "biosegd " BS_VERSION);
}

bs_status bs_training_result_to_json(const struct bs_training_request *r, const struct bs_training_outcome *o,
                                     char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_open(&w, "model", '{');
    bs_json_write_string(&w, "name", r->model_name);
    bs_json_write_int(&w, "version", o->version);
    bs_json_write_close(&w, '}');
    write_outcome(&w, o);
    return end_text(&w, json, err);
}

int64_t bs_training_result_version(const char *json)
{
    struct bs_json *doc = NULL;
    struct bs_err ignored;
    int64_t version = 0;
    if (!json || bs_json_parse(json, strlen(json), MAX_VALUES, &doc, &ignored) != BS_OK)
        return 0;
    if (!bs_json_as_int(bs_json_get(bs_json_get(bs_json_root(doc), "model"), "version"), &version))
        version = 0;
    bs_json_free(doc);
    return version;
}

bs_status bs_training_lineage_to_json(const struct bs_training_request *r,
                                      const struct bs_training_outcome *o, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_string(&w, "how", r->parent[0] ? "finetune" : "train");
    bs_json_write_string(&w, "job", o->job);
    if (r->parent[0]) {
        bs_json_write_open(&w, "parent", '{');
        bs_json_write_string(&w, "name", r->parent);
        bs_json_write_int(&w, "version", r->parent_version);
        bs_json_write_string(&w, "sha256", r->parent_blob);
        bs_json_write_close(&w, '}');
    }
    bs_json_write_open(&w, "dataset", '{');
    bs_json_write_string(&w, "name", r->dataset);
    bs_json_write_string(&w, "sha256", r->dataset_hash);
    bs_json_write_close(&w, '}');
    bs_json_write_string(&w, "config", r->config);
    write_outcome(&w, o);
    return end_text(&w, json, err);
}

bs_status bs_training_lineage_from_json(const char *json, struct bs_training_lineage *out, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    memset(out, 0, sizeof *out);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc), *parent = bs_json_get(root, "parent");
    bool ok = read_text(root, "how", out->how, sizeof out->how) &&
              read_text(root, "job", out->job, sizeof out->job) &&
              read_text(bs_json_get(root, "dataset"), "name", out->dataset, sizeof out->dataset);
    if (ok && parent)
        ok = read_text(parent, "name", out->parent, sizeof out->parent) &&
             read_text(parent, "sha256", out->parent_blob, sizeof out->parent_blob) &&
             bs_json_as_int(bs_json_get(parent, "version"), &out->parent_version) && out->parent_version > 0;
    bs_json_free(doc);
    return ok ? BS_OK : BS_FAIL(err, BS_ECORRUPT, "the stored lineage of a model is not valid");
}
