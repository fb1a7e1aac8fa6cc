/* Comparisons as JSON for the store. See comparison.h. */
#include "server/comparison.h"

#include "model/weights/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_REQUEST_VALUES 64
#define MAX_VALUES         4000000
#define MAX_TEXT           ((uint64_t)256 << 20)

/* ---- writing ---- */

static bs_status end_text(struct bs_json_writer *w, char **json, struct bs_err *err)
{
    bs_json_write_close(w, '}');
    *json = bs_json_write_end(w);
    return *json ? BS_OK : BS_FAIL(err, BS_ENOMEM, "out of memory while describing a comparison");
}

bs_status bs_comparison_request_to_json(const struct bs_comparison_request *r, char **json,
                                        struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    /* under the names by which the store finds models and datasets that are needed */
    bs_json_write_string(&w, "model", r->candidate.name);
    bs_json_write_int(&w, "model_version", r->candidate.version);
    bs_json_write_string(&w, "model_sha256", r->candidate.blob);
    bs_json_write_string(&w, "baseline", r->baseline.name);
    bs_json_write_int(&w, "baseline_version", r->baseline.version);
    bs_json_write_string(&w, "baseline_sha256", r->baseline.blob);
    bs_json_write_string(&w, "dataset", r->dataset);
    bs_json_write_int(&w, "dataset_number", r->dataset_number);
    bs_json_write_int(&w, "split", (int)r->split);
    bs_json_write_bool(&w, "forced", r->forced);
    bs_json_write_int(&w, "seed", (int64_t)r->options.seed);
    bs_json_write_int(&w, "resamples", (int64_t)r->options.resamples);
    bs_json_write_double(&w, "confidence", r->options.confidence);
    return end_text(&w, json, err);
}

static void write_version(struct bs_json_writer *w, const struct bs_comparison_version *v)
{
    bs_json_write_string(w, "name", v->name);
    bs_json_write_int(w, "version", v->version);
}

static void write_score(struct bs_json_writer *w, const char *key, const struct bs_label_score *s)
{
    bs_json_write_open(w, key, '{');
    bs_json_write_double(w, "msa", s->msa);
    bs_json_write_double(w, "sa50", s->sa50);
    bs_json_write_double(w, "sa75", s->sa75);
    bs_json_write_int(w, "predicted", (int64_t)s->predicted);
    bs_json_write_int(w, "expected", (int64_t)s->expected);
    bs_json_write_close(w, '}');
}

static bs_status write_image(struct bs_json_writer *w, const struct bs_comparison_image *im, bool scored,
                             struct bs_err *err)
{
    char *files = NULL;
    bs_status rc = bs_pair_info_to_json(&im->files, &files, err);
    if (rc != BS_OK)
        return rc;
    bs_json_write_open(w, NULL, '{');
    bs_json_write_string(w, "name", im->name);
    bs_json_write_string(w, "image", im->image);
    bs_json_write_string(w, "labels", im->labels);
    bs_json_write_string(w, "files", files);
    free(files);
    bs_json_write_open(w, "uses", '[');
    for (size_t i = 0; i < im->nuse; i++) {
        bs_json_write_open(w, NULL, '{');
        write_version(w, &im->use[i].by);
        bs_json_write_int(w, "split", (int)im->use[i].split);
        bs_json_write_close(w, '}');
    }
    bs_json_write_close(w, ']');
    if (scored) {
        write_score(w, "candidate", &im->candidate);
        write_score(w, "baseline", &im->baseline);
    }
    bs_json_write_close(w, '}');
    return BS_OK;
}

static void write_differences(struct bs_json_writer *w, const struct bs_comparison_images *c)
{
    bs_json_write_open(w, "differences", '[');
    for (int k = 0; k < BS_COMPARISON_METRICS; k++) {
        const struct bs_bootstrap_interval *d = &c->difference[k];
        bs_json_write_open(w, NULL, '{');
        bs_json_write_string(w, "metric", bs_comparison_metric[k]);
        bs_json_write_double(w, "candidate_mean", d->mean_a);
        bs_json_write_double(w, "baseline_mean", d->mean_b);
        bs_json_write_double(w, "difference", d->difference);
        if (isfinite(d->low) && isfinite(d->high)) {
            bs_json_write_double(w, "low", d->low);
            bs_json_write_double(w, "high", d->high);
        }
        bs_json_write_close(w, '}');
    }
    bs_json_write_close(w, ']');
}

bs_status bs_comparison_result_to_json(const struct bs_comparison_request *r,
                                       const struct bs_comparison_images *c, char **json, struct bs_err *err)
{
    struct bs_json_writer w = {0};
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_bool(&w, "forced", r->forced);
    bs_json_write_int(&w, "images", (int64_t)c->count);
    bs_json_write_int(&w, "images_seen", (int64_t)bs_comparison_seen(c));
    write_differences(&w, c);
    bs_json_write_string(&w, "software", "biosegd " BS_VERSION);
    return end_text(&w, json, err);
}

bs_status bs_comparison_images_put(struct bs_blobs *blobs, const struct bs_comparison_images *c,
                                   char hash[BS_BLOB_HASH_LEN + 1], struct bs_err *err)
{
    struct bs_json_writer w = {0};
    char *text = NULL;
    bs_json_write_open(&w, NULL, '{');
    bs_json_write_open(&w, "unknown", '[');
    for (size_t i = 0; i < c->nunknown; i++) {
        bs_json_write_open(&w, NULL, '{');
        write_version(&w, &c->unknown[i]);
        bs_json_write_close(&w, '}');
    }
    bs_json_write_close(&w, ']');
    bs_json_write_open(&w, "images", '[');
    bs_status rc = BS_OK;
    for (size_t i = 0; i < c->count && rc == BS_OK; i++)
        rc = write_image(&w, &c->image[i], c->scored, err);
    bs_json_write_close(&w, ']');
    if (c->scored)
        write_differences(&w, c);
    bs_status ended = end_text(&w, &text, rc == BS_OK ? err : &(struct bs_err){.msg = ""});
    if (rc == BS_OK)
        rc = ended;
    if (rc == BS_OK)
        rc = bs_blob_put(blobs, text, strlen(text), hash, err);
    free(text);
    return rc;
}

/* ---- reading ---- */

static bool read_text(const struct bs_json_value *root, const char *key, char *out, size_t room)
{
    const char *text;
    if (!bs_json_as_string(bs_json_get(root, key), &text) || strlen(text) >= room)
        return false;
    memcpy(out, text, strlen(text) + 1);
    return true;
}

static bool read_split(const struct bs_json_value *root, enum bs_split *split)
{
    int64_t v;
    if (!bs_json_as_int(bs_json_get(root, "split"), &v) || v < 0 || v >= BS_SPLITS)
        return false;
    *split = (enum bs_split)v;
    return true;
}

static bool read_options(const struct bs_json_value *root, struct bs_bootstrap_options *o)
{
    int64_t seed, resamples;
    if (!bs_json_as_int(bs_json_get(root, "seed"), &seed) || seed < 0 ||
        !bs_json_as_int(bs_json_get(root, "resamples"), &resamples) ||
        resamples < BS_BOOTSTRAP_MIN_RESAMPLES || resamples > BS_BOOTSTRAP_MAX_RESAMPLES)
        return false;
    o->seed = (uint64_t)seed;
    o->resamples = (uint32_t)resamples;
    return bs_json_as_double(bs_json_get(root, "confidence"), &o->confidence);
}

bs_status bs_comparison_request_from_json(const char *json, struct bs_comparison_request *r,
                                          struct bs_err *err)
{
    struct bs_json *doc = NULL;
    memset(r, 0, sizeof *r);
    bs_status rc = bs_json_parse(json, strlen(json), MAX_REQUEST_VALUES, &doc, err);
    if (rc != BS_OK)
        return rc;
    const struct bs_json_value *root = bs_json_root(doc);
    bool ok = read_text(root, "model", r->candidate.name, sizeof r->candidate.name) &&
              bs_json_as_int(bs_json_get(root, "model_version"), &r->candidate.version) &&
              read_text(root, "model_sha256", r->candidate.blob, sizeof r->candidate.blob) &&
              read_text(root, "baseline", r->baseline.name, sizeof r->baseline.name) &&
              bs_json_as_int(bs_json_get(root, "baseline_version"), &r->baseline.version) &&
              read_text(root, "baseline_sha256", r->baseline.blob, sizeof r->baseline.blob) &&
              read_text(root, "dataset", r->dataset, sizeof r->dataset) &&
              bs_json_as_int(bs_json_get(root, "dataset_number"), &r->dataset_number) &&
              read_split(root, &r->split) && bs_json_as_bool(bs_json_get(root, "forced"), &r->forced) &&
              read_options(root, &r->options);
    bs_json_free(doc);
    return ok ? BS_OK : BS_FAIL(err, BS_ECORRUPT, "the stored request of the comparison is not valid");
}

static bool read_version(const struct bs_json_value *v, struct bs_comparison_version *out)
{
    memset(out, 0, sizeof *out);
    return read_text(v, "name", out->name, sizeof out->name) &&
           bs_json_as_int(bs_json_get(v, "version"), &out->version);
}

static bool read_score(const struct bs_json_value *v, struct bs_label_score *s)
{
    int64_t predicted, expected;
    if (!bs_json_as_double(bs_json_get(v, "msa"), &s->msa) ||
        !bs_json_as_double(bs_json_get(v, "sa50"), &s->sa50) ||
        !bs_json_as_double(bs_json_get(v, "sa75"), &s->sa75) ||
        !bs_json_as_int(bs_json_get(v, "predicted"), &predicted) || predicted < 0 ||
        !bs_json_as_int(bs_json_get(v, "expected"), &expected) || expected < 0)
        return false;
    s->predicted = (uint64_t)predicted;
    s->expected = (uint64_t)expected;
    return true;
}

static bs_status invalid(struct bs_err *err)
{
    return BS_FAIL(err, BS_ECORRUPT, "the stored images of the comparison are not valid");
}

static bs_status read_image(const struct bs_json_value *v, bool scored, struct bs_comparison_image *im,
                            struct bs_err *err)
{
    const char *name, *files;
    if (!bs_json_as_string(bs_json_get(v, "name"), &name) ||
        !read_text(v, "image", im->image, sizeof im->image) ||
        !read_text(v, "labels", im->labels, sizeof im->labels) ||
        !bs_json_as_string(bs_json_get(v, "files"), &files) ||
        bs_pair_info_from_json(files, &im->files, err) != BS_OK ||
        (scored && (!read_score(bs_json_get(v, "candidate"), &im->candidate) ||
                    !read_score(bs_json_get(v, "baseline"), &im->baseline))))
        return invalid(err);
    if (!(im->name = strdup(name)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for the images of a comparison");
    bs_status rc = BS_OK;
    for (const struct bs_json_value *u = bs_json_first(bs_json_get(v, "uses")); u && rc == BS_OK;
         u = bs_json_next(u)) {
        struct bs_comparison_use use;
        rc = read_version(u, &use.by) && read_split(u, &use.split) ? bs_comparison_add_use(im, &use, err)
                                                                   : invalid(err);
    }
    return rc;
}

static bool read_differences(const struct bs_json_value *list, struct bs_comparison_images *c)
{
    int k = 0;
    for (const struct bs_json_value *v = bs_json_first(list); v; v = bs_json_next(v), k++) {
        if (k == BS_COMPARISON_METRICS)
            return false;
        struct bs_bootstrap_interval *d = &c->difference[k];
        if (!bs_json_as_double(bs_json_get(v, "candidate_mean"), &d->mean_a) ||
            !bs_json_as_double(bs_json_get(v, "baseline_mean"), &d->mean_b) ||
            !bs_json_as_double(bs_json_get(v, "difference"), &d->difference))
            return false;
        d->low = d->high = NAN; /* stays where there is no interval */
        (void)bs_json_as_double(bs_json_get(v, "low"), &d->low);
        (void)bs_json_as_double(bs_json_get(v, "high"), &d->high);
    }
    return k == BS_COMPARISON_METRICS;
}

static bs_status read_images(const struct bs_json_value *root, struct bs_comparison_images *c,
                             struct bs_err *err)
{
    const struct bs_json_value *list = bs_json_get(root, "images"),
                               *differences = bs_json_get(root, "differences");
    const size_t n = bs_json_count(list);
    bs_status rc = BS_OK;
    c->scored = differences != NULL;
    if (n == 0 || n > BS_COMPARISON_MAX_IMAGES || (c->scored && !read_differences(differences, c)))
        return invalid(err);
    if (!(c->image = calloc(n, sizeof *c->image)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu images", n);
    for (const struct bs_json_value *v = bs_json_first(list); v && rc == BS_OK; v = bs_json_next(v))
        rc = read_image(v, c->scored, &c->image[c->count++], err);
    for (const struct bs_json_value *v = bs_json_first(bs_json_get(root, "unknown")); v && rc == BS_OK;
         v = bs_json_next(v)) {
        struct bs_comparison_version unknown;
        rc = read_version(v, &unknown) ? bs_comparison_add_unknown(c, &unknown, err) : invalid(err);
    }
    return rc;
}

static bs_status read_blob(struct bs_blobs *blobs, const char *hash, char **text, size_t *size,
                           struct bs_err *err)
{
    uint64_t bytes = 0;
    int fd = -1;
    *text = NULL;
    bs_status rc = bs_blob_open(blobs, hash, &fd, &bytes, err);
    if (rc != BS_OK)
        return rc;
    if (bytes > MAX_TEXT || !(*text = malloc((size_t)bytes + 1)))
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a comparison of %llu bytes", (unsigned long long)bytes);
    for (*size = 0; rc == BS_OK && *size < bytes;) {
        ssize_t got = pread(fd, *text + *size, (size_t)bytes - *size, (off_t)*size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            rc = BS_FAIL(err, BS_EIO, "a comparison could not be read from the store");
        else
            *size += (size_t)got;
    }
    close(fd);
    return rc;
}

bs_status bs_comparison_images_get(struct bs_blobs *blobs, const char *hash, struct bs_comparison_images *c,
                                   struct bs_err *err)
{
    struct bs_json *doc = NULL;
    char *text = NULL;
    size_t size = 0;
    memset(c, 0, sizeof *c);
    bs_status rc = read_blob(blobs, hash, &text, &size, err);
    if (rc == BS_OK)
        rc = bs_json_parse(text, size, MAX_VALUES, &doc, err);
    if (rc == BS_OK)
        rc = read_images(bs_json_root(doc), c, err);
    bs_json_free(doc);
    free(text);
    if (rc != BS_OK)
        bs_comparison_images_free(c);
    return rc;
}
