/* ViM-UNet as torch_em has it: the decoder of UNETR over Vision Mamba (Zhu et al. 2024), a stack of selective scans that
   run over the patches in both directions.

       image -> patch embedding -> class token put in -> + positions -> blocks -> norm -> decoder (unetr_decoder.c)
       block:  residual = residual + hidden,  hidden = mixer(rms norm(residual))
       mixer:  x, z = in_proj;  per direction: causal convolution, SiLU, scan gated by z;  out_proj of both directions' sum

   Before the decoder the FIRST token is dropped, wherever the class token is: with the class token in the middle the
   patches of the first half move up by one and the class token takes the last of their places. That is how the published
   weights were trained. Names are the state_dict keys of the original. Pure functions. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>

#define EPS          1e-5f /* of every norm */
#define MAX_CHANNELS 1024  /* in */
#define MAX_DEPTH    1024
#define MAX_FEATURES 16384
#define MAX_SIDE     16384
#define MAX_STATES   256 /* of the scan operator */
#define MAX_KERNEL   64
#define MAX_CLASSES  1000000

/* One place in the network. */
struct place {
    struct bs_graph *g;
    const struct bs_vimunet_config *cfg;
    char at[64]; /* "encoder.layers.3.mixer" */
};

static bs_value param(const struct place *p, const char *suffix, struct bs_shape shape)
{
    return bs__param(p->g, p->at, suffix, shape);
}

static bs_value linear(const struct place *p, const char *name, bs_value x, int64_t out)
{
    char at[96];
    snprintf(at, sizeof at, "%s.%s", p->at, name);
    return bs__linear(p->g, at, x, out, false);
}

static bs_value rms_norm(struct bs_graph *g, const char *prefix, bs_value x, int64_t features)
{
    return bs_graph_rms_norm(g, x, bs__param(g, prefix, "weight", BS_SHAPE(features)), EPS);
}

/* One direction of a mixer: the convolution and the scan of x, gated by z; its parameters' names. */
static const struct direction {
    bool reverse;
    const char *conv_weight, *conv_bias, *x_proj, *dt_proj, *dt_bias, *a_log, *skip;
} directions[2] = {
    {false, "conv1d.weight", "conv1d.bias", "x_proj", "dt_proj", "dt_proj.bias", "A_log", "D"},
    {true, "conv1d_b.weight", "conv1d_b.bias", "x_proj_b", "dt_proj_b", "dt_proj_b.bias", "A_b_log", "D_b"},
};

static bs_value scan(const struct place *p, const struct direction *d, bs_value x, bs_value z)
{
    struct bs_graph *g = p->g;
    const int64_t inner = p->cfg->inner_features, states = p->cfg->state_size, rank = p->cfg->dt_rank;
    struct bs_scan_inputs in = {.z = z};
    bs_value w = param(p, d->conv_weight, BS_SHAPE(inner, 1, p->cfg->conv_kernel));
    bs_value b = param(p, d->conv_bias, BS_SHAPE(inner));
    in.u = bs_graph_silu(g, bs_graph_causal_conv1d(g, x, w, b, d->reverse));
    bs_value projected = linear(p, d->x_proj, in.u, rank + 2 * states);
    in.delta = linear(p, d->dt_proj, bs_graph_slice_last(g, projected, 0, rank), inner);
    in.b = bs_graph_slice_last(g, projected, rank, states);
    in.c = bs_graph_slice_last(g, projected, rank + states, states);
    in.delta_bias = param(p, d->dt_bias, BS_SHAPE(inner));
    in.a_log = param(p, d->a_log, BS_SHAPE(inner, states));
    in.skip = param(p, d->skip, BS_SHAPE(inner));
    return bs_graph_selective_scan(g, &in, d->reverse);
}

static bs_value mixer(const struct place *p, bs_value x)
{
    struct bs_graph *g = p->g;
    const int64_t inner = p->cfg->inner_features;
    bs_value both = linear(p, "in_proj", x, 2 * inner);
    x = bs_graph_slice_last(g, both, 0, inner);
    bs_value z = bs_graph_slice_last(g, both, inner, inner);
    bs_value forward = scan(p, &directions[0], x, z), backward = scan(p, &directions[1], x, z);
    bs_value sum = bs_graph_add(g, forward, backward);
    if (p->cfg->divide_by_directions)
        sum = bs_graph_scale(g, sum, 0.5f);
    return linear(p, "out_proj", sum, p->cfg->embed_dim);
}

static int grid_side(const struct bs_vimunet_config *cfg)
{
    return cfg->image_size / cfg->patch_size;
}

/* From patches to tokens with their class token and positions. */
static bs_value embed(struct bs_graph *g, const struct bs_vimunet_config *cfg, bs_value image, int64_t grid_h,
                      int64_t grid_w)
{
    const int64_t features = cfg->embed_dim, patch = cfg->patch_size, side = grid_side(cfg);
    bs_value weight = bs__param(g, "encoder.patch_embed.proj", "weight",
                                BS_SHAPE(features, cfg->in_channels, patch, patch));
    bs_value bias = bs__param(g, "encoder.patch_embed.proj", "bias", BS_SHAPE(features));
    bs_value x = bs_graph_tokens_from_image(g, bs_graph_conv2d(g, image, weight, bias, cfg->patch_size, 0));
    int64_t class_token = -1;
    if (cfg->class_token) {
        class_token = cfg->class_token_first ? 0 : grid_h * grid_w / 2;
        bs_value token = bs_graph_param(g, "encoder.cls_token", BS_SHAPE(1, 1, features));
        x = bs_graph_insert_token(g, x, token, class_token);
    }
    bs_value position =
        bs_graph_param(g, "encoder.pos_embed", BS_SHAPE(1, side * side + cfg->class_token, features));
    return bs_graph_add_position(g, x, position, grid_h, grid_w, class_token);
}

/* The rotary embedding's tables are in the state, made for image_size. */
static bs_value rotate(struct bs_graph *g, const struct bs_vimunet_config *cfg, bs_value x)
{
    const int64_t side = grid_side(cfg);
    const struct bs_shape shape = BS_SHAPE(side * side, cfg->embed_dim);
    bs_value cosine = bs__param(g, "encoder.rope", "freqs_cos", shape);
    bs_value sine = bs__param(g, "encoder.rope", "freqs_sin", shape);
    return bs_graph_rotary(g, x, cosine, sine);
}

void bs__vimunet_build(struct bs_graph *g, const struct bs_vimunet_config *cfg, int64_t n, int64_t h,
                       int64_t w)
{
    const int64_t features = cfg->embed_dim, grid_h = h / cfg->patch_size, grid_w = w / cfg->patch_size;
    struct place p = {.g = g, .cfg = cfg};
    struct bs__encoded encoded = {.image = bs_graph_input(g, "image", BS_SHAPE(n, cfg->in_channels, h, w))};

    bs_value hidden = embed(g, cfg, encoded.image, grid_h, grid_w), residual = BS_NO_VALUE;
    for (int layer = 0; layer < cfg->depth; layer++) {
        if (cfg->rotary) {
            hidden = rotate(g, cfg, hidden);
            residual = layer ? rotate(g, cfg, residual) : residual;
        }
        residual = layer ? bs_graph_add(g, residual, hidden) : hidden;
        snprintf(p.at, sizeof p.at, "encoder.layers.%d.norm", layer);
        hidden = rms_norm(g, p.at, residual, features);
        snprintf(p.at, sizeof p.at, "encoder.layers.%d.mixer", layer);
        hidden = mixer(&p, hidden);
    }
    bs_value x = rms_norm(g, "encoder.norm_f", bs_graph_add(g, hidden, residual), features);
    if (cfg->class_token)
        x = bs_graph_slice_tokens(g, x, 1, grid_h * grid_w);
    if (cfg->head_classes) { /* in the file, never used */
        bs__param(g, "encoder.head", "weight", BS_SHAPE(cfg->head_classes, features));
        bs__param(g, "encoder.head", "bias", BS_SHAPE(cfg->head_classes));
    }
    encoded.features = bs_graph_image_from_tokens(g, x, grid_h, grid_w);
    bs__unetr_decoder(g, &cfg->decoder, &encoded);
}

static bs_status in_range(const char *what, int value, int lo, int hi, struct bs_err *err)
{
    if (value >= lo && value <= hi)
        return BS_OK;
    return BS_FAIL(err, BS_EINVAL, "%s is %d, accepted is %d to %d", what, value, lo, hi);
}

bs_status bs__vimunet_check(const struct bs_vimunet_config *cfg, struct bs_err *err)
{
    bs_status rc;
    if ((rc = in_range("in_channels", cfg->in_channels, 1, MAX_CHANNELS, err)) != BS_OK ||
        (rc = in_range("image_size", cfg->image_size, 1, MAX_SIDE, err)) != BS_OK ||
        (rc = in_range("embed_dim", cfg->embed_dim, 1, MAX_FEATURES, err)) != BS_OK ||
        (rc = in_range("depth", cfg->depth, 1, MAX_DEPTH, err)) != BS_OK ||
        (rc = in_range("inner_features", cfg->inner_features, 1, 4 * MAX_FEATURES, err)) != BS_OK ||
        (rc = in_range("state_size", cfg->state_size, 1, MAX_STATES, err)) != BS_OK ||
        (rc = in_range("dt_rank", cfg->dt_rank, 1, MAX_FEATURES, err)) != BS_OK ||
        (rc = in_range("conv_kernel", cfg->conv_kernel, 1, MAX_KERNEL, err)) != BS_OK ||
        (rc = in_range("head_classes", cfg->head_classes, 0, MAX_CLASSES, err)) != BS_OK ||
        (rc = bs__unetr_decoder_check(&cfg->decoder, err)) != BS_OK)
        return rc;
    if (cfg->patch_size != BS__UNETR_DECODER_FACTOR || cfg->image_size % cfg->patch_size)
        return BS_FAIL(err, BS_EINVAL,
                       "image_size is %d with patches of %d, accepted are multiples of %d with patches of %d",
                       cfg->image_size, cfg->patch_size, BS__UNETR_DECODER_FACTOR, BS__UNETR_DECODER_FACTOR);
    if (cfg->rotary && cfg->embed_dim % 2)
        return BS_FAIL(err, BS_EINVAL, "embed_dim is %d, a rotary embedding takes even ones", cfg->embed_dim);
    if (cfg->class_token_first && !cfg->class_token)
        return BS_FAIL(err, BS_EINVAL, "the class token is to be first, but there is none");
    return BS_OK;
}

bs_status bs__vimunet_check_size(const struct bs_vimunet_config *cfg, int64_t h, int64_t w,
                                 struct bs_err *err)
{
    const int64_t side = cfg->image_size;
    if (h == side && w == side)
        return BS_OK;
    if (cfg->rotary)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "input is %lld x %lld (height x width); the rotary embedding of this model is a table "
                       "for %d x %d",
                       (long long)h, (long long)w, cfg->image_size, cfg->image_size);
    if (h * w == side * side) /* its positions would be taken for those of the square */
        return BS_FAIL(
            err, BS_EUNSUPPORTED,
            "input is %lld x %lld (height x width), as many pixels as %d x %d, which the positions "
            "were made for; accepted are that and other numbers of pixels",
            (long long)h, (long long)w, cfg->image_size, cfg->image_size);
    return BS_OK;
}
