/* Whole image or tiles, and which: the whole image when its plan fits the budget, else the largest window that fits. The
   plan of an executable is known before its arena is allocated, so nothing is tried out with real memory. Runs on the
   executor thread, because asking for a plan compiles. */
#include "model/predict/predict_internal.h"

#include "kernels/base/checked.h"

/* The reference pads to multiples of 16 whatever the network's depth; instance norms see the padding, so it matters. */
#define PADDING 16
/* Larger windows gain nothing (the halo is a small part of them by then) and make cancel and progress coarse. */
#define LARGEST_CORE  2048
#define SMALLEST_CORE 64
/* Nor does more memory: a slide is segmented in 4 GiB, its labels included. A tile that was asked for may take the budget. */
#define TILED_ARENA ((size_t)3 << 29)

static int64_t round_up(int64_t a, int64_t m)
{
    return (a + m - 1) / m * m;
}

size_t bs__layout_budget(struct bs_model *model, const struct bs_segment_params *params)
{
    if (params->memory_budget)
        return params->memory_budget;
    size_t available = bs_device_memory_available(bs_model_device(model)),
           held = bs_model_resident_bytes(model), all;
    /* What this model already holds is reused: counting it as gone would tile the second image of a size and not the first. */
    if (available == SIZE_MAX || !bs_add(available, held, &all))
        return SIZE_MAX / 4;
    return all / 2;
}

/* A bound that needs no compiling: two feature maps of the first level and one of the concatenation stand at once. */
static bool hopeless(const struct bs_model_info *info, int64_t batch, int64_t h, int64_t w, size_t budget)
{
    double features = info->arch.unet.initial_features;
    return 2 * features * sizeof(uint16_t) * (double)batch * (double)h * (double)w > (double)budget;
}

bs_status bs__layout_arena(struct bs_model *model, int64_t batch, int64_t h, int64_t w,
                           enum bs_precision precision, size_t *bytes, struct bs_err *err)
{
    struct bs_executable *exe = NULL;
    bs_status rc = bs_model_executable(model, batch, h, w, precision, &exe, err);
    if (rc == BS_OK)
        *bytes = bs_executable_arena_bytes(exe);
    return rc;
}

static void set_window(struct bs__layout *l, int64_t core)
{
    l->window_h = core + 2 * l->halo_h < l->padded_h ? core + 2 * l->halo_h : l->padded_h;
    l->window_w = core + 2 * l->halo_w < l->padded_w ? core + 2 * l->halo_w : l->padded_w;
    l->rows = bs__window_count(l->padded_h, l->window_h, l->halo_h);
    l->columns = bs__window_count(l->padded_w, l->window_w, l->halo_w);
    l->net_h = l->window_h;
    l->net_w = l->window_w;
}

/* The reference's blocks: every block at its full size, reflected beyond the image. */
void bs__layout_set_blocks(struct bs__layout *l, size_t h, size_t w, int64_t block_h, int64_t block_w)
{
    l->blocks = true;
    l->window_h = block_h + 2 * l->halo_h;
    l->window_w = block_w + 2 * l->halo_w;
    l->rows = ((int64_t)h + block_h - 1) / block_h;
    l->columns = ((int64_t)w + block_w - 1) / block_w;
    l->net_h = l->window_h;
    l->net_w = l->window_w;
}

bs_status bs__layout_blocks(struct bs_model *model, size_t h, size_t w, int64_t block_h, int64_t block_w,
                            int64_t halo_h, int64_t halo_w, enum bs_precision precision,
                            struct bs__layout *out, struct bs_err *err)
{
    int64_t divisor = bs_arch_divisor(&bs_model_info_get(model)->arch);
    *out = (struct bs__layout){
        .tiled = true, .halo_h = halo_h, .halo_w = halo_w, .batch = 1, .magnification = 1};
    bs__layout_set_blocks(out, h, w, block_h, block_w);
    if (out->window_h % divisor || out->window_w % divisor)
        return BS_FAIL(err, BS_EINVAL, "a block with its halo is %lld x %lld; multiples of %lld are accepted",
                       (long long)out->window_h, (long long)out->window_w, (long long)divisor);
    return bs__layout_arena(model, 1, out->window_h, out->window_w, precision, &out->arena_bytes, err);
}

void bs__layout_place(const struct bs__layout *l, int64_t row, int64_t column, size_t h, size_t w,
                      struct bs__window *y, struct bs__window *x)
{
    if (!l->blocks) {
        *y = bs__window_at(l->padded_h, l->window_h, l->halo_h, row);
        *x = bs__window_at(l->padded_w, l->window_w, l->halo_w, column);
    } else {
        int64_t bh = l->window_h - 2 * l->halo_h, bw = l->window_w - 2 * l->halo_w;
        *y = (struct bs__window){row * bh - l->halo_h, row * bh, (row + 1) * bh};
        *x = (struct bs__window){column * bw - l->halo_w, column * bw, (column + 1) * bw};
    }
    /* What lies beyond the image is padding, and what lies beyond the crop nobody asked for. */
    int64_t top = 0, left = 0, bottom = (int64_t)h, right = (int64_t)w;
    if (l->run_rows) {
        top = (int64_t)l->crop.maps.top;
        left = (int64_t)l->crop.maps.left;
        bottom = top + (int64_t)l->crop.maps.h;
        right = left + (int64_t)l->crop.maps.w;
    }
    y->from = y->from > top ? y->from : top;
    x->from = x->from > left ? x->from : left;
    y->to = y->to < bottom ? y->to : bottom;
    x->to = x->to < right ? x->to : right;
}

void bs__layout_crop(struct bs__layout *l, const struct bs__crop *crop)
{
    const struct bs__box *m = &crop->maps;
    struct bs__window y, x;
    l->run_rows = 0;
    l->first_row = l->first_column = INT64_MAX;
    int64_t rows = 0, columns = 0; /* after the last that is needed */
    for (int64_t k = 0; k < l->rows; k++) {
        bs__layout_place(l, k, 0, m->top + m->h, m->left + m->w, &y, &x);
        if (y.to > (int64_t)m->top && y.to > y.from) {
            l->first_row = k < l->first_row ? k : l->first_row;
            rows = k + 1;
        }
    }
    for (int64_t k = 0; k < l->columns; k++) {
        bs__layout_place(l, 0, k, m->top + m->h, m->left + m->w, &y, &x);
        if (x.to > (int64_t)m->left && x.to > x.from) {
            l->first_column = k < l->first_column ? k : l->first_column;
            columns = k + 1;
        }
    }
    BS_ASSERT(rows > 0 && columns > 0);
    l->crop = *crop;
    l->run_rows = rows - l->first_row;
    l->run_columns = columns - l->first_column;
    if (l->batch > l->run_rows * l->run_columns)
        l->batch = (int)(l->run_rows * l->run_columns);
}

int64_t bs__layout_tiles(const struct bs__layout *l)
{
    return l->run_rows ? l->run_rows * l->run_columns : l->rows * l->columns;
}

bs_status bs__layout_choose(struct bs_model *model, size_t h, size_t w,
                            const struct bs_segment_params *params, struct bs__layout *out,
                            struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    if (bs_arch_image_size(&info->arch))
        return bs__layout_encoder(model, h, w, params, out, err);
    int64_t divisor = bs_arch_divisor(&info->arch); /* a power of two */
    divisor = divisor > PADDING ? divisor : PADDING;
    int64_t halo =
        round_up(params->halo >= 0 ? params->halo : bs_arch_receptive_radius(&info->arch), divisor);
    bool blocks = params->statistics == BS_STATISTICS_BLOCK;
    bs_status rc;
    struct bs__layout l = {.padded_h = round_up((int64_t)h, divisor),
                           .padded_w = round_up((int64_t)w, divisor),
                           .batch = params->batch > 0 ? params->batch : 1,
                           .magnification = 1,
                           .budget = bs__layout_budget(model, params)};
    /* One pixel at the deepest level has no variance for a norm to divide by. */
    if (bs__has_spatial_norm(&info->arch) && l.padded_h == divisor && l.padded_w == divisor)
        l.padded_w = 2 * divisor;

    bool whole_asked =
        params->tile == 0 || (!blocks && params->tile >= (int64_t)h && params->tile >= (int64_t)w);
    if (whole_asked && !hopeless(info, 1, l.padded_h, l.padded_w, l.budget)) {
        if ((rc = bs__layout_arena(model, 1, l.padded_h, l.padded_w, params->precision, &l.whole_bytes,
                                   err)) != BS_OK)
            return rc;
        if (l.whole_bytes <= l.budget) {
            l.window_h = l.net_h = l.padded_h;
            l.window_w = l.net_w = l.padded_w;
            l.rows = l.columns = l.batch = 1;
            l.arena_bytes = l.whole_bytes;
            *out = l;
            return BS_OK;
        }
    }
    l.tiled = true;
    l.halo_h = l.halo_w = halo;
    static const int64_t cores[] = {LARGEST_CORE, 1536, 1024, 768, 512, 384, 256, 192, 128, SMALLEST_CORE};
    int n = params->tile ? 1 : (int)(sizeof cores / sizeof *cores);
    size_t most = params->tile || l.budget < TILED_ARENA ? l.budget : TILED_ARENA;
    for (int i = 0; i < n; i++) {
        int64_t core = round_up(params->tile ? params->tile : cores[i], divisor);
        if (blocks)
            bs__layout_set_blocks(&l, h, w, core, core);
        else
            set_window(&l, core);
        if (l.batch > l.rows * l.columns)
            l.batch = (int)(l.rows * l.columns);
        if (hopeless(info, l.batch, l.window_h, l.window_w, most)) {
            l.arena_bytes = 0;
            continue;
        }
        if ((rc = bs__layout_arena(model, l.batch, l.window_h, l.window_w, params->precision, &l.arena_bytes,
                                   err)) != BS_OK)
            return rc;
        if (l.arena_bytes <= most) {
            *out = l;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ELIMIT,
                   "a window of %lld x %lld pixels (halo %lld) needs %zu MiB, the budget is %zu MiB; a "
                   "smaller tile or halo, or "
                   "a larger budget is accepted",
                   (long long)l.window_h, (long long)l.window_w, (long long)halo, l.arena_bytes >> 20,
                   l.budget >> 20);
}
