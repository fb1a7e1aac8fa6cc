/* Instance and group norms look at the whole image: a tile on its own has other statistics, so an empty tile would have
   its noise blown up into objects, and tiles would not fit together. For tiles we therefore measure first and then fix:

       1. windows spread evenly over the image (the whole image, if it is small enough) go through the network together,
          one norm after the other: with all earlier norms fixed, the part of the network up to the next norm gives its
          input; mean and variance of that over all windows (their surroundings left out) become its constants
       2. all tiles run with those constants (the norms have become batch norms), so that a halo of the receptive radius
          makes them fit exactly

   The windows stand for the image; how well is tested on a mosaic of empty, dim and bright parts.
   A struct bs__fixed_norm owns its executable and parameters; executor thread only. */
#include "model/predict/norm_graph.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to this many pixels all of the image is measured, beyond it windows that make up as many: twice the work of the
   prediction itself at worst, and a small part of it for a slide. */
#define SAMPLE_PIXELS ((size_t)18 << 20)
#define ONE_WINDOW    ((size_t)1 << 20) /* smaller images are measured as a whole */
#define COVERING_CORE 512
#define SPREAD_CORE   256               /* many small windows tell more about a slide than few large ones */
#define SAMPLE_HALO   32                /* beyond it hardly anything reaches a pixel, though it could */
#define MOST_BYTES    ((size_t)2 << 30) /* of inputs of norms held at once: slides are segmented in 4 GiB */
#define MOST_LEVELS   3                 /* of which inputs of norms are computed again instead of held */

struct norm {
    int channels;
    float *mean, *var;
};

struct bs__fixed_norm {
    struct bs_params *model_params; /* borrowed */
    struct bs_params *params;       /* the model's plus the fixed statistics */
    struct bs_executable *exe;
    int nnorm;
    struct norm norm[BS__MAX_NORMS];
};

/* The windows that are measured: rows x columns of one size, evenly spread, the first and last at the borders. */
struct sample {
    int64_t h, w, halo, rows, columns;
};

struct core {
    int64_t y, x;                     /* the window's origin in the image */
    int64_t top, left, bottom, right; /* what counts, in the window */
};

static int64_t spread(int64_t k, int64_t count, int64_t length, int64_t window, int64_t divisor)
{
    int64_t room = length - window;
    return (count == 1 ? room / 2 : room * k / (count - 1)) / divisor * divisor;
}

/* Where the core of window k begins along one axis, in the image: nothing is left out at the image's border, windows that
   overlap share the overlap, others leave out their halo. */
static int64_t core_begin(int64_t k, int64_t count, int64_t length, int64_t window, int64_t halo,
                          int64_t divisor)
{
    int64_t at = spread(k, count, length, window, divisor);
    if (k == 0)
        return at > 0 ? at + halo : 0;
    int64_t overlap = spread(k - 1, count, length, window, divisor) + window - at;
    return at + (overlap >= 2 * halo ? overlap / 2 / divisor * divisor : halo);
}

static int64_t core_end(int64_t k, int64_t count, int64_t length, int64_t window, int64_t halo,
                        int64_t divisor)
{
    int64_t at = spread(k, count, length, window, divisor);
    if (k == count - 1)
        return at + window < length ? at + window - halo : length;
    int64_t next = core_begin(k + 1, count, length, window, halo, divisor);
    return next < at + window - halo ? next : at + window - halo;
}

static struct core core_at(const struct sample *s, const struct bs__layout *l, int64_t k, int64_t divisor)
{
    int64_t row = k / s->columns, column = k % s->columns;
    struct core c = {.y = spread(row, s->rows, l->padded_h, s->h, divisor),
                     .x = spread(column, s->columns, l->padded_w, s->w, divisor)};
    c.top = core_begin(row, s->rows, l->padded_h, s->h, s->halo, divisor) - c.y;
    c.left = core_begin(column, s->columns, l->padded_w, s->w, s->halo, divisor) - c.x;
    c.bottom = core_end(row, s->rows, l->padded_h, s->h, s->halo, divisor) - c.y;
    c.right = core_end(column, s->columns, l->padded_w, s->w, s->halo, divisor) - c.x;
    return c;
}

static int64_t round_up(int64_t a, int64_t m)
{
    return (a + m - 1) / m * m;
}

static struct sample choose_sample(const struct bs__layout *l, int64_t divisor, size_t pixels)
{
    int64_t h = l->padded_h, w = l->padded_w;
    size_t all = (size_t)h * (size_t)w;
    if (all <= pixels && all <= ONE_WINDOW)
        return (struct sample){h, w, 0, 1, 1};
    bool cover = all <= pixels;
    int64_t core = round_up(cover ? COVERING_CORE : SPREAD_CORE, divisor),
            halo = round_up(SAMPLE_HALO, divisor);
    int64_t window = core + 2 * halo;
    struct sample s = {
        .h = window < h ? window : h, .w = window < w ? window : w, .halo = halo, .rows = 1, .columns = 1};
    /* As many as cover the image. */
    int64_t most_rows = bs__window_count(h, s.h, halo), most_columns = bs__window_count(w, s.w, halo);
    if (cover) {
        s.rows = most_rows;
        s.columns = most_columns;
        return s;
    }
    /* rows : columns as the image's sides, rows * columns = count. */
    double count = (double)pixels / ((double)core * (double)core), aspect = (double)h / (double)w;
    while (s.rows < most_rows && (double)((s.rows + 1) * (s.rows + 1)) <= count * aspect)
        s.rows++;
    s.columns = (int64_t)(count / (double)s.rows);
    s.columns = s.columns < 1 ? 1 : s.columns > most_columns ? most_columns : s.columns;
    return s;
}

/* Sums of one channel of a norm's input over the cores of all windows. */
struct sums {
    double origin, sum, squares;
    uint64_t count;
};

/* One window's input of a norm, (C, th, tw); its core in pixels of the window shrinks with the level. */
static void add_core(const float *v, const struct bs_shape *shape, const struct sample *s,
                     const struct core *c, struct sums *sums)
{
    int64_t th = shape->dim[2], tw = shape->dim[3], down_y = s->h / th, down_x = s->w / tw;
    int64_t left = c->left / down_x, right = c->right / down_x;
    for (int64_t channel = 0; channel < shape->dim[1]; channel++) {
        struct sums *to = &sums[channel];
        for (int64_t y = c->top / down_y; y < c->bottom / down_y; y++) {
            const float *row = v + (channel * th + y) * tw;
            double sum = 0, squares = 0;
            if (to->count == 0)
                to->origin = row[left];
            for (int64_t x = left; x < right; x++) {
                double d = row[x] - to->origin;
                sum += d;
                squares += d * d;
            }
            to->sum += sum;
            to->squares += squares;
            to->count += (uint64_t)(right - left);
        }
    }
}

/* Mean and biased variance per channel, or of groups of channels together (then the same for all of a group). */
static bs_status fix(struct norm *norm, const struct sums *sums, int channels, int groups, struct bs_err *err)
{
    int together = groups ? channels / groups : 1;
    norm->channels = channels;
    norm->mean = calloc((size_t)channels, sizeof *norm->mean);
    norm->var = calloc((size_t)channels, sizeof *norm->var);
    if (!norm->mean || !norm->var)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the statistics of a norm");
    for (int first = 0; first < channels; first += together) {
        double mean = 0, within = 0, between = 0;
        for (int c = first; c < first + together; c++)
            mean += (sums[c].origin + sums[c].sum / (double)sums[c].count) / together;
        for (int c = first; c < first + together; c++) {
            double m = sums[c].sum / (double)sums[c].count, off = sums[c].origin + m - mean;
            within += (sums[c].squares / (double)sums[c].count - m * m) / together;
            between += off * off / together;
        }
        for (int c = first; c < first + together; c++) {
            norm->mean[c] = (float)mean;
            norm->var[c] = (float)(within + between > 0 ? within + between : 0);
        }
    }
    return BS_OK;
}

/* Parameters: the model's own, and fixed.<k>.{weight,bias,mean,var}. */
static bool parse_fixed(const struct bs__fixed_norm *f, const char *name, const struct norm **norm,
                        const char **what)
{
    int k = 0, used = 0;
    if (sscanf(name, "fixed.%d.%n", &k, &used) != 1 || used == 0 || k < 0 || k >= f->nnorm)
        return false;
    *norm = &f->norm[k];
    *what = name + used;
    return true;
}

static bs_status source_shape(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    struct bs__fixed_norm *f = ctx;
    const struct norm *norm;
    const char *what;
    if (!parse_fixed(f, name, &norm, &what))
        return bs_params_shape(f->model_params, name, shape, err);
    *shape = BS_SHAPE(norm->channels);
    return BS_OK;
}

static bs_status source_read(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    struct bs__fixed_norm *f = ctx;
    const struct norm *norm;
    const char *what;
    if (!parse_fixed(f, name, &norm, &what))
        return bs_params_read(f->model_params, name, dst, count, err);
    if (count != (size_t)norm->channels)
        return BS_FAIL(err, BS_EINTERNAL, "%s has %d values, %zu were asked for", name, norm->channels,
                       count);
    for (size_t i = 0; i < count; i++)
        dst[i] = strcmp(what, "mean") == 0     ? norm->mean[i]
                 : strcmp(what, "var") == 0    ? norm->var[i]
                 : strcmp(what, "weight") == 0 ? 1.0f
                                               : 0.0f;
    return BS_OK;
}

/* Everything that measuring holds. */
struct measuring {
    struct bs__fixed_norm *fixed;
    struct bs_model *model;
    struct bs__plane *plane;
    const struct bs__layout *layout;
    enum bs_precision precision;
    const struct bs__statistics *statistics;
    const struct bs_segment_progress *progress; /* hears "0 of so many tiles" meanwhile, as a sign of life */
    const struct bs_cancel *cancel;
    int64_t divisor, windows;
    int level;
    struct sample sample;
    struct bs__norm_plan plan;
    float *scratch; /* one window's input of a norm that is not held */
    int last_use[BS__MAX_NORMS];
    float *tap[BS__MAX_NORMS]; /* (windows, C, h, w): input of each norm, while a later part needs it */
    size_t tap_bytes[BS__MAX_NORMS];
};

static size_t one_tap(const struct bs__norm_plan *plan, int k)
{
    return bs_shape_count(&bs_graph_node(plan->graph, plan->tap[k])->shape);
}

/* When each norm's input is needed for the last time, and how many bytes of them stand at once per window. */
static bs_status plan_memory(struct measuring *m, size_t *peak, struct bs_err *err)
{
    *peak = 0;
    memset(m->last_use, 0, sizeof m->last_use);
    for (int k = 0; k < m->plan.nnorm; k++) {
        struct bs__norm_part c;
        struct bs_graph *part = NULL;
        m->last_use[k] = k;
        if (k == 0)
            continue;
        bs_status rc = bs__norm_part_build(&m->plan, k, m->level, &c, &part, err);
        bs_graph_destroy(part);
        if (rc != BS_OK)
            return rc;
        for (int i = 0; i < c.ninput; i++)
            m->last_use[c.input[i]] = k;
    }
    for (int k = 0; k < m->plan.nnorm; k++) {
        size_t live = 0;
        for (int j = 0; j <= k; j++)
            live += m->last_use[j] >= k && bs__norm_is_held(&m->plan, j, m->level)
                        ? one_tap(&m->plan, j) * sizeof(float)
                        : 0;
        *peak = live > *peak ? live : *peak;
    }
    return BS_OK;
}

/* As many windows as the budget holds; before windows are given up, inputs of norms at the finest levels are computed
   again instead of held, which costs time only. */
static bs_status choose_windows(struct measuring *m, struct bs_err *err)
{
    const struct bs_arch_config *arch = &bs_model_info_get(m->model)->arch;
    size_t most = m->layout->budget / 2; /* the parts' own arenas need room too */
    most = most < MOST_BYTES ? most : MOST_BYTES;
    for (size_t pixels = SAMPLE_PIXELS;; pixels /= 2) {
        m->sample = choose_sample(m->layout, m->divisor, pixels);
        m->windows = m->sample.rows * m->sample.columns;
        bs_status rc = bs__norm_plan_open(&m->plan, arch, 1, m->sample.h, m->sample.w, err);
        for (m->level = 0; rc == BS_OK && m->level <= MOST_LEVELS; m->level++) {
            size_t peak;
            rc = plan_memory(m, &peak, err);
            if (rc == BS_OK && peak * (size_t)m->windows <= most)
                return BS_OK;
        }
        if (rc != BS_OK)
            return rc;
        m->level = MOST_LEVELS;
        if (pixels <= SPREAD_CORE * SPREAD_CORE)
            return BS_OK;
        bs__norm_plan_close(&m->plan);
    }
}

/* The first norm's input: the image's windows themselves. */
static bs_status read_windows(struct measuring *m, struct bs_err *err)
{
    size_t n = (size_t)(m->sample.h * m->sample.w), all = one_tap(&m->plan, 0);
    for (int64_t k = 0; k < m->windows; k++) {
        struct core c = core_at(&m->sample, m->layout, k, m->divisor);
        float *to = m->tap[0] + (size_t)k * all;
        bs_status rc = bs__window_read(m->plane, c.y, c.x, m->sample.h, m->sample.w, false, to, err);
        if (rc != BS_OK)
            return rc;
        bs__normalise(to, n, bs_model_info_get(m->model)->normalisation, *m->statistics);
        for (size_t at = n; at < all; at += n)
            memcpy(to + at, to, n * sizeof *to);
    }
    return BS_OK;
}

/* Where a window's input of norm k stands. */
static float *tap_of(const struct measuring *m, int k, int64_t window)
{
    return m->tap[k] ? m->tap[k] + (size_t)window * one_tap(&m->plan, k) : m->scratch;
}

/* Runs the part of the network that ends at norm k's input over every window, and adds up what it sees. */
static bs_status run_part(struct measuring *m, int k, struct sums *sums, struct bs_err *err)
{
    const struct bs_shape *shape = &bs_graph_node(m->plan.graph, m->plan.tap[k])->shape;
    struct bs__norm_part c;
    struct bs_graph *part = NULL;
    struct bs_executable *exe = NULL;
    struct bs_tensor in[BS__MAX_NORMS], out;
    bs_status rc = BS_OK;
    if (k > 0 && (rc = bs__norm_part_build(&m->plan, k, m->level, &c, &part, err)) == BS_OK)
        rc = bs_executable_create(bs_model_device(m->model), part, m->fixed->params, m->precision, &exe, err);
    for (int64_t window = 0; rc == BS_OK && window < m->windows; window++) {
        for (int i = 0; k > 0 && i < c.ninput; i++)
            in[i] = (struct bs_tensor){BS_F32, bs_graph_node(m->plan.graph, m->plan.tap[c.input[i]])->shape,
                                       tap_of(m, c.input[i], window)};
        out = (struct bs_tensor){BS_F32, *shape, tap_of(m, k, window)};
        if (k > 0)
            rc = bs_executable_run(exe, in, c.ninput, &out, 1, m->cancel, err);
        if (rc == BS_OK) {
            struct core core = core_at(&m->sample, m->layout, window, m->divisor);
            add_core(out.data, shape, &m->sample, &core, sums);
            if (m->progress && m->progress->tile)
                m->progress->tile(m->progress->ctx, 0, (int)bs__layout_tiles(m->layout));
        }
    }
    bs_executable_destroy(exe);
    bs_graph_destroy(part);
    return rc;
}

static bs_status measure_norm(struct measuring *m, int k, struct bs_err *err)
{
    const struct bs_node *norm = bs_graph_node(m->plan.graph, m->plan.norm[k]);
    int channels = (int)norm->shape.dim[1];
    struct sums *sums = calloc((size_t)channels, sizeof *sums);
    if (!sums)
        return BS_FAIL(err, BS_ENOMEM, "no memory to measure the norms of the network");
    bs_status rc = run_part(m, k, sums, err);
    if (rc == BS_OK)
        rc = fix(&m->fixed->norm[k], sums, channels, norm->op == BS_OP_GROUP_NORM ? norm->attr.groups : 0,
                 err);
    free(sums);
    return rc;
}

static void drop_tap(struct measuring *m, int k)
{
    if (m->tap[k])
        bs_pages_free(m->tap[k], m->tap_bytes[k]);
    m->tap[k] = NULL;
}

static bs_status measure_norms(struct measuring *m, struct bs_err *err)
{
    bs_status rc = choose_windows(m, err);
    size_t scratch = 0;
    if (rc != BS_OK)
        goto cleanup;
    m->fixed->nnorm = m->plan.nnorm;
    for (int k = 0; k < m->plan.nnorm; k++)
        scratch = one_tap(&m->plan, k) > scratch ? one_tap(&m->plan, k) : scratch;
    scratch *= sizeof(float);
    if (!(m->scratch = bs_pages_alloc(scratch))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to measure the norms of the network");
        goto cleanup;
    }
    for (int k = 0; k < m->plan.nnorm; k++) {
        m->tap_bytes[k] = (size_t)m->windows * one_tap(&m->plan, k) * sizeof(float);
        if (bs__norm_is_held(&m->plan, k, m->level) && !(m->tap[k] = bs_pages_alloc(m->tap_bytes[k]))) {
            rc = BS_FAIL(err, BS_ENOMEM, "no memory to measure the norms of the network");
            goto cleanup;
        }
        if ((k == 0 && (rc = read_windows(m, err)) != BS_OK) || (rc = measure_norm(m, k, err)) != BS_OK)
            goto cleanup;
        for (int j = 0; j <= k; j++)
            if (m->last_use[j] <= k)
                drop_tap(m, j);
    }
cleanup:
    for (int k = 0; k < BS__MAX_NORMS; k++)
        drop_tap(m, k);
    if (m->scratch)
        bs_pages_free(m->scratch, scratch);
    bs__norm_plan_close(&m->plan);
    return rc;
}

bs_status bs__fixed_norm_create(struct bs_model *model, struct bs__plane *plane, const struct bs__layout *l,
                                enum bs_precision precision, const struct bs__statistics *statistics,
                                const struct bs_segment_progress *progress, const struct bs_cancel *cancel,
                                struct bs__fixed_norm **out, struct bs_err *err)
{
    const struct bs_arch_config *arch = &bs_model_info_get(model)->arch;
    struct bs__norm_plan whole = {0};
    struct bs__norm_part copying;
    struct bs_graph *graph = NULL;
    struct bs__fixed_norm *f = calloc(1, sizeof *f);
    bs_status rc = BS_OK;
    *out = NULL;
    if (!f)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the statistics of the norms");
    f->model_params = bs_model_params(model);
    struct measuring m = {.fixed = f,
                          .model = model,
                          .plane = plane,
                          .layout = l,
                          .precision = precision,
                          .statistics = statistics,
                          .progress = progress,
                          .cancel = cancel,
                          .divisor = bs_arch_divisor(arch)};
    struct bs_param_source source = {f, source_shape, source_read, NULL};
    if ((rc = bs_params_create(source, &f->params, err)) != BS_OK || (rc = measure_norms(&m, err)) != BS_OK ||
        (rc = bs__norm_plan_open(&whole, arch, l->batch, l->window_h, l->window_w, err)) != BS_OK ||
        (rc = bs__norm_part_build(&whole, whole.nnorm, 0, &copying, &graph, err)) != BS_OK ||
        (rc = bs_executable_create(bs_model_device(model), graph, f->params, precision, &f->exe, err)) !=
            BS_OK)
        goto cleanup;
    *out = f;
    f = NULL;
cleanup:
    bs__norm_plan_close(&whole);
    bs_graph_destroy(graph);
    bs__fixed_norm_destroy(f);
    return rc;
}

struct bs_executable *bs__fixed_norm_executable(struct bs__fixed_norm *f)
{
    return f->exe;
}

void bs__fixed_norm_destroy(struct bs__fixed_norm *f)
{
    if (!f)
        return;
    bs_executable_destroy(f->exe);
    bs_params_unref(f->params);
    for (int k = 0; k < f->nnorm; k++) {
        free(f->norm[k].mean);
        free(f->norm[k].var);
    }
    free(f);
}
