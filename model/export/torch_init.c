/* See torch_init.h. Names and defaults are those of torch_em 0.10 (torch_em.trainer.DefaultTrainer: save_checkpoint writes,
   from_checkpoint and load_checkpoint read). A trainer must have loaders, a loss, a metric and an optimizer to be made at all:
   the loaders here are over a list of one number, and whoever trains on replaces them. */
#include "model/export/torch_init.h"

#include "model/export/pickle_write.h"

#include <math.h>

/* Segment Anything's encoders as torch_em names them; NULL for others. */
static const char *sam_encoder(const struct bs_unetr_config *c)
{
    static const struct {
        const char *name;
        int embed_dim, depth, heads;
        uint64_t global_blocks;
    } known[] = {
        {"vit_b", 768, 12, 12, 1u << 2 | 1u << 5 | 1u << 8 | 1u << 11},
        {"vit_l", 1024, 24, 16, 1u << 5 | 1u << 11 | 1u << 17 | 1u << 23},
        {"vit_h", 1280, 32, 16, 1u << 7 | 1u << 15 | 1u << 23 | 1u << 31},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (c->embed_dim == known[i].embed_dim && c->depth == known[i].depth && c->heads == known[i].heads &&
            c->global_blocks == known[i].global_blocks && c->mlp_features == 4 * c->embed_dim &&
            c->window == 14 && c->patch_size == 16 && c->neck_channels == 256 && !c->apply_neck &&
            c->in_channels == 3)
            return known[i].name;
    return NULL;
}

const char *bs__torch_class(const struct bs_arch_config *arch, const char **module)
{
    if (arch->kind == BS_ARCH_UNET) {
        *module = "torch_em.model.unet";
        return "UNet2d";
    }
    if (arch->kind == BS_ARCH_UNETR && sam_encoder(&arch->unetr)) {
        *module = "torch_em.model.unetr";
        return "UNETR";
    }
    return NULL;
}

static struct bs__torch_argument integer(const char *name, int64_t value)
{
    return (struct bs__torch_argument){.name = name, .type = BS__ARGUMENT_INT, .number = value};
}

static struct bs__torch_argument boolean(const char *name, bool value)
{
    return (struct bs__torch_argument){.name = name, .type = BS__ARGUMENT_BOOL, .number = value};
}

/* NULL: None. */
static struct bs__torch_argument text(const char *name, const char *value)
{
    return (struct bs__torch_argument){
        .name = name, .type = value ? BS__ARGUMENT_TEXT : BS__ARGUMENT_NONE, .text = value};
}

static int unet_arguments(const struct bs_unet_config *c, struct bs__torch_argument *out)
{
    static const char *const norms[] = {[BS_NORM_INSTANCE] = "InstanceNorm",
                                        [BS_NORM_BATCH] = "BatchNorm",
                                        [BS_NORM_GROUP] = "GroupNorm",
                                        [BS_NORM_NONE] = NULL};
    int n = 0;
    out[n++] = integer("in_channels", c->in_channels);
    out[n++] = integer("out_channels", c->out_channels);
    out[n++] = integer("depth", c->depth);
    out[n++] = integer("initial_features", c->initial_features);
    out[n++] = text("final_activation", c->sigmoid ? "Sigmoid" : NULL);
    if (c->norm != BS_NORM_INSTANCE) /* the default */
        out[n++] = text("norm", norms[c->norm]);
    if (c->upsampling == BS_UPSAMPLING_TRANSPOSED)
        out[n++] = (struct bs__torch_argument){.name = "sampler_impl",
                                               .type = BS__ARGUMENT_CLASS,
                                               .text = "SingleDeconv2DBlock",
                                               .module = "torch_em.model.unetr"};
    return n;
}

static int unetr_arguments(const struct bs_unetr_config *c, struct bs__torch_argument *out)
{
    int n = 0;
    out[n++] = integer("img_size", c->image_size);
    out[n++] = text("backbone", "sam");
    out[n++] = text("encoder", sam_encoder(c));
    out[n++] = integer("out_channels", c->decoder.out_channels);
    out[n++] = boolean("use_sam_stats", c->sam_statistics);
    out[n++] = boolean("resize_input", c->resize_input);
    out[n++] = text("final_activation", c->decoder.sigmoid ? "Sigmoid" : NULL);
    out[n++] = boolean("use_skip_connection", c->skip_connections);
    out[n++] = boolean("use_conv_transpose", c->decoder.upsampling == BS_UPSAMPLING_TRANSPOSED);
    if (c->decoder.initial_features != 64) /* the default, and all that earlier versions have */
        out[n++] = integer("initial_features", c->decoder.initial_features);
    return n;
}

int bs__torch_arguments(const struct bs_arch_config *arch,
                        struct bs__torch_argument out[BS__TORCH_MAX_ARGUMENTS])
{
    return arch->kind == BS_ARCH_UNET    ? unet_arguments(&arch->unet, out)
           : arch->kind == BS_ARCH_UNETR ? unetr_arguments(&arch->unetr, out)
                                         : 0;
}

/* An item of the open dictionary. */

static void put_int(struct bs__bytes *p, const char *key, int64_t value)
{
    bs__pickler_text(p, key);
    bs__pickler_int(p, value);
}

static void put_float(struct bs__bytes *p, const char *key, double value)
{
    bs__pickler_text(p, key);
    bs__pickler_float(p, value);
}

static void put_bool(struct bs__bytes *p, const char *key, bool value)
{
    bs__pickler_text(p, key);
    bs__pickler_bool(p, value);
}

/* NULL: None. */
static void put_text(struct bs__bytes *p, const char *key, const char *value)
{
    bs__pickler_text(p, key);
    if (value)
        bs__pickler_text(p, value);
    else
        bs__pickler_none(p);
}

static void put_argument(struct bs__bytes *p, const struct bs__torch_argument *a)
{
    bs__pickler_text(p, a->name);
    switch (a->type) {
    case BS__ARGUMENT_NONE:
        bs__pickler_none(p);
        return;
    case BS__ARGUMENT_BOOL:
        bs__pickler_bool(p, a->number != 0);
        return;
    case BS__ARGUMENT_INT:
        bs__pickler_int(p, a->number);
        return;
    case BS__ARGUMENT_TEXT:
        bs__pickler_text(p, a->text);
        return;
    case BS__ARGUMENT_CLASS:
        bs__pickler_global(p, a->module, a->text);
        return;
    }
}

static void put_model(struct bs__bytes *p, const struct bs_arch_config *arch)
{
    struct bs__torch_argument arguments[BS__TORCH_MAX_ARGUMENTS];
    const char *module = NULL, *class = bs__torch_class(arch, &module);
    if (!class)
        return;
    const int n = bs__torch_arguments(arch, arguments);
    bs__pickler_text(p, "model_class");
    struct bs__bytes name = {0};
    bs__bytes_format(&name, "%s.%s%c", module, class, 0);
    if (name.failed)
        p->failed = true;
    else
        bs__pickler_text(p, (const char *)name.data);
    bs__bytes_free(&name);
    bs__pickler_text(p, "model_kwargs");
    bs__pickler_open_dict(p);
    for (int i = 0; i < n; i++)
        put_argument(p, &arguments[i]);
    bs__pickler_close_dict(p);
}

static void put_loader(struct bs__bytes *p, const char *dataset, const char *arguments)
{
    bs__pickler_text(p, dataset);
    bs__pickler_open_list(p);
    bs__pickler_int(p, 0);
    bs__pickler_close_list(p);
    bs__pickler_text(p, arguments);
    bs__pickler_open_dict(p);
    put_int(p, "batch_size", 1);
    put_bool(p, "shuffle", false);
    bs__pickler_close_dict(p);
}

static void put_init(struct bs__bytes *p, const struct bs_model_info *info)
{
    const char *loss = info->recipe == BS_RECIPE_DISTANCES
                           ? "torch_em.loss.distance_based.DiceBasedDistanceLoss"
                           : "torch_em.loss.dice.DiceLoss";
    bs__pickler_text(p, "init");
    bs__pickler_open_dict(p);
    put_model(p, &info->arch);
    put_text(p, "loss_class", loss);
    put_text(p, "metric_class", loss);
    for (int i = 0; i < 2; i++) {
        bs__pickler_text(p, i ? "metric_kwargs" : "loss_kwargs");
        bs__pickler_open_dict(p);
        if (info->recipe == BS_RECIPE_DISTANCES)
            put_bool(p, "mask_distances_in_bg", true);
        bs__pickler_close_dict(p);
    }
    put_text(p, "optimizer_class", "torch.optim.AdamW");
    bs__pickler_text(p, "optimizer_kwargs");
    bs__pickler_open_dict(p);
    bs__pickler_close_dict(p);
    put_loader(p, "train_dataset", "train_loader_kwargs");
    put_loader(p, "val_dataset", "val_loader_kwargs");
    put_text(p, "logger", NULL);
    put_text(p, "device", "cpu");
    put_bool(p, "mixed_precision", false);
    put_bool(p, "compile_model", false);
    bs__pickler_close_dict(p);
}

/* AdamW with PyTorch's defaults and the learning rate of the paper. */
static void put_optimizer(struct bs__bytes *p, size_t parameters)
{
    bs__pickler_text(p, "optimizer_state");
    bs__pickler_open_dict(p);
    bs__pickler_text(p, "state");
    bs__pickler_open_dict(p);
    bs__pickler_close_dict(p);
    bs__pickler_text(p, "param_groups");
    bs__pickler_open_list(p);
    bs__pickler_open_dict(p);
    put_float(p, "lr", 1e-4);
    bs__pickler_text(p, "betas");
    bs__pickler_open_tuple(p);
    bs__pickler_float(p, 0.9);
    bs__pickler_float(p, 0.999);
    bs__pickler_close_tuple(p);
    put_float(p, "eps", 1e-8);
    put_float(p, "weight_decay", 0.01);
    static const char *const off[] = {"amsgrad", "maximize", "capturable", "differentiable"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        put_bool(p, off[i], false);
    put_text(p, "foreach", NULL);
    put_text(p, "fused", NULL);
    bs__pickler_text(p, "params");
    bs__pickler_open_list(p);
    for (size_t i = 0; i < parameters; i++)
        bs__pickler_int(p, (int64_t)i);
    bs__pickler_close_list(p);
    bs__pickler_close_dict(p);
    bs__pickler_close_list(p);
    bs__pickler_close_dict(p);
}

void bs__torch_init(struct bs__bytes *p, const struct bs_model_info *info, size_t parameters)
{
    put_int(p, "iteration", 0);
    put_int(p, "epoch", 0);
    put_int(p, "best_epoch", 0);
    put_float(p, "best_metric", (double)INFINITY);
    put_float(p, "current_metric", (double)INFINITY);
    put_float(p, "train_time", 0);
    put_text(p, "timestamp", "");
    put_init(p, info);
    put_optimizer(p, parameters);
}
