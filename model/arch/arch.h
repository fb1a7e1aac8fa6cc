/* Which network a model is: a config struct per architecture, the graph built from it, and the config recovered from
   a checkpoint's keys and shapes. Pure functions; any thread. */
#ifndef BS_MODEL_ARCH_ARCH_H
#define BS_MODEL_ARCH_ARCH_H

#include "kernels/graph.h"

enum bs_arch_kind { BS_ARCH_UNET, BS_ARCH_UNETR, BS_ARCH_VIMUNET };

enum bs_norm { BS_NORM_INSTANCE, BS_NORM_BATCH, BS_NORM_GROUP, BS_NORM_NONE };
enum bs_upsampling { BS_UPSAMPLING_BILINEAR, BS_UPSAMPLING_TRANSPOSED };

/* torch_em.model.UNet2d: levels 0..depth-1 plus the base, features initial_features * 2^level. */
struct bs_unet_config {
    int in_channels, out_channels;
    int depth;
    int initial_features;
    enum bs_norm norm;
    enum bs_upsampling upsampling;
    bool sigmoid; /* final_activation="Sigmoid" */
};

/* The convolutional decoder that UNETR and ViM-UNet share; it makes four times two out of the encoder's pixels. */
struct bs_unetr_decoder_config {
    int out_channels;
    int initial_features; /* of the finest level, even; the coarser ones have 2, 4 and 8 times as many */
    enum bs_upsampling upsampling;
    bool sigmoid; /* final_activation="Sigmoid" */
};

/* torch_em.model.UNETR over the image encoder of Segment Anything. */
struct bs_unetr_config {
    int in_channels;
    int image_size; /* side of the square that the encoder was made for: its positions; 1024 */
    int patch_size; /* 16 */
    int embed_dim, depth, heads;
    int mlp_features;       /* 4 * embed_dim */
    int window;             /* side of the windows of attention in tokens, 14 */
    uint64_t global_blocks; /* bit i: block i attends to the whole image */
    int neck_channels;      /* of the neck, which is in every file; 256 */
    bool apply_neck;        /* the neck's result goes to the decoder; not with skip connections */
    bool skip_connections;
    struct bs_unetr_decoder_config decoder;
    /* What is done to an image before it is the network's input; the graph does not contain it. */
    bool resize_input;   /* longest side to image_size; otherwise padding only */
    bool sam_statistics; /* (x - mean) / std of Segment Anything's training images; pixels are 0 to 255 */
};

/* torch_em.model.get_vimunet_model: the decoder without skip connections over Vision Mamba. Input is padded, not resized. */
struct bs_vimunet_config {
    int in_channels;
    int image_size; /* side of the square that the encoder was made for: its positions; 1024 */
    int patch_size; /* 16 */
    int embed_dim, depth;
    int inner_features, state_size, dt_rank,
        conv_kernel;  /* of a mixer: 2 * embed_dim, 16, embed_dim / 16, 4 */
    int head_classes; /* of the classification head, which is in the file and never used; 0: none */
    bool class_token;
    bool class_token_first;    /* otherwise in the middle of the patches */
    bool rotary;               /* rotary embedding, also of the residual */
    bool divide_by_directions; /* the two directions are averaged, not summed */
    struct bs_unetr_decoder_config decoder;
};

struct bs_arch_config {
    enum bs_arch_kind kind;
    struct bs_unet_config unet;       /* kind UNET */
    struct bs_unetr_config unetr;     /* kind UNETR */
    struct bs_vimunet_config vimunet; /* kind VIMUNET */
};

/* Name for people and metadata: "unet", "unetr", "vimunet". */
const char *bs_arch_name(enum bs_arch_kind kind);

/* What every kind has. */
int bs_arch_in_channels(const struct bs_arch_config *cfg);
int bs_arch_out_channels(const struct bs_arch_config *cfg);
/* Side of the square that a transformer's positions were made for; 0 for networks without such a size. */
int bs_arch_image_size(const struct bs_arch_config *cfg);
bool bs_arch_sigmoid(const struct bs_arch_config *cfg);
void bs_arch_set_sigmoid(struct bs_arch_config *cfg, bool sigmoid);

/* Spatial sizes must be multiples of this. */
int bs_arch_divisor(const struct bs_arch_config *cfg);
/* Pixels by which an output pixel's receptive field reaches beyond it on each side; the halo a tile needs for exactness.
   BS_RADIUS_UNBOUNDED: every output pixel sees the whole input, so no halo makes tiles exact. */
#define BS_RADIUS_UNBOUNDED (-1)
int bs_arch_receptive_radius(const struct bs_arch_config *cfg);

/* Builds input "image" (n, in_channels, h, w) -> outputs "logits" (before the final activation) and "output"
   (n, out_channels, h, w). Parameter names are torch_em's state_dict keys. The graph is finished. A transformer built
   for another size than image_size resamples its positions. */
bs_status bs_arch_build(const struct bs_arch_config *cfg, int64_t n, int64_t h, int64_t w,
                        struct bs_graph **out, struct bs_err *err) BS_NODISCARD;

/* Only the decoder of UNETR without skip connections and ViM-UNet, over `features` channels: the names and shapes that an
   encoder without one lacks. The graph is finished. */
bs_status bs_arch_build_decoder(const struct bs_unetr_decoder_config *cfg, int features,
                                struct bs_graph **out, struct bs_err *err) BS_NODISCARD;

/* One entry of a state dict, for recovery. */
struct bs_state_entry {
    const char *name;
    struct bs_shape shape;
};
/* Recovers the config from keys and shapes. What they cannot tell (the final activation) is set to the default and
   named in *assumed as "key=value,..." (buffer of assumed_len bytes). BS_EINVAL says what is missing or odd. */
bs_status bs_arch_recover(const struct bs_state_entry *state, size_t count, struct bs_arch_config *cfg,
                          char *assumed, size_t assumed_len, struct bs_err *err) BS_NODISCARD;

/* Is a tensor of that name a buffer of the state dict (running statistics, tables), which training does not learn? */
bool bs_arch_is_buffer(const char *name);
/* Number of parameters (buffers not counted), from the graph's PARAM nodes' rule. */
bs_status bs_arch_parameter_count(const struct bs_arch_config *cfg, uint64_t *count,
                                  struct bs_err *err) BS_NODISCARD;

#endif
