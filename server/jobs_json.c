/* What a segmentation job is and what it yielded, as JSON for the store. The text is ours, but it outlives the program
   that wrote it: everything is checked when it is read back. Pure functions; any thread. */
#include "server/jobs.h"

#include "model/weights/json.h"

#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 256

/* JSON knows no NaN and no infinity, the no-data value does. */
static void write_number(struct bs_json_writer *w, const char *key, double v)
{
    if (isnan(v))
        bs_json_write_string(w, key, "nan");
    else if (isinf(v))
        bs_json_write_string(w, key, v > 0 ? "inf" : "-inf");
    else
        bs_json_write_double(w, key, v);
}

static bool read_number(const struct bs_json_value *v, double *out)
{
    const char *text;
    if (bs_json_as_double(v, out))
        return true;
    if (!bs_json_as_string(v, &text))
        return false;
    if (strcmp(text, "nan") == 0)
        *out = NAN;
    else if (strcmp(text, "inf") == 0)
        *out = INFINITY;
    else if (strcmp(text, "-inf") == 0)
        *out = -INFINITY;
    else
        return false;
    return true;
}

/* Members of a region, by their names in JSON. */
static const struct {
    const char *name;
    size_t offset;
} region_fields[] = {
    {"region_y", offsetof(struct bs_region, y)},
    {"region_x", offsetof(struct bs_region, x)},
    {"region_height", offsetof(struct bs_region, height)},
    {"region_width", offsetof(struct bs_region, width)},
    {"region_z", offsetof(struct bs_region, z)},
    {"region_depth", offsetof(struct bs_region, depth)},
    {"region_t", offsetof(struct bs_region, t)},
    {"region_duration", offsetof(struct bs_region, duration)},
};
#define REGION_FIELDS (sizeof region_fields / sizeof region_fields[0])

static uint64_t *region_field(struct bs_region *r, size_t i)
{
    return (uint64_t *)(void *)((char *)r + region_fields[i].offset);
}

/* Nothing for all of the image. */
static void write_region(struct bs_json_writer *w, const struct bs_region *region)
{
    struct bs_region r = *region;
    for (size_t i = 0; i < REGION_FIELDS && !bs_region_is_all(region); i++)
        bs_json_write_int(w, region_fields[i].name, (int64_t)*region_field(&r, i));
}

static void write_params(struct bs_json_writer *w, const struct bs_segment_params *p)
{
    bs_json_write_open(w, "parameters", '{');
    bs_json_write_string(w, "recipe",
                         p->instances.recipe == BS_RECIPE_BOUNDARIES ? "boundaries" : "distances");
    write_number(w, "threshold1", p->instances.threshold1);
    write_number(w, "threshold2", p->instances.threshold2);
    write_number(w, "center_distance_threshold", p->instances.center_distance_threshold);
    write_number(w, "boundary_distance_threshold", p->instances.boundary_distance_threshold);
    write_number(w, "foreground_threshold", p->instances.foreground_threshold);
    write_number(w, "distance_smoothing", p->instances.distance_smoothing);
    bs_json_write_int(w, "min_size", p->instances.min_size);
    write_number(w, "min_size_um2", p->min_size_um2);
    bs_json_write_int(w, "channel", p->channel);
    bs_json_write_int(w, "tile", p->tile);
    bs_json_write_int(w, "halo", p->halo);
    bs_json_write_bool(w, "whole_image", p->whole_image);
    bs_json_write_bool(w, "resample_positions", p->resample_positions);
    bs_json_write_int(w, "batch", p->batch);
    bs_json_write_string(w, "statistics", bs_statistics_name(p->statistics));
    bs_json_write_string(w, "precision", bs_precision_name(p->precision));
    if (p->has_no_data)
        write_number(w, "no_data", p->no_data);
    write_number(w, "scale", p->scale);
    bs_json_write_int(w, "memory_budget", (int64_t)p->memory_budget);
    write_region(w, &p->region);
    bs_json_write_string(w, "planes", p->planes == BS_PLANES_LINKED ? "linked" : "independent");
    bs_json_write_bool(w, "separate_planes", p->separate_planes);
    write_number(w, "link_overlap", p->link_overlap);
    bs_json_write_int(w, "linked_min_size", p->linked_min_size);
    bs_json_write_close(w, '}');
}

bs_status bs_job_request_to_json(const struct bs_job_request *r, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_string(&w, "model", r->model);
    bs_json_write_int(&w, "model_version", r->model_version);
    bs_json_write_bool(&w, "raw", r->raw);
    if (r->raw) {
        bs_json_write_string(&w, "sample", bs_sample_name(r->sample));
        bs_json_write_string(&w, "axes", r->axes);
        bs_json_write_open(&w, "shape", '[');
        for (int i = 0; i < r->ndim; i++)
            bs_json_write_int(&w, NULL, (int64_t)r->dim[i]);
        bs_json_write_close(&w, ']');
    }
    if (r->pages)
        bs_json_write_string(&w, "pages", (const char[]){r->pages, 0});
    write_number(&w, "pixel_size_um", r->pixel_size);
    if (r->spacing > 0)
        write_number(&w, "spacing_um", r->spacing);
    bs_json_write_bool(&w, "want_maps", r->want_maps);
    bs_json_write_bool(&w, "want_objects", r->want_objects);
    write_params(&w, &r->params);
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "out of memory while writing a job's request");
    return BS_OK;
}

/* Reads members of one object; the first one that is wrong is remembered. */
struct reader {
    const struct bs_json_value *object;
    const char *wrong;
};

static void want(struct reader *r, const char *key, bool ok)
{
    if (!ok && !r->wrong)
        r->wrong = key;
}

static double number_of(struct reader *r, const char *key)
{
    double v = 0;
    want(r, key, read_number(bs_json_get(r->object, key), &v));
    return v;
}

static int64_t int_of(struct reader *r, const char *key, int64_t min, int64_t max)
{
    int64_t v = 0;
    want(r, key, bs_json_as_int(bs_json_get(r->object, key), &v) && v >= min && v <= max);
    return v;
}

static bool bool_of(struct reader *r, const char *key)
{
    bool v = false;
    want(r, key, bs_json_as_bool(bs_json_get(r->object, key), &v));
    return v;
}

static const char *string_of(struct reader *r, const char *key)
{
    const char *v = "";
    want(r, key, bs_json_as_string(bs_json_get(r->object, key), &v));
    return v;
}

/* One of two words: true for the second. */
static bool word_of(struct reader *r, const char *key, const char *first, const char *second)
{
    const char *v = string_of(r, key);
    want(r, key, strcmp(v, first) == 0 || strcmp(v, second) == 0);
    return strcmp(v, second) == 0;
}

static enum bs_precision precision_of(struct reader *r, const char *key)
{
    const char *v = string_of(r, key);
    for (int p = 0; p < BS_PRECISIONS; p++)
        if (strcmp(v, bs_precision_name((enum bs_precision)p)) == 0)
            return (enum bs_precision)p;
    want(r, key, false);
    return BS_PRECISION_F32;
}

static enum bs_statistics_scope statistics_of(struct reader *r, const char *key)
{
    const char *v = string_of(r, key);
    for (int s = 0; s < BS_STATISTICS_SCOPES; s++)
        if (strcmp(v, bs_statistics_name((enum bs_statistics_scope)s)) == 0)
            return (enum bs_statistics_scope)s;
    want(r, key, false);
    return BS_STATISTICS_IMAGE;
}

/* Region and planes; requests stored before there were any lack them. */
static void read_planes(struct reader *r, struct bs_segment_params *p)
{
    for (size_t i = 0; i < REGION_FIELDS; i++)
        if (bs_json_get(r->object, region_fields[i].name))
            *region_field(&p->region, i) = (uint64_t)int_of(r, region_fields[i].name, 0, INT64_MAX);
    if (!bs_json_get(r->object, "planes"))
        return;
    p->planes = word_of(r, "planes", "independent", "linked") ? BS_PLANES_LINKED : BS_PLANES_INDEPENDENT;
    p->separate_planes = bool_of(r, "separate_planes");
    p->link_overlap = number_of(r, "link_overlap");
    p->linked_min_size = int_of(r, "linked_min_size", 0, INT64_MAX);
}

static void read_params(struct reader *r, struct bs_segment_params *p)
{
    p->instances.recipe =
        word_of(r, "recipe", "boundaries", "distances") ? BS_RECIPE_DISTANCES : BS_RECIPE_BOUNDARIES;
    p->instances.threshold1 = number_of(r, "threshold1");
    p->instances.threshold2 = number_of(r, "threshold2");
    p->instances.center_distance_threshold = number_of(r, "center_distance_threshold");
    p->instances.boundary_distance_threshold = number_of(r, "boundary_distance_threshold");
    p->instances.foreground_threshold = number_of(r, "foreground_threshold");
    p->instances.distance_smoothing = number_of(r, "distance_smoothing");
    p->instances.min_size = int_of(r, "min_size", 0, INT64_MAX);
    p->min_size_um2 = number_of(r, "min_size_um2");
    p->channel = (int)int_of(r, "channel", -1, INT32_MAX);
    p->tile = int_of(r, "tile", 0, INT64_MAX);
    p->halo = int_of(r, "halo", -1, INT64_MAX);
    /* Requests stored before there were these two lack them. */
    p->whole_image = bs_json_get(r->object, "whole_image") && bool_of(r, "whole_image");
    p->resample_positions = bs_json_get(r->object, "resample_positions") && bool_of(r, "resample_positions");
    p->batch = (int)int_of(r, "batch", 0, INT32_MAX);
    p->statistics = statistics_of(r, "statistics");
    p->precision = precision_of(r, "precision");
    p->has_no_data = bs_json_get(r->object, "no_data") != NULL;
    if (p->has_no_data)
        p->no_data = number_of(r, "no_data");
    p->scale = number_of(r, "scale");
    p->memory_budget = (size_t)int_of(r, "memory_budget", 0, INT64_MAX);
    read_planes(r, p);
}

static void read_raw(struct reader *r, struct bs_job_request *q)
{
    const char *sample = string_of(r, "sample"), *axes = string_of(r, "axes");
    int s = 0;
    while (s < BS_SAMPLE_COUNT && strcmp(bs_sample_name((enum bs_sample)s), sample) != 0)
        s++;
    want(r, "sample", s < BS_SAMPLE_COUNT);
    q->sample = (enum bs_sample)s;
    const struct bs_json_value *shape = bs_json_get(r->object, "shape");
    size_t ndim = bs_json_count(shape);
    want(r, "shape", bs_json_type_of(shape) == BS_JSON_ARRAY && ndim >= 1 && ndim <= BS_IMAGE_MAX_DIM);
    want(r, "axes", strlen(axes) == ndim);
    if (r->wrong)
        return;
    memcpy(q->axes, axes, ndim + 1);
    for (const struct bs_json_value *d = bs_json_first(shape); d; d = bs_json_next(d)) {
        int64_t v = 0;
        want(r, "shape", bs_json_as_int(d, &v) && v >= 0);
        q->dim[q->ndim++] = (size_t)v;
    }
}

bs_status bs_job_request_from_json(const char *json, struct bs_job_request *q, struct bs_err *err)
{
    struct bs_json *doc = NULL;
    memset(q, 0, sizeof *q);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    struct reader r = {bs_json_root(doc), NULL};
    const char *model = string_of(&r, "model");
    want(&r, "model", bs_store_name_valid(model));
    if (!r.wrong)
        memcpy(q->model, model, strlen(model) + 1);
    q->model_version = int_of(&r, "model_version", 0, INT64_MAX);
    q->raw = bool_of(&r, "raw");
    if (q->raw)
        read_raw(&r, q);
    if (bs_json_get(r.object, "pages")) {
        const char *pages = string_of(&r, "pages");
        want(&r, "pages", strlen(pages) == 1 && strchr("tzc", pages[0]));
        q->pages = pages[0];
    }
    q->pixel_size = number_of(&r, "pixel_size_um");
    if (bs_json_get(r.object, "spacing_um"))
        q->spacing = number_of(&r, "spacing_um");
    q->want_maps = bool_of(&r, "want_maps");
    q->want_objects = bool_of(&r, "want_objects");
    struct reader p = {bs_json_get(r.object, "parameters"), r.wrong};
    read_params(&p, &q->params);
    if (p.wrong)
        rc = BS_FAIL(err, BS_ECORRUPT, "the stored request of the job has no valid '%s'", p.wrong);
    bs_json_free(doc);
    return rc;
}

static void write_stack(struct bs_json_writer *w, const struct bs_segment_result *r)
{
    bs_json_write_open(w, "stack", '{');
    bs_json_write_string(w, "axes", r->stack.axes);
    bs_json_write_open(w, "shape", '[');
    for (int i = 0; i < r->stack.naxes; i++)
        bs_json_write_int(w, NULL, (int64_t)r->stack.dim[i]);
    bs_json_write_close(w, ']');
    write_number(w, "spacing_um", r->stack.spacing);
    bs_json_write_string(w, "planes", r->linked ? "linked 2D" : "independent 2D");
    bs_json_write_close(w, '}');
}

bs_status bs_job_result_to_json(const struct bs_job_provenance *p, char **json, struct bs_err *err)
{
    const struct bs_segment_result *r = p->result;
    struct bs_json_writer w = {0};
    char plan[24];
    snprintf(plan, sizeof plan, "%016llx", (unsigned long long)r->plan_hash);
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_open(&w, "model", '{');
    bs_json_write_string(&w, "name", p->request->model);
    bs_json_write_int(&w, "version", p->request->model_version);
    bs_json_write_string(&w, "sha256", p->model_blob);
    bs_json_write_close(&w, '}');
    bs_json_write_string(&w, "input_sha256", p->input_blob);
    write_params(&w, &p->request->params);
    bs_json_write_open(&w, "software", '{');
    bs_json_write_string(&w, "name", "bioseg");
    bs_json_write_string(&w, "version", BS_VERSION);
    bs_json_write_close(&w, '}');
    bs_json_write_open(&w, "device", '{');
    bs_json_write_string(&w, "name", p->device->name);
    bs_json_write_string(&w, "backend", p->device->backend);
    bs_json_write_string(&w, "libraries", p->device->libraries);
    bs_json_write_string(&w, "isa", p->device->isa);
    bs_json_write_int(&w, "threads", p->device->threads);
    bs_json_write_close(&w, '}');
    bs_json_write_string(&w, "plan_hash", plan);
    bs_json_write_string(&w, "algorithms", r->algorithms);
    bs_json_write_int(&w, "height", (int64_t)r->height);
    bs_json_write_int(&w, "width", (int64_t)r->width);
    if (r->stack.naxes > 0)
        write_stack(&w, r);
    if (!bs_region_is_all(&r->region)) {
        bs_json_write_open(&w, "region", '{');
        write_region(&w, &r->region);
        bs_json_write_close(&w, '}');
    }
    bs_json_write_int(&w, "channels", r->channels);
    bs_json_write_int(&w, "objects", r->count);
    write_number(&w, "pixel_size_um", r->pixel_size);
    bs_json_write_bool(&w, "tiled", r->tiled);
    bs_json_write_int(&w, "tile", r->tile);
    bs_json_write_int(&w, "halo", r->halo);
    bs_json_write_bool(&w, "kept_maps", r->kept_maps);
    write_number(&w, "seconds_network", r->seconds_network);
    write_number(&w, "seconds_instances", r->seconds_instances);
    bs_json_write_open(&w, "warnings", '[');
    for (int i = 0; i < r->nwarning; i++) {
        bs_json_write_open(&w, NULL, '{');
        bs_json_write_string(&w, "code", r->warning[i].code);
        bs_json_write_string(&w, "text", r->warning[i].text);
        bs_json_write_close(&w, '}');
    }
    bs_json_write_close(&w, ']');
    bs_json_write_close(&w, '}');
    if (!(*json = bs_json_write_end(&w)))
        return BS_FAIL(err, BS_ENOMEM, "out of memory while writing a job's result");
    return BS_OK;
}
