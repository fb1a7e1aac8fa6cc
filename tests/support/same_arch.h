/* Compares descriptions of networks field by field: the gaps between fields may hold anything. */
#ifndef BS_TESTS_SUPPORT_SAME_ARCH_H
#define BS_TESTS_SUPPORT_SAME_ARCH_H

#include "model/arch/arch.h"

static inline bool same_decoder(const struct bs_unetr_decoder_config *a,
                                const struct bs_unetr_decoder_config *b)
{
    return a->out_channels == b->out_channels && a->initial_features == b->initial_features &&
           a->upsampling == b->upsampling && a->sigmoid == b->sigmoid;
}

static inline bool same_unetr(const struct bs_unetr_config *a, const struct bs_unetr_config *b)
{
    return a->in_channels == b->in_channels && a->image_size == b->image_size &&
           a->patch_size == b->patch_size && a->embed_dim == b->embed_dim && a->depth == b->depth &&
           a->heads == b->heads && a->mlp_features == b->mlp_features && a->window == b->window &&
           a->global_blocks == b->global_blocks && a->neck_channels == b->neck_channels &&
           a->apply_neck == b->apply_neck && a->skip_connections == b->skip_connections &&
           a->resize_input == b->resize_input && a->sam_statistics == b->sam_statistics &&
           same_decoder(&a->decoder, &b->decoder);
}

static inline bool same_vimunet(const struct bs_vimunet_config *a, const struct bs_vimunet_config *b)
{
    return a->in_channels == b->in_channels && a->image_size == b->image_size &&
           a->patch_size == b->patch_size && a->embed_dim == b->embed_dim && a->depth == b->depth &&
           a->inner_features == b->inner_features && a->state_size == b->state_size &&
           a->dt_rank == b->dt_rank && a->conv_kernel == b->conv_kernel &&
           a->head_classes == b->head_classes && a->class_token == b->class_token &&
           a->class_token_first == b->class_token_first && a->rotary == b->rotary &&
           a->divide_by_directions == b->divide_by_directions && same_decoder(&a->decoder, &b->decoder);
}

#endif
