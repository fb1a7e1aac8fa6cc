/* Tiles for networks whose encoder has a size of its own (UNETR, ViM-UNet): the tile is the magnification.

   Such a network sees S x S pixels (S: the encoder's size). A tile is resized to S (or padded with zeros, as the model says),
   so the side of the tile decides how large objects appear. In training they appeared as a patch of the training showed
   them; so the tile with its halo is as large as that patch, larger images are tiled, and any other size is taken with a
   warning that names the factor. Each tile is an input of its own: attention and scans see all of it and nothing else, and
   so do the norms, as in training.

   whole_image: images up to S x S go through at once, resized or padded to S, as the paper's evaluation did.
   resample_positions: tiles keep their size and the network runs at it; positions are resampled inside the graph.
   Runs on the executor thread, because asking for a plan compiles. */
#include "model/predict/predict_internal.h"

#define HALO_PART     8  /* of the tile with its halo: 64 of 512 */
#define SMALLEST_CORE 16 /* every core costs a run of the whole network */
#define PADDING       16 /* the paper's evaluation pads images to multiples of it before they are resized */
#define LARGEST_OWN   16384 /* side of an image that goes through at its own size */

static int64_t round_up(int64_t a, int64_t m)
{
    return (a + m - 1) / m * m;
}

/* How large objects appear, relative to training. */
static double magnification(const struct bs_model_info *info, const struct bs__layout *l, bool resizes)
{
    const double size = bs_arch_image_size(&info->arch), patch = info->training_patch;
    const double longest = (double)(l->window_h > l->window_w ? l->window_h : l->window_w);
    if (patch == 0 || !resizes)
        return 1;
    return (l->resize ? size / longest : 1) / (size / patch);
}

static bs_status choose_tiles(const struct bs_model_info *info, size_t h, size_t w,
                              const struct bs_segment_params *params, struct bs__layout *l,
                              struct bs_err *err)
{
    const bool own = params->resample_positions;
    const int64_t size = bs_arch_image_size(&info->arch), divisor = bs_arch_divisor(&info->arch);
    int64_t tile, net;
    bs_model_tile(info, &tile, &net);
    const int64_t most_halo = (tile - SMALLEST_CORE) / 2;
    int64_t halo = params->halo >= 0              ? params->halo
                   : tile / HALO_PART < most_halo ? tile / HALO_PART
                                                  : most_halo;
    int64_t core = params->tile ? round_up(params->tile, SMALLEST_CORE) : tile - 2 * halo;
    if (core < SMALLEST_CORE)
        return BS_FAIL(err, BS_EINVAL,
                       "halo is %lld; with tiles of %lld pixels, halo included, 0 to %lld is accepted",
                       (long long)halo, (long long)tile, (long long)most_halo);
    if (own)
        core = round_up(core + 2 * halo, divisor) - 2 * halo;
    const int64_t window = core + 2 * halo;
    if (!own && window > size)
        return BS_FAIL(
            err, BS_EINVAL,
            "a tile of %lld with a halo of %lld on each side has %lld pixels; the encoder takes up "
            "to %lld, or any size with resample_positions",
            (long long)core, (long long)halo, (long long)window, (long long)size);
    l->halo_h = l->halo_w = halo;
    if (params->statistics == BS_STATISTICS_BLOCK) {
        bs__layout_set_blocks(l, h, w, core, core);
    } else {
        /* A smaller image is reflected to the size of the tile: its objects keep their size. */
        l->window_h = l->window_w = window;
        l->rows = bs__window_count(l->padded_h, window, halo);
        l->columns = bs__window_count(l->padded_w, window, halo);
    }
    l->tiled = l->blocks || l->rows * l->columns > 1;
    l->net_h = own ? l->window_h : size;
    l->net_w = own ? l->window_w : size;
    return BS_OK;
}

/* The whole image as one window; false when it is larger than the encoder, or than any network should see. */
static bool choose_whole(const struct bs_model_info *info, size_t h, size_t w, bool own, struct bs__layout *l)
{
    const int64_t size = bs_arch_image_size(&info->arch), divisor = bs_arch_divisor(&info->arch);
    const int64_t multiple = own ? (divisor > PADDING ? divisor : PADDING) : l->resize ? PADDING : 1;
    l->window_h = round_up((int64_t)h, multiple);
    l->window_w = round_up((int64_t)w, multiple);
    /* As many pixels as the encoder's square in another shape: positions would be taken for those of the square. */
    if (own && l->window_h != size && l->window_h * l->window_w == size * size)
        l->window_w += multiple;
    l->rows = l->columns = l->batch = 1;
    l->net_h = own ? l->window_h : size;
    l->net_w = own ? l->window_w : size;
    const int64_t most = own ? LARGEST_OWN : size;
    return l->window_h <= most && l->window_w <= most;
}

bs_status bs__layout_encoder(struct bs_model *model, size_t h, size_t w,
                             const struct bs_segment_params *params, struct bs__layout *out,
                             struct bs_err *err)
{
    const struct bs_model_info *info = bs_model_info_get(model);
    const bool own = params->resample_positions;
    const bool resizes = info->arch.kind == BS_ARCH_UNETR && info->arch.unetr.resize_input;
    const struct bs__layout empty = {.encoder = true,
                                     .resize = resizes && !own,
                                     .padded_h = (int64_t)h,
                                     .padded_w = (int64_t)w,
                                     .batch = params->batch > 0 ? params->batch : 1,
                                     .budget = bs__layout_budget(model, params)};
    struct bs__layout l = empty;
    bs_status rc;
    if (params->whole_image && choose_whole(info, h, w, own, &l)) {
        if ((rc = bs__layout_arena(model, 1, l.net_h, l.net_w, params->precision, &l.arena_bytes, err)) !=
            BS_OK)
            return rc;
        l.whole_bytes = l.arena_bytes;
    }
    /* An image at its own size that does not fit is tiled; at the encoder's size tiles would need as much. */
    if (l.arena_bytes == 0 || (own && l.arena_bytes > l.budget)) {
        l = empty;
        if ((rc = choose_tiles(info, h, w, params, &l, err)) != BS_OK)
            return rc;
        if (l.batch > l.rows * l.columns)
            l.batch = (int)(l.rows * l.columns);
        if ((rc = bs__layout_arena(model, l.batch, l.net_h, l.net_w, params->precision, &l.arena_bytes,
                                   err)) != BS_OK)
            return rc;
    }
    if (l.arena_bytes > l.budget)
        return BS_FAIL(err, BS_ELIMIT,
                       "%d tile%s of %lld x %lld pixels at a time need%s %zu MiB, the budget is %zu MiB; a "
                       "larger budget%s is accepted",
                       l.batch, l.batch == 1 ? "" : "s", (long long)l.net_h, (long long)l.net_w,
                       l.batch == 1 ? "s" : "", l.arena_bytes >> 20, l.budget >> 20,
                       l.batch > 1 ? " or fewer of them"
                       : own       ? " or a smaller tile"
                                   : "");
    l.magnification = magnification(info, &l, resizes);
    *out = l;
    return BS_OK;
}
