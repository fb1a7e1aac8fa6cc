/* See named_network.h. */
#include "tests/support/named_network.h"

#include "kernels/graph.h"
#include "tests/support/formula.h"

#include <stdlib.h>
#include <string.h>

static struct bs_unet_config unet(enum bs_upsampling up)
{
    return (struct bs_unet_config){.in_channels = 1,
                                   .out_channels = 2,
                                   .depth = 4,
                                   .initial_features = 64,
                                   .norm = BS_NORM_INSTANCE,
                                   .upsampling = up,
                                   .sigmoid = true};
}

static struct bs_vimunet_config vimunet(int features, struct bs_unetr_decoder_config decoder)
{
    return (struct bs_vimunet_config){.in_channels = 3,
                                      .image_size = 1024,
                                      .patch_size = 16,
                                      .embed_dim = features,
                                      .depth = 24,
                                      .inner_features = 2 * features,
                                      .state_size = 16,
                                      .dt_rank = features / 16,
                                      .conv_kernel = 4,
                                      .head_classes = 1000,
                                      .class_token = true,
                                      .divide_by_directions = true,
                                      .decoder = decoder};
}

/* Segment Anything's image encoders: blocks in global attend to the whole image, the others inside windows. */
static const struct sam {
    const char *name;
    int embed_dim, depth, heads;
    uint64_t global;
} sams[] = {
    {"unetr_b", 768, 12, 12, 1u << 2 | 1u << 5 | 1u << 8 | 1u << 11},
    {"unetr_l", 1024, 24, 16, 1u << 5 | 1u << 11 | 1u << 17 | 1u << 23},
    {"unetr_h", 1280, 32, 16, 1u << 7 | 1u << 15 | 1u << 23 | (uint64_t)1 << 31},
};

static struct bs_unetr_config unetr(const struct sam *sam, bool skip, struct bs_unetr_decoder_config decoder)
{
    return (struct bs_unetr_config){.in_channels = 3,
                                    .image_size = 1024,
                                    .patch_size = 16,
                                    .embed_dim = sam->embed_dim,
                                    .depth = sam->depth,
                                    .heads = sam->heads,
                                    .mlp_features = 4 * sam->embed_dim,
                                    .window = 14,
                                    .global_blocks = sam->global,
                                    .neck_channels = 256,
                                    .skip_connections = skip,
                                    .decoder = decoder};
}

bool bs_named_network(const char *name, bool transposed, bool skip, struct bs_arch_config *out)
{
    const enum bs_upsampling up = transposed ? BS_UPSAMPLING_TRANSPOSED : BS_UPSAMPLING_BILINEAR;
    const struct bs_unetr_decoder_config decoder = {
        .out_channels = 3, .initial_features = 64, .upsampling = up, .sigmoid = true};
    if (!strcmp(name, "unet")) {
        *out = (struct bs_arch_config){.kind = BS_ARCH_UNET, .unet = unet(up)};
        return true;
    }
    if (!strcmp(name, "vimunet_t") || !strcmp(name, "vimunet_s")) {
        *out = (struct bs_arch_config){.kind = BS_ARCH_VIMUNET,
                                       .vimunet = vimunet(strcmp(name, "vimunet_t") ? 384 : 192, decoder)};
        return true;
    }
    for (size_t i = 0; i < sizeof sams / sizeof *sams; i++)
        if (!strcmp(name, sams[i].name)) {
            *out = (struct bs_arch_config){.kind = BS_ARCH_UNETR, .unetr = unetr(&sams[i], skip, decoder)};
            return true;
        }
    return false;
}

struct source {
    struct bs_graph *g; /* borrowed */
    uint64_t seed;
};

static bs_status shape_of(void *ctx, const char *name, struct bs_shape *shape, struct bs_err *err)
{
    const struct bs_graph *g = ((struct source *)ctx)->g;
    for (bs_value v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *n = bs_graph_node(g, v);
        if (n->op == BS_OP_PARAM && strcmp(n->name, name) == 0) {
            *shape = n->shape;
            return BS_OK;
        }
    }
    return BS_FAIL(err, BS_ENOTFOUND, "no parameter %s", name);
}

static bs_status read_values(void *ctx, const char *name, float *dst, size_t count, struct bs_err *err)
{
    struct bs_shape shape;
    bs_status rc = shape_of(ctx, name, &shape, err);
    if (rc != BS_OK)
        return rc;
    BS_ASSERT(bs_shape_count(&shape) == count);
    return bs_formula_values(name, &shape, ((struct source *)ctx)->seed, dst, err);
}

bs_status bs_formula_params(struct bs_graph *g, uint64_t seed, struct bs_params **out, struct bs_err *err)
{
    *out = NULL;
    struct source *s = calloc(1, sizeof *s);
    if (!s)
        return BS_FAIL(err, BS_ENOMEM, "no memory for formula weights");
    *s = (struct source){g, seed};
    return bs_params_create((struct bs_param_source){s, shape_of, read_values, free}, out, err);
}
