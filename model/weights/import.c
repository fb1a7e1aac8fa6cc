/* See import.h. What is known of the files:
     Segment Anything      "image_encoder.*", "prompt_encoder.*", "mask_decoder.*": the first is the UNETR's encoder
     micro-sam             the same, and beside it "decoder_state" with the UNETR's decoder
     Vision Mamba          "patch_embed.*", "layers.*", "head.*", ...: the ViM-UNet's encoder; also a bare SAM encoder
   Initial values are PyTorch's for convolutions and batch norms, from a hash of name, seed and index. */
#include "model/weights/import.h"

#include "kernels/base/arena.h"
#include "kernels/base/mix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAMES ((size_t)32 << 20) /* bytes of all names */
#define FEATURES  64                 /* of the decoder's finest level: the original's default */

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    const size_t n = strlen(text), m = strlen(with);
    return n >= m && !strcmp(text + n - m, with);
}

static bool any(const struct bs__import_request *r, const char *with)
{
    for (size_t i = 0; i < r->decoder; i++)
        if (begins(r->state[i].name, with))
            return true;
    return false;
}

static bs_status take(struct bs__import *im, const char *prefix, const char *name,
                      const struct bs_shape *shape, size_t source, struct bs_err *err)
{
    const size_t size = strlen(prefix) + strlen(name) + 1;
    char *text = bs_arena_alloc(im->arena, size);
    if (!text)
        return BS_FAIL(err, BS_ENOMEM, "no memory for the names of the network");
    snprintf(text, size, "%s%s", prefix, name);
    im->entry[im->count++] = (struct bs__import_entry){.name = text, .shape = *shape, .source = source};
    return BS_OK;
}

/* The checkpoint's tensors under the names of the network. */
static bs_status take_tensors(const struct bs__import_request *r, struct bs__import *im, struct bs_err *err)
{
    const bool sam = any(r, "image_encoder."), bare = any(r, "patch_embed.");
    bs_status rc = BS_OK;
    for (size_t i = 0; i < r->count && rc == BS_OK; i++) {
        const char *name = r->state[i].name;
        const struct bs_shape *shape = &r->state[i].shape;
        if (i >= r->decoder) {
            if (begins(name, "encoder."))
                im->left_out++;
            else
                rc = take(im, "", name, shape, i, err);
        } else if (sam && begins(name, "image_encoder.")) {
            rc = take(im, "encoder.", name + strlen("image_encoder."), shape, i, err);
        } else if (sam && (begins(name, "prompt_encoder.") || begins(name, "mask_decoder.") ||
                           !strcmp(name, "pixel_mean") || !strcmp(name, "pixel_std"))) {
            im->left_out++;
        } else {
            rc = take(im, bare ? "encoder." : "", name, shape, i, err);
        }
    }
    return rc;
}

static const struct bs__import_entry *find(const struct bs__import *im, const char *name)
{
    for (size_t i = 0; i < im->count; i++)
        if (!strcmp(im->entry[i].name, name))
            return &im->entry[i];
    return NULL;
}

/* Has it anything but an encoder? */
static bool has_decoder(const struct bs__import *im)
{
    for (size_t i = 0; i < im->count; i++)
        if (!begins(im->entry[i].name, "encoder."))
            return true;
    return false;
}

/* PyTorch's: weight and bias of a convolution within 1 / sqrt(inputs per output), a batch norm that changes nothing. */
static void set_initial(struct bs__import_entry *e, const struct bs_graph *g, const char *name)
{
    char weight[256];
    const char *dot = strrchr(name, '.');
    snprintf(weight, sizeof weight, "%.*s.weight", (int)(dot - name), name);
    for (int v = 0; v < bs_graph_node_count(g); v++) {
        const struct bs_node *node = bs_graph_node(g, v);
        if (node->op == BS_OP_PARAM && !strcmp(node->name, weight) && node->shape.ndim == 4)
            e->bound = 1 / sqrt((double)(node->shape.dim[1] * node->shape.dim[2] * node->shape.dim[3]));
    }
    e->constant = ends(name, ".weight") || ends(name, ".running_var") ? 1 : 0;
}

static bs_status add_decoder(const struct bs__import_request *r, struct bs__import *im, struct bs_err *err)
{
    const struct bs_unetr_decoder_config cfg = {.out_channels = r->out_channels,
                                                .initial_features = FEATURES,
                                                .upsampling = BS_UPSAMPLING_BILINEAR,
                                                .sigmoid = true};
    const struct bs__import_entry *patch = find(im, "encoder.patch_embed.proj.weight");
    struct bs_graph *g = NULL;
    if (!patch || patch->shape.ndim != 4 || patch->shape.dim[0] > 1 << 16)
        return BS_FAIL(err, BS_EUNSUPPORTED,
                       "the encoder has no patch_embed.proj.weight of four axes; supported are vit_b, vit_l "
                       "and vit_h of Segment Anything, and Vision Mamba");
    bs_status rc = bs_arch_build_decoder(&cfg, (int)patch->shape.dim[0], &g, err);
    if (rc != BS_OK)
        return rc;
    struct bs__import_entry *grown =
        realloc(im->entry, (im->count + (size_t)bs_graph_node_count(g)) * sizeof *grown);
    if (!grown)
        rc = BS_FAIL(err, BS_ENOMEM, "no memory for the decoder's tensors");
    else
        im->entry = grown;
    for (int v = 0; v < bs_graph_node_count(g) && rc == BS_OK; v++) {
        const struct bs_node *node = bs_graph_node(g, v);
        if (node->op != BS_OP_PARAM)
            continue;
        rc = take(im, "", node->name, &node->shape, BS__IMPORT_INITIAL, err);
        if (rc == BS_OK)
            set_initial(&im->entry[im->count - 1], g, node->name);
    }
    bs_graph_destroy(g);
    im->untrained = true;
    im->seed = r->seed;
    return rc;
}

bs_status bs__import_open(const struct bs__import_request *r, struct bs__import *out, struct bs_err *err)
{
    *out = (struct bs__import){.arena = bs_arena_create(MAX_NAMES)};
    if (!out->arena || !(out->entry = calloc(r->count ? r->count : 1, sizeof *out->entry)))
        return BS_FAIL(err, BS_ENOMEM, "no memory for %zu tensors", r->count);
    bs_status rc = take_tensors(r, out, err);
    if (rc != BS_OK)
        return rc;
    out->decoder_of_micro_sam = r->decoder < r->count;
    const bool encoder_alone = r->count > 0 && out->count > 0 && !has_decoder(out);
    if (encoder_alone && r->out_channels)
        return add_decoder(r, out, err);
    if (encoder_alone)
        return BS_FAIL(
            err, BS_EINVAL,
            "this is an encoder without a decoder (it begins with %.120s); --with-untrained-decoder "
            "CHANNELS adds one, which has to be trained before its results mean anything",
            r->state[0].name);
    if (r->out_channels)
        return BS_FAIL(err, BS_EINVAL,
                       "an untrained decoder was asked for, but this is not an encoder alone: it has %.120s",
                       out->count ? out->entry[out->count - 1].name : "no tensors");
    return BS_OK;
}

void bs__import_close(struct bs__import *im)
{
    free(im->entry);
    bs_arena_destroy(im->arena);
    *im = (struct bs__import){0};
}

/* splitmix64 over a hash (FNV-1a) of the name. */
static uint64_t hash(uint64_t name, uint64_t seed, uint64_t i)
{
    return bs_mix64((name ^ seed * BS_MIX_STEP) + i + BS_MIX_STEP);
}

void bs__import_initial(const struct bs__import *im, size_t i, float *dst)
{
    const struct bs__import_entry *e = &im->entry[i];
    const size_t count = bs_shape_count(&e->shape);
    uint64_t name = UINT64_C(0xCBF29CE484222325);
    for (const char *c = e->name; *c; c++)
        name = (name ^ (unsigned char)*c) * UINT64_C(0x100000001B3);
    for (size_t k = 0; k < count; k++) {
        const double u = (double)(hash(name, im->seed, k) >> 40) * 0x1p-24;
        dst[k] = e->bound > 0 ? (float)((2 * u - 1) * e->bound) : e->constant;
    }
}
