/* The image through the network: windows in, cores stitched. Runs on the device's executor thread; owns its scratch
   for the length of the call. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"
#include "kernels/base/pages.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct work {
    struct bs_model *model;
    struct bs__plane *plane;
    const struct bs__layout *layout;
    const struct bs__statistics *statistics;
    struct bs__maps *maps;
    const struct bs_segment_progress *progress; /* NULL: nobody hears */
    struct bs_executable *exe;
    float *in, *logits, *out[2]; /* (batch, channels, net_h, net_w); out[1]: NULL unless runs overlap */
    int in_channels;
    struct bs_encoder_input *encoder; /* NULL: the network takes windows as they are */
    float *window, *window_maps;      /* with an encoder: one window and its maps at their own size */
};

/* Where the k-th tile that is run lies: the window's origin, and the part of the image that it decides. */
static void place(const struct work *w, int64_t k, struct bs__window *y, struct bs__window *x)
{
    const struct bs__layout *l = w->layout;
    int64_t columns = l->run_rows ? l->run_columns : l->columns;
    bs__layout_place(l, l->first_row + k / columns, l->first_column + k % columns, w->plane->h, w->plane->w,
                     y, x);
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static bs_status fill(struct work *w, int slot, int64_t k, struct bs_err *err)
{
    const struct bs__layout *l = w->layout;
    size_t n = (size_t)(l->window_h * l->window_w);
    float *slot_in = w->in + (size_t)slot * (size_t)w->in_channels * (size_t)(l->net_h * l->net_w);
    float *to = w->encoder ? w->window : slot_in;
    struct bs__window y, x;
    place(w, k, &y, &x);
    bs_status rc =
        bs__window_read(w->plane, y.origin, x.origin, l->window_h, l->window_w, l->blocks, to, err);
    if (rc != BS_OK)
        return rc;
    bs__normalise(to, n, bs_model_info_get(w->model)->normalisation,
                  l->blocks ? bs__statistics_of(to, n) : *w->statistics);
    /* A network for colour sees the same plane in every channel, as the reference does with grey images. */
    if (w->encoder)
        bs_encoder_input_fill(w->encoder, to, 1, w->in_channels, slot_in);
    for (int c = 1; c < w->in_channels && !w->encoder; c++)
        memcpy(to + (size_t)c * n, to, n * sizeof *to);
    return BS_OK;
}

/* The part of the foreground that a finished window decided; map is that of the window, stride long. */
static void show(const struct work *w, const struct bs__window *y, const struct bs__window *x,
                 const float *map, int64_t stride)
{
    if (!w->progress || !w->progress->core || y->to <= y->from || x->to <= x->from)
        return;
    const bool cropped = w->layout->run_rows != 0;
    const struct bs__box whole = {0, 0, w->plane->h, w->plane->w};
    const struct bs__box source = {0, 0, w->plane->source_h, w->plane->source_w};
    const struct bs__box *shown = cropped ? &w->layout->crop.shown : &whole;
    const struct bs__box *image = cropped ? &w->layout->crop.region : &source;
    const int64_t top = later(y->from, (int64_t)shown->top), left = later(x->from, (int64_t)shown->left),
                  bottom = sooner(y->to, (int64_t)(shown->top + shown->h)),
                  right = sooner(x->to, (int64_t)(shown->left + shown->w));
    if (bottom <= top || right <= left)
        return;
    const struct bs_segment_core core = {.map_h = shown->h,
                                         .map_w = shown->w,
                                         .image_h = image->h,
                                         .image_w = image->w,
                                         .t = w->plane->place.t,
                                         .z = w->plane->place.z,
                                         .top = (size_t)top - shown->top,
                                         .left = (size_t)left - shown->left,
                                         .bottom = (size_t)bottom - shown->top,
                                         .right = (size_t)right - shown->left,
                                         .foreground = map + (top - y->origin) * stride + (left - x->origin),
                                         .stride = (size_t)stride};
    w->progress->core(w->progress->ctx, &core);
}

static bs_status stitch(struct work *w, const float *out, int slot, int64_t k, struct bs_err *err)
{
    const struct bs__layout *l = w->layout;
    const size_t net = (size_t)(l->net_h * l->net_w), n = (size_t)(l->window_h * l->window_w);
    const float *maps = out + (size_t)(slot * w->maps->channels) * net;
    struct bs__window y, x;
    place(w, k, &y, &x);
    if (w->encoder) {
        bs_encoder_input_maps(w->encoder, maps, w->maps->channels, w->window_maps);
        maps = w->window_maps;
    }
    for (int c = 0; c < w->maps->channels; c++) {
        const float *map = maps + (size_t)c * n;
        for (int64_t row = y.from; row < y.to; row++) {
            const float *from = map + (row - y.origin) * l->window_w + (x.from - x.origin);
            bs_status rc = x.to > x.from ? bs__maps_write(w->maps, c, (size_t)row - l->crop.maps.top,
                                                          (size_t)x.from - l->crop.maps.left, from,
                                                          (size_t)(x.to - x.from), err)
                                         : BS_OK;
            if (rc != BS_OK)
                return rc;
        }
    }
    show(w, &y, &x, maps, l->window_w);
    return BS_OK;
}

/* What is done while a device computes: windows `done` to done + batch, which the last run left, to the result, and windows `next`
   to next + batch of the plane, as far as there are that many, for the next run. */
struct beside {
    struct work *w;
    const float *out; /* of the last run; NULL: it left nothing */
    int64_t done, next;
    int64_t tiles;
    bs_status rc;
    struct bs_err err;
};

static void put_down(struct beside *b)
{
    const struct work *w = b->w;
    int64_t to = b->done + w->layout->batch;
    to = to < b->tiles ? to : b->tiles;
    for (int64_t k = b->done; k < to && b->rc == BS_OK; k++)
        b->rc = stitch(b->w, b->out, (int)(k - b->done), k, &b->err);
    if (b->rc == BS_OK && w->progress && w->progress->tile)
        w->progress->tile(w->progress->ctx, (int)to, (int)b->tiles);
}

static void work_beside(void *ctx)
{
    struct beside *b = ctx;
    const int64_t batch = b->w->layout->batch;
    if (b->out && b->rc == BS_OK)
        put_down(b);
    for (int64_t i = 0; i < batch && b->next + i < b->tiles && b->rc == BS_OK; i++)
        b->rc = fill(b->w, (int)i, b->next + i, &b->err);
}

/* What stands between windows and an encoder of fixed size. */
static bs_status open_encoder(struct work *w, struct bs_err *err)
{
    const struct bs__layout *l = w->layout;
    const struct bs_arch_config *arch = &bs_model_info_get(w->model)->arch;
    const struct bs_encoder_input_options options = {.net_h = l->net_h,
                                                     .net_w = l->net_w,
                                                     .resize = l->resize,
                                                     .sam_statistics = arch->kind == BS_ARCH_UNETR &&
                                                                       arch->unetr.sam_statistics};
    const size_t bytes = (size_t)(l->window_h * l->window_w) * sizeof(float);
    bs_status rc = bs_encoder_input_create(&options, l->window_h, l->window_w, &w->encoder, err);
    if (rc != BS_OK)
        return rc;
    w->window = malloc(bytes);
    w->window_maps = malloc(bytes * (size_t)w->maps->channels);
    if (!w->window || !w->window_maps)
        return BS_FAIL(err, BS_ENOMEM, "no memory for a window of %lld x %lld pixels", (long long)l->window_h,
                       (long long)l->window_w);
    return BS_OK;
}

/* A window and its maps are as large as the image itself when there is one window: where the size fits exactly, the
   network writes straight into the result. */
static bool writes_in_place(const struct work *w)
{
    const struct bs__layout *l = w->layout;
    return !l->tiled && !l->encoder && w->maps->data && l->window_h == (int64_t)w->maps->h &&
           l->window_w == (int64_t)w->maps->w;
}

bs_status bs__network_run(struct bs_model *model, struct bs__plane *plane, const struct bs__layout *l,
                          enum bs_precision precision, const struct bs__statistics *statistics,
                          struct bs__maps *maps, const struct bs_segment_progress *progress,
                          const struct bs_cancel *cancel, struct bs__network_run *run, struct bs_err *err)
{
    const struct bs_arch_config *arch = &bs_model_info_get(model)->arch;
    struct work w = {.model = model,
                     .plane = plane,
                     .layout = l,
                     .statistics = statistics,
                     .maps = maps,
                     .progress = progress,
                     .in_channels = bs_arch_in_channels(arch)};
    struct bs__fixed_norm *fixed = NULL;
    bs_status rc = BS_OK;
    size_t pixels, in_bytes, out_bytes;
    int64_t tiles = bs__layout_tiles(l);
    *run = (struct bs__network_run){0};
    if (!bs_mul((size_t)l->net_h, (size_t)l->net_w, &pixels) ||
        !bs_mul(pixels, (size_t)l->batch * sizeof(float), &pixels) ||
        !bs_mul(pixels, (size_t)w.in_channels, &in_bytes) ||
        !bs_mul(pixels, (size_t)maps->channels, &out_bytes))
        return BS_FAIL(err, BS_ELIMIT, "a window of %lld x %lld is too large", (long long)l->window_h,
                       (long long)l->window_w);
    bool in_place = writes_in_place(&w), overlap = false;
    if (l->tiled && !l->blocks && bs__has_spatial_norm(arch)) {
        if ((rc = bs__fixed_norm_create(model, plane, l, precision, statistics, progress, cancel, &fixed,
                                        err)) != BS_OK)
            goto cleanup;
        w.exe = bs__fixed_norm_executable(fixed);
        run->fixed_statistics = true;
    } else if ((rc = bs_model_executable(model, l->batch, l->net_h, l->net_w, precision, &w.exe, err)) !=
               BS_OK) {
        goto cleanup;
    }
    if (l->encoder && (rc = open_encoder(&w, err)) != BS_OK)
        goto cleanup;
    w.in = bs_pages_alloc(in_bytes);
    w.logits = bs_pages_alloc(out_bytes);
    w.out[0] = in_place ? maps->data : bs_pages_alloc(out_bytes);
    overlap = tiles > l->batch && bs_executable_overlaps(w.exe);
    w.out[1] = overlap ? bs_pages_alloc(out_bytes) : NULL;
    if (!w.in || !w.logits || !w.out[0] || (overlap && !w.out[1])) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for a window of %lld x %lld pixels", (long long)l->window_h,
                     (long long)l->window_w);
        goto cleanup;
    }
    struct bs_shape in_shape = BS_SHAPE(l->batch, w.in_channels, l->net_h, l->net_w);
    struct bs_shape out_shape = BS_SHAPE(l->batch, maps->channels, l->net_h, l->net_w);
    struct bs_tensor input = {BS_F32, in_shape, w.in};
    /* Runs take turns with the maps; nobody reads the logits. */
    struct bs_tensor output[2][2] = {{{BS_F32, out_shape, w.logits}, {BS_F32, out_shape, w.out[0]}},
                                     {{BS_F32, out_shape, w.logits}, {BS_F32, out_shape, w.out[1]}}};
    struct beside beside = {.w = &w, .tiles = tiles};
    work_beside(&beside);
    for (int64_t k = 0; k < tiles; k += l->batch) {
        const int turn = overlap ? (int)(k / l->batch % 2) : 0;
        if (bs_cancel_requested(cancel)) {
            rc = BS_FAIL(err, BS_ECANCELLED, "cancelled after %lld of %lld tiles", (long long)k,
                         (long long)tiles);
            goto cleanup;
        }
        if ((rc = beside.rc) != BS_OK)
            goto failed_beside;
        beside.next = k + l->batch; /* read while a device computes */
        const bool first = k == 0, last = beside.next >= tiles;
        const struct bs_meanwhile meanwhile = {.ctx = &beside,
                                               .call = work_beside,
                                               .next = !last,
                                               .ahead = !first,
                                               .leave = overlap,
                                               .late = beside.out ? output[1 - turn] : NULL};
        /* A last batch that is not full computes what is left in its slots from before: harmless, and of known cost. */
        if ((rc = bs_executable_run_while(w.exe, &input, 1, output[turn], 2, &meanwhile, cancel, err)) !=
            BS_OK)
            goto cleanup;
        if ((rc = beside.rc) != BS_OK)
            goto failed_beside;
        beside.done = k;
        if (overlap) {
            beside.out = w.out[turn];
        } else if (in_place) {
            show(&w, &(struct bs__window){0, 0, (int64_t)plane->h},
                 &(struct bs__window){0, 0, (int64_t)plane->w}, maps->data, (int64_t)plane->w);
            if (progress && progress->tile)
                progress->tile(progress->ctx, (int)tiles, (int)tiles);
        } else {
            beside.out = w.out[0];
            put_down(&beside);
            beside.out = NULL;
        }
    }
    if (overlap) {
        const int turn = (int)((tiles - 1) / l->batch % 2);
        if ((rc = bs_executable_collect(w.exe, output[turn], 2, err)) != BS_OK)
            goto cleanup;
        put_down(&beside);
    }
    if ((rc = beside.rc) != BS_OK)
        goto failed_beside;
    run->plan_hash = bs_executable_plan_hash(w.exe);
    snprintf(run->algorithms, sizeof run->algorithms, "%s", bs_executable_algorithms(w.exe));
failed_beside:
    if (rc != BS_OK && err)
        *err = beside.err;
cleanup:
    bs_encoder_input_destroy(w.encoder);
    free(w.window);
    free(w.window_maps);
    bs_pages_free(w.in, in_bytes);
    bs_pages_free(w.logits, out_bytes);
    if (!in_place)
        bs_pages_free(w.out[0], out_bytes);
    bs_pages_free(w.out[1], out_bytes);
    bs__fixed_norm_destroy(fixed);
    return rc;
}
