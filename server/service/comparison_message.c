/* bioseg.v1.Comparison from what the store has of it. Any thread. */
#include "server/service/comparisons_internal.h"

#include <inttypes.h>
#include <math.h>

#define FEW_IMAGES 10

static char *keep(struct bs_arena *arena, const char *text)
{
    char *copy = bs_arena_strdup(arena, text ? text : "");
    return copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

Bioseg__V1__ModelRef *bs__comparison_version_message(struct bs_arena *arena,
                                                     const struct bs_comparison_version *v)
{
    Bioseg__V1__ModelRef *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__model_ref__init(m);
    m->name = keep(arena, v->name);
    m->selector_case = BIOSEG__V1__MODEL_REF__SELECTOR_VERSION;
    m->version = v->version;
    return m;
}

static Bioseg__V1__Split split_message(enum bs_split split)
{
    return split == BS_SPLIT_TRAIN        ? BIOSEG__V1__SPLIT__SPLIT_TRAIN
           : split == BS_SPLIT_VALIDATION ? BIOSEG__V1__SPLIT__SPLIT_VALIDATION
                                          : BIOSEG__V1__SPLIT__SPLIT_TEST;
}

static Bioseg__V1__Score *score_message(struct bs_arena *arena, const struct bs_label_score *s)
{
    Bioseg__V1__Score *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__score__init(m);
    m->msa = s->msa;
    m->sa50 = s->sa50;
    m->sa75 = s->sa75;
    m->predicted = s->predicted;
    return m;
}

static bool add_uses(struct bs_arena *arena, const struct bs_comparison_image *image,
                     Bioseg__V1__ComparedImage *m)
{
    m->uses = bs_arena_array(arena, image->nuse + 1, sizeof *m->uses);
    for (size_t i = 0; i < image->nuse && m->uses; i++) {
        Bioseg__V1__ImageUse *use = bs_arena_alloc(arena, sizeof *use);
        if (!use)
            return false;
        bioseg__v1__image_use__init(use);
        use->model = bs__comparison_version_message(arena, &image->use[i].by);
        use->split = split_message(image->use[i].split);
        m->uses[m->n_uses++] = use;
        if (!use->model)
            return false;
    }
    return m->uses != NULL;
}

Bioseg__V1__ComparedImage *bs__compared_image_message(struct bs_arena *arena,
                                                      const struct bs_comparison_image *image, bool scored)
{
    Bioseg__V1__ComparedImage *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__compared_image__init(m);
    m->name = keep(arena, image->name);
    m->image_sha256 = keep(arena, image->image);
    if (scored) {
        m->expected = image->candidate.expected;
        m->candidate = score_message(arena, &image->candidate);
        m->baseline = score_message(arena, &image->baseline);
        if (!m->candidate || !m->baseline)
            return NULL;
    }
    return add_uses(arena, image, m) ? m : NULL;
}

static bool add_differences(struct bs_arena *arena, const struct bs_comparison_images *c,
                            Bioseg__V1__Comparison *m)
{
    m->differences = bs_arena_array(arena, BS_COMPARISON_METRICS, sizeof *m->differences);
    for (int k = 0; k < BS_COMPARISON_METRICS && m->differences; k++) {
        Bioseg__V1__MeanDifference *d = bs_arena_alloc(arena, sizeof *d);
        if (!d)
            return false;
        bioseg__v1__mean_difference__init(d);
        d->metric = keep(arena, bs_comparison_metric[k]);
        d->candidate_mean = c->difference[k].mean_a;
        d->baseline_mean = c->difference[k].mean_b;
        d->difference = c->difference[k].difference;
        d->low = c->difference[k].low;
        d->high = c->difference[k].high;
        m->differences[m->n_differences++] = d;
    }
    return m->differences != NULL;
}

static bool warn(struct bs_arena *arena, Bioseg__V1__Comparison *m, const char *code, char *text)
{
    Bioseg__V1__Warning *w = bs_arena_alloc(arena, sizeof *w);
    if (!w)
        return false;
    bioseg__v1__warning__init(w);
    w->code = keep(arena, code);
    w->text = text;
    m->warnings[m->n_warnings++] = w;
    return true;
}

static bool add_warnings(struct bs_arena *arena, const struct bs_comparison_images *c,
                         Bioseg__V1__Comparison *m)
{
    const size_t seen = bs_comparison_seen(c);
    m->warnings = bs_arena_array(arena, c->nunknown + 2, sizeof *m->warnings);
    if (!m->warnings)
        return false;
    if (seen &&
        !warn(arena, m, "images_seen",
              bs__format(arena,
                         "FORCED: %zu of %zu images were seen in training, so these scores say little "
                         "about other images",
                         seen, c->count)))
        return false;
    for (size_t i = 0; i < c->nunknown; i++)
        if (!warn(arena, m, "training_unknown",
                  bs__format(arena,
                             "what %s version %" PRId64
                             " was trained on is not known here: it may have seen these images",
                             c->unknown[i].name, c->unknown[i].version)))
            return false;
    return c->count >= FEW_IMAGES ||
           warn(arena, m, "few_images",
                bs__format(arena, "%zu image%s: intervals from fewer than %d are too narrow to rely on",
                           c->count, c->count == 1 ? "" : "s", FEW_IMAGES));
}

Bioseg__V1__Comparison *bs__comparison_message(struct bs_arena *arena, const struct bs_job_record *job,
                                               const struct bs_comparison_request *q,
                                               const struct bs_comparison_images *c)
{
    Bioseg__V1__Comparison *m = bs_arena_alloc(arena, sizeof *m);
    if (!m)
        return NULL;
    bioseg__v1__comparison__init(m);
    m->job_id = keep(arena, job->id);
    m->candidate = bs__comparison_version_message(arena, &q->candidate);
    m->candidate_sha256 = keep(arena, q->candidate.blob);
    m->baseline = bs__comparison_version_message(arena, &q->baseline);
    m->baseline_sha256 = keep(arena, q->baseline.blob);
    m->dataset = keep(arena, q->dataset);
    m->split = split_message(q->split);
    m->forced = q->forced;
    m->seed = q->options.seed;
    m->resamples = q->options.resamples;
    m->confidence = q->options.confidence;
    m->software_version = keep(arena, "biosegd " BS_VERSION);
    m->finished_ms = job->finished_ms;
    m->images = bs_arena_array(arena, c->count + 1, sizeof *m->images);
    for (size_t i = 0; i < c->count && m->images; i++) {
        if (!(m->images[i] = bs__compared_image_message(arena, &c->image[i], true)))
            return NULL;
        m->n_images++;
    }
    return m->candidate && m->baseline && m->images && add_differences(arena, c, m) &&
                   add_warnings(arena, c, m)
               ? m
               : NULL;
}
