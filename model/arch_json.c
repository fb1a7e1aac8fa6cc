/* The configs of networks <-> JSON: the part of a model's description that says how to build the graph. Every field is there
   and inside its range; whether the fields fit each other is checked by model/arch when the graph is built. Pure functions;
   any thread. */
#include "model/model_internal.h"

#include <string.h>

#define MAX_CHANNELS 1024
#define MAX_FEATURES 65536
#define MAX_BLOCKS   64  /* bits of global_blocks */
#define MAX_LAYERS   256 /* of Vision Mamba; 24 in the published ones */

static const char *const norm_names[] = {[BS_NORM_INSTANCE] = "InstanceNorm",
                                         [BS_NORM_BATCH] = "BatchNorm",
                                         [BS_NORM_GROUP] = "GroupNorm",
                                         [BS_NORM_NONE] = "none"};
static const char *const upsampling_names[] = {
    [BS_UPSAMPLING_BILINEAR] = "bilinear", [BS_UPSAMPLING_TRANSPOSED] = "transposed"};
static const char *const activation_names[] = {"none", "Sigmoid"};
static const char *const token_names[] = {"none", "middle", "first"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static void write_unet(struct bs_json_writer *w, const struct bs_unet_config *u)
{
    bs_json_write_open(w, "unet", '{');
    bs_json_write_int(w, "in_channels", u->in_channels);
    bs_json_write_int(w, "out_channels", u->out_channels);
    bs_json_write_int(w, "depth", u->depth);
    bs_json_write_int(w, "initial_features", u->initial_features);
    bs_json_write_string(w, "norm", norm_names[u->norm]);
    bs_json_write_string(w, "upsampling", upsampling_names[u->upsampling]);
    bs_json_write_string(w, "final_activation", activation_names[u->sigmoid]);
    bs_json_write_close(w, '}');
}

static void write_decoder(struct bs_json_writer *w, const struct bs_unetr_decoder_config *d)
{
    bs_json_write_open(w, "decoder", '{');
    bs_json_write_int(w, "out_channels", d->out_channels);
    bs_json_write_int(w, "initial_features", d->initial_features);
    bs_json_write_string(w, "upsampling", upsampling_names[d->upsampling]);
    bs_json_write_string(w, "final_activation", activation_names[d->sigmoid]);
    bs_json_write_close(w, '}');
}

static void write_unetr(struct bs_json_writer *w, const struct bs_unetr_config *u)
{
    bs_json_write_open(w, "unetr", '{');
    bs_json_write_int(w, "in_channels", u->in_channels);
    bs_json_write_int(w, "image_size", u->image_size);
    bs_json_write_int(w, "patch_size", u->patch_size);
    bs_json_write_int(w, "embed_dim", u->embed_dim);
    bs_json_write_int(w, "depth", u->depth);
    bs_json_write_int(w, "heads", u->heads);
    bs_json_write_int(w, "mlp_features", u->mlp_features);
    bs_json_write_int(w, "window", u->window);
    bs_json_write_open(w, "global_blocks", '[');
    for (int i = 0; i < MAX_BLOCKS; i++)
        if (u->global_blocks >> i & 1)
            bs_json_write_int(w, NULL, i);
    bs_json_write_close(w, ']');
    bs_json_write_int(w, "neck_channels", u->neck_channels);
    bs_json_write_bool(w, "apply_neck", u->apply_neck);
    bs_json_write_bool(w, "skip_connections", u->skip_connections);
    write_decoder(w, &u->decoder);
    bs_json_write_bool(w, "resize_input", u->resize_input);
    bs_json_write_bool(w, "sam_statistics", u->sam_statistics);
    bs_json_write_close(w, '}');
}

static void write_vimunet(struct bs_json_writer *w, const struct bs_vimunet_config *v)
{
    bs_json_write_open(w, "vimunet", '{');
    bs_json_write_int(w, "in_channels", v->in_channels);
    bs_json_write_int(w, "image_size", v->image_size);
    bs_json_write_int(w, "patch_size", v->patch_size);
    bs_json_write_int(w, "embed_dim", v->embed_dim);
    bs_json_write_int(w, "depth", v->depth);
    bs_json_write_int(w, "inner_features", v->inner_features);
    bs_json_write_int(w, "state_size", v->state_size);
    bs_json_write_int(w, "dt_rank", v->dt_rank);
    bs_json_write_int(w, "conv_kernel", v->conv_kernel);
    bs_json_write_int(w, "head_classes", v->head_classes);
    bs_json_write_string(w, "class_token", token_names[!v->class_token ? 0 : v->class_token_first ? 2 : 1]);
    bs_json_write_bool(w, "rotary", v->rotary);
    bs_json_write_bool(w, "divide_by_directions", v->divide_by_directions);
    write_decoder(w, &v->decoder);
    bs_json_write_close(w, '}');
}

void bs__arch_write(struct bs_json_writer *w, const struct bs_arch_config *arch)
{
    bs_json_write_string(w, "architecture", bs_arch_name(arch->kind));
    switch (arch->kind) {
    case BS_ARCH_UNET:
        write_unet(w, &arch->unet);
        break;
    case BS_ARCH_UNETR:
        write_unetr(w, &arch->unetr);
        break;
    case BS_ARCH_VIMUNET:
        write_vimunet(w, &arch->vimunet);
        break;
    }
}

static enum bs_upsampling read_upsampling(struct bs__fields *f)
{
    return (enum bs_upsampling)bs__read_name(f, "upsampling", true, upsampling_names, COUNT(upsampling_names),
                                             BS_UPSAMPLING_BILINEAR);
}

static bool read_activation(struct bs__fields *f)
{
    return bs__read_name(f, "final_activation", true, activation_names, COUNT(activation_names), 0) == 1;
}

static void read_unet(struct bs__fields *f, struct bs_unet_config *cfg)
{
    struct bs__fields u;
    bs__open_object(f, &u, "unet", true);
    bs__read_int(&u, "in_channels", 1, MAX_CHANNELS, &cfg->in_channels);
    bs__read_int(&u, "out_channels", 1, MAX_CHANNELS, &cfg->out_channels);
    bs__read_int(&u, "depth", 1, 8, &cfg->depth);
    bs__read_int(&u, "initial_features", 1, 8192, &cfg->initial_features);
    cfg->norm = (enum bs_norm)bs__read_name(&u, "norm", true, norm_names, COUNT(norm_names), 0);
    cfg->upsampling = read_upsampling(&u);
    cfg->sigmoid = read_activation(&u);
    bs__read_end(&u, "unet");
    f->rc = u.rc;
}

static void read_decoder(struct bs__fields *f, struct bs_unetr_decoder_config *cfg)
{
    struct bs__fields d;
    bs__open_object(f, &d, "decoder", true);
    bs__read_int(&d, "out_channels", 1, MAX_CHANNELS, &cfg->out_channels);
    bs__read_int(&d, "initial_features", 1, 8192, &cfg->initial_features);
    cfg->upsampling = read_upsampling(&d);
    cfg->sigmoid = read_activation(&d);
    bs__read_end(&d, "decoder");
    f->rc = d.rc;
}

static void read_global_blocks(struct bs__fields *f, int depth, uint64_t *out)
{
    const struct bs_json_value *list = bs__field(f, "global_blocks", true);
    if (!list)
        return;
    if (bs_json_type_of(list) != BS_JSON_ARRAY) {
        bs__field_wrong_type(f, "global_blocks", list, "an array");
        return;
    }
    for (const struct bs_json_value *v = bs_json_first(list); v; v = bs_json_next(v)) {
        int64_t block;
        if (!bs_json_as_int(v, &block)) {
            bs__field_wrong_type(f, "a member of global_blocks", v, "an integer");
            return;
        }
        if (block < 0 || block >= depth || *out >> block & 1) {
            f->rc = BS_FAIL(f->err, BS_EINVAL,
                            "model description: global_blocks has %lld, accepted is 0 to %d, each once",
                            (long long)block, depth - 1);
            return;
        }
        *out |= UINT64_C(1) << block;
    }
}

static void read_unetr(struct bs__fields *f, struct bs_unetr_config *cfg)
{
    struct bs__fields u;
    bs__open_object(f, &u, "unetr", true);
    bs__read_int(&u, "in_channels", 1, MAX_CHANNELS, &cfg->in_channels);
    bs__read_int(&u, "image_size", 16, BS_MAX_ENCODER_SIZE, &cfg->image_size);
    bs__read_int(&u, "patch_size", 1, 256, &cfg->patch_size);
    bs__read_int(&u, "embed_dim", 1, MAX_FEATURES, &cfg->embed_dim);
    bs__read_int(&u, "depth", 1, MAX_BLOCKS, &cfg->depth);
    bs__read_int(&u, "heads", 1, 1024, &cfg->heads);
    bs__read_int(&u, "mlp_features", 1, MAX_FEATURES, &cfg->mlp_features);
    bs__read_int(&u, "window", 0, 1024, &cfg->window);
    read_global_blocks(&u, cfg->depth, &cfg->global_blocks);
    bs__read_int(&u, "neck_channels", 0, MAX_FEATURES, &cfg->neck_channels);
    bs__read_bool(&u, "apply_neck", true, &cfg->apply_neck);
    bs__read_bool(&u, "skip_connections", true, &cfg->skip_connections);
    read_decoder(&u, &cfg->decoder);
    bs__read_bool(&u, "resize_input", true, &cfg->resize_input);
    bs__read_bool(&u, "sam_statistics", true, &cfg->sam_statistics);
    bs__read_end(&u, "unetr");
    if (u.rc == BS_OK && cfg->sam_statistics && cfg->in_channels != 3)
        u.rc = BS_FAIL(u.err, BS_EINVAL,
                       "model description: sam_statistics are of 3 channels, the network takes %d",
                       cfg->in_channels);
    f->rc = u.rc;
}

static void read_vimunet(struct bs__fields *f, struct bs_vimunet_config *cfg)
{
    struct bs__fields v;
    bs__open_object(f, &v, "vimunet", true);
    bs__read_int(&v, "in_channels", 1, MAX_CHANNELS, &cfg->in_channels);
    bs__read_int(&v, "image_size", 16, BS_MAX_ENCODER_SIZE, &cfg->image_size);
    bs__read_int(&v, "patch_size", 1, 256, &cfg->patch_size);
    bs__read_int(&v, "embed_dim", 1, MAX_FEATURES, &cfg->embed_dim);
    bs__read_int(&v, "depth", 1, MAX_LAYERS, &cfg->depth);
    bs__read_int(&v, "inner_features", 1, MAX_FEATURES, &cfg->inner_features);
    bs__read_int(&v, "state_size", 1, 1024, &cfg->state_size);
    bs__read_int(&v, "dt_rank", 1, MAX_FEATURES, &cfg->dt_rank);
    bs__read_int(&v, "conv_kernel", 1, 64, &cfg->conv_kernel);
    bs__read_int(&v, "head_classes", 0, 1 << 20, &cfg->head_classes);
    int token = bs__read_name(&v, "class_token", true, token_names, COUNT(token_names), 0);
    cfg->class_token = token > 0;
    cfg->class_token_first = token == 2;
    bs__read_bool(&v, "rotary", true, &cfg->rotary);
    bs__read_bool(&v, "divide_by_directions", true, &cfg->divide_by_directions);
    read_decoder(&v, &cfg->decoder);
    bs__read_end(&v, "vimunet");
    f->rc = v.rc;
}

void bs__arch_read(struct bs__fields *f, struct bs_arch_config *arch)
{
    static const char *const names[] = {
        [BS_ARCH_UNET] = "unet", [BS_ARCH_UNETR] = "unetr", [BS_ARCH_VIMUNET] = "vimunet"};
    arch->kind = (enum bs_arch_kind)bs__read_name(f, "architecture", true, names, COUNT(names), 0);
    switch (arch->kind) {
    case BS_ARCH_UNET:
        read_unet(f, &arch->unet);
        break;
    case BS_ARCH_UNETR:
        read_unetr(f, &arch->unetr);
        break;
    case BS_ARCH_VIMUNET:
        read_vimunet(f, &arch->vimunet);
        break;
    }
}
