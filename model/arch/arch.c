/* Dispatch over the architectures, and what is the same for all: build, count, recover and check. Pure functions. */
#include "model/arch/unetr_decoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SIDE ((int64_t)1 << 16) /* of one executable's input; larger images are tiled */

const char *bs_arch_name(enum bs_arch_kind kind)
{
    switch (kind) {
    case BS_ARCH_UNET:
        return "unet";
    case BS_ARCH_UNETR:
        return "unetr";
    case BS_ARCH_VIMUNET:
        return "vimunet";
    }
    return "unknown";
}

static bs_status check(const struct bs_arch_config *cfg, struct bs_err *err)
{
    switch (cfg->kind) {
    case BS_ARCH_UNET:
        return bs__unet_check(&cfg->unet, err);
    case BS_ARCH_UNETR:
        return bs__unetr_check(&cfg->unetr, err);
    case BS_ARCH_VIMUNET:
        return bs__vimunet_check(&cfg->vimunet, err);
    }
    return BS_FAIL(err, BS_EUNSUPPORTED, "architecture %d is unknown", (int)cfg->kind);
}

/* The transformers' common part; NULL for the U-Net. */
static const struct bs_unetr_decoder_config *decoder_of(const struct bs_arch_config *cfg)
{
    return cfg->kind == BS_ARCH_UNETR     ? &cfg->unetr.decoder
           : cfg->kind == BS_ARCH_VIMUNET ? &cfg->vimunet.decoder
                                          : NULL;
}

int bs_arch_in_channels(const struct bs_arch_config *cfg)
{
    return cfg->kind == BS_ARCH_UNETR     ? cfg->unetr.in_channels
           : cfg->kind == BS_ARCH_VIMUNET ? cfg->vimunet.in_channels
                                          : cfg->unet.in_channels;
}

int bs_arch_out_channels(const struct bs_arch_config *cfg)
{
    return decoder_of(cfg) ? decoder_of(cfg)->out_channels : cfg->unet.out_channels;
}

int bs_arch_image_size(const struct bs_arch_config *cfg)
{
    return cfg->kind == BS_ARCH_UNETR     ? cfg->unetr.image_size
           : cfg->kind == BS_ARCH_VIMUNET ? cfg->vimunet.image_size
                                          : 0;
}

bool bs_arch_sigmoid(const struct bs_arch_config *cfg)
{
    return decoder_of(cfg) ? decoder_of(cfg)->sigmoid : cfg->unet.sigmoid;
}

void bs_arch_set_sigmoid(struct bs_arch_config *cfg, bool sigmoid)
{
    if (cfg->kind == BS_ARCH_UNETR)
        cfg->unetr.decoder.sigmoid = sigmoid;
    else if (cfg->kind == BS_ARCH_VIMUNET)
        cfg->vimunet.decoder.sigmoid = sigmoid;
    else
        cfg->unet.sigmoid = sigmoid;
}

int bs_arch_divisor(const struct bs_arch_config *cfg)
{
    return cfg->kind == BS_ARCH_UNET ? bs__unet_divisor(&cfg->unet) : BS__UNETR_DECODER_FACTOR;
}

int bs_arch_receptive_radius(const struct bs_arch_config *cfg)
{
    return cfg->kind == BS_ARCH_UNET ? bs__unet_receptive_radius(&cfg->unet) : BS_RADIUS_UNBOUNDED;
}

static void build(struct bs_graph *g, const struct bs_arch_config *cfg, int64_t n, int64_t h, int64_t w)
{
    if (cfg->kind == BS_ARCH_UNETR)
        bs__unetr_build(g, &cfg->unetr, n, h, w);
    else if (cfg->kind == BS_ARCH_VIMUNET)
        bs__vimunet_build(g, &cfg->vimunet, n, h, w);
    else
        bs__unet_build(g, &cfg->unet, n, h, w);
}

bs_status bs_arch_build(const struct bs_arch_config *cfg, int64_t n, int64_t h, int64_t w,
                        struct bs_graph **out, struct bs_err *err)
{
    struct bs_graph *g = NULL;
    *out = NULL;
    bs_status rc = check(cfg, err);
    if (rc != BS_OK)
        goto cleanup;
    const int divisor = bs_arch_divisor(cfg);
    if (n < 1 || n > MAX_SIDE) {
        rc = BS_FAIL(err, BS_EINVAL, "batch is %lld, accepted is 1 to %lld", (long long)n,
                     (long long)MAX_SIDE);
        goto cleanup;
    }
    if (h < divisor || w < divisor || h > MAX_SIDE || w > MAX_SIDE || h % divisor || w % divisor) {
        rc = BS_FAIL(err, BS_EINVAL,
                     "input is %lld x %lld (height x width), accepted are multiples of %d up to %lld",
                     (long long)h, (long long)w, divisor, (long long)MAX_SIDE);
        goto cleanup;
    }
    if (cfg->kind == BS_ARCH_VIMUNET && (rc = bs__vimunet_check_size(&cfg->vimunet, h, w, err)) != BS_OK)
        goto cleanup;
    if (!(g = bs_graph_create())) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the network's graph");
        goto cleanup;
    }
    build(g, cfg, n, h, w);
    if ((rc = bs_graph_finish(g, err)) != BS_OK)
        goto cleanup;
    *out = g;
    g = NULL;
cleanup:
    bs_graph_destroy(g);
    return rc;
}

/* Graph at the smallest convenient size, for its parameters' names and shapes. */
static bs_status build_small(const struct bs_arch_config *cfg, struct bs_graph **g, struct bs_err *err)
{
    bs_status rc = check(cfg, err);
    if (rc != BS_OK)
        return rc;
    const bool fixed = cfg->kind == BS_ARCH_VIMUNET && cfg->vimunet.rotary; /* has one size only */
    const int side = fixed ? cfg->vimunet.image_size : 2 * bs_arch_divisor(cfg);
    return bs_arch_build(cfg, 1, side, side, g, err);
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

bool bs_arch_is_buffer(const char *name)
{
    return ends_with(name, ".running_mean") || ends_with(name, ".running_var") ||
           ends_with(name, ".freqs_cos") || ends_with(name, ".freqs_sin");
}

bs_status bs_arch_parameter_count(const struct bs_arch_config *cfg, uint64_t *count, struct bs_err *err)
{
    struct bs_graph *g = NULL;
    bs_status rc = build_small(cfg, &g, err);
    if (rc != BS_OK)
        return rc;
    *count = 0;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        if (node->op == BS_OP_PARAM && !bs_arch_is_buffer(node->name))
            *count += bs_shape_count(&node->shape);
    }
    bs_graph_destroy(g);
    return BS_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct bs_state_entry *)a)->name, ((const struct bs_state_entry *)b)->name);
}

const struct bs_state_entry *bs__state_find(const struct bs_state_entry *state, size_t count,
                                            const char *name)
{
    const struct bs_state_entry key = {.name = name};
    return count ? bsearch(&key, state, count, sizeof *state, by_name) : NULL;
}

/* Every parameter of the graph is in the state with its shape, and nothing is left over. */
static bs_status compare(const struct bs_graph *g, const struct bs_state_entry *state, size_t count,
                         struct bs_err *err)
{
    size_t used = 0;
    for (int i = 0; i < bs_graph_node_count(g); i++) {
        const struct bs_node *node = bs_graph_node(g, i);
        if (node->op != BS_OP_PARAM)
            continue;
        char want[64], have[64];
        const struct bs_state_entry *e = bs__state_find(state, count, node->name);
        if (!e)
            return BS_FAIL(err, BS_EINVAL, "%s (%s) is missing", node->name,
                           bs_shape_text(&node->shape, want, sizeof want));
        if (!bs_shape_equal(&e->shape, &node->shape))
            return BS_FAIL(err, BS_EINVAL, "%s has shape %s, the network needs %s", node->name,
                           bs_shape_text(&e->shape, have, sizeof have),
                           bs_shape_text(&node->shape, want, sizeof want));
        used++;
    }
    for (size_t i = 0; i < count; i++)
        if (ends_with(state[i].name, ".num_batches_tracked"))
            used++;
    if (used == count)
        return BS_OK;
    for (size_t i = 0; i < count; i++) {
        bool known = ends_with(state[i].name, ".num_batches_tracked");
        for (int j = 0; !known && j < bs_graph_node_count(g); j++) {
            const struct bs_node *node = bs_graph_node(g, j);
            known = node->op == BS_OP_PARAM && !strcmp(node->name, state[i].name);
        }
        if (!known)
            return BS_FAIL(err, BS_EINVAL, "%.200s does not belong to this network", state[i].name);
    }
    return BS_OK;
}

/* Which network the keys belong to, and its config with what keys and shapes cannot tell set to the paper's choice;
   *assumed names that. */
static bs_status recover(const struct bs_state_entry *state, size_t count, struct bs_arch_config *cfg,
                         const char **assumed, struct bs_err *err)
{
    *assumed = "final_activation=Sigmoid";
    for (size_t i = 0; i < count; i++)
        if (strstr(state[i].name, ".mixer.")) {
            cfg->kind = BS_ARCH_VIMUNET;
            bs_status rc = bs__vimunet_recover(state, count, &cfg->vimunet, err);
            *assumed = bs__vimunet_assumptions(&cfg->vimunet);
            return rc;
        }
    if (bs__state_find(state, count, "encoder.patch_embed.proj.weight")) {
        cfg->kind = BS_ARCH_UNETR;
        *assumed = "final_activation=Sigmoid,resize_input=true,use_sam_stats=false";
        return bs__unetr_recover(state, count, &cfg->unetr, err);
    }
    for (size_t i = 0; i < count; i++)
        if (strstr(state[i].name, "patch_embed") || strstr(state[i].name, ".attn."))
            return BS_FAIL(err, BS_EUNSUPPORTED,
                           "this is a transformer, but no UNETR over the image encoder of Segment Anything: "
                           "it has %.120s and no encoder.patch_embed.proj.weight",
                           state[i].name);
    cfg->kind = BS_ARCH_UNET;
    return bs__unet_recover(state, count, &cfg->unet, err);
}

bs_status bs_arch_recover(const struct bs_state_entry *state, size_t count, struct bs_arch_config *cfg,
                          char *assumed, size_t assumed_len, struct bs_err *err)
{
    bs_status rc = BS_OK;
    struct bs_graph *g = NULL;
    struct bs_state_entry *sorted = NULL;
    const char *assumption = "";
    if (assumed_len)
        assumed[0] = 0;
    *cfg = (struct bs_arch_config){.kind = BS_ARCH_UNET};
    if (!count) {
        rc = BS_FAIL(err, BS_EINVAL, "there are no tensors");
        goto cleanup;
    }
    if (!(sorted = malloc(count * sizeof *sorted))) {
        rc = BS_FAIL(err, BS_ENOMEM, "no memory to sort %zu tensors", count);
        goto cleanup;
    }
    memcpy(sorted, state, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_name);
    for (size_t i = 1; i < count; i++)
        if (!strcmp(sorted[i - 1].name, sorted[i].name)) {
            rc = BS_FAIL(err, BS_EINVAL, "%.200s is there twice", sorted[i].name);
            goto cleanup;
        }
    if ((rc = recover(sorted, count, cfg, &assumption, err)) != BS_OK ||
        (rc = build_small(cfg, &g, err)) != BS_OK || (rc = compare(g, sorted, count, err)) != BS_OK)
        goto cleanup;
    if (snprintf(assumed, assumed_len, "%s", assumption) >= (int)assumed_len)
        rc = BS_FAIL(err, BS_EINVAL, "the buffer for assumptions has %zu bytes", assumed_len);
cleanup:
    bs_graph_destroy(g);
    free(sorted);
    return rc;
}
