/* make_formula_model NETWORK FILE [SEED]: writes a model file of a network of the paper, or a small one of its kind, with
   formula weights. Such a model is UNTRAINED: it is there to be served and measured, its labels mean nothing. */
#include "tests/support/formula_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DECODER(features)                                                                                    \
    {                                                                                                        \
        .out_channels = 3, .initial_features = (features), .upsampling = BS_UPSAMPLING_BILINEAR,             \
        .sigmoid = true                                                                                      \
    }
#define BIT(i)             (UINT64_C(1) << (i))
#define BLOCKS(a, b, c, d) (BIT(a) | BIT(b) | BIT(c) | BIT(d))
#define UNETR(size, dim, n, head_count, blocks, features)                                                    \
    {                                                                                                        \
        .kind = BS_ARCH_UNETR, .unetr = {                                                                    \
            .in_channels = 3,                                                                                \
            .image_size = (size),                                                                            \
            .patch_size = 16,                                                                                \
            .embed_dim = (dim),                                                                              \
            .depth = (n),                                                                                    \
            .heads = (head_count),                                                                           \
            .mlp_features = 4 * (dim),                                                                       \
            .window = (size) == 1024 ? 14 : 3,                                                               \
            .global_blocks = (blocks),                                                                       \
            .neck_channels = 256,                                                                            \
            .resize_input = true,                                                                            \
            .sam_statistics = true,                                                                          \
            .decoder = DECODER(features),                                                                    \
        }                                                                                                    \
    }
#define VIM(size, dim, n, features)                                                                          \
    {                                                                                                        \
        .kind = BS_ARCH_VIMUNET, .vimunet = {                                                                \
            .in_channels = 3,                                                                                \
            .image_size = (size),                                                                            \
            .patch_size = 16,                                                                                \
            .embed_dim = (dim),                                                                              \
            .depth = (n),                                                                                    \
            .inner_features = 2 * (dim),                                                                     \
            .state_size = 16,                                                                                \
            .dt_rank = (dim) / 16,                                                                           \
            .conv_kernel = 4,                                                                                \
            .head_classes = 1000,                                                                            \
            .class_token = true,                                                                             \
            .divide_by_directions = true,                                                                    \
            .decoder = DECODER(features),                                                                    \
        }                                                                                                    \
    }

static const struct {
    const char *name;
    struct bs_arch_config arch;
} networks[] = {
    {"unet",
     {.kind = BS_ARCH_UNET,
      .unet = {.in_channels = 1,
               .out_channels = 3,
               .depth = 4,
               .initial_features = 64,
               .norm = BS_NORM_INSTANCE,
               .upsampling = BS_UPSAMPLING_BILINEAR,
               .sigmoid = true}}},
    {"unetr-base", UNETR(1024, 768, 12, 12, BLOCKS(2, 5, 8, 11), 64)},
    {"unetr-large", UNETR(1024, 1024, 24, 16, BLOCKS(5, 11, 17, 23), 64)},
    {"unetr-huge", UNETR(1024, 1280, 32, 16, BLOCKS(7, 15, 23, 31), 64)},
    {"vimunet-tiny", VIM(1024, 192, 24, 64)},
    {"vimunet-small", VIM(1024, 384, 24, 64)},
    /* For tests: small enough for the reference backend. */
    {"mini-unetr", UNETR(64, 32, 2, 4, BIT(1), 4)},
    {"mini-vimunet", VIM(64, 32, 2, 4)},
};
#define COUNT (sizeof networks / sizeof networks[0])

int main(int argc, char **argv)
{
    struct bs_model_info info = {.recipe = BS_RECIPE_DISTANCES,
                                 .defaults = bs_instance_params_default(BS_RECIPE_DISTANCES),
                                 .description = "formula weights, for tests and measurements",
                                 .source = "tests/support/make_formula_model.c",
                                 .trained = false};
    struct bs_err err = {.msg = ""};
    size_t i = 0;
    while (argc >= 3 && i < COUNT && strcmp(networks[i].name, argv[1]) != 0)
        i++;
    if (argc < 3 || argc > 4 || i == COUNT) {
        fprintf(stderr, "usage: make_formula_model NETWORK FILE [SEED]; networks:");
        for (i = 0; i < COUNT; i++)
            fprintf(stderr, " %s", networks[i].name);
        fputc('\n', stderr);
        return 2;
    }
    info.arch = networks[i].arch;
    info.normalisation = info.arch.kind == BS_ARCH_UNETR ? BS_NORMALISE_RANGE_255 : BS_NORMALISE_STANDARDISE;
    info.training_patch = bs_arch_image_size(&info.arch);
    bs_status rc = bs_arch_parameter_count(&info.arch, &info.parameters, &err);
    if (rc == BS_OK)
        rc = bs_formula_model_write(argv[2], &info, argc == 4 ? strtoull(argv[3], NULL, 10) : 1, &err);
    if (rc != BS_OK)
        fprintf(stderr, "make_formula_model: %s\n", err.msg);
    return rc == BS_OK ? 0 : 1;
}
