/* The decoder that UNETR and ViM-UNet share, for the files of model/arch. Pure functions; any thread. */
#ifndef BS_MODEL_ARCH_UNETR_DECODER_H
#define BS_MODEL_ARCH_UNETR_DECODER_H

#include "model/arch/arch_internal.h"

#define BS__UNETR_DECODER_FACTOR 16 /* output pixels per pixel of the encoder's features, along an axis */

/* What the decoder gets from an encoder. */
struct bs__encoded {
    bs_value image;      /* the network's input (N,C,H,W) */
    bs_value features;   /* (N,D,H/16,W/16) */
    bool skip;           /* with skip connections: */
    bs_value earlier[3]; /* (N,D,H/16,W/16), the first is the deepest */
};

/* Adds the decoder and the outputs "logits" and "output" to an unfinished graph. */
void bs__unetr_decoder(struct bs_graph *g, const struct bs_unetr_decoder_config *cfg,
                       const struct bs__encoded *in);

/* Refuses a config that no checkpoint of the original could have, naming the field and what is accepted. */
bs_status bs__unetr_decoder_check(const struct bs_unetr_decoder_config *cfg, struct bs_err *err) BS_NODISCARD;

/* The decoder's config from keys and shapes; *skip says whether it has skip connections. state is sorted by name. */
bs_status bs__unetr_decoder_recover(const struct bs_state_entry *state, size_t count,
                                    struct bs_unetr_decoder_config *cfg, bool *skip,
                                    struct bs_err *err) BS_NODISCARD;

#endif
