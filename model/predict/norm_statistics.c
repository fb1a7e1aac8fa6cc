/* Instance and group norms look at the whole image: a tile on its own has other statistics, so an empty tile would have
   its noise blown up into objects, and tiles would not fit together. For tiles we therefore measure first and then fix:

       1. windows spread evenly over the image (the whole image, if it is small enough) go through the network together,
          one norm after the other: with all earlier norms fixed, the part of the network up to the next norm gives its
          input; mean and variance of that over all windows (their surroundings left out) become its constants
       2. all tiles run with those constants (the norms have become batch norms), so that a halo of the receptive radius
          makes them fit exactly

   The windows stand for the image; how well is tested on a mosaic of empty, dim and bright parts.
   A struct bs__fixed_norm owns its executable and parameters; executor thread only. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"
#include "model/arch/arch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Up to this many pixels all of the image is measured, beyond it windows that make up as many: twice the work of the
   prediction itself at worst, and a small part of it for a slide. */
#define SAMPLE_PIXELS ((size_t)18 << 20)
#define ONE_WINDOW    ((size_t)1 << 20) /* smaller images are measured as a whole */
#define COVERING_CORE 512
#define SPREAD_CORE   256 /* many small windows tell more about a slide than few large ones */
#define SAMPLE_HALO   32  /* beyond it hardly anything reaches a pixel, though it could */
#define MOST_LEVELS   3   /* of which inputs of norms are computed again instead of held */
#define MAX_NORMS     62
#define NO_NORM       (-1)

struct norm {
    int channels;
    float *mean, *var;
};

struct bs__fixed_norm {
    struct bs_params *model_params; /* borrowed */
    struct bs_params *params;       /* the model's plus the fixed statistics */
    struct bs_executable *exe;
    int nnorm;
    struct norm norm[MAX_NORMS];
};

bool bs__has_spatial_norm(const struct bs_arch_config *arch)
{
    return arch->unet.norm == BS_NORM_INSTANCE || arch->unet.norm == BS_NORM_GROUP;
}

static bool is_spatial_norm(enum bs_op op)
{
    return op == BS_OP_INSTANCE_NORM || op == BS_OP_GROUP_NORM;
}

static bs_value stat_param(struct bs_graph *g, int k, const char *what, int64_t channels)
{
    char name[64];
    snprintf(name, sizeof name, "fixed.%d.%s", k, what);
    return bs_graph_param(g, name, BS_SHAPE(channels));
}

/* The network at one size, and where its norms are. */
struct plan {
    struct bs_graph *graph;
    int64_t h; /* of the image */
    int nnode, nnorm;
    int *norm_at;            /* per node: the number of this norm, or NO_NORM */
    int *tap_at;             /* per node: the number of the norm whose input it is, or NO_NORM */
    bs_value tap[MAX_NORMS]; /* the input of each norm */
    bs_value norm[MAX_NORMS];
};

static void plan_close(struct plan *p)
{
    bs_graph_destroy(p->graph);
    free(p->norm_at);
    free(p->tap_at);
    memset(p, 0, sizeof *p);
}

static bs_status plan_open(struct plan *p, const struct bs_arch_config *arch, int64_t n, int64_t h, int64_t w,
                           struct bs_err *err)
{
    memset(p, 0, sizeof *p);
    bs_status rc = bs_arch_build(arch, n, h, w, &p->graph, err);
    if (rc != BS_OK)
        return rc;
    p->h = h;
    p->nnode = bs_graph_node_count(p->graph);
    p->norm_at = malloc((size_t)p->nnode * sizeof *p->norm_at);
    p->tap_at = malloc((size_t)p->nnode * sizeof *p->tap_at);
    if (!p->norm_at || !p->tap_at)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the graph");
    for (int v = 0; v < p->nnode; v++)
        p->norm_at[v] = p->tap_at[v] = NO_NORM;
    for (int v = 0; v < p->nnode; v++) {
        const struct bs_node *node = bs_graph_node(p->graph, v);
        if (!is_spatial_norm(node->op))
            continue;
        if (p->nnorm == MAX_NORMS)
            return BS_FAIL(err, BS_EUNSUPPORTED, "a network with more than %d norms cannot be tiled",
                           MAX_NORMS);
        p->norm[p->nnorm] = v;
        p->tap[p->nnorm] = node->input[0];
        p->tap_at[node->input[0]] = p->nnorm;
        p->norm_at[v] = p->nnorm++;
    }
    return BS_OK;
}

/* Copying a part of the network: values that are known already come in as inputs. */
struct copying {
    const struct plan *plan;
    int level; /* inputs of norms above this level (0: full size) are computed again, from the image if need be */
    struct bs_graph *to;
    bs_value *copy; /* per node of the plan; BS_NO_VALUE: not copied yet */
    int target;     /* the norm whose input is wanted; nnorm: the whole network, nothing is known */
    int input[MAX_NORMS], ninput; /* norms whose inputs come in, in the order of the graph's inputs */
};

/* The image itself is always at hand; the inputs of the other norms from some level on. */
static bool is_held(const struct plan *p, int tap, int level)
{
    const struct bs_node *node = bs_graph_node(p->graph, p->tap[tap]);
    return node->op == BS_OP_INPUT || p->h / node->shape.dim[2] >= (int64_t)1 << level;
}

static bs_value copy_value(struct copying *c, bs_value v)
{
    const struct bs_node *node = bs_graph_node(c->plan->graph, v);
    int tap = c->plan->tap_at[v], k = c->plan->norm_at[v];
    bs_value in[BS_MAX_INPUTS];
    if (c->copy[v] != BS_NO_VALUE)
        return c->copy[v];
    if (c->target < c->plan->nnorm && tap != NO_NORM && tap < c->target && is_held(c->plan, tap, c->level)) {
        char name[32];
        snprintf(name, sizeof name, "tap.%d", tap);
        c->input[c->ninput++] = tap;
        return c->copy[v] = bs_graph_input(c->to, name, node->shape);
    }
    if (node->op == BS_OP_INPUT)
        return c->copy[v] = bs_graph_input(c->to, node->name, node->shape);
    if (node->op == BS_OP_PARAM)
        return c->copy[v] = bs_graph_param(c->to, node->name, node->shape);
    for (int i = 0; i < node->ninput; i++)
        in[i] = copy_value(c, node->input[i]);
    if (k == NO_NORM)
        return c->copy[v] = bs_graph_apply(c->to, node->op, in, node->ninput, node->attr);
    int64_t channels = node->shape.dim[1];
    bool affine = node->op == BS_OP_GROUP_NORM;
    bs_value weight = affine ? in[1] : stat_param(c->to, k, "weight", channels);
    bs_value bias = affine ? in[2] : stat_param(c->to, k, "bias", channels);
    return c->copy[v] =
               bs_graph_batch_norm(c->to, in[0], weight, bias, stat_param(c->to, k, "mean", channels),
                                   stat_param(c->to, k, "var", channels), node->attr.eps);
}

/* target < nnorm: the part that ends at this norm's input. Otherwise the whole network with fixed norms. */
static bs_status copy_network(const struct plan *plan, int target, int level, struct copying *c,
                              struct bs_graph **out, struct bs_err *err)
{
    bs_status rc;
    *out = NULL;
    *c = (struct copying){.plan = plan, .level = level, .target = target, .to = bs_graph_create()};
    c->copy = malloc((size_t)plan->nnode * sizeof *c->copy);
    if (!c->to || !c->copy) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the graph");
        goto cleanup;
    }
    for (int v = 0; v < plan->nnode; v++)
        c->copy[v] = BS_NO_VALUE;
    if (target < plan->nnorm)
        bs_graph_output(c->to, "tap", copy_value(c, plan->tap[target]));
    for (int i = 0; target == plan->nnorm && i < bs_graph_output_count(plan->graph); i++)
        bs_graph_output(c->to, bs_graph_output_name(plan->graph, i),
                        copy_value(c, bs_graph_output_value(plan->graph, i)));
    if ((rc = bs_graph_finish(c->to, err)) == BS_OK) {
        *out = c->to;
        c->to = NULL;
    }
cleanup:
    bs_graph_destroy(c->to);
    free(c->copy);
    c->copy = NULL;
    return rc;
}

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
    const struct bs_cancel *cancel;
    int64_t divisor, windows;
    int level;
    struct sample sample;
    struct plan plan;
    float *scratch; /* one window's input of a norm that is not held */
    int last_use[MAX_NORMS];
    float *tap[MAX_NORMS]; /* (windows, C, h, w): input of each norm, while a later part needs it */
    size_t tap_bytes[MAX_NORMS];
};

static size_t one_tap(const struct plan *plan, int k)
{
    return bs_shape_count(&bs_graph_node(plan->graph, plan->tap[k])->shape);
}

/* When each norm's input is needed for the last time, and how many bytes of them stand at once per window. */
static bs_status plan_memory(struct measuring *m, size_t *peak, struct bs_err *err)
{
    *peak = 0;
    memset(m->last_use, 0, sizeof m->last_use);
    for (int k = 0; k < m->plan.nnorm; k++) {
        struct copying c;
        struct bs_graph *part = NULL;
        m->last_use[k] = k;
        if (k == 0)
            continue;
        bs_status rc = copy_network(&m->plan, k, m->level, &c, &part, err);
        bs_graph_destroy(part);
        if (rc != BS_OK)
            return rc;
        for (int i = 0; i < c.ninput; i++)
            m->last_use[c.input[i]] = k;
    }
    for (int k = 0; k < m->plan.nnorm; k++) {
        size_t live = 0;
        for (int j = 0; j <= k; j++)
            live += m->last_use[j] >= k && is_held(&m->plan, j, m->level)
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
    for (size_t pixels = SAMPLE_PIXELS;; pixels /= 2) {
        m->sample = choose_sample(m->layout, m->divisor, pixels);
        m->windows = m->sample.rows * m->sample.columns;
        bs_status rc = plan_open(&m->plan, arch, 1, m->sample.h, m->sample.w, err);
        for (m->level = 0; rc == BS_OK && m->level <= MOST_LEVELS; m->level++) {
            size_t peak;
            rc = plan_memory(m, &peak, err);
            /* Half of the budget: the parts' own arenas need room too. */
            if (rc == BS_OK && (peak * (size_t)m->windows <= m->layout->budget / 2 || m->layout->budget == 0))
                return BS_OK;
        }
        if (rc != BS_OK)
            return rc;
        m->level = MOST_LEVELS;
        if (pixels <= SPREAD_CORE * SPREAD_CORE)
            return BS_OK;
        plan_close(&m->plan);
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
        if (bs_model_info_get(m->model)->normalisation == BS_NORMALISE_STANDARDISE)
            bs__standardise(to, n, *m->statistics);
        else
            for (size_t i = 0; i < n; i++)
                to[i] = isnan(to[i]) ? 0 : to[i];
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
    struct copying c;
    struct bs_graph *part = NULL;
    struct bs_executable *exe = NULL;
    struct bs_tensor in[MAX_NORMS], out;
    bs_status rc = BS_OK;
    if (k > 0 && (rc = copy_network(&m->plan, k, m->level, &c, &part, err)) == BS_OK)
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
        if (is_held(&m->plan, k, m->level) && !(m->tap[k] = bs_pages_alloc(m->tap_bytes[k]))) {
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
    for (int k = 0; k < MAX_NORMS; k++)
        drop_tap(m, k);
    if (m->scratch)
        bs_pages_free(m->scratch, scratch);
    plan_close(&m->plan);
    return rc;
}

bs_status bs__fixed_norm_create(struct bs_model *model, struct bs__plane *plane, const struct bs__layout *l,
                                enum bs_precision precision, const struct bs__statistics *statistics,
                                const struct bs_cancel *cancel, struct bs__fixed_norm **out,
                                struct bs_err *err)
{
    const struct bs_arch_config *arch = &bs_model_info_get(model)->arch;
    struct plan whole = {0};
    struct copying copying;
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
                          .cancel = cancel,
                          .divisor = bs_arch_divisor(arch)};
    struct bs_param_source source = {f, source_shape, source_read, NULL};
    if ((rc = bs_params_create(source, &f->params, err)) != BS_OK || (rc = measure_norms(&m, err)) != BS_OK ||
        (rc = plan_open(&whole, arch, l->batch, l->window_h, l->window_w, err)) != BS_OK ||
        (rc = copy_network(&whole, whole.nnorm, 0, &copying, &graph, err)) != BS_OK ||
        (rc = bs_executable_create(bs_model_device(model), graph, f->params, precision, &f->exe, err)) !=
            BS_OK)
        goto cleanup;
    *out = f;
    f = NULL;
cleanup:
    plan_close(&whole);
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
